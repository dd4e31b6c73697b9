//! What was found of a task: shares of right answers with their errors, and every answer.

use emberline_core::Stream;

use super::choices::ScoredChoice;

/// What was found of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    /// The task.
    pub task: String,
    /// The shares, in the order of [`ChoiceScore::ALL`](super::ChoiceScore::ALL), then `exact_match`.
    pub metrics: Vec<Metric>,
    /// What was asked and answered, in the order of the items.
    pub samples: Vec<Sample>,
}

/// A mean over items.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name, that of lm-evaluation-harness where there is one.
    pub name: &'static str,
    /// The mean.
    pub mean: f64,
    /// Its standard error, by resampling the items.
    pub error: f64,
    /// Of how many items.
    pub n_items: usize,
}

/// An item, as it was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The index of the item.
    pub item: usize,
    /// All before an answer; with several contexts, up to them.
    pub prompt: String,
    /// How many examples it has.
    pub n_shots: usize,
    /// Whether the beginning of the prompt did not fit, and was not read.
    pub is_truncated: bool,
    /// What was answered.
    pub answer: Answer,
    /// What the answer is worth by each metric.
    pub values: Vec<(&'static str, f64)>,
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// How probable each answer was, or the ending after each context.
    Scored(Vec<ScoredChoice>),
    /// What it wrote, up to where an answer ends.
    Written(String),
}

impl TaskReport {
    /// The means of the values of the samples.
    pub(super) fn new(task: &str, samples: Vec<Sample>, n_resamples: usize, seed: u64) -> Self {
        let mut names: Vec<&'static str> = Vec::new();
        for (name, _) in samples.iter().flat_map(|sample| &sample.values) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        let metric = |name: &'static str| {
            let of =
                |sample: &Sample| sample.values.iter().find(|(found, _)| *found == name).copied();
            let values: Vec<f64> = samples.iter().filter_map(of).map(|(_, value)| value).collect();
            Metric {
                name,
                mean: values.iter().sum::<f64>() / values.len() as f64,
                error: bootstrap_error(&values, n_resamples, Stream::new(seed).named(name)),
                n_items: values.len(),
            }
        };
        let metrics = names.into_iter().map(metric).collect();
        Self { task: task.into(), metrics, samples }
    }

    /// How many prompts have fewer examples than `n_shots`, for they did not fit.
    pub fn n_with_fewer(&self, n_shots: usize) -> usize {
        self.samples.iter().filter(|sample| sample.n_shots < n_shots).count()
    }

    /// How many prompts were not read from their beginning.
    pub fn n_truncated(&self) -> usize {
        self.samples.iter().filter(|sample| sample.is_truncated).count()
    }
}

/// The standard error of a mean by the bootstrap (Efron, 1979): the deviation of the means of `n_resamples` samples of as
/// many values, drawn with replacement.
pub fn bootstrap_error(values: &[f64], n_resamples: usize, random: Stream) -> f64 {
    if values.is_empty() || n_resamples < 2 {
        return f64::NAN;
    }
    let mean = |resample: usize| {
        let random = random.at(resample as u64);
        let drawn = (0..values.len() as u64).map(|draw| values[random.below(draw, values.len())]);
        drawn.sum::<f64>() / values.len() as f64
    };
    let means: Vec<f64> = (0..n_resamples).map(mean).collect();
    let center = means.iter().sum::<f64>() / n_resamples as f64;
    let squares: f64 = means.iter().map(|mean| (mean - center).powi(2)).sum();
    (squares / (n_resamples - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bootstrap_finds_the_error_of_a_share() {
        let values: Vec<f64> = (0..200).map(|item| f64::from(u8::from(item % 4 == 0))).collect();
        let found = bootstrap_error(&values, 4000, Stream::new(1));
        let expected = (0.25f64 * 0.75 / 200.0).sqrt();
        // The deviation of 4,000 draws is known to 1 / √8000 of itself.
        assert!((found / expected - 1.0).abs() < 4.0 / 8000f64.sqrt(), "{found} is not {expected}");
        assert_eq!(bootstrap_error(&[1.0; 5], 10, Stream::new(1)), 0.0);
        assert!(bootstrap_error(&[], 10, Stream::new(1)).is_nan());
    }
}
