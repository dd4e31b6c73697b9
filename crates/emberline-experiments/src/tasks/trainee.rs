//! What every kind of run does with its model: it makes it, trains it, and reads it back.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use emberline_checkpoint::{CheckpointError, Stored};
use emberline_core::LayerGroups;
use emberline_core::parameters::parameter_count;
use emberline_finetuning::Plan;
use emberline_training::{
    Data, ModelFiles, Objective, Observer, Trained, Trainer, TrainingConfig, best_checkpoint,
    latest_checkpoint,
};
use serde_json::Value;

use crate::config::check_memory;
use crate::model_directory::{load_weights_into, save_weights_of};
use crate::terminal;

/// A training as the program asks for it, whatever the kind of the run.
pub struct Session<'a> {
    /// The run directory.
    pub directory: &'a Path,
    /// The numbers of the training: those of the config, or fewer updates.
    pub training: &'a TrainingConfig,
    /// Who is told what happens.
    pub observer: &'a mut dyn Observer,
    /// Set to stop after the current update.
    pub interrupt: &'a AtomicBool,
}

/// A model at its initial weights.
pub struct Trainee<M> {
    /// The model.
    pub model: M,
    /// Its device, with automatic differentiation.
    pub device: Device,
    /// The name of a parameter in files.
    names: fn(&str) -> Stored,
}

impl<M: Module> Trainee<M> {
    /// The model that `init` makes of so many parameters.
    ///
    /// # Errors
    /// If it cannot be trained in the memory of this machine; `init` is not called then.
    pub fn new(
        parameters: u64,
        init: impl FnOnce(&Device) -> M,
        names: fn(&str) -> Stored,
        device: Device,
    ) -> Result<Self> {
        // The weights, their gradients and the optimizer's two moments.
        check_memory(parameters, 4)?;
        Ok(Self { model: init(&device), device, names })
    }

    /// The same with another model of the kind, on the same device.
    pub fn with_model(&self, model: M) -> Self {
        Self { model, device: self.device.clone(), names: self.names }
    }

    /// The number of trained numbers.
    pub fn parameters(&self) -> usize {
        parameter_count(&self.model)
    }

    /// Trains a copy of the model, from the last checkpoint of the run directory if it has one.
    ///
    /// `write_others` writes the files of a model besides its weights into a directory that is there. `identity` is
    /// what makes the run what it is besides the numbers of its training: it is resumed only with the same.
    ///
    /// # Errors
    /// Those of [`Trainer::resume`].
    pub fn train<O: Objective<M>, D: Data<Batch = O::Batch>>(
        &self,
        session: Session<'_>,
        objective: &O,
        data: &D,
        write_others: &dyn Fn(&Path) -> Result<(), CheckpointError>,
        identity: &Value,
    ) -> Result<Trained<()>> {
        let (optimizer, prepare) = (None, |_, model| model);
        self.run(session, objective, data, write_others, identity, optimizer, &prepare)
    }

    /// The same, where a plan says what is trained, and how fast; it is shown as a table.
    ///
    /// # Errors
    /// As [`train`](Self::train), and if the plan does not fit the model.
    pub fn train_by<O: Objective<M>, D: Data<Batch = O::Batch>>(
        &self,
        plan: &Plan,
        session: Session<'_>,
        objective: &O,
        data: &D,
        write_others: &dyn Fn(&Path) -> Result<(), CheckpointError>,
        identity: &Value,
    ) -> Result<Trained<()>>
    where
        M: LayerGroups,
    {
        let TrainingConfig { optimizer, schedule, .. } = session.training;
        let planned = plan.of(&self.model)?;
        let table = planned.table(schedule.peak(), optimizer.weight_decay());
        terminal::note(table.trim_end());
        let optimizer = Some(planned.optimizer(optimizer, &self.model));
        let prepare = |step, model| planned.prepare(step, model);
        self.run(session, objective, data, write_others, identity, optimizer, &prepare)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "those of the two above, and what they differ in"
    )]
    fn run<O: Objective<M>, D: Data<Batch = O::Batch>>(
        &self,
        session: Session<'_>,
        objective: &O,
        data: &D,
        write_others: &dyn Fn(&Path) -> Result<(), CheckpointError>,
        identity: &Value,
        optimizer: Option<ModuleOptimizer>,
        prepare: &dyn Fn(u64, M) -> M,
    ) -> Result<Trained<()>> {
        let Session { directory, training, observer, interrupt } = session;
        let trainer = Trainer {
            config: training,
            objective,
            data,
            optimizer,
            device: &self.device,
            directory,
            files: ModelFiles {
                save: &|model, directory| {
                    save_weights_of(model, &self.names, directory)?;
                    write_others(directory)
                },
                load: &|model, directory| load_weights_into(model, &self.names, directory),
            },
            identity,
            observer,
            interrupt,
        };
        let trained = trainer.resume_with(self.model.clone(), prepare)?;
        let Trained { outcome, step, validation_loss, best, .. } = trained;
        Ok(Trained { model: (), outcome, step, validation_loss, best })
    }

    /// The model with the weights of a model directory; it can be trained on.
    ///
    /// # Errors
    /// If they are missing or not its own.
    pub fn load(&self, directory: &Path) -> Result<M> {
        Ok(load_weights_into(self.model.clone(), &self.names, directory)?)
    }

    /// The model as it was at the lowest validation loss of a finished run.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn best(&self, run: &Path) -> Result<M> {
        self.load(&best_checkpoint(run)?.context("a finished run has a best checkpoint")?)
    }

    /// The model after the last update of a finished run.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn last(&self, run: &Path) -> Result<M> {
        self.load(&latest_checkpoint(run)?.context("a finished run has a checkpoint")?)
    }
}
