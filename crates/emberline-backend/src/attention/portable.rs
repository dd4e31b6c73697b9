//! The body for every device: plain tensor operations, differentiated by Burn.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor, TensorData};
use emberline_core::mask;

use super::AttentionOptions;

pub(super) fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    options: &AttentionOptions,
) -> Tensor<4> {
    let [_, _, _, d_key] = query.dims();
    let scores = query.matmul(key.swap_dims(2, 3)) * options.scale(d_key);
    let hidden = hidden(&scores, options);
    // Low enough to vanish beside any score, and finite, so that a row with nothing to see is no NaN before it is
    // cleared.
    let weights = softmax(scores.mask_fill(hidden.clone(), -1e30), 3).mask_fill(hidden, 0.0);
    dropped(weights, options).matmul(value)
}

/// The keys that are not seen, `[batch_size, n_heads, query_length, key_length]`.
fn hidden(scores: &Tensor<4>, options: &AttentionOptions) -> Tensor<4, Bool> {
    let [batch_size, _, query_length, key_length] = scores.dims();
    let ranges = (0..batch_size * query_length).map(|index| {
        let (row, query) = (index / query_length, index % query_length);
        options.visibility.range(row, query, [query_length, key_length])
    });
    let hidden = mask::outside(ranges, key_length, &scores.device().inner());
    hidden.reshape([batch_size, 1, query_length, key_length]).expand(scores.dims())
}

fn dropped(weights: Tensor<4>, options: &AttentionOptions) -> Tensor<4> {
    let [batch_size, n_heads, query_length, key_length] = weights.dims();
    let queries = 0..batch_size * n_heads * query_length;
    let kept: Vec<f64> =
        queries.filter_map(|query| options.kept(query, key_length)).flatten().collect();
    if kept.is_empty() {
        return weights;
    }
    let options = (&weights.device().inner(), weights.dtype());
    let kept = Tensor::<4>::from_data(TensorData::new(kept, weights.dims()), options);
    weights * kept
}
