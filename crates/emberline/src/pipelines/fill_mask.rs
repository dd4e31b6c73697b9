//! Words for the masks of a text.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use emberline_core::{Stream, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_models::bert::{Architecture, BertForMaskedLm};
use emberline_text::BertRow;
use serde::{Serialize, Serializer};

use super::reader::{Opened, Reader, check_numbers, numbers_of_rows, open, probabilities};
use super::{Pipeline, Predictions};
use crate::error::Error;

/// Tokens with their probabilities.
type Scored = Vec<(u32, f32)>;

/// What a text has where a word is to be guessed.
const MASK: &str = "[MASK]";

/// A BERT with its head over the vocabulary, for texts in which `[MASK]` stands for a word.
#[derive(Debug)]
pub struct FillMask {
    model: BertForMaskedLm,
    reader: Reader,
}

/// A token that may stand in the place of a mask.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilledMask {
    /// Its probability.
    pub score: f32,
    /// Its id.
    pub token: u32,
    /// Its text.
    pub token_str: String,
    /// The text with it; with the special tokens where other masks are left.
    pub sequence: String,
}

/// The most likely tokens of each mask of a text. It is written as `transformers` does: where there is one mask, its
/// tokens alone.
#[derive(Clone, Debug, PartialEq)]
pub struct FilledMasks {
    /// In the order of the text, the most likely token of each first.
    pub masks: Vec<Vec<FilledMask>>,
}

impl Serialize for FilledMasks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.masks.as_slice() {
            [only] => only.serialize(serializer),
            masks => masks.serialize(serializer),
        }
    }
}

impl Pipeline for FillMask {
    fn opened(
        directory: &Path,
        random: Option<Stream>,
        device: &Device,
    ) -> Result<(Self, Vec<String>), Error> {
        let opened = open(directory, Architecture::MaskedLm, random, device)?;
        let Opened { model, reader, new, .. } = opened;
        Ok((Self { model, reader }, new))
    }
}

impl FillMask {
    /// The `top_k` most likely tokens of each mask of each text.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::NoMask`], [`Error::NotANumber`]; [`Error::Text`].
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn predict(
        &self,
        texts: &[&str],
        top_k: usize,
        batch_size: usize,
    ) -> Result<Predictions<FilledMasks>, Error> {
        let mask = self.reader.tokenizer.special_tokens().mask;
        let rows = self.reader.rows(texts)?;
        if let Some(text) = rows.iter().position(|row| !row.tokens.contains(&mask)) {
            return Err(Error::NoMask { text, mask: MASK });
        }
        let found =
            self.reader.of_rows(&rows, batch_size, |batch| self.most_likely(batch, mask, top_k));
        check_numbers(found.iter().enumerate().flat_map(|(text, masks)| {
            masks.iter().flatten().map(move |(_, score)| (text, std::slice::from_ref(score)))
        }))?;
        let filled = rows.iter().zip(found).map(|(row, found)| self.filled(row, &found));
        let filled = filled.collect::<Result<_, _>>()?;
        Ok(Predictions::of(&rows, filled))
    }

    /// The tokens of the highest probabilities for each mask of each row.
    fn most_likely(&self, batch: &TokenBatch, mask: u32, top_k: usize) -> Vec<Vec<Scored>> {
        let tokens: Vec<i32> = batch.tokens.to_data().iter().collect();
        let is_mask = |place: &usize| tokens[*place] == mask as i32;
        let places: Vec<usize> = (0..tokens.len()).filter(is_mask).collect();
        let hidden = self.model.encode(batch);
        let [batch_size, seq_length, d_model] = hidden.dims();
        let at: Vec<i32> = places.iter().map(|place| *place as i32).collect();
        let at = Tensor::from_data(at.as_slice(), &self.reader.device);
        let hidden = hidden.reshape([batch_size * seq_length, d_model]).select(0, at);
        let mut of_rows = vec![Vec::new(); batch_size];
        for (place, scores) in places.iter().zip(numbers_of_rows(self.model.head(hidden))) {
            let mut scored: Scored = (0..).zip(probabilities(&scores)).collect();
            // What a model has more rows for than there are tokens is none.
            scored.truncate(self.reader.tokenizer.vocab_size());
            scored.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            scored.truncate(top_k);
            of_rows[place / seq_length].push(scored);
        }
        of_rows
    }

    /// The text of a row with each of the tokens.
    fn filled(&self, row: &BertRow, found: &[Scored]) -> Result<FilledMasks, Error> {
        let tokenizer = self.reader.tokenizer.tokenizer();
        let special = self.reader.tokenizer.special_tokens();
        let is_left_out = |token: u32| match found.len() {
            1 => special.all().contains(&token),
            // The other masks are left, and so are the other special tokens.
            _ => token == special.pad,
        };
        let filled = |place: usize, (token, score): (u32, f32)| {
            let mut tokens = row.tokens.clone();
            tokens[place] = token;
            tokens.retain(|token| !is_left_out(*token));
            let sequence = tokenizer.decode(&tokens)?;
            Ok(FilledMask { score, token, token_str: tokenizer.decode(&[token])?, sequence })
        };
        let places = (0..row.tokens.len()).filter(|place| row.tokens[*place] == special.mask);
        let masks = places.zip(found).map(|(place, scored)| {
            scored.iter().map(|scored| filled(place, *scored)).collect::<Result<_, Error>>()
        });
        Ok(FilledMasks { masks: masks.collect::<Result<_, _>>()? })
    }
}
