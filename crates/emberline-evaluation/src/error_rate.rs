//! The rate of wrong tokens: of words, phonemes or characters.

use crate::scores::ratio;

/// How many tokens must be replaced, left out and added to make sequences right, and how many sequences are right.
///
/// Over words [`error_rate`](Self::error_rate) is the word error rate, over phonemes the phoneme error rate, over
/// characters the character error rate. From spelling to phonemes, where a sequence is a word, "word error rate" is
/// the share of words with a wrong phoneme: [`sequence_error_rate`](Self::sequence_error_rate).
///
/// ```
/// use emberline_evaluation::ErrorRates;
///
/// let mut rates = ErrorRates::new();
/// rates.add(&["M", "AA1", "R", "T"], &["M", "AE1", "R", "T", "S"]);
/// rates.add(&["T", "UW1"], &["T", "UW1"]);
/// assert_eq!((rates.substitutions, rates.insertions, rates.deletions), (1, 1, 0));
/// assert_eq!(rates.error_rate(), Some(2.0 / 6.0));
/// assert_eq!(rates.sequence_error_rate(), 0.5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorRates {
    /// Tokens that are predicted in the place of others.
    pub substitutions: u64,
    /// Tokens that are missing.
    pub deletions: u64,
    /// Tokens that are too many.
    pub insertions: u64,
    /// The tokens that were expected.
    pub n_tokens: u64,
    /// The sequences that are wrong.
    pub n_wrong_sequences: u64,
    /// The sequences.
    pub n_sequences: u64,
}

impl ErrorRates {
    /// Without a sequence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a sequence: the fewest edits, and of those with as few, the ones with most substitutions.
    pub fn add<T: Eq>(&mut self, expected: &[T], predicted: &[T]) {
        let Alignment { edits, moves } = align(expected, predicted);
        // Every token is kept, replaced, left out or added, so what is left out and what is added differ by what
        // the lengths differ by.
        let shrink = expected.len().saturating_sub(predicted.len()) as u64;
        let growth = predicted.len().saturating_sub(expected.len()) as u64;
        let pairs = (moves - shrink - growth) / 2;
        self.substitutions += edits - moves;
        self.deletions += pairs + shrink;
        self.insertions += pairs + growth;
        self.n_tokens += expected.len() as u64;
        self.n_wrong_sequences += u64::from(edits > 0);
        self.n_sequences += 1;
    }

    /// The edits for each token that was expected, which may be more than one; none if no token was expected.
    pub fn error_rate(&self) -> Option<f64> {
        let edits = self.substitutions + self.deletions + self.insertions;
        (self.n_tokens > 0).then(|| edits as f64 / self.n_tokens as f64)
    }

    /// The part of the sequences that is wrong somewhere; 0 if there is none.
    pub fn sequence_error_rate(&self) -> f64 {
        ratio(self.n_wrong_sequences as f64, self.n_sequences as f64)
    }

    /// The part of the sequences that is right from start to end; 0 if there is none.
    pub fn exact_match(&self) -> f64 {
        ratio((self.n_sequences - self.n_wrong_sequences) as f64, self.n_sequences as f64)
    }
}

/// What one sequence costs to be made another. The better of two has fewer edits, then fewer moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alignment {
    edits: u64,
    /// The edits that are no substitutions.
    moves: u64,
}

impl Alignment {
    fn with(self, edits: u64, moves: u64) -> Self {
        Self { edits: self.edits + edits, moves: self.moves + moves }
    }
}

/// The best alignment, by the distances of all beginnings (Wagner and Fischer, 1974: "The String-to-String Correction
/// Problem"), of which one row at a time is kept.
fn align<T: Eq>(expected: &[T], predicted: &[T]) -> Alignment {
    let steps = |n: usize| Alignment { edits: n as u64, moves: n as u64 };
    let mut row: Vec<Alignment> = (0..=predicted.len()).map(steps).collect();
    for (index, token) in expected.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = steps(index + 1);
        for (column, other) in predicted.iter().enumerate() {
            let substituted = diagonal.with(u64::from(token != other), 0);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal.with(1, 1)).min(row[column].with(1, 1));
        }
    }
    row[predicted.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Substitutions, deletions and insertions.
    fn edits(expected: &str, predicted: &str) -> [u64; 3] {
        let mut rates = ErrorRates::new();
        rates.add(expected.as_bytes(), predicted.as_bytes());
        [rates.substitutions, rates.deletions, rates.insertions]
    }

    #[test]
    fn edits_are_the_fewest_that_make_the_prediction_of_what_was_expected() {
        assert_eq!(edits("kitten", "sitting"), [2, 0, 1]);
        assert_eq!(edits("sitting", "kitten"), [2, 1, 0]);
        assert_eq!(edits("saturday", "sunday"), [1, 2, 0]);
        assert_eq!(edits("abcdef", "bcdxef"), [0, 1, 1]);
        assert_eq!(edits("same", "same"), [0, 0, 0]);
    }

    #[test]
    fn two_tokens_in_the_wrong_order_are_two_substitutions() {
        assert_eq!(edits("ab", "ba"), [2, 0, 0]);
    }

    #[test]
    fn nothing_is_all_left_out_and_of_nothing_all_is_added() {
        assert_eq!(
            (edits("abc", ""), edits("", "ab"), edits("", "")),
            ([0, 3, 0], [0, 0, 2], [0; 3])
        );
    }

    #[test]
    fn the_rate_is_of_all_tokens_and_not_the_mean_of_the_sequences() {
        let mut rates = ErrorRates::new();
        rates.add(b"abcdefgh", b"abcdefgh");
        rates.add(b"ab", b"xxxx");
        assert_eq!((rates.error_rate(), rates.exact_match()), (Some(0.4), 0.5));
    }

    #[test]
    fn a_rate_of_no_token_is_none() {
        let mut rates = ErrorRates::new();
        assert_eq!((rates.error_rate(), rates.exact_match()), (None, 0.0));
        rates.add(b"", b"a");
        assert_eq!((rates.error_rate(), rates.sequence_error_rate()), (None, 1.0));
    }
}
