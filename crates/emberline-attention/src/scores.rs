//! Attention with one head and a score of choice, as recurrent decoders pay it: additive (Bahdanau, Cho, Bengio:
//! "Neural machine translation by jointly learning to align and translate", 2015), and dot and general (Luong, Pham,
//! Manning: "Effective approaches to attention-based neural machine translation", 2015).
//!
//! Against one vector for a whole source, a decoder has one for each step, made for the question of that step:
//!
//! ```text
//! e_tj = score(q_t, k_j)      α_t = softmax_j(e_t)      c_t = Σ_j α_tj v_j
//! ```

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use emberline_backend::{Linear, LinearConfig, additive_scores};
use emberline_core::{Cache, Stream, mask};
use serde::{Deserialize, Serialize};

/// How well a query fits a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreKind {
    /// `q · k`.
    Dot,
    /// `q · k / √d_key` (Vaswani and others, 2017).
    ScaledDot,
    /// `q · k / (|q| |k|)`: the dot product of the directions.
    Cosine,
    /// `q · W_a k` (Luong and others, 2015).
    General,
    /// `v_a · tanh(W_a q + U_a k)`. Luong's `concat` is the same with both matrices written as one.
    #[serde(alias = "concat")]
    Additive,
}

/// The form and the widths of a [`Score`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreConfig {
    /// The form.
    pub kind: ScoreKind,
    /// The width of a query.
    pub d_query: usize,
    /// The width of a key; that of a query in all products without a matrix.
    pub d_key: usize,
    /// The width in which the additive score compares; no other has it.
    pub d_alignment: usize,
}

/// A score with its weights.
#[derive(Module, Debug)]
pub struct Score {
    /// W_a of the additive score, `[d_query, d_alignment]`.
    pub query: Option<Linear>,
    /// U_a of the additive score, `[d_key, d_alignment]`; W_a of the general one, `[d_key, d_query]`.
    pub key: Option<Linear>,
    /// v_a of the additive score, `[d_alignment]`.
    pub vector: Option<Param<Tensor<1>>>,
    /// The form.
    #[module(skip)]
    pub kind: ScoreKind,
}

/// A source to attend to, with all that is computed once for it.
#[derive(Clone, Debug)]
pub struct Memory {
    /// As the score compares them, `[batch_size, source_length, d]`.
    pub keys: Tensor<3>,
    /// `[batch_size, source_length, d_value]`.
    pub values: Tensor<3>,
    /// Hides what follows the end of a row, `[batch_size, 1, source_length]`; `None` where every row is full.
    pub padding: Option<Tensor<3, Bool>>,
}

impl ScoreConfig {
    /// Matrices as torch draws those of `nn.Linear`, without biases, and v_a likewise.
    pub fn init(&self, random: Stream, device: &Device) -> Score {
        let Self { kind, d_query, d_key, d_alignment } = *self;
        let matrix = |name: &str, d_input, d_output| {
            let config = LinearConfig { d_input, d_output, bias: false };
            Some(config.init(random.named(name), device))
        };
        let (query, key, vector) = match kind {
            ScoreKind::Dot | ScoreKind::ScaledDot | ScoreKind::Cosine => (None, None, None),
            ScoreKind::General => (None, matrix("key", d_key, d_query), None),
            ScoreKind::Additive => {
                let bound = 1.0 / (d_alignment as f64).sqrt();
                let vector = random.named("vector").uniforms(d_alignment, -bound, bound);
                let vector = TensorData::new(vector, [d_alignment]);
                (
                    matrix("query", d_query, d_alignment),
                    matrix("key", d_key, d_alignment),
                    Some(Param::from_data(vector, device)),
                )
            }
        };
        Score { query, key, vector, kind }
    }

    /// The parameters of the score, which is not made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [d_query, d_key, d_alignment] =
            [self.d_query, self.d_key, self.d_alignment].map(|size| size as u64);
        match self.kind {
            ScoreKind::Dot | ScoreKind::ScaledDot | ScoreKind::Cosine => 0,
            ScoreKind::General => d_query.saturating_mul(d_key),
            ScoreKind::Additive => {
                d_query.saturating_add(d_key).saturating_add(1).saturating_mul(d_alignment)
            }
        }
    }
}

impl Score {
    /// Makes a source ready to be attended to: of the product with a key's matrix there is one for all queries.
    ///
    /// # Shapes
    /// - keys: `[batch_size, source_length, d_key]`
    /// - values: `[batch_size, source_length, d_value]`
    ///
    /// # Panics
    /// If shapes do not fit, or a length is 0 or above `source_length`.
    pub fn memory(&self, keys: Tensor<3>, values: Tensor<3>, lengths: Option<&[usize]>) -> Memory {
        let [batch_size, source_length, d_key] = keys.dims();
        assert_eq!(values.dims()[..2], [batch_size, source_length], "a value for each key");
        let keys = match &self.key {
            Some(key) => key.forward(keys),
            None => keys,
        };
        let keys = match self.kind {
            ScoreKind::ScaledDot => keys / (d_key as f64).sqrt(),
            ScoreKind::Cosine => direction(keys),
            ScoreKind::Dot | ScoreKind::General | ScoreKind::Additive => keys,
        };
        let padding = lengths.map(|lengths| {
            assert_eq!(lengths.len(), batch_size, "one length for each row");
            mask::padding(lengths, source_length, &keys.device().inner()).unsqueeze_dim(1)
        });
        Memory { keys, values, padding }
    }

    /// Attends: the vector of each query, and the weights that made it, which add up to 1 and are zero on padding.
    ///
    /// # Shapes
    /// - query: `[batch_size, target_length, d_query]`
    /// - output: `[batch_size, target_length, d_value]`, and weights `[batch_size, target_length, source_length]`
    ///
    /// # Panics
    /// If shapes do not fit.
    pub fn attend(&self, query: Tensor<3>, memory: &Memory) -> (Tensor<3>, Tensor<3>) {
        let mut scores = self.scores(query, memory.keys.clone());
        if let Some(padding) = &memory.padding {
            let hidden = padding.clone().expand(scores.dims());
            scores = scores.mask_fill(hidden, f32::NEG_INFINITY);
        }
        let weights = softmax(scores, 2);
        (weights.clone().matmul(memory.values.clone()), weights)
    }

    /// Of keys as a memory keeps them.
    fn scores(&self, query: Tensor<3>, keys: Tensor<3>) -> Tensor<3> {
        let [batch_size, target_length, _] = query.dims();
        let [_, _, d] = keys.dims();
        let query = match &self.query {
            Some(matrix) => matrix.forward(query),
            None if self.kind == ScoreKind::Cosine => direction(query),
            None => query,
        };
        assert_eq!(
            query.dims(),
            [batch_size, target_length, d],
            "queries beside keys {:?}",
            keys.dims()
        );
        match &self.vector {
            Some(vector) => additive_scores(query, keys, vector.val()),
            None => query.matmul(keys.transpose()),
        }
    }
}

impl Cache for Memory {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self {
            keys: self.keys.select_rows(rows),
            values: self.values.select_rows(rows),
            padding: self.padding.map(|padding| padding.select_rows(rows)),
        }
    }
}

/// Vectors of length 1. The zeros that stand in a padding stay zeros, and so do their gradients.
fn direction(vectors: Tensor<3>) -> Tensor<3> {
    let squares = vectors.clone().powi_scalar(2).sum_dim(2);
    vectors / (squares + 1e-20).sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;
    use emberline_backend::attention::{AttentionOptions, Visibility, attention};
    use emberline_backend::test_device;

    use super::*;

    const KINDS: [ScoreKind; 5] = [
        ScoreKind::Dot,
        ScoreKind::ScaledDot,
        ScoreKind::Cosine,
        ScoreKind::General,
        ScoreKind::Additive,
    ];

    fn score(kind: ScoreKind) -> Score {
        let config = ScoreConfig { kind, d_query: 4, d_key: 4, d_alignment: 5 };
        config.init(Stream::new(1), &test_device())
    }

    fn numbers<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
        let values = Stream::new(seed).normals(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), &test_device())
    }

    fn list<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    /// Scores of one query and one key.
    fn of_pair(score: &Score, query: [f32; 4], key: [f32; 4]) -> f32 {
        let [query, key] = [query, key].map(|row| Tensor::<3>::from_data([[row]], &test_device()));
        let memory = score.memory(key.clone(), key, None);
        score.scores(query, memory.keys).into_scalar()
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn products_are_what_they_are_called() {
        let (query, key) = ([1.0, 2.0, 2.0, 0.0], [3.0, 0.0, 4.0, 0.0]);
        let of = |kind| of_pair(&score(kind), query, key);
        close(&[of(ScoreKind::Dot), of(ScoreKind::ScaledDot)], &[11.0, 5.5]);
        close(&[of(ScoreKind::Cosine)], &[11.0 / 15.0]);
    }

    #[test]
    fn dot_scores_are_attention_with_one_head_scaled_or_not() {
        let (query, keys, values) =
            (numbers(2, [2, 3, 4]), numbers(3, [2, 5, 4]), numbers(4, [2, 5, 3]));
        for (kind, scale) in [(ScoreKind::Dot, Some(1.0)), (ScoreKind::ScaledDot, None)] {
            let score = score(kind);
            let memory = score.memory(keys.clone(), values.clone(), Some(&[5, 2]));
            let (found, _) = score.attend(query.clone(), &memory);
            let [query, keys, values] =
                [&query, &keys, &values].map(|tensor| tensor.clone().unsqueeze_dim(1));
            let visibility = Visibility::lengths(&[5, 2]);
            let options = AttentionOptions { scale, visibility, ..AttentionOptions::default() };
            close(&list(found), &list(attention(query, keys, values, options)));
        }
    }

    #[test]
    fn a_cosine_is_the_dot_product_of_what_is_normalised() {
        let [query, key] = [(2, 3), (3, 6)].map(|(seed, length)| numbers(seed, [2, length, 4]));
        let of = |kind, query, key: Tensor<3>| {
            let score = score(kind);
            let memory = score.memory(key.clone(), key, None);
            list(score.scores(query, memory.keys))
        };
        let normalised = |vectors: Tensor<3>| {
            let squares = (vectors.clone() * vectors.clone()).sum_dim(2);
            vectors / squares.sqrt()
        };
        let dots = of(ScoreKind::Dot, normalised(query.clone()), normalised(key.clone()));
        close(&of(ScoreKind::Cosine, query, key), &dots);
    }

    #[test]
    fn the_general_score_is_a_dot_product_through_a_matrix() {
        let general = score(ScoreKind::General);
        let weight = list(general.key.as_ref().unwrap().weight.val()); // [d_key, d_query]
        let (query, key) = ([1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 0.0, 2.0]);
        let expected: f32 = (0..4).map(|q| query[q] * (weight[4 + q] + 2.0 * weight[12 + q])).sum();
        close(&[of_pair(&general, query, key)], &[expected]);
    }

    #[test]
    fn the_additive_score_is_luongs_concat_with_one_matrix_over_both() {
        let additive = score(ScoreKind::Additive);
        let [above, below] =
            [&additive.query, &additive.key].map(|part| part.as_ref().unwrap().weight.val());
        let both = Tensor::cat(vec![above, below], 0); // [d_query + d_key, d_alignment]
        let (query, key) = ([1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 0.0, 2.0]);
        let stacked = Tensor::<1>::from_data([query, key].concat().as_slice(), &test_device())
            .unsqueeze::<2>();
        let vector = additive.vector.as_ref().unwrap().val();
        let expected = (stacked.matmul(both).tanh() * vector.unsqueeze()).sum();
        close(&[of_pair(&additive, query, key)], &list(expected));
    }

    #[test]
    fn weights_add_up_to_1_and_are_zero_on_padding_whatever_stands_there() {
        for kind in KINDS {
            let (score, keys) = (score(kind), numbers(2, [2, 3, 4]));
            let weights = |keys: Tensor<3>| {
                let memory = score.memory(keys.clone(), keys, Some(&[3, 1]));
                let (context, weights) = score.attend(numbers(3, [2, 2, 4]), &memory);
                (list(context), list(weights))
            };
            let (context, found) = weights(keys.clone());
            for (row, weights) in found.chunks_exact(3).enumerate() {
                close(&[weights.iter().sum()], &[1.0]);
                let is_short = row >= 2;
                assert_eq!(weights[1..].iter().all(|weight| *weight == 0.0), is_short, "{kind:?}");
                assert!(is_short || weights.iter().all(|weight| *weight > 0.0), "{kind:?}");
            }
            let noisy = weights(keys.slice_fill([1..2, 1..3], 1e3));
            assert_eq!(noisy, (context, found), "{kind:?}");
        }
    }

    #[test]
    fn a_query_like_one_of_many_one_hot_keys_recovers_its_value() {
        let device = test_device();
        let keys = Tensor::<2>::eye(4, &device).unsqueeze::<3>();
        let values = numbers(2, [1, 4, 3]);
        for kind in [ScoreKind::Dot, ScoreKind::ScaledDot] {
            let score = score(kind);
            let memory = score.memory(keys.clone(), values.clone(), None);
            let (context, _) = score.attend(keys.clone() * 1e3, &memory);
            assert_eq!(context.into_data(), values.to_data(), "{kind:?}");
        }
    }

    #[test]
    fn permuted_sources_permute_the_weights_and_leave_what_they_make() {
        let order = Tensor::<1, Int>::from_data([2, 0, 3, 1], &test_device());
        for kind in KINDS {
            let (score, keys, values) = (score(kind), numbers(2, [1, 4, 4]), numbers(3, [1, 4, 3]));
            let attend = |keys, values| {
                score.attend(numbers(4, [1, 2, 4]), &score.memory(keys, values, None))
            };
            let (context, weights) = attend(keys.clone(), values.clone());
            let permuted = |tensor: Tensor<3>| tensor.select(1, order.clone());
            let (again, other) = attend(permuted(keys), permuted(values));
            close(&list(other), &list(weights.select(2, order.clone())));
            close(&list(again), &list(context));
        }
    }

    #[test]
    fn directions_of_a_padding_have_no_gradient_and_stay_numbers() {
        let device = test_device().autodiff();
        let zeros = Tensor::<3>::zeros([1, 2, 3], &device).require_grad();
        let gradient = zeros.grad(&direction(zeros.clone()).powi_scalar(2).sum().backward());
        assert!(list(gradient.unwrap()).iter().all(|slope| *slope == 0.0));
    }

    #[test]
    fn rows_of_a_memory_can_be_picked() {
        let score = score(ScoreKind::Additive);
        let keys = numbers(2, [3, 3, 4]);
        let memory = score.memory(keys.clone(), keys, Some(&[3, 1, 2]));
        let query = numbers(3, [1, 2, 4]);
        let (_, all) = score.attend(query.clone().expand([3, 2, 4]), &memory);
        let (_, some) = score.attend(query.expand([2, 2, 4]), &memory.select_rows(&[2, 1]));
        let expected = Tensor::cat(vec![all.clone().narrow(0, 2, 1), all.narrow(0, 1, 1)], 0);
        assert_eq!(list(some), list(expected));
    }

    #[test]
    fn parameters_are_known_before_there_are_any() {
        for (kind, expected) in KINDS.into_iter().zip([0, 0, 0, 3 * 4, 5 * (3 + 4 + 1)]) {
            let config = ScoreConfig { kind, d_query: 3, d_key: 4, d_alignment: 5 };
            assert_eq!(config.parameter_count(), expected);
            let made = config.init(Stream::new(1), &test_device()).num_params();
            assert_eq!(made as u64, expected);
        }
    }

    #[test]
    #[should_panic(expected = "queries beside keys [1, 2, 4]")]
    fn queries_of_another_width_are_refused() {
        let score = score(ScoreKind::Dot);
        let keys = numbers(2, [1, 2, 4]);
        score.attend(numbers(3, [1, 2, 3]), &score.memory(keys.clone(), keys, None));
    }
}
