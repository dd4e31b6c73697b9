//! A head over a vocabulary and the cross-entropy of its scores, summed, as one operation.
//!
//! ```text
//! s_n = h_n W + b        loss = Σ_n -Σ_c q_nc log softmax(s_n)_c        ds_n = softmax(s_n) - q_n
//! ```
//!
//! q is one at the target, or smoothed. The scores of a few rows at a time are computed, used and forgotten, so that
//! no matrix of all tokens by all words is ever held. This is the idea of the Liger kernels (Hsu and others, 2024).

#[cfg(feature = "flex")]
mod native;
#[cfg(feature = "flex")]
mod scores;
mod smoothing;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use emberline_core::HeadWeights;

#[cfg(feature = "flex")]
use crate::cross_entropy::class;

use smoothing::Distribution;
pub use smoothing::LabelSmoothing;

/// What cross-entropy is computed with besides its tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropyOptions {
    /// A target whose rows add nothing.
    pub ignored: Option<i32>,
    /// How targets are smoothed.
    pub smoothing: Option<LabelSmoothing>,
}

/// The cross-entropy of a head's scores against target classes, summed over the rows that are not ignored.
///
/// A sum and not a mean: who divides knows the count of the whole update. Zero where every row is ignored.
///
/// # Shapes
/// - hidden: `[n, d_model]`
/// - targets: `[n]`, each in `0..vocab_size` or ignored
/// - output: `[1]`
///
/// # Panics
/// If shapes do not fit, a smoothing is not in `[0, 1)` or has too few classes to share it, or, on the CPU, a target
/// is no class.
pub fn linear_cross_entropy(
    hidden: Tensor<2>,
    head: HeadWeights,
    targets: Tensor<1, Int>,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    let [rows, d_model] = hidden.dims();
    let vocab_size = head.vocab_size();
    assert_eq!(targets.dims(), [rows], "one target for each row");
    assert_eq!(head.d_model(), d_model, "the width that the head takes");
    if let Some(bias) = &head.bias {
        assert_eq!(bias.dims(), [vocab_size], "the bias of the head");
    }
    let distribution = Distribution::new(options.smoothing, vocab_size);
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&hidden) {
        return natively(hidden, head, targets, options.ignored, distribution);
    }
    portable(hidden, head, targets, options.ignored, distribution)
}

#[cfg(feature = "flex")]
fn natively(
    hidden: Tensor<2>,
    HeadWeights { weight, is_tied, bias }: HeadWeights,
    targets: Tensor<1, Int>,
    ignored: Option<i32>,
    distribution: Distribution,
) -> Tensor<1> {
    let vocab_size = weight.dims()[usize::from(!is_tied)];
    let is_ignored = |target: &i64| {
        ignored.is_some_and(|ignored| *target == i64::from(ignored))
            || distribution.padding.is_some_and(|padding| *target == padding as i64)
    };
    let targets = targets.into_data();
    let rows = targets.iter::<i64>().enumerate().filter(|(_, target)| !is_ignored(target));
    let rows = rows.map(|(row, target)| (row, class(target, vocab_size))).collect();
    let mut is_tracked = vec![hidden.is_tracked(), weight.is_tracked()];
    is_tracked.extend(bias.as_ref().map(Tensor::is_tracked));
    let mut arguments = vec![hidden.into_dispatch(), weight.into_dispatch()];
    arguments.extend(bias.map(Tensor::into_dispatch));
    let operation = native::LinearCrossEntropy { is_tied, rows, distribution, is_tracked };
    crate::flex::fused::run(operation, arguments)
}

fn portable(
    hidden: Tensor<2>,
    head: HeadWeights,
    targets: Tensor<1, Int>,
    ignored: Option<i32>,
    Distribution { peak, floor, padding, entropy }: Distribution,
) -> Tensor<1> {
    let logarithms = log_softmax(head.forward(hidden), 1);
    let ignored = [ignored.map(i64::from), padding.map(|padding| padding as i64)];
    let is_ignored = ignored
        .into_iter()
        .flatten()
        .map(|class| targets.clone().equal_elem(class))
        .reduce(|a, b| a.bool_or(b));
    let targets = match &is_ignored {
        Some(is_ignored) => targets.mask_fill(is_ignored.clone(), 0),
        None => targets,
    };
    let of_target = logarithms.clone().gather(1, targets.unsqueeze_dim(1));
    let mut losses = of_target.mul_scalar(-peak).sub_scalar(entropy);
    if floor > 0.0 {
        let mut sum = logarithms.clone().sum_dim(1);
        if let Some(padding) = padding {
            sum = sum - logarithms.narrow(1, padding, 1);
        }
        losses = losses - sum * floor;
    }
    let losses = losses.squeeze_dim::<1>(1);
    match is_ignored {
        Some(is_ignored) => losses.mask_fill(is_ignored, 0.0).sum(),
        None => losses.sum(),
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
