//! The logarithm of the sum of exponentials, which turns scores into log-probabilities: `log Σ_c exp(scores_nc)`.

use burn::tensor::Tensor;

/// That of each row, without history.
///
/// Of a row with a NaN, with +∞, or with nothing but -∞ it is no finite number.
///
/// # Shapes
/// - scores: `[n, n_classes]`, at least one class
/// - output: `[n]`
pub fn log_sum_exp(scores: Tensor<2>) -> Tensor<1> {
    let scores = scores.inner();
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&scores) {
        return native::log_sum_exp(scores);
    }
    portable(scores)
}

fn portable(scores: Tensor<2>) -> Tensor<1> {
    let largest = scores.clone().max_dim(1);
    let sum = (scores - largest.clone()).exp().sum_dim(1);
    (sum.log() + largest).squeeze_dim(1)
}

#[cfg(feature = "flex")]
mod native {
    use burn::backend::Flex;
    use burn::tensor::{DType, Tensor, TensorData};
    use rayon::prelude::*;

    use crate::cross_entropy::log_sum_exp as of_row;
    use crate::flex::{Real, slice};

    pub fn log_sum_exp(scores: Tensor<2>) -> Tensor<1> {
        let ([rows, classes], device, dtype) = (scores.dims(), scores.device(), scores.dtype());
        let scores = scores.try_into_primitive::<Flex>().expect("the tensor is on Flex");
        let scores = if scores.is_contiguous() { scores } else { scores.to_contiguous() };
        fn of_rows<T: Real>(scores: &[T], classes: usize) -> Vec<T> {
            scores.par_chunks_exact(classes).map(of_row).collect()
        }
        let results = match dtype {
            DType::F64 => TensorData::new(of_rows::<f64>(slice(&scores), classes), [rows]),
            _ => TensorData::new(of_rows::<f32>(slice(&scores), classes), [rows]),
        };
        Tensor::from_data(results, (&device, dtype))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{TensorData, Tolerance};

    use super::*;
    use crate::test_device;

    fn numbers(tensor: Tensor<1>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn the_odds_of_a_row_are_added_up() {
        let odds = [[1.0f32, 2.0, 5.0], [1.0, 1.0, 2.0]];
        let scores = Tensor::<2>::from_data(odds, &test_device()).log();
        let sums = log_sum_exp(scores.clone()).exp().into_data();
        sums.assert_approx_eq::<f32>(&TensorData::from([8.0f32, 4.0]), Tolerance::absolute(1e-6));
        // Large scores do not overflow, and rows need not lie side by side.
        let shifted = log_sum_exp((scores + 1e3).transpose().transpose()) - 1e3;
        let expected = TensorData::from([8f32.ln(), 4f32.ln()]);
        shifted.into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-4));
    }

    #[test]
    fn any_number_of_classes_has_its_sum_in_both_bodies() {
        for classes in [1usize, 15, 16, 17, 1023, 50_000] {
            let scores = Tensor::<2>::full([3, classes], -3.0, &test_device());
            let expected = (classes as f32).ln() - 3.0;
            for sums in [log_sum_exp(scores.clone()), portable(scores)] {
                assert!(numbers(sums).iter().all(|sum| (sum - expected).abs() < 1e-5), "{classes}");
            }
        }
    }

    #[test]
    fn scores_that_are_no_numbers_have_no_finite_sum() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        let rows = [[0.0, nan], [nan, 0.0], [nan, nan], [infinity, 0.0], [-infinity, -infinity]];
        let scores = Tensor::<2>::from_data(rows, &test_device());
        for sums in [log_sum_exp(scores.clone()), portable(scores)] {
            let sums = numbers(sums);
            assert!(sums.iter().all(|sum| !sum.is_finite()), "{sums:?}");
        }
        let one_is_ruled_out = Tensor::<2>::from_data([[-infinity, 2.0]], &test_device());
        assert_eq!(numbers(log_sum_exp(one_is_ruled_out)), [2.0]);
    }
}
