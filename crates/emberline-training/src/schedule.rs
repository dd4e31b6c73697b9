//! The learning rate as a function of the step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, require};

/// How the learning rate goes from its peak to its end, after a linear warm-up from 0.
///
/// The formulas are those of `transformers`: update n of w warm-up updates has n / w of the peak,
/// so the first one has 0 and changes nothing but the moments of the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The peak until the end.
    Constant {
        /// The learning rate after the warm-up.
        learning_rate: f64,
        /// The number of updates from 0 to the peak.
        #[serde(default)]
        warmup_steps: u64,
    },
    /// A straight line from the peak to the final value.
    Linear {
        /// The peak, reached after the warm-up.
        learning_rate: f64,
        /// The learning rate after the last update.
        #[serde(default)]
        final_learning_rate: f64,
        /// The number of updates from 0 to the peak.
        #[serde(default)]
        warmup_steps: u64,
    },
    /// Half a cosine from the peak to the final value (Loshchilov and Hutter, 2017, "SGDR").
    Cosine {
        /// The peak, reached after the warm-up.
        learning_rate: f64,
        /// The learning rate after the last update.
        #[serde(default)]
        final_learning_rate: f64,
        /// The number of updates from 0 to the peak.
        #[serde(default)]
        warmup_steps: u64,
    },
}

impl Schedule {
    /// The learning rate of an update, by the number of updates before it, in a run of `steps`.
    pub fn learning_rate(&self, step: u64, steps: u64) -> f64 {
        let (peak, warmup_steps) = (self.peak(), self.warmup_steps());
        if step < warmup_steps {
            return peak * step as f64 / warmup_steps as f64;
        }
        let length = steps.saturating_sub(warmup_steps).max(1);
        let done = ((step - warmup_steps) as f64 / length as f64).min(1.0);
        match *self {
            Self::Constant { .. } => peak,
            Self::Linear { final_learning_rate, .. } => {
                final_learning_rate + (peak - final_learning_rate) * (1.0 - done)
            }
            Self::Cosine { final_learning_rate, .. } => {
                final_learning_rate + (peak - final_learning_rate) * 0.5 * (1.0 + (PI * done).cos())
            }
        }
    }

    fn peak(&self) -> f64 {
        match *self {
            Self::Constant { learning_rate, .. }
            | Self::Linear { learning_rate, .. }
            | Self::Cosine { learning_rate, .. } => learning_rate,
        }
    }

    fn warmup_steps(&self) -> u64 {
        match *self {
            Self::Constant { warmup_steps, .. }
            | Self::Linear { warmup_steps, .. }
            | Self::Cosine { warmup_steps, .. } => warmup_steps,
        }
    }

    /// Whether the rates are numbers to train with, and the warm-up ends before the run of `steps` does.
    pub fn validate(&self, steps: u64) -> Result<(), ConfigError> {
        let is_rate = |rate: f64| rate.is_finite() && rate >= 0.0;
        let peak = self.peak();
        require(is_rate(peak) && peak > 0.0, "schedule.learning_rate", "a number above 0", peak)?;
        if let Self::Linear { final_learning_rate: end, .. }
        | Self::Cosine { final_learning_rate: end, .. } = *self
        {
            require(is_rate(end), "schedule.final_learning_rate", "a number of at least 0", end)?;
        }
        let warmup_steps = self.warmup_steps();
        require(warmup_steps < steps, "schedule.warmup_steps", "fewer than `steps`", warmup_steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, steps: u64) -> Vec<f64> {
        (0..=steps).map(|step| schedule.learning_rate(step, steps)).collect()
    }

    #[test]
    fn warm_up_starts_at_zero_and_reaches_the_peak() {
        let schedule = Schedule::Constant { learning_rate: 2.0, warmup_steps: 4 };
        assert_eq!(rates(schedule, 6), [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn a_linear_schedule_is_a_line_to_its_final_value() {
        let schedule =
            Schedule::Linear { learning_rate: 1.0, final_learning_rate: 0.5, warmup_steps: 2 };
        assert_eq!(rates(schedule, 6), [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5]);
    }

    /// `transformers.get_linear_schedule_with_warmup`: `max(0, (steps - n) / max(1, steps - w))`.
    #[test]
    fn a_linear_schedule_to_zero_is_that_of_transformers() {
        let schedule =
            Schedule::Linear { learning_rate: 3e-4, final_learning_rate: 0.0, warmup_steps: 10 };
        for step in 10..=100 {
            let expected = 3e-4 * (100 - step) as f64 / 90.0;
            assert!((schedule.learning_rate(step, 100) - expected).abs() < 1e-18);
        }
    }

    /// `torch.optim.lr_scheduler.CosineAnnealingLR`: `η₁ + (η₀ - η₁) (1 + cos(π t / T)) / 2`.
    #[test]
    fn a_cosine_is_at_its_middle_halfway_and_at_its_end_at_the_end() {
        let schedule =
            Schedule::Cosine { learning_rate: 1.0, final_learning_rate: 0.1, warmup_steps: 2 };
        let rate = |step| schedule.learning_rate(step, 10);
        assert_eq!(rate(2), 1.0);
        let third = 0.1 + 0.9 * (1.0 + 0.5f64.sqrt()) / 2.0;
        assert!((rate(4) - third).abs() < 1e-12);
        assert!((rate(6) - 0.55).abs() < 1e-12);
        assert!((rate(10) - 0.1).abs() < 1e-12);
        assert_eq!(rate(11), rate(10));
    }

    #[test]
    fn a_schedule_is_read_by_its_name_and_unknown_keys_are_refused() {
        let read = serde_json::from_str::<Schedule>;
        let schedule = read(r#"{"name": "cosine", "learning_rate": 0.1, "warmup_steps": 3}"#);
        let expected =
            Schedule::Cosine { learning_rate: 0.1, final_learning_rate: 0.0, warmup_steps: 3 };
        assert_eq!(schedule.unwrap(), expected);
        let error = read(r#"{"name": "constant", "learning_rate": 0.1, "warmup": 3}"#).unwrap_err();
        assert!(error.to_string().contains("`warmup`"), "{error}");
    }

    #[test]
    fn a_schedule_that_cannot_be_names_its_field() {
        let error = |schedule: Schedule| schedule.validate(10).unwrap_err().to_string();
        let warm = error(Schedule::Constant { learning_rate: 1.0, warmup_steps: 10 });
        assert!(warm.contains("schedule.warmup_steps") && warm.contains("10"), "{warm}");
        let zero = error(Schedule::Constant { learning_rate: 0.0, warmup_steps: 0 });
        assert!(zero.contains("schedule.learning_rate"), "{zero}");
    }
}
