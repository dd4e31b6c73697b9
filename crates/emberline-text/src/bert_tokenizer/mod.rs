//! The tokenizer of BERT: texts and pairs of texts to the rows that it reads.
//!
//! A word is cut into the longest pieces of a list, from its start on, and becomes `[UNK]` where that does not come out
//! even (Wu and others, 2016, "Google's Neural Machine Translation System"; Devlin and others, 2018, "BERT"). Before, a
//! text is cleaned, Chinese characters and signs are set apart, and for an uncased model accents and capitals go.
//!
//! All that is done as `transformers` does, where Google's code differs in two points: it keeps characters that are
//! unassigned or for private use, and it cuts words of up to 200 characters, not 100.

mod learning;
mod row;
mod tensors;

use std::ops::Range;
use std::path::Path;

pub use self::row::{BertRow, truncated_lengths};
pub use self::tensors::BertTensors;
use crate::error::TextError;
use crate::published::word_pieces::{CLASS, CONTINUATION, MASK, PAD, SEPARATOR, UNKNOWN};
use crate::tokenizer::{Tokenizer, pipeline_error};

/// The ids of the five special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BertSpecialTokens {
    /// `[PAD]`, which fills the rows of a batch up.
    pub pad: u32,
    /// `[UNK]`, which stands for a word that no pieces make.
    pub unknown: u32,
    /// `[CLS]`, which starts a row, and whose vector stands for the whole of it.
    pub class: u32,
    /// `[SEP]`, which ends each text of a row.
    pub separator: u32,
    /// `[MASK]`, which stands in the place of a token that is to be guessed.
    pub mask: u32,
}

impl BertSpecialTokens {
    /// All five.
    pub fn all(self) -> [u32; 5] {
        [self.pad, self.unknown, self.class, self.separator, self.mask]
    }
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub token: u32,
    /// The bytes of the text that it stands for.
    pub place: Range<usize>,
}

/// Texts and pairs of texts to rows of ids.
///
/// ```
/// use emberline_text::BertTokenizer;
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/bert-vocab");
/// let tokenizer = BertTokenizer::from_directory(folder)?; // tokenizer.json, or vocab.txt
/// let row = tokenizer.row("Is this unaffable?", Some("No."), 512)?;
/// // [CLS] is this una ##ffa ##ble ? [SEP] no . [SEP]
/// assert_eq!(row.tokens, [101, 2003, 2023, 14477, 20961, 3468, 1029, 102, 2053, 1012, 102]);
/// assert_eq!(row.segments, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
/// assert_eq!(row.places[4], Some(11..14)); // "ffa"
/// # Ok::<(), emberline_text::TextError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BertTokenizer {
    tokenizer: Tokenizer,
    special: BertSpecialTokens,
    /// Whether the piece of each id goes on within a word.
    continues: Vec<bool>,
}

impl BertTokenizer {
    /// The tokenizer in the folder of a model, as [`Tokenizer::from_directory`] finds it.
    ///
    /// # Errors
    /// Those of [`Tokenizer::from_directory`], and [`TextError::NotBert`].
    pub fn from_directory(directory: impl AsRef<Path>) -> Result<Self, TextError> {
        let directory = directory.as_ref();
        Self::new(Tokenizer::from_directory(directory)?, &directory.display().to_string())
    }

    /// BERT's way of making rows with any tokenizer that has the five special tokens; `name` is what an error calls it.
    ///
    /// # Errors
    /// [`TextError::NotBert`].
    pub fn new(tokenizer: Tokenizer, name: &str) -> Result<Self, TextError> {
        let id = |token: &'static str| {
            let missing = || TextError::NotBert { name: name.to_string(), token };
            tokenizer.id(token).ok_or_else(missing)
        };
        let special = BertSpecialTokens {
            pad: id(PAD)?,
            unknown: id(UNKNOWN)?,
            class: id(CLASS)?,
            separator: id(SEPARATOR)?,
            mask: id(MASK)?,
        };
        let continues = |id| {
            let piece = tokenizer.pipeline().id_to_token(id);
            piece.is_some_and(|piece| piece.starts_with(CONTINUATION))
        };
        let continues = (0..tokenizer.vocab_size() as u32).map(continues).collect();
        Ok(Self { tokenizer, special, continues })
    }

    /// The tokenizer itself, which decodes, and is saved into the folder of a model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The ids of the special tokens.
    pub fn special_tokens(&self) -> BertSpecialTokens {
        self.special
    }

    /// One more than the highest id: the rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }

    /// Whether the piece of each id goes on within a word, as those that start with `##` do.
    pub fn continues_word(&self) -> &[bool] {
        &self.continues
    }

    /// The pieces of a text. No token is added at its ends. A text that spells out a special token gets its id.
    ///
    /// # Errors
    /// [`TextError::Pipeline`].
    pub fn pieces(&self, text: &str) -> Result<Vec<Piece>, TextError> {
        let encoding = self.tokenizer.pipeline().encode(text, false);
        Ok(pieces(&encoding.map_err(pipeline_error("encode"))?))
    }

    /// The pieces of many texts, found in parallel.
    ///
    /// # Errors
    /// [`TextError::Pipeline`].
    pub fn pieces_of_all(&self, texts: &[&str]) -> Result<Vec<Vec<Piece>>, TextError> {
        let encodings = self.tokenizer.pipeline().encode_batch(texts.to_vec(), false);
        Ok(encodings.map_err(pipeline_error("encode"))?.iter().map(pieces).collect())
    }

    /// The row of a text, `[CLS] A [SEP]`, or of a pair, `[CLS] A [SEP] B [SEP]`, cut as
    /// [`truncated_lengths`] says where it has more than `max_length` tokens.
    ///
    /// # Errors
    /// [`TextError::NoRoom`] if there is no place for the special tokens and one of each text; [`TextError::Pipeline`].
    pub fn row(
        &self,
        first: &str,
        second: Option<&str>,
        max_length: usize,
    ) -> Result<BertRow, TextError> {
        let second = second.map(|second| self.pieces(second)).transpose()?;
        self.row_of_pieces(self.pieces(first)?, second, max_length)
    }

    /// The row of the pieces of a text, or of a pair, as [`row`](Self::row) makes it.
    ///
    /// # Errors
    /// [`TextError::NoRoom`].
    pub fn row_of_pieces(
        &self,
        mut first: Vec<Piece>,
        mut second: Option<Vec<Piece>>,
        max_length: usize,
    ) -> Result<BertRow, TextError> {
        let needed = if second.is_some() { 5 } else { 3 };
        if max_length < needed {
            return Err(TextError::NoRoom { max_length, needed });
        }
        let n_special = if second.is_some() { 3 } else { 2 };
        let lengths = [first.len(), second.as_ref().map_or(0, Vec::len)];
        let kept = truncated_lengths(lengths, max_length - n_special);
        first.truncate(kept[0]);
        if let Some(second) = &mut second {
            second.truncate(kept[1]);
        }
        let n_cut = lengths[0] + lengths[1] - kept[0] - kept[1];
        Ok(BertRow { n_cut, ..BertRow::new(first, second, self.special) })
    }

    /// All of a text in rows of at most `max_length` tokens, each of which starts with the last `stride` pieces of the
    /// one before; in pairs with `first`, which is whole in each of them.
    ///
    /// That is how long passages are asked a question. In `transformers` it is the truncation `only_second` with a
    /// `stride`; the `doc_stride` of Google's code is what a row brings anew.
    ///
    /// # Errors
    /// [`TextError::NoRoom`] if a row has no place for one more piece than the `stride`; [`TextError::Pipeline`].
    pub fn windows(
        &self,
        first: Option<&str>,
        text: &str,
        max_length: usize,
        stride: usize,
    ) -> Result<Vec<BertRow>, TextError> {
        let first = first.map(|first| self.pieces(first)).transpose()?;
        let pieces = self.pieces(text)?;
        let others = first.as_ref().map_or(2, |first| 3 + first.len());
        let needed = others + stride + 1;
        if max_length < needed {
            return Err(TextError::NoRoom { max_length, needed });
        }
        let (room, mut start, mut rows) = (max_length - others, 0, Vec::new());
        loop {
            let end = pieces.len().min(start + room);
            let window = pieces[start..end].to_vec();
            rows.push(match &first {
                Some(first) => BertRow::new(first.clone(), Some(window), self.special),
                None => BertRow::new(window, None, self.special),
            });
            if end == pieces.len() {
                return Ok(rows);
            }
            start = end - stride;
        }
    }
}

fn pieces(encoding: &tokenizers::Encoding) -> Vec<Piece> {
    let places = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
    let tokens = encoding.get_ids().iter().copied();
    tokens.zip(places).map(|(token, place)| Piece { token, place }).collect()
}
