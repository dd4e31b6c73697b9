//! Scaled dot-product attention (Vaswani and others, 2017) as one operation.
//!
//! ```text
//! s_ij = scale · q_i · k_j        α_i = softmax_j(s_i), over the keys that query i sees        z_i = Σ_j α_ij v_j
//! ```
//!
//! The scores of a few queries at a time are computed, used and forgotten, and computed again on the way back: memory
//! grows with the length, not with its square. A query that sees nothing gets zeros.

#[cfg(feature = "flex")]
mod heads;
#[cfg(feature = "flex")]
mod native;
mod portable;
mod visibility;

use burn::tensor::Tensor;
use emberline_core::Stream;

pub use visibility::Visibility;

/// What attention is computed with besides its tensors.
#[derive(Clone, Debug, Default)]
pub struct AttentionOptions {
    /// The factor of the scores, by default `1 / √d_key`, the width of one head.
    pub scale: Option<f64>,
    /// Which keys a query sees; by default all.
    pub visibility: Visibility,
    /// Sets weights to zero with this probability, and scales the rest; draws from the stream.
    pub dropout: Option<(f64, Stream)>,
}

/// Attends.
///
/// # Shapes
/// - query: `[batch_size, n_heads, query_length, d_key]`
/// - key: `[batch_size, n_heads, key_length, d_key]`
/// - value: `[batch_size, n_heads, key_length, d_value]`
/// - output: `[batch_size, n_heads, query_length, d_value]`
///
/// # Panics
/// If shapes do not fit, a row's keys are not within `key_length`, or the probability of dropout is not in `[0, 1)`.
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    options: AttentionOptions,
) -> Tensor<4> {
    let [batch_size, n_heads, _, d_key] = query.dims();
    let [_, _, key_length, d_value] = value.dims();
    assert_eq!(key.dims(), [batch_size, n_heads, key_length, d_key], "keys of attention");
    assert_eq!(value.dims(), [batch_size, n_heads, key_length, d_value], "values of attention");
    options.visibility.check(batch_size, key_length);
    if let Some((probability, _)) = options.dropout {
        assert!((0.0..1.0).contains(&probability), "a dropout probability of {probability}");
    }
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&query) {
        let arguments = vec![query.into_dispatch(), key.into_dispatch(), value.into_dispatch()];
        return crate::flex::fused::run(native::Attention(options), arguments);
    }
    portable::attention(query, key, value, &options)
}

impl AttentionOptions {
    fn scale(&self, d_key: usize) -> f64 {
        self.scale.unwrap_or(1.0 / (d_key as f64).sqrt())
    }

    /// The factors of the weights of one query, for its first `n` keys: zero where a weight is dropped. `query` counts
    /// through batch, heads and length.
    fn kept(&self, query: usize, n: usize) -> Option<impl Iterator<Item = f64>> {
        let (probability, stream) = self.dropout.filter(|(probability, _)| *probability > 0.0)?;
        let kept = 1.0 / (1.0 - probability);
        let numbers = stream.at(query as u64).uniform_sequence().take(n);
        Some(numbers.map(move |number| if number < probability { 0.0 } else { kept }))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
