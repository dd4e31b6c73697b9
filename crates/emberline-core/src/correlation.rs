//! How well predicted numbers go along with those that are right, as of the similarity of sentences.

/// Pearson's correlation: 1 where the predictions lie on a rising line over the right numbers, -1 on a falling one. There
/// is none where either side has fewer than two different numbers. As scipy's `pearsonr`.
///
/// ```
/// use emberline_core::{pearson, spearman};
///
/// let (expected, predicted) = ([1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 9.0, 16.0]);
/// assert_eq!(spearman(&expected, &predicted), Some(1.0));
/// assert!(pearson(&expected, &predicted).is_some_and(|of_lines| of_lines < 1.0));
/// assert_eq!(pearson(&expected, &[2.0; 4]), None);
/// ```
///
/// # Panics
/// If there is not one prediction for each number.
pub fn pearson(expected: &[f64], predicted: &[f64]) -> Option<f64> {
    assert_eq!(expected.len(), predicted.len(), "a prediction for each number");
    let deviations = |numbers: &[f64]| {
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        numbers.iter().map(|number| number - mean).collect::<Vec<f64>>()
    };
    let (expected, predicted) = (deviations(expected), deviations(predicted));
    let product = |one: &[f64], other: &[f64]| -> f64 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    };
    let lengths = (product(&expected, &expected) * product(&predicted, &predicted)).sqrt();
    (lengths > 0.0).then(|| (product(&expected, &predicted) / lengths).clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of the ranks, where equal numbers share the mean of theirs. As scipy's `spearmanr`.
///
/// # Panics
/// If there is not one prediction for each number.
pub fn spearman(expected: &[f64], predicted: &[f64]) -> Option<f64> {
    pearson(&ranks(expected), &ranks(predicted))
}

/// The place of each number in their order, from 1.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|one, other| numbers[*one].total_cmp(&numbers[*other]));
    let mut ranks = vec![0.0; numbers.len()];
    let mut before = 0;
    for equal in order.chunk_by(|one, other| numbers[*one] == numbers[*other]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|index| ranks[*index] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[2.0, 1.0, 2.0, 0.0, 2.0]), [4.0, 2.0, 4.0, 1.0, 4.0]);
        // The two zeros are one number.
        assert_eq!(ranks(&[0.0, -0.0]), [1.5, 1.5]);
    }

    #[test]
    fn lines_correlate_fully_in_their_direction() {
        let numbers = [0.5, 3.0, -2.0, 7.0];
        let line = |slope: f64| numbers.map(|number| slope * number + 1.0);
        assert!((pearson(&numbers, &line(2.0)).unwrap() - 1.0).abs() < 1e-12);
        assert!((pearson(&numbers, &line(-0.1)).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(spearman(&numbers, &line(-0.1)), Some(-1.0));
    }

    #[test]
    fn one_number_over_and_over_correlates_with_nothing() {
        for numbers in [&[][..], &[1.0], &[3.0, 3.0]] {
            assert_eq!((pearson(numbers, numbers), spearman(numbers, numbers)), (None, None));
        }
    }
}
