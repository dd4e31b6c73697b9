//! What classification and tagging have in common: rows with labels in three parts, and the model with a head for them.

use anyhow::Result;
use burn::tensor::Device;
use emberline_core::{Stream, TaskModel};
use emberline_evaluation::example_scores;
use emberline_finetuning::LabelledBatches;
use emberline_models::bert::{Architecture, BertConfig};
use emberline_text::{Example, Vocabulary};

use super::Beginning;

/// Rows with labels.
pub struct LabelledRows {
    /// What the labels are of.
    pub classes: Vocabulary,
    /// To learn from, and to decide between checkpoints.
    pub data: LabelledBatches,
    /// What is looked at last.
    pub test: Vec<Example>,
    /// The model with a head for the classes.
    pub model_config: BertConfig,
    batch_size: usize,
}

impl LabelledRows {
    /// The rows for training, validation and test, `batch_size` in an update.
    ///
    /// # Errors
    /// If a part that is needed has no row, or the model has a head of other classes already.
    pub fn new(
        beginning: &Beginning,
        architecture: Architecture,
        classes: Vocabulary,
        [training, validation, test]: [Vec<Example>; 3],
        batch_size: usize,
        random: Stream,
        device: &Device,
    ) -> Result<Self> {
        let model_config = beginning.with_classes(architecture, &classes)?;
        let data = LabelledBatches::new(training, validation, batch_size, random, device)?;
        Ok(Self { classes, data, test, model_config, batch_size })
    }

    /// The scores of the rows of the test, as [`example_scores`] gives them. The model is one on the plain `device`.
    pub fn test_scores<M: TaskModel>(&self, model: &M, device: &Device) -> Vec<Vec<Vec<f32>>> {
        example_scores(model, &self.test, self.batch_size, device)
    }
}
