//! What to generate.

use std::iter::repeat_n;

use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::error::GenerationError;
use crate::input;
use crate::restrictions::Restrictions;
use crate::sampling::Sampling;

/// What becomes of a text that gets longer than a model can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextLimit {
    /// The model reads texts of any length.
    #[default]
    None,
    /// It reads so many tokens: a text ends there, and a prompt must be shorter.
    Ends(usize),
    /// It reads so many tokens, the last ones of a prompt: a text that gets longer goes on from the last half of them,
    /// which the model reads anew. Every token but the first few so comes after half of what the model can read at least.
    Slides(usize),
}

impl ContextLimit {
    /// Where the model begins to read a prompt.
    pub(super) fn start(self, n_tokens: usize) -> usize {
        match self {
            Self::Slides(max_positions) => n_tokens.saturating_sub(max_positions),
            Self::None | Self::Ends(_) => 0,
        }
    }

    /// Where it begins to read a row that it has read from `start` on.
    pub(super) fn slid(self, start: usize, n_tokens: usize) -> usize {
        match self {
            Self::Slides(max_positions) if n_tokens - start > max_positions => {
                n_tokens - (max_positions / 2).max(1)
            }
            _ => start,
        }
    }
}

/// What to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationConfig {
    /// How the next token is picked.
    pub sampling: Sampling,
    /// How many rows each prompt or source gets, one after the other: above 1 only by chance, of which each has its own.
    pub n_sequences: usize,
    /// Divides the scores above 0, and multiplies those below, of tokens that have been in the row, its prompt or start
    /// token among them: above 1 against repetition, 1 for none.
    pub repetition_penalty: f64,
    /// No sequence of so many tokens comes twice, in the prompt or start token and what follows it.
    pub no_repeat_ngram_size: Option<usize>,
    /// Sequences of tokens that do not come, not even begun in the prompt. A stop token alone is not one.
    pub bad_words: Vec<Vec<u32>>,
    /// How many tokens come before a stop token at least.
    pub min_new_tokens: usize,
    /// How many tokens a row gets at most.
    pub max_new_tokens: usize,
    /// How many more for each token of its prompt or source.
    pub max_per_input_token: f64,
    /// How long a row may get with its prompt, or how much of it the model reads. Targets know nothing of it.
    pub context_limit: ContextLimit,
    /// Tokens that end a row; they are not part of what it gets.
    pub stop_tokens: Vec<u32>,
    /// Texts that end a row; they are not part of what it gets. Only [`generate_texts`](crate::generate_texts) and
    /// [`generate_text`](crate::generate_text) know of text.
    pub stop_strings: Vec<String>,
    /// How many rows are decoded at a time at most.
    pub batch_size: usize,
    /// The seed of all chance: a token depends on it, on the index of its prompt or source, on that of its sequence, on
    /// its place among the new tokens, and on the scores, but on no other row.
    pub seed: u64,
}

impl Default for GenerationConfig {
    /// Greedy, up to 100 tokens, 64 rows at a time.
    fn default() -> Self {
        Self {
            sampling: Sampling::Greedy,
            n_sequences: 1,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: None,
            bad_words: Vec::new(),
            min_new_tokens: 0,
            max_new_tokens: 100,
            max_per_input_token: 0.0,
            context_limit: ContextLimit::None,
            stop_tokens: Vec::new(),
            stop_strings: Vec::new(),
            batch_size: 64,
            seed: 0,
        }
    }
}

impl GenerationConfig {
    /// Checks the ranges of all settings.
    ///
    /// # Errors
    /// [`GenerationError::Setting`], [`GenerationError::EmptyStopString`].
    pub fn validate(&self) -> Result<(), GenerationError> {
        self.sampling.validate()?;
        let n_sequences = self.n_sequences;
        input::check_at_least_1("n_sequences", n_sequences)?;
        let differ = n_sequences == 1 || self.sampling != Sampling::Greedy;
        input::check(
            differ,
            "n_sequences",
            n_sequences as f64,
            "1 where nothing is left to chance",
        )?;
        self.restrictions().validate(self.max_new_tokens)?;
        input::check_per_input_token(self.max_per_input_token)?;
        if self.stop_strings.iter().any(String::is_empty) {
            return Err(GenerationError::EmptyStopString);
        }
        if let ContextLimit::Ends(positions) | ContextLimit::Slides(positions) = self.context_limit
        {
            input::check_at_least_1("context_limit", positions)?;
        }
        input::check_at_least_1("batch_size", self.batch_size)
    }

    /// The same, where rows are of tokens.
    pub(super) fn validate_for_tokens(&self) -> Result<(), GenerationError> {
        self.validate()?;
        let has_stop_strings = !self.stop_strings.is_empty();
        if has_stop_strings { Err(GenerationError::StopStringsOfTokens) } else { Ok(()) }
    }

    pub(super) fn limit(&self, input: &[u32]) -> usize {
        input::limit(self.max_new_tokens, self.max_per_input_token, input)
    }

    /// How many tokens the rows of a prompt get at most.
    pub(super) fn limit_of_prompt(
        &self,
        row: usize,
        prompt: &[u32],
    ) -> Result<usize, GenerationError> {
        let (limit, n_tokens) = (self.limit(prompt), prompt.len());
        match self.context_limit {
            ContextLimit::Ends(max_positions) if n_tokens >= max_positions => {
                Err(GenerationError::PromptTooLong { row, n_tokens, max_positions })
            }
            ContextLimit::Ends(max_positions) => Ok(limit.min(max_positions - n_tokens)),
            ContextLimit::None | ContextLimit::Slides(_) => Ok(limit),
        }
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

    /// Every input as often as it has sequences.
    pub(super) fn repeated<'a>(&self, inputs: &[&'a [u32]]) -> Vec<&'a [u32]> {
        inputs.iter().flat_map(|input| repeat_n(*input, self.n_sequences)).collect()
    }

    /// The random numbers of a row.
    pub(super) fn chance(&self, index: usize) -> Stream {
        let (input, sequence) = (index / self.n_sequences, index % self.n_sequences);
        let chance = Stream::new(self.seed).named("sampling").at(input as u64);
        // The first is the only one of its input as a rule.
        if sequence == 0 { chance } else { chance.at(sequence as u64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_refuses_what_it_does_not_know() {
        let parse = |text: &str| serde_json::from_str::<GenerationConfig>(text);
        assert_eq!(parse("{}").unwrap(), GenerationConfig::default());
        let error = parse(r#"{"max_tokens": 3}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `max_tokens`"), "{error}");
    }
}
