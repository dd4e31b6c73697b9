//! The vectors of the tokens of a text.

use std::path::Path;

use burn::tensor::Device;
use emberline_core::TokenEncoder;
use emberline_models::bert::Bert;

use super::Predictions;
use super::reader::{Reader, check_numbers, config, of_tokens};
use crate::auto::{StoredBert, encoder_directory};
use crate::error::Error;

/// A BERT without a head.
#[derive(Debug)]
pub struct FeatureExtraction {
    model: Bert,
    reader: Reader,
}

impl FeatureExtraction {
    /// The model and the tokenizer of a directory; a head that it has is left out.
    ///
    /// # Errors
    /// If a file is missing or foreign, or they do not fit each other.
    pub fn open(directory: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let directory = encoder_directory(directory)?;
        let config = config(&directory)?;
        let reader = Reader::open(&directory, &config, device)?;
        let model = StoredBert::open(&directory)?.without_head(&config, device)?;
        Ok(Self { model, reader })
    }

    /// The vectors of the last layer of each text, `[n_tokens][d_model]`, those of `[CLS]` and `[SEP]` among them.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::NotANumber`]; [`Error::Text`].
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn predict(
        &self,
        texts: &[&str],
        batch_size: usize,
    ) -> Result<Predictions<Vec<Vec<f32>>>, Error> {
        let rows = self.reader.rows(texts)?;
        let vectors = self.reader.of_rows(&rows, batch_size, |batch| {
            of_tokens(batch, batch.valid(self.model.encode(batch)))
        });
        let of_tokens = vectors.iter().enumerate();
        check_numbers(of_tokens.flat_map(|(text, of)| of.iter().map(move |of| (text, &of[..]))))?;
        Ok(Predictions::of(&rows, vectors))
    }
}
