//! A model in training as a directory, from which training goes on to the same bits.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::TensorData;
use emberline_checkpoint::{
    PendingDirectory, load_tensors, read_config, save_tensors, verify, write_config,
};
use serde::{Deserialize, Serialize};

use crate::error::EmbeddingsError;
use crate::files::{bytes_of, words_of};
use crate::table::Table;

use super::config::Word2VecConfig;
use super::objective::Objective;
use super::training::Progress;
use super::vocabulary::Vocabulary;
use super::{Corpus, Word2Vec};

const WEIGHTS: &str = "model.safetensors";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    word2vec: Word2VecConfig,
    progress: Progress,
}

impl Word2Vec {
    /// Writes everything that training needs to go on: a new directory, complete or absent.
    ///
    /// # Errors
    /// [`Checkpoint`](EmbeddingsError::Checkpoint), also if the directory is there already.
    pub fn save(
        &self,
        directory: impl AsRef<Path>,
        progress: &Progress,
    ) -> Result<(), EmbeddingsError> {
        let pending = PendingDirectory::create(directory.as_ref())?;
        let stored = Stored { word2vec: self.config.clone(), progress: *progress };
        write_config(pending.path(), &stored)?;
        let Vocabulary { words, counts } = &*self.vocabulary;
        let counts: Vec<i64> = counts.iter().map(|count| *count as i64).collect();
        let length = counts.len();
        let tensors = vec![
            ("vectors".into(), data(&self.inputs)),
            ("outputs".into(), data(&self.outputs)),
            ("counts".into(), TensorData::new(counts, [length])),
            ("words".into(), bytes_of(words)),
        ];
        save_tensors(pending.path().join(WEIGHTS), tensors)?;
        Ok(pending.commit()?)
    }

    /// Reads such a directory.
    ///
    /// # Errors
    /// [`Checkpoint`](EmbeddingsError::Checkpoint), [`Config`](EmbeddingsError::Config);
    /// [`Tensor`](EmbeddingsError::Tensor) for weights that are not of the config.
    pub fn load(directory: impl AsRef<Path>) -> Result<(Self, Progress), EmbeddingsError> {
        let directory = directory.as_ref();
        verify(directory)?;
        let Stored { word2vec: config, progress } = read_config(directory)?;
        config.validate()?;
        let path = directory.join(WEIGHTS);
        let mut tensors = load_tensors(&path)?;
        let mut take = |tensor: &'static str| {
            let index = tensors.iter().position(|(other, _)| other == tensor);
            let missing = || EmbeddingsError::Tensor { path: path.clone(), tensor };
            index.map(|index| tensors.swap_remove(index).1).ok_or_else(missing)
        };
        let words = words_of(&path, take("words")?.as_bytes())?;
        let counts: Vec<u64> = take("counts")?.iter::<i64>().map(|count| count as u64).collect();
        let n_outputs = Objective::n_outputs(&config, words.len());
        let mut table = |tensor, n_rows: usize| {
            let data = take(tensor)?;
            match data.shape()[..] == [n_rows, config.d_embedding] {
                true => Ok(Table::of(&data.iter::<f32>().collect::<Vec<_>>(), config.d_embedding)),
                false => Err(EmbeddingsError::Tensor { path: path.clone(), tensor }),
            }
        };
        let (inputs, outputs) = (table("vectors", words.len())?, table("outputs", n_outputs)?);
        if counts.len() != words.len() {
            return Err(EmbeddingsError::Tensor { path, tensor: "counts" });
        }
        let vocabulary = Arc::new(Vocabulary { words, counts });
        Ok((Self { config, vocabulary, inputs, outputs }, progress))
    }

    /// The progress of a training that goes on with another corpus, of which it knows only its own words.
    ///
    /// # Errors
    /// [`Read`](EmbeddingsError::Read); [`NoWord`](EmbeddingsError::NoWord) if it knows none of them.
    pub fn start_on(&self, corpus: &Corpus) -> Result<Progress, EmbeddingsError> {
        let words = self.vocabulary.count_known(corpus)?;
        match words {
            0 => Err(EmbeddingsError::NoWord { path: corpus.path().into() }),
            _ => Ok(Progress::start(words)),
        }
    }
}

fn data(table: &Table) -> TensorData {
    let numbers: Vec<f32> = (0..table.n_rows()).flat_map(|row| table.row(row)).copied().collect();
    TensorData::new(numbers, [table.n_rows(), table.width()])
}
