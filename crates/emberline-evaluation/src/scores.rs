//! Precision, recall and F1.

use std::ops::Add;

/// How many items there are, how many were found, and how many of these are right: of a class, of spans, or of n-grams.
///
/// A ratio of nothing to nothing is 0, as conlleval and scikit-learn have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scores {
    /// The items that there are.
    pub expected: u64,
    /// The items that were predicted.
    pub predicted: u64,
    /// The items that were predicted and are there.
    pub correct: u64,
}

impl Add for Scores {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            expected: self.expected + other.expected,
            predicted: self.predicted + other.predicted,
            correct: self.correct + other.correct,
        }
    }
}

impl Scores {
    /// The part of what was predicted that is right.
    pub fn precision(&self) -> f64 {
        ratio(self.correct as f64, self.predicted as f64)
    }

    /// The part of what is there that was found.
    pub fn recall(&self) -> f64 {
        ratio(self.correct as f64, self.expected as f64)
    }

    /// The harmonic mean of both.
    pub fn f1(&self) -> f64 {
        ratio(2.0 * self.correct as f64, (self.expected + self.predicted) as f64)
    }
}

/// `part / whole`, and 0 of an empty whole.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_is_the_harmonic_mean_of_precision_and_recall() {
        let scores = Scores { expected: 8, predicted: 4, correct: 3 };
        let (precision, recall) = (scores.precision(), scores.recall());
        assert_eq!((precision, recall, scores.f1()), (0.75, 0.375, 0.5));
        assert_eq!(scores.f1(), 2.0 * precision * recall / (precision + recall));
    }

    #[test]
    fn nothing_of_nothing_is_zero() {
        let nothing = Scores::default();
        assert_eq!([nothing.precision(), nothing.recall(), nothing.f1()], [0.0; 3]);
        let missed = Scores { expected: 3, ..nothing };
        assert_eq!([missed.precision(), missed.recall(), missed.f1()], [0.0; 3]);
    }
}
