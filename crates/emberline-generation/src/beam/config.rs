//! How wide to search, for how long, and what makes one hypothesis better than another.

use serde::{Deserialize, Serialize};

use crate::error::GenerationError;
use crate::input::{self, check, check_at_least_1};
use crate::restrictions::Restrictions;

/// How to search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BeamConfig {
    /// How many hypotheses of a row are followed at a time.
    pub beam_size: usize,
    /// How many complete ones a row gets at most.
    pub n_best: usize,
    /// What makes a complete hypothesis better than another.
    pub scoring: BeamScoring,
    /// When a row is done before its maximum length.
    pub early_stopping: EarlyStopping,
    /// Multiplies the log-probability of a token that has been in the prompt or start token and what follows it: above 1
    /// against repetition, 1 for none. The log-probability of a hypothesis is then not that of the model.
    pub repetition_penalty: f64,
    /// How many tokens come before a stop token at least.
    pub min_new_tokens: usize,
    /// How many tokens a hypothesis gets at most, a stop token among them.
    pub max_new_tokens: usize,
    /// How many more for each token of the prompt or source: 1 in the Transformer paper, which writes at most 50
    /// tokens more than it reads.
    pub max_per_input_token: f64,
    /// No sequence of so many tokens comes twice, in the prompt or start token and what follows it.
    pub no_repeat_ngram_size: Option<usize>,
    /// Sequences of tokens that do not come, not even begun in the prompt. A stop token alone is not one.
    pub bad_words: Vec<Vec<u32>>,
    /// Tokens that complete a hypothesis; they are not part of it.
    pub stop_tokens: Vec<u32>,
    /// How many rows are searched at a time at most, each with its beams.
    pub batch_size: usize,
}

impl Default for BeamConfig {
    /// Of the Transformer paper: four beams, a length penalty of 0.6, at most 50 tokens more than the source.
    fn default() -> Self {
        Self {
            beam_size: 4,
            n_best: 1,
            scoring: BeamScoring::default(),
            early_stopping: EarlyStopping::default(),
            repetition_penalty: 1.0,
            min_new_tokens: 0,
            max_new_tokens: 50,
            max_per_input_token: 1.0,
            no_repeat_ngram_size: None,
            bad_words: Vec::new(),
            stop_tokens: Vec::new(),
            batch_size: 32,
        }
    }
}

impl BeamConfig {
    /// Checks the ranges of all settings.
    ///
    /// # Errors
    /// [`GenerationError::Setting`].
    pub fn validate(&self) -> Result<(), GenerationError> {
        check_at_least_1("beam_size", self.beam_size)?;
        let n_best = self.n_best as f64;
        check_at_least_1("n_best", self.n_best)?;
        check(self.n_best <= self.beam_size, "n_best", n_best, "at most beam_size")?;
        self.scoring.validate()?;
        check_at_least_1("max_new_tokens", self.max_new_tokens)?;
        self.restrictions().validate(self.max_new_tokens)?;
        input::check_per_input_token(self.max_per_input_token)?;
        check_at_least_1("batch_size", self.batch_size)
    }

    pub(super) fn restrictions(&self) -> Restrictions<'_> {
        Restrictions {
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            bad_words: &self.bad_words,
            min_new_tokens: self.min_new_tokens,
            stop_tokens: &self.stop_tokens,
        }
    }

    pub(super) fn limit(&self, input: &[u32]) -> usize {
        input::limit(self.max_new_tokens, self.max_per_input_token, input)
    }

    /// So many that `beam_size` of them do not stop.
    pub(super) fn n_candidates(&self) -> usize {
        self.beam_size.saturating_mul(1 + self.stop_tokens.len())
    }
}

/// What makes a complete hypothesis Y better than another: its log-probability, Σ log p, which is never above 0 and
/// falls with every token, set against its length |Y|, to which its stop token counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BeamScoring {
    /// `Σ log p`, as of Sutskever et al. 2014.
    LogProbability,
    /// `Σ log p / |Y|^length_penalty`, as of Hugging Face's `transformers`, where 1 is the default.
    Normalized {
        /// Above 0 for longer hypotheses, below 0 for shorter ones.
        length_penalty: f64,
    },
    /// `Σ log p / ((5 + |Y|) / 6)^length_penalty + coverage_penalty Σ_i log min(Σ_j p_ij, 1)`, as of Wu et al. 2016
    /// (GNMT), where `p_ij` is what position j of the target, the stop token's among them, attends to token i of the
    /// source: the mean over the heads of the last layer.
    Gnmt {
        /// α of the paper, which has 0.2; 0.6 of the Transformer paper.
        length_penalty: f64,
        /// β of the paper, which has 0.2; 0 asks for no attention.
        #[serde(default)]
        coverage_penalty: f64,
    },
}

impl Default for BeamScoring {
    fn default() -> Self {
        Self::Gnmt { length_penalty: 0.6, coverage_penalty: 0.0 }
    }
}

impl BeamScoring {
    fn validate(&self) -> Result<(), GenerationError> {
        let (length, coverage) = match *self {
            Self::LogProbability => (0.0, 0.0),
            Self::Normalized { length_penalty } => (length_penalty, 0.0),
            Self::Gnmt { length_penalty, coverage_penalty } => (length_penalty, coverage_penalty),
        };
        check(length.is_finite(), "length_penalty", length, "a number")?;
        let holds = coverage >= 0.0 && coverage.is_finite();
        check(holds, "coverage_penalty", coverage, "a number not below 0")
    }

    pub(super) fn needs_attention(&self) -> bool {
        matches!(self, Self::Gnmt { coverage_penalty, .. } if *coverage_penalty > 0.0)
    }

    /// The score of a hypothesis of `length` tokens, without its coverage of the source.
    pub(super) fn length_normalized(&self, log_probability: f64, length: usize) -> f64 {
        // A hypothesis is empty only where nothing at all can follow its prompt.
        let length = length.max(1) as f64;
        match *self {
            Self::LogProbability => log_probability,
            Self::Normalized { length_penalty } => log_probability / length.powf(length_penalty),
            Self::Gnmt { length_penalty, .. } => {
                log_probability / ((5.0 + length) / 6.0).powf(length_penalty)
            }
        }
    }

    /// The part of the score for the coverage: what all positions together attend to each token of the source.
    pub(super) fn coverage(&self, coverage: &[f32]) -> f64 {
        match *self {
            Self::Gnmt { coverage_penalty, .. } if coverage_penalty > 0.0 => {
                let logs = coverage.iter().map(|sum| f64::from(sum.min(1.0)).ln());
                coverage_penalty * logs.sum::<f64>()
            }
            _ => 0.0,
        }
    }
}

/// When a row is done before all of its beams reach the maximum length, as `early_stopping` of Hugging Face's
/// `transformers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// When no unfinished hypothesis can come to be among the `n_best`, whatever follows it. The result is that of
    /// searching on to the maximum length; Hugging Face's `"never"`.
    #[default]
    Exact,
    /// When there are `beam_size` complete hypotheses, and the best unfinished one would not be better than the worst
    /// of them at the length it has, which a positive length penalty may prove wrong; Hugging Face's `False`.
    Heuristic,
    /// When there are `beam_size` complete hypotheses; Hugging Face's `True`, and fairseq.
    BeamSize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_penalties_are_those_of_the_papers() {
        let gnmt = BeamScoring::Gnmt { length_penalty: 0.5, coverage_penalty: 0.0 };
        assert_eq!(gnmt.length_normalized(-6.0, 19), -3.0);
        assert_eq!(
            BeamScoring::Normalized { length_penalty: 2.0 }.length_normalized(-6.0, 2),
            -1.5
        );
        assert_eq!(BeamScoring::LogProbability.length_normalized(-6.0, 19), -6.0);
    }

    #[test]
    fn coverage_above_one_is_not_rewarded_and_none_at_all_is_ruled_out() {
        let scoring = BeamScoring::Gnmt { length_penalty: 0.0, coverage_penalty: 2.0 };
        assert_eq!(scoring.coverage(&[1.0, 1.75]), 0.0);
        assert_eq!(scoring.coverage(&[0.5, 0.25, 3.0]), 2.0 * 0.125f64.ln());
        assert_eq!(scoring.coverage(&[0.0, 1.0]), f64::NEG_INFINITY);
    }

    #[test]
    fn settings_outside_of_their_range_are_named() {
        let complaint = |change: &dyn Fn(&mut BeamConfig)| {
            let mut config = BeamConfig::default();
            config.validate().unwrap();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(complaint(&|c| c.beam_size = 0), "beam_size is 0: expected at least 1");
        assert_eq!(complaint(&|c| c.n_best = 0), "n_best is 0: expected at least 1");
        assert_eq!(complaint(&|c| c.n_best = 5), "n_best is 5: expected at most beam_size");
        assert_eq!(
            complaint(&|c| c.max_new_tokens = 0),
            "max_new_tokens is 0: expected at least 1"
        );
        assert_eq!(
            complaint(&|c| c.min_new_tokens = 51),
            "min_new_tokens is 51: expected at most max_new_tokens"
        );
        assert_eq!(
            complaint(&|c| c.max_per_input_token = -1.0),
            "max_per_input_token is -1: expected a number not below 0"
        );
        assert_eq!(
            complaint(&|c| c.no_repeat_ngram_size = Some(0)),
            "no_repeat_ngram_size is 0: expected at least 1"
        );
        assert_eq!(complaint(&|c| c.batch_size = 0), "batch_size is 0: expected at least 1");
        let normalized = BeamScoring::Normalized { length_penalty: f64::NAN };
        assert_eq!(
            complaint(&|c| c.scoring = normalized),
            "length_penalty is NaN: expected a number"
        );
        let gnmt = BeamScoring::Gnmt { length_penalty: 0.2, coverage_penalty: -0.2 };
        assert_eq!(
            complaint(&|c| c.scoring = gnmt),
            "coverage_penalty is -0.2: expected a number not below 0"
        );
    }

    #[test]
    fn a_config_has_defaults_and_refuses_what_it_does_not_know() {
        let parse = |text: &str| serde_json::from_str::<BeamConfig>(text);
        assert_eq!(parse("{}").unwrap(), BeamConfig::default());
        let gnmt = BeamScoring::Gnmt { length_penalty: 0.2, coverage_penalty: 0.0 };
        let scoring = |text| parse(text).map(|config| config.scoring);
        assert_eq!(scoring(r#"{"scoring": {"gnmt": {"length_penalty": 0.2}}}"#).unwrap(), gnmt);
        for unknown in
            [r#"{"beams": 4}"#, r#"{"scoring": {"gnmt": {"alpha": 1}}}"#, r#"{"scoring": "sum"}"#]
        {
            let error = parse(unknown).unwrap_err().to_string();
            assert!(error.contains("unknown"), "{error}");
        }
    }
}
