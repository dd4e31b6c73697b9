//! What all pipelines have in common: a directory, its tokenizer, and batches of rows.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use emberline_core::{Stream, TokenBatch};
use emberline_models::bert::{Architecture, BertConfig, BertFor, Head};
use emberline_text::{BertRow, BertTensors, BertTokenizer, Piece};

use super::Predictions;
use crate::auto::{AutoConfig, bert_for};
use crate::error::Error;

/// Texts to batches.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) tokenizer: BertTokenizer,
    /// The most tokens of a row.
    pub(super) max_length: usize,
    pub(super) device: Device,
}

/// A BERT with a head, and what reads texts for it.
pub(super) struct Opened<H: Head> {
    pub(super) model: BertFor<H>,
    pub(super) config: BertConfig,
    pub(super) reader: Reader,
    /// The tensors of the head that the directory does not have.
    pub(super) new: Vec<String>,
}

/// The BERT of a directory with a head of this class; a head that is not there is drawn, or without a stream an error.
pub(super) fn open<H: Head>(
    directory: &Path,
    architecture: Architecture,
    random: Option<Stream>,
    device: &Device,
) -> Result<Opened<H>, Error> {
    let config = config(directory)?;
    let reader = Reader::open(directory, &config, device)?;
    let (model, new) = bert_for(&config, architecture, directory, random, device)?;
    Ok(Opened { model, config, reader, new })
}

/// The config of a directory that holds a BERT.
pub(super) fn config(directory: &Path) -> Result<BertConfig, Error> {
    match AutoConfig::read(directory)? {
        AutoConfig::Bert(config) => Ok(config),
        other => Err(Error::NotBert {
            directory: directory.to_path_buf(),
            model_type: other.model_type(),
        }),
    }
}

impl Reader {
    /// The tokenizer of a directory, which fits the model.
    pub(super) fn open(
        directory: &Path,
        config: &BertConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        let tokenizer = BertTokenizer::from_directory(directory)?;
        let (n_tokens, vocab_size) = (tokenizer.vocab_size(), config.vocab_size);
        // Published models may have more rows than tokens, so that their number suits a machine.
        if n_tokens > vocab_size {
            let directory = directory.to_path_buf();
            return Err(Error::Vocabulary { directory, n_tokens, vocab_size });
        }
        Ok(Self { tokenizer, max_length: config.n_positions, device: device.clone() })
    }

    /// The pieces of every text, of which each has one.
    pub(super) fn pieces(&self, texts: &[&str]) -> Result<Vec<Vec<Piece>>, Error> {
        let pieces = self.tokenizer.pieces_of_all(texts)?;
        match pieces.iter().position(Vec::is_empty) {
            Some(text) => Err(Error::EmptyText { text }),
            None => Ok(pieces),
        }
    }

    /// A row for every text, cut where it is too long.
    pub(super) fn rows(&self, texts: &[&str]) -> Result<Vec<BertRow>, Error> {
        let row = |pieces| self.tokenizer.row_of_pieces(pieces, None, self.max_length);
        Ok(self.pieces(texts)?.into_iter().map(row).collect::<Result<_, _>>()?)
    }

    /// What `of_batch` makes of every row, `batch_size` rows of about one length at a time.
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub(super) fn of_rows<T>(
        &self,
        rows: &[BertRow],
        batch_size: usize,
        of_batch: impl Fn(&TokenBatch) -> Vec<T>,
    ) -> Vec<T> {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|row| rows[*row].tokens.len());
        let mut found: Vec<(usize, T)> = Vec::with_capacity(rows.len());
        for indices in order.chunks(batch_size) {
            let batch: Vec<&BertRow> = indices.iter().map(|index| &rows[*index]).collect();
            let pad = self.tokenizer.special_tokens().pad;
            let batch = BertTensors::new(&batch, pad, &self.device).tokens();
            found.extend(indices.iter().copied().zip(of_batch(&batch)));
        }
        assert_eq!(found.len(), rows.len(), "one for each row");
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, found)| found).collect()
    }
}

/// The rows of a matrix, as numbers.
///
/// # Shapes
/// - matrix: `[n, d]`
pub(super) fn numbers_of_rows(matrix: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, d] = matrix.dims();
    let numbers: Vec<f32> = matrix.into_data().iter().collect();
    numbers.chunks(d).map(<[f32]>::to_vec).collect()
}

/// The vectors of the valid tokens of each row of a batch.
///
/// # Shapes
/// - vectors: `[n_tokens, d]`, as [`TokenBatch::valid`] orders them
pub(super) fn of_tokens(batch: &TokenBatch, vectors: Tensor<2>) -> Vec<Vec<Vec<f32>>> {
    let mut vectors = numbers_of_rows(vectors).into_iter();
    let row = |range: std::ops::Range<usize>| vectors.by_ref().take(range.len()).collect();
    batch.ranges().into_iter().map(row).collect()
}

/// The softmax of scores.
pub(super) fn probabilities(scores: &[f32]) -> Vec<f32> {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = scores.iter().map(|score| f64::from(score - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| (power / sum) as f32).collect()
}

/// Whether the scores of every text are numbers, with the index of each one's text.
pub(super) fn check_numbers<'a>(
    mut of_texts: impl Iterator<Item = (usize, &'a [f32])>,
) -> Result<(), Error> {
    let is_number = |numbers: &[f32]| numbers.iter().all(|number| number.is_finite());
    match of_texts.find(|(_, numbers)| !is_number(numbers)) {
        Some((text, _)) => Err(Error::NotANumber { text }),
        None => Ok(()),
    }
}

impl<T> Predictions<T> {
    /// Those of rows, of which each is a text.
    pub(super) fn of(rows: &[BertRow], texts: Vec<T>) -> Self {
        let truncated = rows.iter().enumerate().filter(|(_, row)| row.n_cut > 0);
        Self { texts, truncated: truncated.map(|(text, _)| text).collect() }
    }
}
