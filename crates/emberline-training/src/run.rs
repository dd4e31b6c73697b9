//! The loop.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::optim::GradientsParams;
use emberline_backend::is_on_host;
use emberline_core::{Carry, Count, Stream};

use crate::checkpoint::{Best, Checkpoints, Progress, RunState};
use crate::clipping::{clip_gradient_norm, gradient_norm};
use crate::data::Data;
use crate::error::TrainingError;
use crate::finite::first_non_finite;
use crate::gradients::{count, differentiate};
use crate::metrics::{Metrics, MetricsFile, TrainingMetrics, ValidationMetrics};
use crate::objective::{Objective, add_counts};
use crate::observer::Event;
use crate::sums::Sums;
use crate::trainer::{Outcome, Trained, Trainer};

/// A run at work.
pub(crate) struct Run<'a, M, O: Objective<M>, D> {
    trainer: Trainer<'a, M, O, D>,
    checkpoints: Checkpoints<'a, M>,
    last_checkpoint: Option<PathBuf>,
    state: RunState<O::Carry>,
    metrics: MetricsFile,
    /// Whether the loss of the last update was read from the device.
    was_read: bool,
    session: Instant,
    elapsed_before: f64,
    tokens_since_log: u64,
    time_since_log: Duration,
}

impl<'a, M, O, D> Run<'a, M, O, D>
where
    M: Module,
    O: Objective<M>,
    D: Data<Batch = O::Batch>,
{
    pub fn new(
        trainer: Trainer<'a, M, O, D>,
        checkpoints: Checkpoints<'a, M>,
        last_checkpoint: Option<PathBuf>,
        state: RunState<O::Carry>,
    ) -> Result<Self, TrainingError> {
        Ok(Self {
            metrics: MetricsFile::open(trainer.directory, state.progress.step)?,
            was_read: false,
            session: Instant::now(),
            elapsed_before: state.progress.elapsed_s,
            tokens_since_log: 0,
            time_since_log: Duration::ZERO,
            trainer,
            checkpoints,
            last_checkpoint,
            state,
        })
    }

    pub fn train(
        mut self,
        mut model: M,
        prepare: &dyn Fn(u64, M) -> M,
    ) -> Result<Trained<M>, TrainingError> {
        let config = self.trainer.config;
        self.trainer.observer.observe(&Event::Started { step: self.step(), steps: config.steps });
        let outcome = loop {
            if let Some(outcome) = self.outcome() {
                break outcome;
            }
            model = self.update(prepare(self.step(), model))?;
            let improved = self.is_due(config.evaluate_every) && self.evaluate(&model)?;
            // What was not looked at is not saved: then the interrupt waits for the next update.
            let interrupted = self.was_read && self.is_interrupted();
            let ends = self.outcome().is_some() || interrupted;
            if improved || ends || self.is_due(config.checkpoint_every) {
                self.save(&model)?;
            }
            if interrupted {
                break self.outcome().unwrap_or(Outcome::Interrupted);
            }
        };
        let step = self.step();
        self.trainer.observer.observe(&match outcome {
            Outcome::Finished => Event::Finished { step },
            Outcome::StoppedEarly => Event::StoppedEarly { step },
            Outcome::Interrupted => Event::Interrupted { step },
        });
        let Progress { validation_loss, best, .. } = self.state.progress;
        Ok(Trained { model, outcome, step, validation_loss, best })
    }

    /// One update of the weights.
    fn update(&mut self, model: M) -> Result<M, TrainingError> {
        let started = Instant::now();
        let Trainer { config, objective, data, .. } = self.trainer;
        let step = self.step();
        let batches = data.update(step);
        assert!(!batches.is_empty(), "update {step} has no batch");
        let tokens: u64 = batches.iter().map(|batch| objective.tokens(batch)).sum();
        let counts = count(objective, &batches);
        let (mut gradients, mut sums) = self.differentiate(&model, &batches, &counts);
        let norm = match config.max_grad_norm {
            Some(max_norm) => clip_gradient_norm(&model, &mut gradients, max_norm),
            None => gradient_norm(&model, &gradients),
        };

        self.state.progress.step += 1;
        let is_logged = self.step() == 1 || self.is_due(config.log_every);
        // Nothing that is not finite may reach a line, a decision or a checkpoint.
        self.was_read = is_on_host(self.trainer.device)
            || is_logged
            || self.is_due(config.evaluate_every)
            || self.is_due(config.checkpoint_every)
            || self.is_interrupted();
        let mut line = None;
        if self.was_read {
            sums.read();
            let means = sums.means(&counts);
            let grad_norm = norm.map_or(0.0, |norm| norm.into_scalar::<f64>());
            self.check_terms("loss", &means)?;
            self.check_finite("the norm of the gradients", grad_norm)?;
            line = Some((sums.loss(&means), grad_norm));
        }

        let tokens_seen = self.state.progress.tokens_seen;
        let learning_rate = config.schedule.learning_rate(step, tokens_seen, config.steps);
        let optimizer = &mut self.state.optimizer;
        let model = optimizer.step(learning_rate, model, gradients);

        self.state.progress.tokens_seen += tokens;
        self.tokens_since_log += tokens;
        self.time_since_log += started.elapsed();
        match line.filter(|_| is_logged) {
            Some((loss, grad_norm)) => self.log(loss, learning_rate, grad_norm)?,
            None => {
                let event = Event::Updated { step: self.step(), metrics: None };
                self.trainer.observer.observe(&event);
            }
        }
        Ok(model)
    }

    /// The gradients of the loss of an update, and the sums of its terms.
    fn differentiate(
        &mut self,
        model: &M,
        batches: &[O::Batch],
        counts: &[Count],
    ) -> (GradientsParams, Sums) {
        let Trainer { config, objective, data, .. } = self.trainer;
        let step = self.step();
        let carries = &mut self.state.carries;
        if data.starts_afresh(step) {
            carries.clear();
        }
        let dropout = Stream::new(config.seed).named("dropout").at(step);
        differentiate(model, objective, batches, counts, carries, dropout)
    }

    /// Evaluates the validation data, and tells whether the loss is the lowest so far.
    fn evaluate(&mut self, model: &M) -> Result<bool, TrainingError> {
        let Trainer { config, objective, data, .. } = self.trainer;
        let model = model.valid();
        let (mut counts, mut sums, mut carry) = (Vec::new(), Sums::default(), None);
        for batch in data.validation() {
            add_counts(&mut counts, objective.counts(&batch));
            let (loss, next) = objective.loss(&model, &batch, carry, None);
            carry = Some(next.detach());
            sums.add(&loss);
            sums.read();
        }
        assert!(carry.is_some(), "there is no validation batch");
        let terms = sums.means(&counts);
        self.check_terms("validation loss", &terms)?;

        let step = self.step();
        let validation_loss = sums.loss(&terms);
        let min_delta = config.early_stopping.map_or(0.0, |stopping| stopping.min_delta);
        let progress = &mut self.state.progress;
        let is_best = progress.best.is_none_or(|best| validation_loss < best.validation_loss);
        let falls = progress.fallen_to.is_none_or(|from| validation_loss < from - min_delta);
        progress.validation_loss = Some(validation_loss);
        if is_best {
            progress.best = Some(Best { step, validation_loss });
        }
        if falls {
            progress.fallen_to = Some(validation_loss);
            progress.evaluations_without_fall = 0;
        } else {
            progress.evaluations_without_fall += 1;
        }
        let metrics = ValidationMetrics { step, validation_loss, elapsed_s: self.elapsed_s() };
        self.metrics.append(&Metrics::Validation(metrics.clone()))?;
        let event = Event::Evaluated { metrics: &metrics, terms: &terms, is_best };
        self.trainer.observer.observe(&event);
        Ok(is_best)
    }

    fn log(&mut self, loss: f64, learning_rate: f64, grad_norm: f64) -> Result<(), TrainingError> {
        let step = self.step();
        let metrics = TrainingMetrics {
            step,
            epoch: step as f64 / self.trainer.data.updates_per_epoch() as f64,
            loss,
            learning_rate,
            grad_norm,
            tokens_seen: self.state.progress.tokens_seen,
            tokens_per_s: self.tokens_since_log as f64 / self.time_since_log.as_secs_f64(),
            elapsed_s: self.elapsed_s(),
        };
        (self.tokens_since_log, self.time_since_log) = (0, Duration::ZERO);
        self.metrics.append(&Metrics::Training(metrics.clone()))?;
        self.trainer.observer.observe(&Event::Updated { step, metrics: Some(&metrics) });
        Ok(())
    }

    fn save(&mut self, model: &M) -> Result<(), TrainingError> {
        // The loss and the gradients were those of the weights before the update.
        if let Some((path, square_sum)) = first_non_finite(model) {
            self.check_finite(&format!("the sum of the squares of {path}"), square_sum)?;
        }
        self.state.progress.elapsed_s = self.elapsed_s();
        // The lines of a checkpoint's steps are on the disk before it is.
        self.metrics.sync()?;
        let path = self.checkpoints.save(model, &self.state)?;
        let step = self.step();
        self.trainer.observer.observe(&Event::Checkpointed { step, path: &path });
        self.last_checkpoint = Some(path);
        Ok(())
    }

    fn check_terms(&self, kind: &str, terms: &[(&'static str, f64)]) -> Result<(), TrainingError> {
        terms
            .iter()
            .try_for_each(|(name, mean)| self.check_finite(&format!("the {kind} {name}"), *mean))
    }

    fn check_finite(&self, what: &str, value: f64) -> Result<(), TrainingError> {
        if value.is_finite() {
            return Ok(());
        }
        let (step, checkpoint) = (self.step(), self.last_checkpoint.clone());
        Err(TrainingError::NonFinite { step, what: what.to_string(), value, checkpoint })
    }

    /// How the run has ended by itself, if it has.
    fn outcome(&self) -> Option<Outcome> {
        let stale = self.state.progress.evaluations_without_fall;
        let stops = self.trainer.config.early_stopping.is_some_and(|stop| stale >= stop.patience);
        if self.step() >= self.trainer.config.steps {
            Some(Outcome::Finished)
        } else {
            stops.then_some(Outcome::StoppedEarly)
        }
    }

    /// Whether something that happens every so many steps, and at the last, happens at this one.
    fn is_due(&self, every: u64) -> bool {
        self.step().is_multiple_of(every) || self.step() == self.trainer.config.steps
    }

    fn is_interrupted(&self) -> bool {
        self.trainer.interrupt.load(Ordering::Relaxed)
    }

    fn step(&self) -> u64 {
        self.state.progress.step
    }

    fn elapsed_s(&self) -> f64 {
        self.elapsed_before + self.session.elapsed().as_secs_f64()
    }
}
