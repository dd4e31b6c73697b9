//! The learning rate as a function of the step, or of the tokens trained on.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, require};

/// How the learning rate goes from its peak to its end, after a linear warm-up from 0.
///
/// The formulas are those of `transformers`: update n of w warm-up updates has n / w of the peak,
/// so the first one has 0 and changes nothing but the moments of the optimizer. Noam's alone is that of its
/// paper, and counts updates from 1; that of GPT-3 counts the tokens of the updates before. The two that rise and fall
/// within a run of fine-tuning start above 0.
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
    /// `end + (peak - end) (1 - n / steps)^power` in update n, from 0, once it is warm: the curve of TensorFlow's
    /// `polynomial_decay`, which starts with the run and not with the end of the warm-up. BERT was trained so: behind its
    /// warm-up the rate falls at once by what the curve has fallen before.
    Polynomial {
        /// What the warm-up rises to, and the curve starts from.
        learning_rate: f64,
        /// The learning rate after the last update.
        #[serde(default)]
        final_learning_rate: f64,
        /// 1 is a straight line, as in BERT.
        #[serde(default = "one")]
        power: f64,
        /// The number of updates from 0 to the peak.
        #[serde(default)]
        warmup_steps: u64,
    },
    /// `d_model^-½ · min(n^-½, n · w^-1½)` in update n, from 1, with a warm-up of w, whatever the length of the run
    /// (Vaswani and others, 2017, "Attention Is All You Need").
    Noam {
        /// The width of the model.
        d_model: u64,
        /// The number of updates to the peak, `(d_model · w)^-½`.
        warmup_steps: u64,
    },
    /// Half a cosine from the peak to a tenth of it, over tokens and not updates, and the tenth from there on, whatever
    /// the length of the run (Brown and others, 2020, "Language models are few-shot learners", appendix B).
    CosineByTokens {
        /// The peak, reached after the warm-up.
        learning_rate: f64,
        /// The number of tokens from 0 to the peak: 375 million for GPT-3.
        warmup_tokens: u64,
        /// The number of tokens from the start to a tenth of the peak: 260 billion for GPT-3.
        decay_tokens: u64,
    },
    /// Up and down in two straight lines between a part of the peak and the peak, the way up a short one:
    /// `η (1 + p (ratio - 1)) / ratio`, where p goes from 0 to 1 in the first `⌊cut_fraction · steps⌋` updates and back
    /// in the rest (Howard and Ruder, 2018, "Universal language model fine-tuning for text classification").
    SlantedTriangular {
        /// The peak.
        learning_rate: f64,
        /// The part of the run in which the rate rises.
        #[serde(default = "cut_fraction")]
        cut_fraction: f64,
        /// How many times smaller than the peak the smallest rate is.
        #[serde(default = "ratio")]
        ratio: f64,
    },
    /// Half a cosine up from a 25th of the peak, and half a cosine down to a 10,000th of that (Smith and Topin, 2018,
    /// "Super-convergence"), as `torch.optim.lr_scheduler.OneCycleLR`.
    OneCycle {
        /// The peak.
        learning_rate: f64,
        /// The part of the run in which the rate rises.
        #[serde(default = "rising_fraction")]
        rising_fraction: f64,
    },
}

/// How many times smaller than its peak a cycle starts.
const CYCLE_START: f64 = 25.0;
/// How many times smaller than its start a cycle ends.
const CYCLE_END: f64 = 1e4;

/// What of its peak GPT-3's learning rate keeps.
const LAST_PART: f64 = 0.1;

impl Schedule {
    /// The learning rate of an update, by the number of updates before it and of their tokens, in a run of `steps`.
    pub fn learning_rate(&self, step: u64, tokens_seen: u64, steps: u64) -> f64 {
        if let Self::Noam { d_model, warmup_steps } = *self {
            let (n, w) = ((step + 1) as f64, warmup_steps as f64);
            return (d_model as f64).powf(-0.5) * n.powf(-0.5).min(n * w.powf(-1.5));
        }
        if let Self::CosineByTokens { learning_rate, warmup_tokens, decay_tokens } = *self {
            return cosine_by_tokens(tokens_seen, learning_rate, warmup_tokens, decay_tokens);
        }
        let (peak, warmup_steps) = (self.peak(), self.warmup_steps());
        match *self {
            Self::SlantedTriangular { cut_fraction, ratio, .. } => {
                return peak * slanted_triangle(step, steps, cut_fraction, ratio);
            }
            Self::OneCycle { rising_fraction, .. } => {
                return peak * one_cycle(step, steps, rising_fraction);
            }
            _ => {}
        }
        if step < warmup_steps {
            return peak * step as f64 / warmup_steps as f64;
        }
        let length = steps.saturating_sub(warmup_steps).max(1);
        let done = ((step - warmup_steps) as f64 / length as f64).min(1.0);
        match *self {
            Self::Constant { .. }
            | Self::Noam { .. }
            | Self::CosineByTokens { .. }
            | Self::SlantedTriangular { .. }
            | Self::OneCycle { .. } => peak,
            Self::Polynomial { final_learning_rate, power, .. } => {
                let left = 1.0 - (step as f64 / steps.max(1) as f64).min(1.0);
                final_learning_rate + (peak - final_learning_rate) * left.powf(power)
            }
            Self::Linear { final_learning_rate, .. } => {
                final_learning_rate + (peak - final_learning_rate) * (1.0 - done)
            }
            Self::Cosine { final_learning_rate, .. } => {
                final_learning_rate + (peak - final_learning_rate) * half_cosine(done)
            }
        }
    }

    /// The largest rate.
    pub fn peak(&self) -> f64 {
        match *self {
            Self::Constant { learning_rate, .. }
            | Self::Linear { learning_rate, .. }
            | Self::Cosine { learning_rate, .. }
            | Self::Polynomial { learning_rate, .. }
            | Self::CosineByTokens { learning_rate, .. }
            | Self::SlantedTriangular { learning_rate, .. }
            | Self::OneCycle { learning_rate, .. } => learning_rate,
            Self::Noam { d_model, warmup_steps } => {
                (d_model as f64 * warmup_steps as f64).powf(-0.5)
            }
        }
    }

    fn warmup_steps(&self) -> u64 {
        match *self {
            Self::Constant { warmup_steps, .. }
            | Self::Linear { warmup_steps, .. }
            | Self::Cosine { warmup_steps, .. }
            | Self::Polynomial { warmup_steps, .. }
            | Self::Noam { warmup_steps, .. } => warmup_steps,
            Self::CosineByTokens { .. }
            | Self::SlantedTriangular { .. }
            | Self::OneCycle { .. } => 0,
        }
    }

    /// Whether the rates are numbers to train with, and the warm-up ends before the run of `steps` does.
    pub fn validate(&self, steps: u64) -> Result<(), ConfigError> {
        if let Self::Noam { d_model, warmup_steps } = *self {
            require(d_model > 0, "schedule.d_model", "at least 1", d_model)?;
            require(warmup_steps > 0, "schedule.warmup_steps", "at least 1", warmup_steps)?;
        }
        let is_rate = |rate: f64| rate.is_finite() && rate >= 0.0;
        let peak = self.peak();
        require(is_rate(peak) && peak > 0.0, "schedule.learning_rate", "a number above 0", peak)?;
        if let Self::Linear { final_learning_rate: end, .. }
        | Self::Cosine { final_learning_rate: end, .. }
        | Self::Polynomial { final_learning_rate: end, .. } = *self
        {
            require(is_rate(end), "schedule.final_learning_rate", "a number of at least 0", end)?;
        }
        if let Self::Polynomial { power, .. } = *self {
            let holds = power.is_finite() && power > 0.0;
            require(holds, "schedule.power", "a number above 0", power)?;
        }
        if let Self::CosineByTokens { warmup_tokens, decay_tokens, .. } = *self {
            let (field, expected) = ("schedule.warmup_tokens", "fewer than `decay_tokens`");
            require(warmup_tokens < decay_tokens, field, expected, warmup_tokens)?;
        }
        if let Self::SlantedTriangular { cut_fraction: part, .. }
        | Self::OneCycle { rising_fraction: part, .. } = *self
        {
            let field = match self {
                Self::OneCycle { .. } => "schedule.rising_fraction",
                _ => "schedule.cut_fraction",
            };
            let rising = part * steps as f64;
            let holds = (1.0..steps as f64).contains(&rising);
            require(holds, field, "of at least one update, and not all of them", part)?;
        }
        if let Self::SlantedTriangular { ratio, .. } = *self {
            let holds = ratio.is_finite() && ratio >= 1.0;
            require(holds, "schedule.ratio", "a number of at least 1", ratio)?;
        }
        let warmup_steps = self.warmup_steps();
        require(warmup_steps < steps, "schedule.warmup_steps", "fewer than `steps`", warmup_steps)
    }
}

fn one() -> f64 {
    1.0
}

fn cut_fraction() -> f64 {
    0.1
}

fn ratio() -> f64 {
    32.0
}

fn rising_fraction() -> f64 {
    0.3
}

fn slanted_triangle(step: u64, steps: u64, cut_fraction: f64, ratio: f64) -> f64 {
    let cut = (steps as f64 * cut_fraction).floor();
    let step = step as f64;
    let height = match step < cut {
        true => step / cut,
        false => (1.0 - (step - cut) / (cut * (1.0 / cut_fraction - 1.0))).max(0.0),
    };
    (1.0 + height * (ratio - 1.0)) / ratio
}

fn one_cycle(step: u64, steps: u64, rising_fraction: f64) -> f64 {
    let (start, end) = (1.0 / CYCLE_START, 1.0 / CYCLE_START / CYCLE_END);
    let (top, last) = (rising_fraction * steps as f64 - 1.0, steps as f64 - 1.0);
    let step = step as f64;
    match step <= top {
        // A rise of one update starts at the peak.
        true if top > 0.0 => 1.0 + (start - 1.0) * half_cosine(step / top),
        true => 1.0,
        false => end + (1.0 - end) * half_cosine(((step - top) / (last - top)).min(1.0)),
    }
}

/// From 1 to 0 while `done` goes from 0 to 1.
fn half_cosine(done: f64) -> f64 {
    0.5 * (1.0 + (PI * done).cos())
}

fn cosine_by_tokens(tokens: u64, peak: f64, warmup_tokens: u64, decay_tokens: u64) -> f64 {
    if tokens < warmup_tokens {
        return peak * tokens as f64 / warmup_tokens as f64;
    }
    let length = decay_tokens.saturating_sub(warmup_tokens).max(1);
    let done = ((tokens - warmup_tokens) as f64 / length as f64).min(1.0);
    peak * (LAST_PART + (1.0 - LAST_PART) * half_cosine(done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, steps: u64) -> Vec<f64> {
        (0..=steps).map(|step| schedule.learning_rate(step, 0, steps)).collect()
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
            assert!((schedule.learning_rate(step, 0, 100) - expected).abs() < 1e-18);
        }
    }

    /// `torch.optim.lr_scheduler.CosineAnnealingLR`: `η₁ + (η₀ - η₁) (1 + cos(π t / T)) / 2`.
    #[test]
    fn a_cosine_is_at_its_middle_halfway_and_at_its_end_at_the_end() {
        let schedule =
            Schedule::Cosine { learning_rate: 1.0, final_learning_rate: 0.1, warmup_steps: 2 };
        let rate = |step| schedule.learning_rate(step, 0, 10);
        assert_eq!(rate(2), 1.0);
        let third = 0.1 + 0.9 * (1.0 + 0.5f64.sqrt()) / 2.0;
        assert!((rate(4) - third).abs() < 1e-12);
        assert!((rate(6) - 0.55).abs() < 1e-12);
        assert!((rate(10) - 0.1).abs() < 1e-12);
        assert_eq!(rate(11), rate(10));
    }

    /// BERT's: `lr · step / warmup`, then `polynomial_decay` of the step from the start.
    #[test]
    fn a_polynomial_starts_with_the_run_and_falls_at_the_end_of_its_warm_up() {
        let of = |power, end| Schedule::Polynomial {
            learning_rate: 1.0,
            final_learning_rate: end,
            power,
            warmup_steps: 2,
        };
        assert_eq!(rates(of(1.0, 0.0), 8), [0.0, 0.5, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]);
        assert_eq!(of(2.0, 0.5).learning_rate(4, 0, 8), 0.5 + 0.5 * 0.25);
        assert_eq!(of(2.0, 0.5).learning_rate(9, 0, 8), 0.5);
        let read = r#"{"name": "polynomial", "learning_rate": 1.0, "warmup_steps": 2}"#;
        assert_eq!(serde_json::from_str::<Schedule>(read).unwrap(), of(1.0, 0.0));
        let error = of(0.0, 0.0).validate(8).unwrap_err().to_string();
        assert_eq!(error, "schedule.power must be a number above 0, but is 0");
    }

    /// The base model of the paper.
    #[test]
    fn noam_rises_in_a_line_to_its_peak_and_falls_with_the_root() {
        let schedule = Schedule::Noam { d_model: 512, warmup_steps: 4000 };
        let rate = |update: u64| schedule.learning_rate(update - 1, 0, 1);
        for (update, expected) in [(1, 1.746928e-7), (4000, 6.987712e-4), (100_000, 1.397542e-4)] {
            assert!((rate(update) / expected - 1.0).abs() < 1e-6, "{}", rate(update));
        }
        assert!((rate(2000) * 2.0 / rate(4000) - 1.0).abs() < 1e-12);
        assert!((rate(16_000) * 2.0 / rate(4000) - 1.0).abs() < 1e-12);
        assert!((schedule.peak() / rate(4000) - 1.0).abs() < 1e-12);
        let error = Schedule::Noam { d_model: 512, warmup_steps: 0 }.validate(9).unwrap_err();
        assert!(error.to_string().contains("schedule.warmup_steps"));
        assert!(Schedule::Noam { d_model: 0, warmup_steps: 1 }.validate(9).is_err());
    }

    /// The 175B model of the paper.
    #[test]
    fn that_of_gpt_3_goes_by_tokens_and_stays_at_a_tenth() {
        let schedule = Schedule::CosineByTokens {
            learning_rate: 0.6e-4,
            warmup_tokens: 375_000_000,
            decay_tokens: 260_000_000_000,
        };
        let near = |tokens: u64, expected: f64| {
            // Neither the number of the update nor that of all counts.
            for (step, steps) in [(0, 1), (90_000, 100_000)] {
                let rate = schedule.learning_rate(step, tokens, steps);
                // A third of the tokens is no whole number.
                assert!((rate / 0.6e-4 - expected).abs() < 1e-11, "{rate} after {tokens}");
            }
        };
        let half = |tokens: u64| 375_000_000 + (260_000_000_000 - 375_000_000) / tokens;
        near(0, 0.0);
        near(37_500_000, 0.1);
        near(375_000_000, 1.0);
        near(half(3), 0.1 + 0.9 * 0.75);
        near(half(2), 0.55);
        near(260_000_000_000, 0.1);
        near(300_000_000_000, 0.1);
    }

    /// The numbers of the paper's formula, by hand.
    #[test]
    fn a_slanted_triangle_rises_in_a_tenth_of_the_run_and_falls_in_the_rest() {
        let read = r#"{"name": "slanted_triangular", "learning_rate": 0.01}"#;
        let schedule: Schedule = serde_json::from_str(read).unwrap();
        assert_eq!(schedule.validate(100), Ok(()));
        for (step, expected) in [
            (0, 3.125e-4),
            (5, 5.15625e-3),
            (10, 1e-2),
            (55, 5.15625e-3),
            (99, 4.201_388_9e-4),
            (100, 3.125e-4),
            (101, 3.125e-4),
        ] {
            let rate = schedule.learning_rate(step, 0, 100);
            assert!((rate / expected - 1.0).abs() < 1e-7, "{rate} at {step}");
        }
        let error = schedule.validate(9).unwrap_err().to_string();
        assert!(
            error.starts_with("schedule.cut_fraction must be of at least one update"),
            "{error}"
        );
    }

    /// `torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=10)`.
    #[test]
    fn one_cycle_is_that_of_torch() {
        let read = r#"{"name": "one_cycle", "learning_rate": 1.0}"#;
        let schedule: Schedule = serde_json::from_str(read).unwrap();
        assert_eq!(schedule.validate(10), Ok(()));
        let expected = [
            0.040000000000000036,
            0.52,
            1.0,
            0.9504846320134737,
            0.8117456539497631,
            0.6112620219362893,
            0.38874197806371075,
            0.18825834605023697,
            0.049519367986526286,
            4e-06,
        ];
        for (step, expected) in expected.into_iter().enumerate() {
            let rate = schedule.learning_rate(step as u64, 0, 10);
            assert!((rate - expected).abs() < 1e-12, "{rate} at {step} for {expected}");
        }
        assert_eq!(schedule.learning_rate(12, 0, 10), schedule.learning_rate(9, 0, 10));
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
        let long = error(Schedule::CosineByTokens {
            learning_rate: 1.0,
            warmup_tokens: 7,
            decay_tokens: 7,
        });
        assert_eq!(long, "schedule.warmup_tokens must be fewer than `decay_tokens`, but is 7");
    }
}
