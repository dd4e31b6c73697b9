//! The word pieces of BERT in a text file, and how BERT reads a text before it is cut into them.

use std::path::Path;

use serde::Deserialize;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Model, ModelWrapper};

use super::CONFIG;
use crate::corpus::{Corpus, read};
use crate::error::TextError;
use crate::tokenizer::{Tokenizer, pipeline_error};

/// A piece a line; its number, from 0, is its id.
pub(super) const VOCABULARY: &str = "vocab.txt";

/// Fills the rows of a batch up.
pub(crate) const PAD: &str = "[PAD]";
/// Stands for a word that no pieces make.
pub(crate) const UNKNOWN: &str = "[UNK]";
/// Starts a row.
pub(crate) const CLASS: &str = "[CLS]";
/// Ends a text.
pub(crate) const SEPARATOR: &str = "[SEP]";
/// Stands in the place of a token that is to be guessed.
pub(crate) const MASK: &str = "[MASK]";

/// The special tokens, in the order in which a new vocabulary has them, by their names in a `tokenizer_config.json`.
pub(crate) const SPECIAL_TOKENS: [(&str, &str); 5] = [
    ("pad_token", PAD),
    ("unk_token", UNKNOWN),
    ("cls_token", CLASS),
    ("sep_token", SEPARATOR),
    ("mask_token", MASK),
];

/// What goes before a piece that goes on within a word.
pub(crate) const CONTINUATION: &str = "##";

/// How a text is read, in the names of a `tokenizer_config.json`, whose other fields are for Python.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Reading {
    /// Whether capitals are made small; where absent, a vocabulary without a capital says so.
    pub(crate) do_lower_case: Option<bool>,
    /// Whether accents go; where absent, they go with the capitals.
    pub(crate) strip_accents: Option<bool>,
    /// Whether every Chinese character is a word.
    pub(crate) tokenize_chinese_chars: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { do_lower_case: None, strip_accents: None, tokenize_chinese_chars: true }
    }
}

impl Reading {
    /// What cleans a text, sets Chinese characters apart, and takes accents and capitals away.
    pub(crate) fn normalizer(self, lower_case: bool) -> BertNormalizer {
        BertNormalizer::new(true, self.tokenize_chinese_chars, self.strip_accents, lower_case)
    }
}

/// The tokenizer of a vocabulary, which is a folder's `vocab.txt`, read as its `tokenizer_config.json` says.
pub(super) fn from_directory(directory: &Path) -> Result<Tokenizer, TextError> {
    let (vocabulary, config) = (directory.join(VOCABULARY), directory.join(CONFIG));
    let format = |path: &Path, source| TextError::TokenizerFormat {
        name: path.display().to_string(),
        source,
    };
    let reading = if config.exists() {
        serde_json::from_slice(&read(&config)?).map_err(|error| format(&config, error.into()))?
    } else {
        Reading::default()
    };
    let text = Corpus::from_file(&vocabulary)?;
    let pieces = text.text().lines().map(|line| line.trim_end().to_string()).collect();
    from_pieces(pieces, reading).map_err(|error| format(&vocabulary, error.into()))
}

/// The tokenizer of the pieces, by their ids.
///
/// # Errors
/// [`TextError::DuplicateToken`], [`TextError::UnknownToken`] if there is no `[UNK]`; [`TextError::Pipeline`].
pub(crate) fn from_pieces(pieces: Vec<String>, reading: Reading) -> Result<Tokenizer, TextError> {
    let lower_case = reading.do_lower_case.unwrap_or_else(|| !has_capitals(&pieces));
    let mut vocabulary = Vocab::new();
    for (piece, id) in pieces.into_iter().zip(0..) {
        if vocabulary.contains_key(&piece) {
            return Err(TextError::DuplicateToken { token: piece });
        }
        vocabulary.insert(piece, id);
    }
    if !vocabulary.contains_key(UNKNOWN) {
        return Err(TextError::UnknownToken { token: UNKNOWN.to_string() });
    }
    let ends = [SEPARATOR, CLASS].map(|token| vocabulary.get(token).map(|id| (token.into(), *id)));
    let special: Vec<AddedToken> = SPECIAL_TOKENS
        .into_iter()
        .filter(|(_, token)| vocabulary.contains_key(*token))
        .map(|(_, token)| AddedToken::from(token, true))
        .collect();

    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(UNKNOWN.to_string())
        .continuing_subword_prefix(CONTINUATION.to_string())
        .build()
        .map_err(pipeline_error("take the word pieces"))?;
    let mut pipeline = tokenizers::Tokenizer::new(model);
    pipeline
        .with_normalizer(Some(reading.normalizer(lower_case)))
        .map_err(pipeline_error("take the normalizer of BERT"))?;
    pipeline
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_decoder(Some(WordPieceDecoder::new(CONTINUATION.to_string(), true)));
    if let [Some(separator), Some(class)] = ends {
        pipeline.with_post_processor(Some(BertProcessing::new(separator, class)));
    }
    pipeline.add_special_tokens(special).map_err(pipeline_error("take the special tokens"))?;
    Ok(Tokenizer::from_pipeline(pipeline))
}

/// Whether a vocabulary has capitals, those of tokens in brackets aside: then its model was trained on them.
fn has_capitals(pieces: &[String]) -> bool {
    let is_bracketed = |piece: &&String| piece.starts_with('[') || piece.starts_with('<');
    // Signs such as ℝ are capitals that have no small letter.
    let is_capital = |sign: char| sign.is_uppercase() && !sign.to_lowercase().eq([sign]);
    pieces.iter().filter(|piece| !is_bracketed(piece)).any(|piece| piece.contains(is_capital))
}

/// The lines of a `vocab.txt`, if the ids have no gap.
pub(super) fn lines(model: &ModelWrapper) -> Option<String> {
    let ModelWrapper::WordPiece(model) = model else { return None };
    let mut pieces: Vec<(String, u32)> = model.get_vocab().into_iter().collect();
    pieces.sort_unstable_by_key(|(_, id)| *id);
    let has_no_gap = pieces.iter().zip(0..).all(|((_, id), line)| *id == line);
    has_no_gap.then(|| pieces.iter().flat_map(|(piece, _)| [piece, "\n"]).collect())
}
