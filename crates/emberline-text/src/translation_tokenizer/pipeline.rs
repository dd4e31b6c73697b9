//! What a sentence of a translation is cut into, and the pipelines of the `tokenizers` crate that do it.

use serde::{Deserialize, Serialize};
use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::utils::Lowercase;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{
    AddedToken, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    PreTokenizerWrapper, SplitDelimiterBehavior,
};

use crate::error::TextError;
use crate::tokenizer::{pipeline_error, split_into_characters, word_level};
use crate::vocabulary::{TokenCounts, Vocabulary, VocabularyConfig};

pub(super) const START: &str = "<s>";
pub(super) const END: &str = "</s>";
pub(super) const UNKNOWN: &str = "<unk>";
const SPECIALS: [&str; 3] = [START, END, UNKNOWN];

/// A word with its apostrophes, or a single other sign.
///
/// The published numbers on Multi30k are over the tokens of spaCy, which also cuts English contractions (`don't` into
/// `do` and `n't`) and German abbreviations in their own ways, and keeps signs like `...` together.
const WORD: &str = r"\w+(?:['’]\w+)*|[^\w\s]";

/// What a sentence is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum TranslationTokens {
    /// Words and single signs; decoding writes one blank between them.
    Words {
        /// Whether capitals become small letters, in decoded text too.
        lower_case: bool,
        /// Words seen less often are unknown.
        min_count: u64,
    },
    /// Single characters, blanks too. Decoding gives the text back.
    Characters,
    /// What stands between blanks, such as phonemes; decoding writes one blank between them.
    Symbols,
    /// Byte pairs (Sennrich, Haddow and Birch, 2016, on bytes as in GPT-2): the 256 bytes, and the most frequent pair
    /// merged again and again, but none that was seen only once. The first word of a sentence is cut as any other.
    /// Nothing is unknown, and decoding gives the text back, but for a blank at its start.
    BytePairs {
        /// The tokens, special ones included.
        vocab_size: usize,
        /// Whether capitals become small letters, in decoded text too.
        lower_case: bool,
    },
}

/// The pipeline that sentences teach. It has the special tokens, and knows how to write its tokens.
///
/// # Errors
/// [`TextError::TooSmallForBytes`].
pub(super) fn learn<'a>(
    tokens: &TranslationTokens,
    sentences: impl IntoIterator<Item = &'a str, IntoIter: Send>,
) -> Result<tokenizers::Tokenizer, TextError> {
    match *tokens {
        TranslationTokens::Words { lower_case, min_count } => {
            let pattern = SplitPattern::Regex(WORD.into());
            let words = Split::new(pattern, SplitDelimiterBehavior::Removed, true)
                .expect("the pattern is valid");
            learn_vocabulary(words, lower_case, min_count, sentences)
        }
        TranslationTokens::Characters => {
            let mut pipeline = learn_vocabulary(split_into_characters(), false, 1, sentences)?;
            pipeline.with_decoder(Some(Fuse::new()));
            Ok(pipeline)
        }
        TranslationTokens::Symbols => learn_vocabulary(WhitespaceSplit, false, 1, sentences),
        TranslationTokens::BytePairs { vocab_size, lower_case } => {
            learn_byte_pairs(vocab_size, lower_case, sentences)
        }
    }
}

/// A pipeline that looks up what `split` gives, with the tokens seen at least `min_count` times.
fn learn_vocabulary<'a>(
    split: impl Into<PreTokenizerWrapper>,
    lower_case: bool,
    min_count: u64,
    sentences: impl IntoIterator<Item = &'a str>,
) -> Result<tokenizers::Tokenizer, TextError> {
    let split = split.into();
    let mut counts = TokenCounts::default();
    for sentence in sentences {
        let mut pieces = PreTokenizedString::from(sentence);
        if lower_case {
            pieces
                .normalize(|piece| Lowercase.normalize(piece))
                .map_err(pipeline_error("lower the case of a sentence"))?;
        }
        split.pre_tokenize(&mut pieces).map_err(pipeline_error("split a sentence"))?;
        let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        pieces.into_iter().for_each(|(piece, ..)| counts.add(piece));
    }
    let config = VocabularyConfig {
        min_count,
        specials: SPECIALS.map(String::from).to_vec(),
        unknown: Some(UNKNOWN.into()),
    };
    let vocabulary = Vocabulary::new(&counts, &config)?;
    let model = word_level(vocabulary.tokens().iter().cloned(), UNKNOWN);
    let mut pipeline = with_case(tokenizers::Tokenizer::new(model), lower_case)?;
    pipeline.with_pre_tokenizer(Some(split));
    pipeline.add_special_tokens(specials()).map_err(pipeline_error("take the special tokens"))?;
    Ok(pipeline)
}

fn learn_byte_pairs<'a>(
    vocab_size: usize,
    lower_case: bool,
    sentences: impl IntoIterator<Item = &'a str, IntoIter: Send>,
) -> Result<tokenizers::Tokenizer, TextError> {
    let needed = 256 + SPECIALS.len();
    if vocab_size < needed {
        return Err(TextError::TooSmallForBytes { vocab_size, needed });
    }
    let mut pipeline = with_case(tokenizers::Tokenizer::new(BPE::default()), lower_case)?;
    pipeline
        .with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(true)))
        .with_decoder(Some(ByteLevel::default()));
    let trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(specials())
        .show_progress(false)
        .build();
    pipeline
        .train(&mut TrainerWrapper::BpeTrainer(trainer), sentences.into_iter())
        .map_err(pipeline_error("learn byte pairs"))?;
    Ok(pipeline)
}

fn with_case(
    mut pipeline: tokenizers::Tokenizer,
    lower_case: bool,
) -> Result<tokenizers::Tokenizer, TextError> {
    if lower_case {
        pipeline
            .with_normalizer(Some(Lowercase))
            .map_err(pipeline_error("take lower case for its normalizer"))?;
    }
    Ok(pipeline)
}

fn specials() -> Vec<AddedToken> {
    SPECIALS.map(|token| AddedToken::from(token, true)).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_below_the_bytes_and_the_special_tokens_is_an_error() {
        let tokens = TranslationTokens::BytePairs { vocab_size: 258, lower_case: false };
        let error = learn(&tokens, ["a sentence"]).unwrap_err().to_string();
        let expected = "a vocabulary of 258 is too small for byte pairs: \
                        the single bytes and the special tokens are 259";
        assert_eq!(error, expected);
    }
}
