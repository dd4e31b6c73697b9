//! The layers that a frozen ELMo has for labelled sentences.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor};
use emberline_checkpoint::{Stored, read_config};
use emberline_core::{CharacterEncoder, Stream, TokenBatch};
use emberline_embeddings::elmo::{Elmo, ElmoLanguageModelConfig, load_published, without_marks};
use emberline_finetuning::{LabelledBatch, LabelledBatches};
use emberline_text::Lexicon;
use emberline_training::Data;

use crate::{datasets, model_directory};

/// Sentences as ids, and the layers that the frozen model has for them.
pub struct FeatureBatch {
    pub tokens: TokenBatch,
    pub layers: Vec<Tensor<3>>,
    pub labels: Tensor<1, Int>,
}

/// The frozen model, and what it takes to ask it.
pub struct Features {
    pub elmo: Elmo,
    pub lexicon: Lexicon,
    /// The id in the vocabulary of the classifiers of each number of the lexicon.
    pub ids: Vec<u32>,
    pub device: Device,
}

impl Features {
    /// The batch of sentences whose tokens are numbers of the lexicon.
    pub fn batch(&self, batch: LabelledBatch) -> FeatureBatch {
        let LabelledBatch { tokens, labels, .. } = batch;
        let rows = tokens.rows();
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let words = self.lexicon.batch(&rows, &self.device);
        let (layers, _) = without_marks(self.elmo.layers(&words), words.lengths.as_deref());
        let ids: Vec<Vec<u32>> = rows
            .iter()
            .map(|row| row.iter().map(|number| self.ids[*number as usize]).collect())
            .collect();
        let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        FeatureBatch { tokens: TokenBatch::padded(&ids, &self.device), layers, labels }
    }
}

/// Labelled batches with features.
pub struct FeatureBatches {
    pub labelled: LabelledBatches,
    pub features: Features,
}

impl Data for FeatureBatches {
    type Batch = FeatureBatch;

    fn update(&self, step: u64) -> Vec<FeatureBatch> {
        let batches = self.labelled.update(step).into_iter();
        batches.map(|batch| self.features.batch(batch)).collect()
    }

    fn starts_afresh(&self, step: u64) -> bool {
        self.labelled.starts_afresh(step)
    }

    fn validation(&self) -> impl Iterator<Item = FeatureBatch> {
        self.labelled.validation().map(|batch| self.features.batch(batch))
    }

    fn updates_per_epoch(&self) -> u64 {
        self.labelled.updates_per_epoch()
    }
}

/// The ELMo of a folder, on a device without gradients.
pub fn frozen(folder: &Path, device: &Device) -> Result<Elmo> {
    let options = folder.join("options.json");
    if options.is_file() {
        let weights = datasets::file_in(folder, "hdf5")?;
        return Ok(load_published(options, weights, device)?.1);
    }
    let directory = model_directory::resolve(folder)?;
    let config: ElmoLanguageModelConfig = read_config(&directory)
        .with_context(|| format!("{} holds no ELMo", directory.display()))?;
    let model = config.init(Stream::new(0), device);
    Ok(model_directory::load_weights_into(model, &Stored::same, &directory)?.elmo)
}
