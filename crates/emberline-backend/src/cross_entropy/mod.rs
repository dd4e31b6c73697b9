//! Cross-entropy of scores against target classes, summed, as one operation.
//!
//! `Σ_n (log Σ_c exp(logits_nc) - logits_n,target)`, and its gradient `softmax(logits_n) - onehot(target)`.
//! Nothing but the scores is kept for the backward pass.

#[cfg(feature = "flex")]
mod native;
#[cfg(feature = "flex")]
mod operation;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
#[cfg(feature = "flex")]
pub(crate) use native::log_sum_exp;
#[cfg(feature = "flex")]
pub(crate) use operation::class;

/// `Σ_n -log softmax(logits_n)[targets_n]`.
///
/// A sum and not a mean: who divides knows the count of the whole update.
///
/// # Shapes
/// - logits: `[n, n_classes]`
/// - targets: `[n]`, each in `0..n_classes`
/// - output: `[1]`
///
/// # Panics
/// If the numbers of rows differ, or, on the CPU, a target is no class.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    assert_eq!(targets.dims(), [rows], "one target for each row of logits");
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&logits) {
        return operation::cross_entropy(logits, targets);
    }
    portable(logits, targets)
}

fn portable(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1)).sum().neg()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{DType, TensorData, Tolerance};
    use emberline_core::Stream;

    use super::*;

    #[test]
    fn uniform_logits_lose_the_logarithm_of_the_classes() {
        let device = crate::test_device();
        let targets = Tensor::from_data([0, 2, 4], &device);
        let loss = cross_entropy(Tensor::zeros([3, 5], &device), targets);
        assert!((loss.into_scalar::<f64>() - 3.0 * 5.0f64.ln()).abs() < 1e-5);
    }

    #[test]
    fn both_bodies_agree_in_value_and_gradient() {
        // More rows than one block, more classes than one register, and a part of one.
        let (rows, classes) = (150, 37);
        let device = crate::test_device().autodiff();
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let values: Vec<f64> =
                (0..(rows * classes) as u64).map(|i| 3.0 * Stream::new(1).normal(i)).collect();
            let targets: Vec<i32> =
                (0..rows as u64).map(|i| Stream::new(2).below(i, classes) as i32).collect();
            let targets = Tensor::<1, Int>::from_data(targets.as_slice(), &device);
            let run = |body: fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>| {
                let data = TensorData::new(values.clone(), [rows, classes]);
                let logits = Tensor::<2>::from_data(data, (&device, dtype)).require_grad();
                let loss = body(logits.clone(), targets.clone()) * 0.5;
                let gradient = logits.grad(&loss.backward()).unwrap();
                (loss.into_data(), gradient.into_data())
            };
            let (native, plain) = (run(operation::cross_entropy), run(portable));
            native.0.assert_approx_eq::<f64>(&plain.0, Tolerance::relative(tolerance));
            native.1.assert_approx_eq::<f64>(&plain.1, Tolerance::absolute(tolerance));
        }
    }

    #[test]
    fn a_score_that_is_no_number_is_never_hidden() {
        let device = crate::test_device();
        let logits = Tensor::from_data([[0.0, f32::NAN, 1.0]], &device);
        let loss = cross_entropy(logits, Tensor::from_data([0], &device));
        assert!(loss.into_scalar::<f32>().is_nan());
    }

    #[test]
    #[should_panic(expected = "a target of 5 among 5 classes")]
    fn a_target_beyond_the_classes_is_refused() {
        let device = crate::test_device();
        cross_entropy(Tensor::zeros([1, 5], &device), Tensor::from_data([5], &device));
    }
}
