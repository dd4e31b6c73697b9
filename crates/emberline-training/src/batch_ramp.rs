//! Updates that have few rows at first.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, require};

/// Rows of an update that grow in a line with the tokens seen, `b₀ + (b - b₀) · t / T` rounded down, up to all b (Brown
/// and others, 2020, "Language models are few-shot learners", appendix B: from 32 thousand tokens, over the first 4 to
/// 12 billion). Gradients of a model that knows nothing agree, and need no large batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRamp {
    /// b₀, the rows of the first update.
    pub first_batch_size: usize,
    /// T, the tokens after which updates have all rows.
    pub tokens: u64,
}

/// The rows of every update of a [`BatchRamp`], as a pure function of its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSizes {
    /// The first update of each number of rows, and that number.
    starts: Vec<(u64, usize)>,
}

impl BatchRamp {
    /// Whether updates can grow so; the error names the first field that cannot be.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn validate(&self, batch_size: usize) -> Result<(), ConfigError> {
        let first = self.first_batch_size;
        let (field, expected) = ("batch_ramp.first_batch_size", "1 to `batch_size`");
        require((1..=batch_size).contains(&first), field, expected, first)?;
        require(self.tokens > 0, "batch_ramp.tokens", "at least 1", self.tokens)
    }

    /// The rows of the updates of a run whose full ones have `batch_size` rows of `seq_length` tokens.
    ///
    /// # Panics
    /// If a size is 0, or the first one above the full one.
    pub fn batch_sizes(&self, batch_size: usize, seq_length: usize) -> BatchSizes {
        let is_possible = self.validate(batch_size).is_ok() && seq_length > 0;
        assert!(is_possible, "{self:?} to {batch_size} rows of {seq_length} tokens");
        let (mut step, mut tokens) = (0, 0);
        let mut rows = self.rows_after(0, batch_size);
        let mut starts = vec![(0, rows)];
        while rows < batch_size {
            // All updates at once until there are more rows.
            let n_tokens = (rows * seq_length) as u64;
            let n_updates = (self.tokens_before(rows + 1, batch_size) - tokens).div_ceil(n_tokens);
            step += n_updates;
            tokens += n_updates * n_tokens;
            rows = self.rows_after(tokens, batch_size);
            starts.push((step, rows));
        }
        BatchSizes { starts }
    }

    fn rows_after(&self, tokens: u64, batch_size: usize) -> usize {
        let growth = (batch_size - self.first_batch_size) as u128;
        let grown = growth * u128::from(tokens.min(self.tokens)) / u128::from(self.tokens);
        self.first_batch_size + grown as usize
    }

    /// The fewest tokens after which there are so many rows, which are more than the first and at most all.
    fn tokens_before(&self, rows: usize, batch_size: usize) -> u64 {
        let growth = (batch_size - self.first_batch_size) as u128;
        let grown = (rows - self.first_batch_size) as u128;
        (grown * u128::from(self.tokens)).div_ceil(growth) as u64
    }
}

impl BatchSizes {
    /// The rows of an update, by the number of updates before it.
    pub fn of_update(&self, step: u64) -> usize {
        let next = self.starts.partition_point(|(start, _)| *start <= step);
        self.starts[next - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a line over tokens is geometric over updates: each has `1 + s (b - b₀) / T` times the rows of the one before.
    #[test]
    fn rows_grow_geometrically_from_update_to_update() {
        let ramp = BatchRamp { first_batch_size: 1, tokens: 32 };
        let sizes = ramp.batch_sizes(9, 4);
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 1000].map(|step| sizes.of_update(step)),
            [1, 2, 4, 8, 9, 9, 9]
        );
    }

    #[test]
    fn rows_are_those_of_the_line_at_the_tokens_before() {
        let ramp = BatchRamp { first_batch_size: 3, tokens: 1000 };
        let sizes = ramp.batch_sizes(10, 5);
        let mut tokens = 0;
        for step in 0..60 {
            let rows = 3 + (7 * tokens.min(1000)) / 1000;
            assert_eq!(sizes.of_update(step), rows, "update {step}, after {tokens} tokens");
            tokens += rows * 5;
        }
        assert!(tokens > 1000);
    }

    /// The 175B model: some 3.2 million tokens an update, from 32 thousand, over 4 billion.
    #[test]
    fn that_of_gpt_3_takes_as_many_updates_as_the_geometric_row() {
        let (first, full, seq_length) = (16usize, 1600usize, 2048u64);
        let ramp = BatchRamp { first_batch_size: first, tokens: 4_000_000_000 };
        let sizes = ramp.batch_sizes(full, seq_length as usize);
        let (last, rows) = *sizes.starts.last().unwrap();
        let growth = 1.0 + (seq_length * (full - first) as u64) as f64 / 4e9;
        let expected = (full as f64 / first as f64).ln() / growth.ln();
        assert_eq!(rows, full);
        // Rows are whole numbers, rounded down.
        assert!((last as f64 / expected - 1.0).abs() < 0.02, "{last} for {expected}");
    }

    #[test]
    fn a_ramp_from_the_full_batch_is_none() {
        let sizes = BatchRamp { first_batch_size: 4, tokens: 7 }.batch_sizes(4, 3);
        assert_eq!([sizes.of_update(0), sizes.of_update(9)], [4, 4]);
    }

    #[test]
    fn a_ramp_that_cannot_be_names_its_field() {
        let error = |first_batch_size, tokens| {
            BatchRamp { first_batch_size, tokens }.validate(4).unwrap_err().to_string()
        };
        assert_eq!(error(5, 1), "batch_ramp.first_batch_size must be 1 to `batch_size`, but is 5");
        assert_eq!(error(0, 1), "batch_ramp.first_batch_size must be 1 to `batch_size`, but is 0");
        assert_eq!(error(1, 0), "batch_ramp.tokens must be at least 1, but is 0");
    }
}
