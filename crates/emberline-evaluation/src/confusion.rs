//! Which class is taken for which.

use crate::scores::{Scores, ratio};

/// How often items of each class were predicted to be of each.
///
/// ```
/// use emberline_evaluation::ConfusionMatrix;
///
/// let mut matrix = ConfusionMatrix::new(2);
/// for (expected, predicted) in [(0, 0), (0, 1), (1, 1), (1, 1)] {
///     matrix.add(expected, predicted);
/// }
/// assert_eq!(matrix.accuracy(), 0.75);
/// assert_eq!(matrix.of_class(0).recall(), 0.5);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    n_classes: usize,
    /// Row after row, a row for each expected class.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// A matrix without an item.
    pub fn new(n_classes: usize) -> Self {
        Self { n_classes, counts: vec![0; n_classes * n_classes] }
    }

    /// Counts an item.
    ///
    /// # Panics
    /// If one of them is no class.
    pub fn add(&mut self, expected: u32, predicted: u32) {
        let place = self.place(expected, predicted);
        self.counts[place] += 1;
    }

    /// The number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// How often items of a class were predicted to be of another, or of the same.
    ///
    /// # Panics
    /// If one of them is no class.
    pub fn count(&self, expected: u32, predicted: u32) -> u64 {
        self.counts[self.place(expected, predicted)]
    }

    /// The number of items.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The part of the items that is right; 0 if there is none.
    pub fn accuracy(&self) -> f64 {
        let correct: u64 = self.classes().map(|class| self.count(class, class)).sum();
        ratio(correct as f64, self.total() as f64)
    }

    /// The scores of a class.
    ///
    /// # Panics
    /// If it is none.
    pub fn of_class(&self, class: u32) -> Scores {
        Scores {
            expected: self.classes().map(|other| self.count(class, other)).sum(),
            predicted: self.classes().map(|other| self.count(other, class)).sum(),
            correct: self.count(class, class),
        }
    }

    /// The mean of the F1 of every class that was expected or predicted, each as important as the others; 0 if there
    /// is none. As scikit-learn's `f1_score(average="macro")`.
    pub fn macro_f1(&self) -> f64 {
        let scores = self.classes().map(|class| self.of_class(class));
        let seen: Vec<f64> = scores
            .filter(|scores| scores.expected + scores.predicted > 0)
            .map(|scores| scores.f1())
            .collect();
        ratio(seen.iter().sum(), seen.len() as f64)
    }

    /// Matthews' correlation of what was expected and what was predicted: 1 where all is right, 0 by chance, and 0 too
    /// where either is always one class. Of more than two classes it is Gorodkin's `R_K`. As scikit-learn's
    /// `matthews_corrcoef`.
    ///
    /// `(c n - Σₖ eₖ pₖ) / √((n² - Σₖ eₖ²) (n² - Σₖ pₖ²))` of n items of which c are right, with eₖ and pₖ that are
    /// expected and predicted of class k.
    pub fn matthews(&self) -> f64 {
        let total = self.total() as f64;
        let (mut correct, mut both, mut expected, mut predicted) = (0.0, 0.0, 0.0, 0.0);
        for scores in self.classes().map(|class| self.of_class(class)) {
            let [e, p] = [scores.expected, scores.predicted].map(|count| count as f64);
            correct += scores.correct as f64;
            both += e * p;
            expected += e * e;
            predicted += p * p;
        }
        let spread = (total * total - expected) * (total * total - predicted);
        ratio(correct * total - both, spread.sqrt())
    }

    fn classes(&self) -> impl Iterator<Item = u32> {
        0..self.n_classes as u32
    }

    fn place(&self, expected: u32, predicted: u32) -> usize {
        let (expected, predicted, n_classes) =
            (expected as usize, predicted as usize, self.n_classes);
        assert!(
            expected < n_classes && predicted < n_classes,
            "classes {expected} and {predicted} among {n_classes}"
        );
        expected * n_classes + predicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(n_classes: usize, expected: &[u32], predicted: &[u32]) -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new(n_classes);
        for (expected, predicted) in expected.iter().zip(predicted) {
            matrix.add(*expected, *predicted);
        }
        matrix
    }

    #[test]
    fn rows_are_what_was_expected_and_columns_what_was_predicted() {
        // The example of scikit-learn's `confusion_matrix`.
        let matrix = matrix(3, &[2, 0, 2, 2, 0, 1], &[0, 0, 2, 2, 0, 2]);
        let rows = [0, 1, 2].map(|row| [0, 1, 2].map(|column| matrix.count(row, column)));
        assert_eq!(rows, [[2, 0, 0], [0, 0, 1], [1, 0, 2]]);
        assert_eq!((matrix.total(), matrix.accuracy()), (6, 4.0 / 6.0));
        assert_eq!(matrix.of_class(2), Scores { expected: 3, predicted: 3, correct: 2 });
    }

    #[test]
    fn macro_f1_gives_a_rare_class_the_weight_of_a_frequent_one() {
        // The example of scikit-learn's `f1_score`: 4/5, 0 and 0.
        let matrix = matrix(3, &[0, 1, 2, 0, 1, 2], &[0, 2, 1, 0, 0, 1]);
        assert!((matrix.macro_f1() - 0.8 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn matthews_correlation_of_two_classes_is_that_of_their_four_counts() {
        // 3 right and 1 wrong of class 1, 4 right and 2 wrong of class 0.
        let matrix = matrix(2, &[1, 1, 1, 1, 0, 0, 0, 0, 0, 0], &[1, 1, 1, 0, 0, 0, 0, 0, 1, 1]);
        let expected = (3.0 * 4.0 - 2.0 * 1.0) / (5.0f64 * 4.0 * 6.0 * 5.0).sqrt();
        assert!((matrix.matthews() - expected).abs() < 1e-12);
    }

    #[test]
    fn a_class_that_nothing_was_or_was_taken_for_does_not_count() {
        assert_eq!(matrix(5, &[0, 1], &[0, 1]).macro_f1(), 1.0);
        let nothing = matrix(5, &[], &[]);
        assert_eq!([nothing.macro_f1(), nothing.accuracy(), nothing.matthews()], [0.0; 3]);
        assert_eq!(matrix(2, &[0, 1], &[0, 0]).matthews(), 0.0);
    }

    #[test]
    #[should_panic(expected = "classes 1 and 3 among 3")]
    fn a_class_beyond_the_last_is_refused() {
        ConfusionMatrix::new(3).add(1, 3);
    }
}
