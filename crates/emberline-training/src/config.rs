//! What a training run is told.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::optimizer::OptimizerConfig;
use crate::schedule::Schedule;

/// The numbers of a training run. A step is one update of the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// The number of updates.
    pub steps: u64,
    /// The seed of everything random in training.
    pub seed: u64,
    /// How gradients change weights.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the steps.
    pub schedule: Schedule,
    /// The norm of all gradients together above which they are scaled down to it; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f64>,
    /// Updates from one line of metrics to the next. The first and the last update are logged too.
    pub log_every: u64,
    /// Updates from one evaluation to the next. The end of training is evaluated too.
    pub evaluate_every: u64,
    /// Updates from one checkpoint to the next. Every best evaluation and the end are saved too.
    pub checkpoint_every: u64,
    /// How many of the latest checkpoints are kept, besides the best one.
    pub keep_checkpoints: usize,
    /// When training ends before its last step; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
}

/// Training ends when the validation loss has stopped falling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// The number of evaluations in a row without a fall of the validation loss after which training
    /// ends.
    pub patience: u64,
    /// By more than how much the loss must be below that of the last fall to be a fall, in the unit of
    /// the loss. The best evaluation is the one with the lowest loss, whatever this is.
    pub min_delta: f64,
}

/// A field of a config whose value cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} must be {expected}, but is {found}")]
pub struct ConfigError {
    /// The path of the field.
    pub field: &'static str,
    /// What it must be.
    pub expected: &'static str,
    /// What it is.
    pub found: String,
}

/// An error that names the field unless `holds`.
pub(crate) fn require(
    holds: bool,
    field: &'static str,
    expected: &'static str,
    found: impl Display,
) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError { field, expected, found: found.to_string() }) }
}

impl TrainingConfig {
    /// Whether the values can be trained with; the error names the first field that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = "at least 1";
        require(self.steps > 0, "steps", positive, self.steps)?;
        require(self.log_every > 0, "log_every", positive, self.log_every)?;
        require(self.evaluate_every > 0, "evaluate_every", positive, self.evaluate_every)?;
        require(self.checkpoint_every > 0, "checkpoint_every", positive, self.checkpoint_every)?;
        require(self.keep_checkpoints > 0, "keep_checkpoints", positive, self.keep_checkpoints)?;
        if let Some(norm) = self.max_grad_norm {
            require(norm.is_finite() && norm > 0.0, "max_grad_norm", "a number above 0", norm)?;
        }
        if let Some(EarlyStopping { patience, min_delta }) = self.early_stopping {
            require(patience > 0, "early_stopping.patience", positive, patience)?;
            let is_delta = min_delta.is_finite() && min_delta >= 0.0;
            require(is_delta, "early_stopping.min_delta", "a number of at least 0", min_delta)?;
        }
        self.optimizer.validate()?;
        self.schedule.validate(self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrainingConfig {
        TrainingConfig {
            steps: 10,
            seed: 1,
            optimizer: OptimizerConfig::AdamW(Default::default()),
            schedule: Schedule::Constant { learning_rate: 0.1, warmup_steps: 0 },
            max_grad_norm: Some(1.0),
            log_every: 1,
            evaluate_every: 5,
            checkpoint_every: 5,
            keep_checkpoints: 2,
            early_stopping: Some(EarlyStopping { patience: 3, min_delta: 0.0 }),
        }
    }

    #[test]
    fn a_config_survives_being_written_and_read() {
        let written = serde_json::to_string(&config()).unwrap();
        assert_eq!(serde_json::from_str::<TrainingConfig>(&written).unwrap(), config());
    }

    #[test]
    fn an_unknown_key_is_named() {
        let mut value = serde_json::to_value(config()).unwrap();
        value["learning_rat"] = 1.into();
        let error = serde_json::from_value::<TrainingConfig>(value).unwrap_err().to_string();
        assert!(error.contains("learning_rat"), "{error}");
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_its_field() {
        let message = |change: fn(&mut TrainingConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(config().validate(), Ok(()));
        assert_eq!(message(|c| c.steps = 0), "steps must be at least 1, but is 0");
        assert_eq!(
            message(|c| c.max_grad_norm = Some(f64::NAN)),
            "max_grad_norm must be a number above 0, but is NaN"
        );
        assert!(
            message(|c| c.schedule = Schedule::Constant { learning_rate: -1.0, warmup_steps: 0 })
                .starts_with("schedule.learning_rate")
        );
    }
}
