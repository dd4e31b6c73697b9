//! The kinds of runs, one a file: what each is told, and what it makes of its data.
//!
//! The verb `run`, the dry run and the report know none of them: they use [`Prepared`] and what a run
//! leaves in its directory.

pub mod banded;
pub mod bert_finetuning;
pub mod bert_pretraining;
pub mod bert_sentences;
pub mod books;
pub mod classification;
pub mod digits_transfer;
pub mod documents;
pub mod elmo_features;
pub mod elmo_pretraining;
pub mod gpt;
pub mod gpt1_classification;
pub mod gpt2_finetuning;
pub mod jacobian;
pub mod labelled;
pub mod language_modelling;
pub mod long_range;
pub mod many_tasks;
pub mod masking_ablation;
pub mod memory_horizon;
pub mod recall;
pub mod sentence_vectors;
pub mod sums_to_one;
pub mod tagging;
pub mod trainee;
pub mod transfer_text;
pub mod translation;
pub mod vector_probe;
pub mod ways;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use emberline_training::{Metrics, Trained, TrainingConfig, best_checkpoint, read_metrics};

use self::trainee::Session;
use crate::config::RunConfig;
use crate::result::{Figure, Heatmap, Table};

/// The config of a kind of run, which `config.rs` lists.
pub trait Kind {
    /// The checksum of the data, where it comes from files and they are read.
    fn data_sha256(&self) -> Option<&str>;

    /// Whether the values besides the training's can be run; the error names the first that cannot.
    fn validate(&self) -> Result<()>;

    /// Reads the data, opens the device and makes the model; writes nothing.
    ///
    /// # Errors
    /// If the data or the device cannot be used.
    fn prepare(self) -> Result<Box<dyn Prepared>>
    where
        Self: Sized;
}

/// A run with everything that its config names: the data as batches, the model, the device.
///
/// `run` and `dry_run` are written against it; every kind of run implements it.
pub trait Prepared {
    /// The config, which by now names the files of the data with their checksum.
    fn config(&self) -> RunConfig;

    /// The number of trained numbers.
    fn parameters(&self) -> usize;

    /// The trainings before that of the config, in their order; most runs have none.
    fn stages(&self) -> Vec<Stage<'_>> {
        Vec::new()
    }

    /// Trains in a run directory, from its last checkpoint if it has one; after all [`stages`](Self::stages), which are in
    /// their folders.
    ///
    /// # Errors
    /// Those of [`Trainer::resume`](emberline_training::Trainer::resume).
    fn train(&self, session: Session<'_>) -> Result<Trained<()>>;

    /// What the model of a run directory does, once it is trained.
    ///
    /// # Errors
    /// If a checkpoint cannot be read.
    fn finish(&self, directory: &Path, trained: &Trained<()>) -> Result<Findings>;
}

/// The folder of a run directory for what a model learns before the task of the run.
pub const PRETRAINING: &str = "pretraining";

/// A training before that of the config.
pub struct Stage<'a> {
    /// Its folder of the run directory, a run directory of its own.
    pub folder: &'static str,
    /// Its numbers.
    pub training: &'a TrainingConfig,
    /// Trains, as [`Prepared::train`] does.
    pub train: Box<Train<'a>>,
}

/// What trains.
type Train<'a> = dyn Fn(Session<'_>) -> Result<Trained<()>> + 'a;

/// The lowest validation loss of a stage of a run, by a name, if there was that stage.
///
/// # Errors
/// If its metrics cannot be read.
pub fn stage_loss(run: &Path, folder: &str) -> Result<Option<(String, f64)>> {
    let directory = run.join(folder);
    if best_checkpoint(&directory)?.is_none() {
        return Ok(None);
    }
    let metrics = read_metrics(&directory)?;
    let losses = metrics.iter().filter_map(|metrics| match metrics {
        Metrics::Validation(metrics) => Some(metrics.validation_loss),
        Metrics::Training(_) => None,
    });
    let loss = losses.fold(f64::INFINITY, f64::min);
    Ok(Some((format!("{folder}_validation_loss"), loss)))
}

/// What a kind of run finds besides its losses.
#[derive(Default)]
pub struct Findings {
    /// Numbers by name, in snake case.
    pub metrics: BTreeMap<String, f64>,
    /// What the model wrote or said, for a reader.
    pub samples: String,
    /// Tables for the report.
    pub tables: Vec<Table>,
    /// Charts for the report.
    pub figures: Vec<Figure>,
    /// Grids for the report.
    pub heatmaps: Vec<Heatmap>,
}
