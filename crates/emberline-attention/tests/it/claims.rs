//! What is said about attention, positions and normalisation, and what of it is true.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use emberline_attention::{
    BatchNorm, LayerNorm, MultiHeadAttention, MultiHeadAttentionConfig, PositionKind,
    SequenceLayerNorm, Visibility, attention_weights,
};
use emberline_backend::attention::{AttentionOptions, attention};
use emberline_backend::test_device;
use emberline_core::Stream;

const D_MODEL: usize = 8;
const N_HEADS: usize = 2;
const LENGTH: usize = 6;

fn random(seed: u64, shape: [usize; 3]) -> Tensor<3> {
    let values = Stream::new(seed).normals(shape.iter().product(), 1.0);
    Tensor::from_data(TensorData::new(values, shape), &test_device())
}

fn words() -> Tensor<3> {
    random(1, [1, LENGTH, D_MODEL])
}

fn layer() -> MultiHeadAttention {
    MultiHeadAttentionConfig::new(D_MODEL, N_HEADS).init(Stream::new(2), &test_device())
}

fn difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter().collect()
}

fn heads(vectors: Tensor<3>) -> Tensor<4> {
    let [batch_size, seq_length, width] = vectors.dims();
    vectors.reshape([batch_size, seq_length, N_HEADS, width / N_HEADS]).swap_dims(1, 2)
}

/// The words in another order.
fn reordered(words: Tensor<3>) -> Tensor<3> {
    let order = [3, 0, 5, 1, 4, 2].map(|word| words.clone().narrow(1, word, 1));
    Tensor::cat(order.to_vec(), 1)
}

/// The words with another last one.
fn with_another_last(words: Tensor<3>) -> Tensor<3> {
    let last = random(9, [1, 1, D_MODEL]);
    Tensor::cat(vec![words.narrow(1, 0, LENGTH - 1), last], 1)
}

#[test]
fn d_k_is_the_width_of_a_head_and_not_of_the_words() {
    let layer = layer();
    let (_, weights) = layer.forward_with_weights(words(), Visibility::default(), None);
    let scaled_by = |d_key: usize| {
        let [query, key] = [&layer.query, &layer.key].map(|linear| heads(linear.forward(words())));
        attention_weights(query, key, 1.0 / (d_key as f64).sqrt(), &Visibility::default())
    };
    assert!(difference(weights.clone(), scaled_by(D_MODEL / N_HEADS)) < 1e-6);
    assert!(difference(weights, scaled_by(D_MODEL)) > 1e-3);
}

#[test]
fn products_of_independent_queries_and_keys_have_the_variance_d_k() {
    let (d_key, n) = (64, 2_000);
    let numbers = |name: &str| Stream::new(3).named(name).normals(n * d_key, 1.0);
    let (queries, keys) = (numbers("queries"), numbers("keys"));
    let products: Vec<f64> = queries
        .chunks_exact(d_key)
        .zip(keys.chunks_exact(d_key))
        .map(|(query, key)| query.iter().zip(key).map(|(q, k)| f64::from(q * k)).sum())
        .collect();
    let mean = products.iter().sum::<f64>() / n as f64;
    let variance = products.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / n as f64;
    // A product of two normal numbers has the fourth moment 9, so that the sum of d_k has the excess 6 / d_k.
    let expected = d_key as f64;
    let sigma = expected * ((2.0 + 6.0 / expected) / n as f64).sqrt();
    assert!((variance - expected).abs() < 4.0 * sigma, "{variance}");
    // Divided by √d_k the scores have variance 1, whatever the width.
    assert!((variance / expected - 1.0).abs() < 4.0 * sigma / expected);
}

/// The mean norm of the derivatives of a softmax, `diag(w) - w wᵀ`, over queries of which each has sixteen scores: the
/// products of random queries and keys by `scale`.
fn norm_of_the_derivatives(d_key: usize, scale: f64) -> f64 {
    let (rows, n_queries, n_keys) = (16, 8, 16);
    let normals = |name: &str, n: usize| {
        let values = Stream::new(3).named(name).normals(rows * n * d_key, 1.0);
        Tensor::<4>::from_data(TensorData::new(values, [rows, 1, n, d_key]), &test_device())
    };
    let (queries, keys) = (normals("queries", n_queries), normals("keys", n_keys));
    let weights = numbers(attention_weights(queries, keys, scale, &Visibility::default()));
    let norms = weights.chunks_exact(n_keys).map(|weights| {
        let derivatives = weights.iter().enumerate().flat_map(|(i, a)| {
            weights.iter().enumerate().map(move |(j, b)| if i == j { a - a * b } else { -a * b })
        });
        derivatives.map(|derivative| derivative * derivative).sum::<f64>().sqrt()
    });
    norms.sum::<f64>() / (rows * n_queries) as f64
}

#[test]
fn the_root_keeps_the_gradient_of_a_softmax_that_wide_keys_take_away() {
    let plain = [4, 32, 256].map(|d_key| norm_of_the_derivatives(d_key, 1.0));
    // The wider the keys, the more often one weight is all but 1, and nothing moves it.
    assert!(plain[0] > 1.4 * plain[1] && plain[1] > 1.4 * plain[2], "{plain:?}");
    let divided =
        [4, 32, 256].map(|d_key| norm_of_the_derivatives(d_key, 1.0 / (d_key as f64).sqrt()));
    for norm in divided {
        assert!((norm / divided[0] - 1.0).abs() < 0.1, "{divided:?}");
    }
    assert!(divided[2] > 2.5 * plain[2], "{divided:?} {plain:?}");
}

#[test]
fn weights_are_positive_and_add_up_to_1() {
    let (_, weights) = layer().forward_with_weights(words(), Visibility::default(), None);
    for weights in numbers(weights).chunks_exact(LENGTH) {
        assert!(weights.iter().all(|weight| *weight > 0.0));
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_mask_acts_on_scores_and_not_on_weights() {
    let layer = layer();
    let weights = |visibility| numbers(layer.forward_with_weights(words(), visibility, None).1);
    let (all, causal) = (weights(Visibility::default()), weights(Visibility::causal()));
    for (row, (all, causal)) in
        all.chunks_exact(LENGTH).zip(causal.chunks_exact(LENGTH)).enumerate()
    {
        let seen = row % LENGTH + 1;
        assert!(causal[seen..].iter().all(|weight| *weight == 0.0));
        assert!((causal.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        // Weights that are hidden after the softmax leave a sum below 1; only dividing by it makes up for that.
        let left: f64 = all[..seen].iter().sum();
        assert!(seen == LENGTH || left < 0.99, "{left}");
        for (all, causal) in all[..seen].iter().zip(causal) {
            assert!((all / left - causal).abs() < 1e-6);
        }
    }
}

#[test]
fn an_encoder_sees_later_words_and_a_decoder_does_not() {
    let first = |visibility: Visibility, words: Tensor<3>| {
        layer().forward(words, visibility, None).narrow(1, 0, LENGTH - 1)
    };
    let moved = |visibility: Visibility| {
        let changed = first(visibility.clone(), with_another_last(words()));
        difference(first(visibility, words()), changed)
    };
    assert!(moved(Visibility::default()) > 1e-3);
    assert_eq!(moved(Visibility::causal()), 0.0);
}

#[test]
fn a_decoder_sees_all_of_the_source_but_its_padding() {
    let layer = layer();
    let target = random(4, [1, 3, D_MODEL]);
    let moved = |length: usize| {
        let attend = |source: Tensor<3>| {
            layer.cross(target.clone(), &layer.memory(source, Some(&[length])), None)
        };
        // The first word of the target sees the last one of the source: nothing is causal here.
        difference(
            attend(words()).narrow(1, 0, 1),
            attend(with_another_last(words())).narrow(1, 0, 1),
        )
    };
    assert!(moved(LENGTH) > 1e-3);
    assert_eq!(moved(LENGTH - 1), 0.0);
}

#[test]
fn without_positions_the_order_of_words_is_lost_and_with_them_it_is_not() {
    let layer = layer();
    let moved = |positions: PositionKind| {
        let positions = positions.init(D_MODEL, 1.0, Stream::new(5), &test_device());
        let attend = |words: Tensor<3>| {
            layer.forward(positions.forward(words, 0), Visibility::default(), None)
        };
        difference(reordered(attend(words())), attend(reordered(words())))
    };
    assert!(moved(PositionKind::None) < 1e-6);
    for positions in [
        PositionKind::Sinusoidal,
        PositionKind::SinusoidalHalves,
        PositionKind::Learned { max_positions: LENGTH },
        PositionKind::Scalar,
        PositionKind::OneHot,
    ] {
        assert!(moved(positions) > 1e-3, "{positions:?}");
    }
}

#[test]
fn a_causal_mask_tells_of_order_without_positions() {
    let attend = |words: Tensor<3>| layer().forward(words, Visibility::causal(), None);
    assert!(difference(reordered(attend(words())), attend(reordered(words()))) > 1e-3);
}

#[test]
fn a_word_does_not_always_look_at_itself_most() {
    let (_, weights) = layer().forward_with_weights(words(), Visibility::default(), None);
    let weights = numbers(weights);
    let looks_away = weights.chunks_exact(LENGTH).enumerate().filter(|(row, weights)| {
        let itself = weights[row % LENGTH];
        weights.iter().any(|weight| *weight > itself)
    });
    // Keys and queries are made by different matrices, of which the first are random.
    let n = looks_away.count();
    assert!(n > N_HEADS * LENGTH / 2, "{n} of {} look away", N_HEADS * LENGTH);
}

#[test]
fn heads_are_attentions_of_their_own_beside_each_other() {
    let layer = layer();
    let d_head = D_MODEL / N_HEADS;
    let alone = |head: usize| {
        let [query, key, value] = [&layer.query, &layer.key, &layer.value].map(|linear| {
            let weight = linear.weight.val().narrow(1, head * d_head, d_head);
            words().matmul(weight.unsqueeze()).unsqueeze_dim::<4>(1)
        });
        attention(query, key, value, AttentionOptions::default()).squeeze_dim::<3>(1)
    };
    let beside = Tensor::cat((0..N_HEADS).map(alone).collect(), 2);
    let expected = layer.output.forward(beside);
    assert!(difference(layer.forward(words(), Visibility::default(), None), expected) < 1e-6);
}

fn norm() -> LayerNorm {
    LayerNorm::init(D_MODEL, 1e-5, &test_device())
}

fn norm_over_sentences() -> SequenceLayerNorm {
    SequenceLayerNorm::init(LENGTH, D_MODEL, 1e-5, &test_device())
}

#[test]
fn layer_norm_is_of_each_token_and_not_of_the_sentence() {
    let first = |words: Tensor<3>| words.narrow(1, 0, LENGTH - 1);
    let changed = with_another_last(words());
    let [before, after] = [words(), changed.clone()].map(|words| first(norm().forward(words)));
    assert_eq!(difference(before, after), 0.0);
    let [before, after] =
        [words(), changed].map(|words| first(norm_over_sentences().forward(words)));
    assert!(difference(before, after) > 1e-3);
}

/// The cosines between the words of two sentences.
fn cosines(a: Tensor<3>, b: Tensor<3>) -> Vec<f64> {
    let dot = |a: &Tensor<3>, b: &Tensor<3>| (a.clone() * b.clone()).sum_dim(2);
    numbers(dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt())
}

fn lengths(words: Tensor<3>) -> Vec<f64> {
    numbers(words.square().sum_dim(2).sqrt())
}

fn centred(words: Tensor<3>) -> Tensor<3> {
    words.clone() - words.mean_dim(2)
}

#[test]
fn layer_norm_changes_the_direction_of_a_token_unless_its_mean_is_zero() {
    let turned = cosines(words(), norm().forward(words()));
    assert!(turned.iter().all(|cosine| *cosine < 0.9999), "{turned:?}");
    let words = centred(words());
    let turned = cosines(words.clone(), norm().forward(words.clone()));
    assert!(turned.iter().all(|cosine| *cosine > 0.99999), "{turned:?}");
    // And its scale, which is not the same for every entry, turns that too.
    let mut trained = norm();
    let gamma: [f32; D_MODEL] = std::array::from_fn(|entry| 0.5 + entry as f32);
    trained.gamma = Param::from_data(gamma, &test_device());
    let turned = cosines(words.clone(), trained.forward(words));
    assert!(turned.iter().all(|cosine| *cosine < 0.9999), "{turned:?}");
}

#[test]
fn layer_norm_makes_all_tokens_equally_long() {
    let scales: [f32; LENGTH] = [0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
    let scales = Tensor::<1>::from_data(scales, &test_device()).reshape([1, LENGTH, 1]);
    let normal = lengths(norm().forward(words() * scales));
    let expected = (D_MODEL as f64).sqrt();
    assert!(normal.iter().all(|length| (length - expected).abs() < 1e-3), "{normal:?}");
}

#[test]
fn a_norm_over_sentences_keeps_directions_and_relative_lengths_of_centred_words() {
    let words = centred(words());
    let normal = norm_over_sentences().forward(words.clone());
    let turned = cosines(words.clone(), normal.clone());
    assert!(turned.iter().all(|cosine| *cosine > 0.99999), "{turned:?}");
    let (before, after) = (lengths(words), lengths(normal));
    for (b, a) in before.iter().zip(&after) {
        assert!((b / before[0] - a / after[0]).abs() < 1e-5);
    }
}

#[test]
fn batch_norm_is_contaminated_by_padding_and_layer_norm_is_not() {
    let valid = |words: Tensor<3>| words.narrow(1, 0, LENGTH - 1);
    let padded = [0.0, 100.0].map(|padding| {
        let padding = Tensor::full([1, 1, D_MODEL], padding, &test_device());
        Tensor::cat(vec![valid(words()), padding], 1)
    });
    let batch_norm = |words: Tensor<3>| {
        let norm = BatchNorm::init(D_MODEL, &test_device());
        valid(norm.forward_training(words).0)
    };
    let [zeros, hundreds] = padded.clone().map(batch_norm);
    assert!(difference(zeros, hundreds) > 0.1);
    let [zeros, hundreds] = padded.map(|words| valid(norm().forward(words)));
    assert_eq!(difference(zeros, hundreds), 0.0);
}

#[test]
fn batch_norm_keeps_an_entry_comparable_across_tokens_and_loses_it_within_one() {
    // One entry is a hundred times the others: the order of tokens by any entry stays, that of entries does not.
    let scales: [f32; D_MODEL] = std::array::from_fn(|entry| if entry == 0 { 100.0 } else { 1.0 });
    let scales = Tensor::<1>::from_data(scales, &test_device()).reshape([1, 1, D_MODEL]);
    let words = words() * scales;
    let norm = BatchNorm::init(D_MODEL, &test_device());
    let (normal, _) = norm.forward_training(words.clone());
    let order = |words: Tensor<3>| {
        let entries = numbers(words.narrow(2, 0, 1));
        let mut order: Vec<usize> = (0..LENGTH).collect();
        order.sort_by(|a, b| entries[*a].total_cmp(&entries[*b]));
        order
    };
    assert_eq!(order(words), order(normal.clone()));
    let spreads = numbers(normal.square().mean_dim(1));
    assert!(spreads.iter().all(|spread| (spread - 1.0).abs() < 1e-3), "{spreads:?}");
}

#[test]
fn batch_norm_is_another_function_in_training_and_layer_norm_is_not() {
    let norm = BatchNorm::init(D_MODEL, &test_device());
    let evaluated = norm.forward(words());
    let (trained, moved) = norm.forward_training(words());
    assert!(difference(trained, evaluated.clone()) > 1e-2);
    // What it gives for a sentence depends on the batches that it has seen.
    assert!(difference(moved.forward(words()), evaluated) > 1e-2);
}
