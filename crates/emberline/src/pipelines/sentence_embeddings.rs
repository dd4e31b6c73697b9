//! One vector for each text.

use std::path::Path;

use burn::tensor::Device;
use emberline_checkpoint::{SentenceModules, read_sentence_modules};
use emberline_models::bert::{Pooling, SentenceEncoder};

use super::Predictions;
use super::reader::{Reader, check_numbers, config, numbers_of_rows};
use crate::auto::{StoredBert, encoder_directory};
use crate::error::Error;

/// A BERT that makes one vector of a text: the cosine of two of them tells how alike the texts are.
#[derive(Debug)]
pub struct SentenceEmbeddings {
    encoder: SentenceEncoder,
    reader: Reader,
}

impl SentenceEmbeddings {
    /// The model of a directory of `sentence-transformers`, with the pooling and the longest text that it names.
    ///
    /// # Errors
    /// If a file is missing or foreign, they do not fit each other, or [`Error::NoModules`].
    pub fn open(directory: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let directory = directory.as_ref();
        let Some(modules) = read_sentence_modules(directory)? else {
            return Err(Error::NoModules { directory: directory.to_path_buf() });
        };
        let SentenceModules { encoder, pooling, normalizes, max_seq_length } = modules;
        let encoder = directory.join(encoder);
        let mut found = Self::open_with(encoder, pooling.into(), normalizes, device)?;
        let max_length = &mut found.reader.max_length;
        *max_length = max_seq_length.map_or(*max_length, |limit| limit.min(*max_length));
        Ok(found)
    }

    /// Any BERT with a pooling, and with vectors of length 1 if `normalizes` is true.
    ///
    /// # Errors
    /// If a file is missing or foreign, they do not fit each other, or [`Error::NoPooler`].
    pub fn open_with(
        directory: impl AsRef<Path>,
        pooling: Pooling,
        normalizes: bool,
        device: &Device,
    ) -> Result<Self, Error> {
        let directory = encoder_directory(directory)?;
        let config = config(&directory)?;
        let reader = Reader::open(&directory, &config, device)?;
        let bert = StoredBert::open(&directory)?.without_head(&config, device)?;
        if pooling == Pooling::Pooler && bert.pooler.is_none() {
            return Err(Error::NoPooler { directory });
        }
        Ok(Self { encoder: SentenceEncoder { bert, pooling, normalizes }, reader })
    }

    /// The vector of each text, `[d_model]`.
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
    ) -> Result<Predictions<Vec<f32>>, Error> {
        let rows = self.reader.rows(texts)?;
        let vectors = self
            .reader
            .of_rows(&rows, batch_size, |batch| numbers_of_rows(self.encoder.embed(batch)));
        check_numbers(vectors.iter().map(Vec::as_slice).enumerate())?;
        Ok(Predictions::of(&rows, vectors))
    }
}
