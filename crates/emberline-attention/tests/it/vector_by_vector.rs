//! Self-attention word by word, in the six steps in which it is often explained, and that it is the same as in
//! matrices.
//!
//! Everything here is plain numbers: a vector is a `Vec`, and nothing is done to two words at once.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor, TensorData};
use emberline_attention::{MultiHeadAttention, MultiHeadAttentionConfig, Visibility};
use emberline_backend::test_device;
use emberline_core::Stream;

type Vector = Vec<f64>;

/// A matrix as the list of its rows.
type Matrix = Vec<Vector>;

/// The weights of one head, `[d_model, d_head]` each.
struct Head {
    query: Matrix,
    key: Matrix,
    value: Matrix,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x W`: entry j is the product of the vector with column j.
fn times(vector: &[f64], matrix: &Matrix) -> Vector {
    let column = |j: usize| matrix.iter().map(|row| row[j]).collect::<Vector>();
    (0..matrix[0].len()).map(|j| dot(vector, &column(j))).collect()
}

/// What a head makes of the word at `index` among all `words`.
fn attend(head: &Head, words: &[Vector], index: usize) -> Vector {
    // 1. A query of the word, and of every word a key and a value.
    let query = times(&words[index], &head.query);
    let keys: Vec<Vector> = words.iter().map(|word| times(word, &head.key)).collect();
    let values: Vec<Vector> = words.iter().map(|word| times(word, &head.value)).collect();
    // 2. A score of every word: how well its key answers the query.
    let scores: Vector = keys.iter().map(|key| dot(&query, key)).collect();
    // 3. Divided by the root of the width of a key: 8 in the paper, where keys are 64 wide.
    let d_key = query.len() as f64;
    let scores: Vector = scores.iter().map(|score| score / d_key.sqrt()).collect();
    // 4. The softmax makes positive weights of them that add up to 1.
    let exponentials: Vector = scores.iter().map(|score| score.exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    let weights: Vector = exponentials.iter().map(|exponential| exponential / sum).collect();
    // 5. Every value times its weight: what does not matter becomes small.
    let weighted: Vec<Vector> = weights
        .iter()
        .zip(&values)
        .map(|(weight, value)| value.iter().map(|entry| weight * entry).collect())
        .collect();
    // 6. Their sum.
    (0..values[0].len()).map(|j| weighted.iter().map(|value| value[j]).sum()).collect()
}

/// What all heads make of a word, beside each other, times `W^O`.
fn attend_with_heads(heads: &[Head], output: &Matrix, words: &[Vector], index: usize) -> Vector {
    let beside: Vector = heads.iter().flat_map(|head| attend(head, words, index)).collect();
    times(&beside, output)
}

/// The columns of a weight as the matrices of its heads.
fn by_head(weight: &Param<Tensor<2>>, n_heads: usize) -> Vec<Matrix> {
    let rows = rows(weight.val());
    let d_head = rows[0].len() / n_heads;
    let head = |h: usize| rows.iter().map(|row| row[h * d_head..][..d_head].to_vec()).collect();
    (0..n_heads).map(head).collect()
}

fn rows<const D: usize>(tensor: Tensor<D>) -> Matrix {
    let width = tensor.dims()[D - 1];
    let values: Vector = tensor.into_data().iter().collect();
    values.chunks_exact(width).map(<[f64]>::to_vec).collect()
}

struct ToDouble;

impl ModuleMapper for ToDouble {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(DType::F64))
    }
}

fn layer(n_heads: usize) -> MultiHeadAttention {
    let config =
        MultiHeadAttentionConfig { bias: false, ..MultiHeadAttentionConfig::new(6, n_heads) };
    config.init(Stream::new(1), &test_device()).map(&mut ToDouble)
}

#[test]
fn word_by_word_is_the_same_as_in_matrices() {
    let words = TensorData::new(Stream::new(2).normals(5 * 6, 1.0), [1, 5, 6]);
    let words = Tensor::<3>::from_data(words, (&test_device(), DType::F64));
    for n_heads in [1, 2, 3] {
        let layer = layer(n_heads);
        let [queries, keys, values] =
            [&layer.query, &layer.key, &layer.value].map(|linear| by_head(&linear.weight, n_heads));
        let heads: Vec<Head> = queries
            .into_iter()
            .zip(keys)
            .zip(values)
            .map(|((query, key), value)| Head { query, key, value })
            .collect();
        let output = rows(layer.output.weight.val());
        let in_matrices = rows(layer.forward(words.clone(), Visibility::default(), None));
        let words = rows(words.clone());
        for (index, expected) in in_matrices.iter().enumerate() {
            let found = attend_with_heads(&heads, &output, &words, index);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "word {index}: {found} and {expected}");
            }
        }
    }
}
