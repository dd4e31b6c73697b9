//! The weights of attention, for those who want to see them.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use emberline_backend::attention::Visibility;
use emberline_core::mask;

/// `softmax_j(scale · q_i · k_j)` over the keys that each query sees, and zeros elsewhere.
///
/// [`attention`](emberline_backend::attention::attention) itself never holds them.
///
/// # Shapes
/// - query: `[batch_size, n_heads, query_length, d_key]`
/// - key: `[batch_size, n_heads, key_length, d_key]`
/// - output: `[batch_size, n_heads, query_length, key_length]`
pub fn attention_weights(
    query: Tensor<4>,
    key: Tensor<4>,
    scale: f64,
    visibility: &Visibility,
) -> Tensor<4> {
    let [batch_size, _, query_length, _] = query.dims();
    let [_, _, key_length, _] = key.dims();
    let scores = query.matmul(key.swap_dims(2, 3)) * scale;
    let ranges = (0..batch_size * query_length).map(|index| {
        let (row, query) = (index / query_length, index % query_length);
        visibility.range(row, query, [query_length, key_length])
    });
    let hidden = mask::outside(ranges, key_length, &scores.device().inner());
    let hidden = hidden.reshape([batch_size, 1, query_length, key_length]).expand(scores.dims());
    // A mask acts on scores: a weight set to zero after the softmax would have taken its share from the others. Finite,
    // so that a query that sees nothing has no NaN.
    softmax(scores.mask_fill(hidden.clone(), -1e30), 3).mask_fill(hidden, 0.0)
}
