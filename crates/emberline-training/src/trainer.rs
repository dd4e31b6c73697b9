//! What a run is made of, and how it starts or goes on.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use emberline_core::parameters::with_ids_from_paths;
use serde_json::Value;

use crate::checkpoint::{Best, Checkpoints, ModelFiles, Progress, RunState, latest_checkpoint};
use crate::config::TrainingConfig;
use crate::data::Data;
use crate::error::TrainingError;
use crate::metrics::METRICS_FILE;
use crate::objective::Objective;
use crate::observer::Observer;
use crate::run::Run;

/// Everything that a run needs besides the model.
///
/// A run is determined by these values and the model that it starts with; time enters only into the
/// metrics that name seconds.
pub struct Trainer<'a, M, O, D> {
    /// The numbers of the run.
    pub config: &'a TrainingConfig,
    /// What is made small.
    pub objective: &'a O,
    /// What is trained on.
    pub data: &'a D,
    /// What changes the weights; `None` is the optimizer of the config.
    pub optimizer: Option<ModuleOptimizer>,
    /// The device of the model, with automatic differentiation.
    pub device: &'a Device,
    /// The run directory, which the metrics and checkpoints are written to.
    pub directory: &'a Path,
    /// How the model is written to a checkpoint, and read.
    pub files: ModelFiles<'a, M>,
    /// What else makes the run what it is: the configs of the model and the data. A run is resumed
    /// only with the same.
    pub identity: &'a Value,
    /// Who is told what happens.
    pub observer: &'a mut dyn Observer,
    /// Set from outside to save a checkpoint after the current update and stop.
    pub interrupt: &'a AtomicBool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All updates are made.
    Finished,
    /// The validation loss has stopped falling.
    StoppedEarly,
    /// The interrupt was set; the run can be resumed.
    Interrupted,
}

/// A model after a run.
#[derive(Debug)]
pub struct Trained<M> {
    /// The model as the last update left it.
    pub model: M,
    /// How the run ended.
    pub outcome: Outcome,
    /// The number of updates made.
    pub step: u64,
    /// The validation loss of the last evaluation.
    pub validation_loss: Option<f64>,
    /// The evaluation with the lowest loss; its checkpoint is that of
    /// [`best_checkpoint`](crate::best_checkpoint).
    pub best: Option<Best>,
}

impl<M, O, D> Trainer<'_, M, O, D>
where
    M: Module,
    O: Objective<M>,
    D: Data<Batch = O::Batch>,
{
    /// Trains a model from the first step, in a run directory without a run.
    ///
    /// # Errors
    /// If the config cannot be trained with, the directory holds a run already or cannot be
    /// written, or a loss, gradient or weight is not finite any more.
    pub fn start(self, model: M) -> Result<Trained<M>, TrainingError> {
        self.start_with(model, &|_, model| model)
    }

    /// The same, where not everything is trained all the time: `prepare` gets the model before each update, with the
    /// number of updates before it, and freezes what is not trained in it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        self,
        model: M,
        prepare: &dyn Fn(u64, M) -> M,
    ) -> Result<Trained<M>, TrainingError> {
        let is_taken = latest_checkpoint(self.directory)?.is_some()
            || self.directory.join(METRICS_FILE).exists();
        if is_taken {
            let directory = self.directory.to_path_buf();
            return Err(TrainingError::AlreadyStarted { directory });
        }
        self.resume_with(model, prepare)
    }

    /// Goes on from the last checkpoint of the run directory, or begins where there is none.
    ///
    /// `model` has the initial weights of the run. The metrics and weights are then those of a run
    /// that was not interrupted.
    ///
    /// # Errors
    /// As [`start`](Self::start), and if the checkpoint is of another run or damaged.
    pub fn resume(self, model: M) -> Result<Trained<M>, TrainingError> {
        self.resume_with(model, &|_, model| model)
    }

    /// The same, with what [`start_with`](Self::start_with) calls before each update.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn resume_with(
        mut self,
        model: M,
        prepare: &dyn Fn(u64, M) -> M,
    ) -> Result<Trained<M>, TrainingError> {
        self.config.validate()?;
        std::fs::create_dir_all(self.directory).map_err(TrainingError::io(self.directory))?;
        let checkpoints = Checkpoints::new(self.directory, self.files, self.config, self.identity);
        let optimizer = self.optimizer.take().unwrap_or_else(|| self.config.optimizer.init(&model));
        let last_checkpoint = latest_checkpoint(self.directory)?;
        let (model, state) = match &last_checkpoint {
            Some(checkpoint) => checkpoints.load(checkpoint, model, optimizer, self.device)?,
            None => {
                let progress = Progress::default();
                (model, RunState { progress, optimizer, carries: Vec::new() })
            }
        };
        let run = Run::new(self, checkpoints, last_checkpoint, state)?;
        run.train(with_ids_from_paths(model), prepare)
    }
}
