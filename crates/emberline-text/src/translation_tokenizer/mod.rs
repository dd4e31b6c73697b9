//! The tokenizers of translation: sentences to ids and back, learned from one language or from both together.
//!
//! They know three special tokens: `<s>` starts a target, `</s>` ends both sides, and `<unk>` stands for what was not
//! seen in training. There is none for padding, since a batch knows its lengths.

mod pipeline;

use std::path::Path;

use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

pub use self::pipeline::TranslationTokens;
use self::pipeline::{END, START, UNKNOWN};
use crate::corpus::read;
use crate::error::TextError;
use crate::tokenizer::Tokenizer;

/// Sentences to ids and back, of either side of a translation.
///
/// ```
/// use emberline_text::{TranslationTokenizer, TranslationTokens};
///
/// let words = TranslationTokens::Words { lower_case: true, min_count: 1 };
/// let tokenizer = TranslationTokenizer::learn(&words, ["A dog runs.", "A cat!"])?;
/// let ids = tokenizer.encode("A cat runs!")?;
/// assert_eq!(ids.last(), Some(&tokenizer.end_token()));
/// assert_eq!(tokenizer.decode(&ids)?, "a cat runs !");
/// # Ok::<(), emberline_text::TextError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TranslationTokenizer {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
    unknown: u32,
    /// Whether a sentence is given a blank at its start, which decoding takes away.
    starts_with_blank: bool,
}

impl TranslationTokenizer {
    /// Learns from sentences; from those of both languages where it is to serve both. The same sentences give the
    /// same tokenizer.
    ///
    /// # Errors
    /// [`TextError::TooSmallForBytes`].
    pub fn learn<'a>(
        tokens: &TranslationTokens,
        sentences: impl IntoIterator<Item = &'a str, IntoIter: Send>,
    ) -> Result<Self, TextError> {
        let pipeline = pipeline::learn(tokens, sentences)?;
        Self::new(Tokenizer::from_pipeline(pipeline), "the tokenizer")
    }

    fn new(tokenizer: Tokenizer, name: &str) -> Result<Self, TextError> {
        let special = |token: &'static str| {
            let missing = || TextError::NoSpecialToken { name: name.to_string(), token };
            tokenizer.id(token).ok_or_else(missing)
        };
        let (start, end, unknown) = (special(START)?, special(END)?, special(UNKNOWN)?);
        let starts_with_blank = matches!(
            tokenizer.pipeline().get_pre_tokenizer(),
            Some(PreTokenizerWrapper::ByteLevel(ByteLevel { add_prefix_space: true, .. }))
        );
        let tokenizer = tokenizer.reading_specials_as_text();
        Ok(Self { tokenizer, start, end, unknown, starts_with_blank })
    }

    /// The tokenizer of the bytes of a `tokenizer.json` with the three special tokens.
    ///
    /// # Errors
    /// [`TextError::TokenizerFormat`], [`TextError::NoSpecialToken`], with `name` for the bytes.
    pub fn from_json(bytes: &[u8], name: &str) -> Result<Self, TextError> {
        Self::new(Tokenizer::from_json(bytes, name)?, name)
    }

    /// Reads a `tokenizer.json` with the three special tokens.
    ///
    /// # Errors
    /// [`TextError::Read`], [`TextError::TokenizerFormat`], [`TextError::NoSpecialToken`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        Self::from_json(&read(path)?, &path.display().to_string())
    }

    /// The bytes of a `tokenizer.json`.
    pub fn to_json(&self) -> Vec<u8> {
        self.tokenizer.to_json()
    }

    /// One more than the highest id: the rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    /// The id of `<s>`, which a decoder reads first.
    pub fn start_token(&self) -> u32 {
        self.start
    }

    /// The id of `</s>`, which a source ends with, and with which a decoder ends.
    pub fn end_token(&self) -> u32 {
        self.end
    }

    /// The id of `<unk>`, for what was not seen in training.
    pub fn unknown_token(&self) -> u32 {
        self.unknown
    }

    /// The ids of a sentence, with `</s>` after them. A sentence that spells out a special token does not get its id.
    ///
    /// # Errors
    /// [`TextError::NoToken`] if there is nothing before `</s>`; [`TextError::Pipeline`].
    pub fn encode(&self, sentence: &str) -> Result<Vec<u32>, TextError> {
        let mut ids = self.tokenizer.encode(sentence)?;
        if ids.is_empty() {
            return Err(TextError::NoToken { text: sentence.to_string() });
        }
        let is_reserved = |id: u32| id == self.start || id == self.end;
        ids.iter_mut().filter(|id| is_reserved(**id)).for_each(|id| *id = self.unknown);
        ids.push(self.end);
        Ok(ids)
    }

    /// The sentence of ids, without `<s>` and `</s>`; `<unk>` is written out.
    ///
    /// # Errors
    /// [`TextError::UnknownId`], [`TextError::Pipeline`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        let is_text = |id: &u32| *id != self.start && *id != self.end;
        let text: Vec<u32> = ids.iter().copied().filter(is_text).collect();
        let sentence = self.tokenizer.decode(&text)?;
        let without_blank = sentence.strip_prefix(' ').filter(|_| self.starts_with_blank);
        Ok(without_blank.map(str::to_string).unwrap_or(sentence))
    }

    /// How one id is written, a special token too: the label beside a row of a picture of attention. A token that
    /// is half of a character is written as U+FFFD.
    ///
    /// # Errors
    /// [`TextError::UnknownId`], [`TextError::Pipeline`].
    pub fn spelling(&self, id: u32) -> Result<String, TextError> {
        self.tokenizer.decode(&[id])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTENCES: [&str; 3] =
        ["A man, in a blue shirt.", "Ein Mann in blauem Hemd – schön!", "他欠我100万 M IH1 N"];

    fn learn(tokens: TranslationTokens) -> TranslationTokenizer {
        TranslationTokenizer::learn(&tokens, SENTENCES).unwrap()
    }

    fn all() -> [TranslationTokenizer; 4] {
        [
            learn(TranslationTokens::Words { lower_case: true, min_count: 1 }),
            learn(TranslationTokens::Characters),
            learn(TranslationTokens::Symbols),
            learn(TranslationTokens::BytePairs { vocab_size: 300, lower_case: false }),
        ]
    }

    #[test]
    fn the_special_tokens_come_first_and_a_sentence_ends_with_its_own() {
        for tokenizer in all() {
            let specials =
                [tokenizer.start_token(), tokenizer.end_token(), tokenizer.unknown_token()];
            assert_eq!(specials, [0, 1, 2]);
            let ids = tokenizer.encode("a man").unwrap();
            assert_eq!(ids.iter().position(|id| *id == 1), Some(ids.len() - 1));
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
            assert_eq!(tokenizer.spelling(1).unwrap(), "</s>");
        }
    }

    #[test]
    fn decoding_gives_back_what_was_encoded() {
        let [words, characters, symbols, byte_pairs] = all();
        for sentence in SENTENCES {
            for exact in [&characters, &symbols, &byte_pairs] {
                assert_eq!(exact.decode(&exact.encode(sentence).unwrap()).unwrap(), sentence);
            }
        }
        let given_back = |tokenizer: &TranslationTokenizer, text: &str| {
            tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap()
        };
        assert_eq!(given_back(&words, SENTENCES[0]), "a man , in a blue shirt .");
        assert_eq!(
            given_back(&byte_pairs, "never  seen: žluťoučký 👍"),
            "never  seen: žluťoučký 👍"
        );
        let lower = learn(TranslationTokens::BytePairs { vocab_size: 300, lower_case: true });
        assert_eq!(given_back(&lower, "Schöne Ärzte"), "schöne ärzte");
    }

    #[test]
    fn a_byte_pair_starts_a_sentence_as_it_starts_any_word() {
        let sentences = ["man man man man", "Mann"];
        let tokens = TranslationTokens::BytePairs { vocab_size: 270, lower_case: false };
        let tokenizer = TranslationTokenizer::learn(&tokens, sentences).unwrap();
        let ids = tokenizer.encode("man man").unwrap();
        assert_eq!(ids.len(), 3);
        assert_eq!(ids[0], ids[1]);
        assert_eq!(tokenizer.spelling(ids[0]).unwrap(), " man");
        // "Mann" was seen once: no pair of its own.
        assert!(tokenizer.vocab_size() < 270);
    }

    #[test]
    fn both_languages_share_the_pairs_that_were_learned_from_both() {
        let tokens = TranslationTokens::BytePairs { vocab_size: 300, lower_case: false };
        let (english, german) = (["shirt shirt"], ["Hemd Hemd"]);
        let joint = TranslationTokenizer::learn(&tokens, [english[0], german[0]]).unwrap();
        assert_eq!(joint.encode("shirt Hemd").unwrap().len(), 3);
        let alone = TranslationTokenizer::learn(&tokens, english).unwrap();
        assert_eq!(alone.encode("shirt Hemd").unwrap().len(), 7);
    }

    #[test]
    fn words_seen_too_seldom_are_unknown() {
        let tokens = TranslationTokens::Words { lower_case: true, min_count: 2 };
        let tokenizer = TranslationTokenizer::learn(&tokens, ["A dog. A cat."]).unwrap();
        let ids = tokenizer.encode("a dog.").unwrap();
        assert_eq!(ids, [3, 2, 4, 1]);
        assert_eq!(tokenizer.decode(&ids).unwrap(), "a <unk> .");
        assert_eq!(tokenizer.vocab_size(), 5);
    }

    #[test]
    fn a_sentence_that_spells_out_a_special_token_does_not_end() {
        for tokens in [
            TranslationTokens::Words { lower_case: false, min_count: 1 },
            TranslationTokens::Characters,
            TranslationTokens::Symbols,
            TranslationTokens::BytePairs { vocab_size: 300, lower_case: false },
        ] {
            let sentence = "a </s> <s> b";
            let tokenizer = TranslationTokenizer::learn(&tokens, [sentence]).unwrap();
            let ids = tokenizer.encode(sentence).unwrap();
            let (end, text) = ids.split_last().unwrap();
            assert_eq!(*end, tokenizer.end_token());
            assert!(text.iter().all(|id| *id > tokenizer.end_token()), "{tokens:?}: {ids:?}");
            if tokens == TranslationTokens::Characters {
                assert_eq!(tokenizer.decode(&ids).unwrap(), sentence);
            }
        }
    }

    #[test]
    fn a_sentence_without_a_token_is_an_error() {
        for tokenizer in all() {
            let error = tokenizer.encode("").unwrap_err().to_string();
            assert_eq!(error, "the text \"\" has no token");
        }
        let words = learn(TranslationTokens::Words { lower_case: true, min_count: 1 });
        assert!(matches!(words.encode(" \t").unwrap_err(), TextError::NoToken { .. }));
    }

    #[test]
    fn a_saved_tokenizer_is_loaded_as_it_was() {
        for tokenizer in all() {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), tokenizer.to_json()).unwrap();
            let loaded = TranslationTokenizer::from_file(file.path()).unwrap();
            assert_eq!(loaded.to_json(), tokenizer.to_json());
            for sentence in SENTENCES.into_iter().chain(["<s> A man </s>"]) {
                let ids = tokenizer.encode(sentence).unwrap();
                assert_eq!(loaded.encode(sentence).unwrap(), ids);
                assert_eq!(loaded.decode(&ids).unwrap(), tokenizer.decode(&ids).unwrap());
            }
        }
    }

    #[test]
    fn a_file_that_is_no_tokenizer_of_translations_is_an_error() {
        let corpus = crate::Corpus::new("a", "ab").unwrap();
        let foreign = Tokenizer::characters(&corpus).to_json();
        let error = TranslationTokenizer::from_json(&foreign, "t.json").unwrap_err().to_string();
        assert_eq!(error, "t.json is no tokenizer for translations: it has no token \"<s>\"");
        let error = TranslationTokenizer::from_json(b"{", "t.json").unwrap_err().to_string();
        assert_eq!(error, "t.json is not a tokenizer that can be used");
    }
}
