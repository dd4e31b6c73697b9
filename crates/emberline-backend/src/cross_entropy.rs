//! Cross-entropy of scores against target classes, summed.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};

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
/// If the numbers of rows differ.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    assert_eq!(targets.dims(), [rows], "one target for each row of logits");
    log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1)).sum().neg()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn uniform_logits_lose_the_logarithm_of_the_classes() {
        let device = crate::test_device();
        let loss =
            cross_entropy(Tensor::zeros([3, 5], &device), Tensor::from_data([0, 2, 4], &device));
        assert!((loss.into_scalar::<f64>() - 3.0 * 5.0f64.ln()).abs() < 1e-5);
    }
}
