//! Tokenizers: text to ids and back, made from a text, saved and loaded as the `tokenizer.json` of
//! Hugging Face's `tokenizers`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, Decoder, Model, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior,
};

use crate::byte_pairs::check_pipeline;
use crate::corpus::{Corpus, read};
use crate::error::TextError;
use crate::published::with_byte_level;
use crate::streaming::DecodeStream;
use crate::vocabulary::{TokenCounts, Vocabulary, VocabularyConfig};

/// Any character, the newline too. Not `(?s).`, which Python's `tokenizers` rejects: its regular
/// expressions are Ruby's.
const CHARACTER: &str = r"[\s\S]";

/// A word with its apostrophes, a token in angle brackets, a newline, or a single other sign; the blanks
/// between belong to none.
const WORD: &str = r"<\w+>|\w+(?:['’]\w+)*|\n|[^\w\s]";

/// The model of the `tokenizers` crate wants the name of an unknown token even where there is none. No
/// text holds this one, and no id is silently given in its place.
const NO_UNKNOWN: &str = "";

/// Text to ids and back.
///
/// ```
/// use emberline_text::{Corpus, Tokenizer};
///
/// let tokenizer = Tokenizer::characters(&Corpus::new("greeting", "hello, world\n")?);
/// let ids = tokenizer.encode("hell\n")?;
/// assert_eq!(ids, [5, 4, 6, 6, 0]);
/// assert_eq!(tokenizer.decode(&ids)?, "hell\n");
/// # Ok::<(), emberline_text::TextError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    pipeline: tokenizers::Tokenizer,
    /// The ids of single characters, where that is all the pipeline does. Looking characters up here
    /// gives the same ids many times faster.
    characters: Option<HashMap<char, u32>>,
    vocab_size: usize,
}

impl Tokenizer {
    /// Every character of a text is a token, ordered by code point, as in nanoGPT. Nothing is lost:
    /// decoding gives back the text.
    pub fn characters(corpus: &Corpus) -> Self {
        let characters: BTreeSet<char> = corpus.text().chars().collect();
        let tokens = characters.iter().map(char::to_string);
        let mut pipeline = tokenizers::Tokenizer::new(word_level(tokens, NO_UNKNOWN));
        pipeline.with_pre_tokenizer(Some(split_into_characters())).with_decoder(Some(Fuse::new()));
        Self::from_pipeline(pipeline)
    }

    /// Words, newlines and single signs are tokens, with a vocabulary by count. Case is kept. Decoding
    /// writes one blank between tokens, so the blanks of the text are lost.
    ///
    /// A text that spells out a special token gets its id.
    ///
    /// # Errors
    /// Those of [`Vocabulary::new`].
    pub fn words(corpus: &Corpus, config: &VocabularyConfig) -> Result<Self, TextError> {
        let counts: TokenCounts = split_words(corpus.text())?.iter().map(String::as_str).collect();
        let vocabulary = Vocabulary::new(&counts, config)?;

        let tokens = vocabulary.tokens().iter().cloned();
        let unknown = vocabulary.unknown_token().unwrap_or(NO_UNKNOWN);
        let mut pipeline = tokenizers::Tokenizer::new(word_level(tokens, unknown));
        pipeline.with_pre_tokenizer(Some(split_into_words()));
        let specials = config.specials.iter().map(|token| AddedToken::from(token.as_str(), true));
        pipeline.add_special_tokens(specials).map_err(pipeline_error("take the special tokens"))?;
        Ok(Self::from_pipeline(pipeline))
    }

    /// Byte pairs as in GPT-2: the 256 bytes, and the most frequent pair merged until the vocabulary has
    /// `vocab_size` tokens, or fewer if no pair is left. Every text can be encoded, and decoding gives it
    /// back. The same text gives the same tokenizer.
    ///
    /// # Errors
    /// [`TextError::TooSmallForBytes`].
    pub fn byte_pair(corpus: &Corpus, vocab_size: usize) -> Result<Self, TextError> {
        if vocab_size < 256 {
            return Err(TextError::TooSmallForBytes { vocab_size, needed: 256 });
        }
        let mut pipeline = tokenizers::Tokenizer::new(BPE::default());
        with_byte_level(&mut pipeline);
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .show_progress(false)
            .build();
        pipeline
            .train(&mut TrainerWrapper::BpeTrainer(trainer), std::iter::once(corpus.text()))
            .map_err(pipeline_error("learn byte pairs"))?;
        Ok(Self::from_pipeline(pipeline))
    }

    /// The tokenizer of a `tokenizer.json`'s bytes, whoever wrote it.
    ///
    /// Truncation and padding that the file may ask for are left off: every token of a text is encoded,
    /// and batches are padded elsewhere.
    ///
    /// # Errors
    /// [`TextError::TokenizerFormat`], with `name` for the bytes.
    pub fn from_json(bytes: &[u8], name: &str) -> Result<Self, TextError> {
        let format = |source| TextError::TokenizerFormat { name: name.to_string(), source };
        check_pipeline(bytes).map_err(format)?;
        let mut pipeline = tokenizers::Tokenizer::from_bytes(bytes).map_err(format)?;
        pipeline.with_truncation(None).map_err(format)?;
        pipeline.with_padding(None);
        Ok(Self::from_pipeline(pipeline))
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError::Read`], [`TextError::TokenizerFormat`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        Self::from_json(&read(path)?, &path.display().to_string())
    }

    /// The bytes of a `tokenizer.json`.
    pub fn to_json(&self) -> Vec<u8> {
        let json = self.pipeline.to_string(true);
        json.expect("a tokenizer has only strings as keys").into_bytes()
    }

    /// One more than the highest id: the rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The id of a token as it is spelled in the vocabulary, if it is there.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.pipeline.token_to_id(token)
    }

    /// The token of an id as it is spelled in the vocabulary, if there is one.
    pub fn token(&self, id: u32) -> Option<String> {
        self.pipeline.id_to_token(id)
    }

    /// The ids of a text. No token is added at its ends.
    ///
    /// # Errors
    /// [`TextError::UnknownCharacter`] or [`TextError::UnknownWord`], with its place, if the vocabulary
    /// has neither the token nor one that stands for it; [`TextError::Pipeline`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        match &self.characters {
            Some(ids) => encode_characters(ids, text),
            None => self.encode_by_pipeline(text),
        }
    }

    /// The text of ids. Special tokens are written out.
    ///
    /// # Errors
    /// [`TextError::UnknownId`], [`TextError::Pipeline`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        if let Some(id) = ids.iter().find(|id| self.pipeline.id_to_token(**id).is_none()) {
            return Err(TextError::UnknownId { id: *id, vocab_size: self.vocab_size });
        }
        // The decoder of GPT-1 counts back from the last token.
        if ids.is_empty() {
            return Ok(String::new());
        }
        self.pipeline.decode(ids, false).map_err(pipeline_error("decode"))
    }

    /// The text of tokens as they are spelled in the vocabulary, or of words that are not in it.
    ///
    /// # Errors
    /// [`TextError::Pipeline`].
    pub fn decode_tokens(&self, tokens: Vec<String>) -> Result<String, TextError> {
        match self.pipeline.get_decoder() {
            Some(decoder) => decoder.decode(tokens).map_err(pipeline_error("decode")),
            None => Ok(tokens.join(" ")),
        }
    }

    /// Decodes ids one by one, as generation makes them.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// The same tokenizer, to which a special token that a text spells out is text like any other, as to OpenAI's own
    /// code for GPT-2. It is a way of reading, and no part of what is saved.
    pub fn reading_specials_as_text(mut self) -> Self {
        self.pipeline.set_encode_special_tokens(true);
        self
    }

    pub(crate) fn pipeline(&self) -> &tokenizers::Tokenizer {
        &self.pipeline
    }

    pub(crate) fn into_pipeline(self) -> tokenizers::Tokenizer {
        self.pipeline
    }

    pub(crate) fn from_pipeline(pipeline: tokenizers::Tokenizer) -> Self {
        let highest = pipeline.get_vocab(true).into_values().max();
        let characters = character_ids(&pipeline);
        Self { pipeline, characters, vocab_size: highest.map_or(0, |id| id as usize + 1) }
    }

    fn encode_by_pipeline(&self, text: &str) -> Result<Vec<u32>, TextError> {
        match self.pipeline.encode_fast(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(source) => {
                Err(self.unknown_word(text).unwrap_or_else(|| pipeline_error("encode")(source)))
            }
        }
    }

    /// The first word of a text that is not in a vocabulary of words without an unknown token.
    fn unknown_word(&self, text: &str) -> Option<TextError> {
        let ModelWrapper::WordLevel(model) = self.pipeline.get_model() else { return None };
        // The same pipeline with a mark on what it does not know tells where that is.
        let mark = (model.unk_token.clone(), u32::MAX);
        let vocabulary = model.get_vocab().into_iter().chain([mark]).collect();
        let marking_model = WordLevel::builder()
            .vocab(vocabulary)
            .unk_token(model.unk_token.clone())
            .build()
            .ok()?;
        let mut marking = self.pipeline.clone();
        marking.with_model(marking_model);
        let encoding = marking.encode(text, false).ok()?;
        let index = encoding.get_ids().iter().position(|id| *id == u32::MAX)?;
        let (start, end) = encoding.get_offsets()[index];
        Some(TextError::unknown_word(text, start..end))
    }
}

pub(crate) fn word_level(tokens: impl Iterator<Item = String>, unknown: &str) -> WordLevel {
    WordLevel::builder()
        .vocab(tokens.zip(0..).collect())
        .unk_token(unknown.to_string())
        .build()
        .expect("building from a map reads no file")
}

pub(crate) fn split_into_characters() -> Split {
    let pattern = SplitPattern::Regex(CHARACTER.into());
    Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("the pattern is valid")
}

/// The words, newlines and single signs of a text, which [`Tokenizer::words`] takes for tokens.
///
/// # Errors
/// [`TextError::Pipeline`].
pub fn split_words(text: &str) -> Result<Vec<String>, TextError> {
    let mut pieces = PreTokenizedString::from(text);
    split_into_words()
        .pre_tokenize(&mut pieces)
        .map_err(pipeline_error("split a text into words"))?;
    let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(pieces.into_iter().map(|(piece, ..)| piece.to_string()).collect())
}

/// Removes what the pattern does not match.
fn split_into_words() -> Split {
    let pattern = SplitPattern::Regex(WORD.into());
    Split::new(pattern, SplitDelimiterBehavior::Removed, true).expect("the pattern is valid")
}

/// The ids of a pipeline that does nothing but look up single characters.
fn character_ids(pipeline: &tokenizers::Tokenizer) -> Option<HashMap<char, u32>> {
    let splits_characters = matches!(
        pipeline.get_pre_tokenizer(),
        Some(PreTokenizerWrapper::Split(split)) if *split == split_into_characters()
    );
    let is_plain = pipeline.get_normalizer().is_none()
        && pipeline.get_post_processor().is_none()
        && pipeline.get_added_vocabulary().is_empty();
    let ModelWrapper::WordLevel(model) = pipeline.get_model() else { return None };
    if !splits_characters || !is_plain {
        return None;
    }
    let single = |(token, id): (String, u32)| {
        let mut characters = token.chars();
        characters.next().filter(|_| characters.next().is_none()).map(|character| (character, id))
    };
    model.get_vocab().into_iter().map(single).collect()
}

fn encode_characters(ids: &HashMap<char, u32>, text: &str) -> Result<Vec<u32>, TextError> {
    let id_at = |(offset, character)| {
        let id = ids.get(&character).copied();
        id.ok_or_else(|| TextError::unknown_character(text, offset))
    };
    text.char_indices().map(id_at).collect()
}

pub(crate) fn pipeline_error(action: &'static str) -> impl Fn(tokenizers::Error) -> TextError {
    move |source| TextError::Pipeline { action, source }
}

#[cfg(test)]
mod tests {
    use emberline_core::Stream;

    use super::*;

    const TEXT: &str = "Don't say \"so\", he said.\n\n\tNaïve 中文 👍🏽!\r\n So <unk> it is\n";

    fn corpus() -> Corpus {
        Corpus::new("sample", TEXT).unwrap()
    }

    fn words(config: &VocabularyConfig) -> Tokenizer {
        Tokenizer::words(&corpus(), config).unwrap()
    }

    fn words_without_unknown() -> Tokenizer {
        words(&VocabularyConfig { min_count: 1, specials: vec!["[CLS]".into()], unknown: None })
    }

    fn token(tokenizer: &Tokenizer, id: u32) -> String {
        tokenizer.pipeline.id_to_token(id).unwrap()
    }

    #[test]
    fn characters_are_ordered_by_code_point() {
        let tokenizer = Tokenizer::characters(&Corpus::new("b", "bé a\n").unwrap());
        let tokens: Vec<String> = (0..5).map(|id| token(&tokenizer, id)).collect();
        assert_eq!(tokens, ["\n", " ", "a", "b", "é"]);
        assert_eq!(tokenizer.vocab_size(), 5);
    }

    #[test]
    fn characters_and_byte_pairs_give_the_text_back() {
        let tokenizers = [
            Tokenizer::characters(&corpus()),
            Tokenizer::byte_pair(&corpus(), 256).unwrap(),
            Tokenizer::byte_pair(&corpus(), 280).unwrap(),
        ];
        for tokenizer in tokenizers {
            let ids = tokenizer.encode(TEXT).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), TEXT);
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
            assert!(tokenizer.encode("").unwrap().is_empty());
            assert_eq!(tokenizer.decode(&[]).unwrap(), "");
        }
    }

    #[test]
    fn byte_pairs_encode_what_they_never_saw() {
        let tokenizer = Tokenizer::byte_pair(&Corpus::new("a", "aaa").unwrap(), 300).unwrap();
        assert_eq!(tokenizer.decode(&tokenizer.encode(TEXT).unwrap()).unwrap(), TEXT);
        assert_eq!(tokenizer.encode("aaa").unwrap().len(), 1);
    }

    #[test]
    fn looking_characters_up_equals_the_pipeline() {
        let tokenizer = Tokenizer::characters(&corpus());
        assert!(tokenizer.characters.is_some());
        let characters: Vec<char> = TEXT.chars().collect();
        for length in [0, 1, 2, 50, 500] {
            let stream = Stream::new(1).at(length);
            let text: String =
                (0..length).map(|i| characters[stream.below(i, characters.len())]).collect();
            let expected = tokenizer.encode_by_pipeline(&text).unwrap();
            assert_eq!(tokenizer.encode(&text).unwrap(), expected);
        }
        assert!(words_without_unknown().characters.is_none());
    }

    #[test]
    fn an_unknown_character_is_named_with_its_place() {
        let tokenizer = Tokenizer::characters(&corpus());
        let error = tokenizer.encode("said\nsö").unwrap_err();
        let expected = "character 'ö' at line 2, column 2 is not in the vocabulary";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn words_keep_apostrophes_and_case_and_come_by_count() {
        let tokenizer = words(&VocabularyConfig::default());
        let pieces: Vec<String> =
            tokenizer.encode(TEXT).unwrap().iter().map(|id| token(&tokenizer, *id)).collect();
        assert_eq!(
            pieces[..14],
            [
                "Don't", "say", "\"", "so", "\"", ",", "he", "said", ".", "\n", "\n", "Naïve",
                "中文", "👍"
            ]
        );
        assert!(pieces.contains(&"<unk>".to_string()));
        let first: Vec<String> = (0..3).map(|id| token(&tokenizer, id)).collect();
        assert_eq!(first, ["<unk>", "\n", "\""]);
        let ids = tokenizer.encode("he   said so.").unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), "he said so .");
    }

    #[test]
    fn an_unknown_word_gets_the_unknown_token_and_without_one_is_named_with_its_place() {
        let tokenizer = words(&VocabularyConfig { min_count: 2, ..VocabularyConfig::default() });
        assert_eq!(tokenizer.encode("zebra \n").unwrap(), [0, 1]);

        let error = words_without_unknown().encode("[CLS] he\nsaid zebra.").unwrap_err();
        let expected = "word \"zebra\" at line 2, column 6 is not in the vocabulary, \
                        which has no token for unknown words";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_saved_tokenizer_is_loaded_as_it_was() {
        let text = "he said so\n\n";
        for tokenizer in [
            Tokenizer::characters(&corpus()),
            words(&VocabularyConfig::default()),
            words_without_unknown(),
            Tokenizer::byte_pair(&corpus(), 280).unwrap(),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), tokenizer.to_json()).unwrap();
            let loaded = Tokenizer::from_file(file.path()).unwrap();
            assert_eq!(loaded.to_json(), tokenizer.to_json());
            assert_eq!(loaded.vocab_size(), tokenizer.vocab_size());
            assert_eq!(loaded.characters, tokenizer.characters);
            assert_eq!(loaded.encode(text).unwrap(), tokenizer.encode(text).unwrap());
        }
    }

    #[test]
    fn truncation_and_padding_of_a_file_are_left_off() {
        let mut tokenizer = Tokenizer::characters(&corpus());
        let one = tokenizers::TruncationParams { max_length: 1, ..Default::default() };
        tokenizer.pipeline.with_truncation(Some(one)).unwrap();
        tokenizer.pipeline.with_padding(Some(tokenizers::PaddingParams::default()));
        let loaded = Tokenizer::from_json(&tokenizer.to_json(), "t").unwrap();
        assert_eq!(loaded.encode_by_pipeline("said").unwrap().len(), 4);
    }

    #[test]
    fn a_file_that_is_no_tokenizer_is_an_error_wherever_it_ends() {
        let whole = Tokenizer::byte_pair(&corpus(), 260).unwrap().to_json();
        let cuts = (0..whole.len()).step_by(97).map(|end| &whole[..end]);
        for bytes in cuts.chain([&b"{}"[..], b"[1]", br#"{"model": {"type": "Unheard"}}"#]) {
            let error = Tokenizer::from_json(bytes, "t.json").unwrap_err();
            assert_eq!(error.to_string(), "t.json is not a tokenizer that can be used");
        }
        let error = Tokenizer::from_file("no/such/t.json").unwrap_err();
        assert!(matches!(error, TextError::Read { .. }), "{error}");
    }

    #[test]
    fn an_id_beyond_the_vocabulary_is_an_error() {
        let tokenizer = Tokenizer::characters(&Corpus::new("ab", "ab").unwrap());
        let error = tokenizer.decode(&[1, 2]).unwrap_err().to_string();
        assert_eq!(error, "id 2 names no token of a vocabulary of 2");
    }

    #[test]
    fn a_vocabulary_below_the_bytes_is_an_error() {
        let error = Tokenizer::byte_pair(&corpus(), 255).unwrap_err();
        assert!(matches!(error, TextError::TooSmallForBytes { vocab_size: 255, .. }), "{error}");
    }
}
