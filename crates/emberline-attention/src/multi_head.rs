//! Multi-head attention (Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin: "Attention is all you
//! need", 2017).
//!
//! ```text
//! head_i = Attention(X W_i^Q, Y W_i^K, Y W_i^V)        MultiHead = Concat(head_1, …, head_h) W^O
//! ```
//!
//! In self-attention Y is X; in cross-attention it is the memory of a source. `W^Q` holds the `W_i^Q` of all heads
//! side by side, and so do the others. A score is divided by `√d_head`, the width of one head, and not of the model.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::attention::{AttentionOptions, Visibility, attention};
use emberline_backend::{Dropout, Linear, LinearConfig};
use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::cache::{KeyValueCache, SourceMemory};
use crate::initial::glorot;
use crate::weights::attention_weights;

/// The sizes of a [`MultiHeadAttention`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiHeadAttentionConfig {
    /// The width of input and output.
    pub d_model: usize,
    /// The number of heads.
    pub n_heads: usize,
    /// The width of a head; by default `d_model / n_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_head: Option<usize>,
    /// Whether the four products add a bias.
    pub bias: bool,
    /// The probability with which a weight of attention is dropped in training.
    pub dropout: f64,
}

/// Attention of several heads, each in its own part of the width.
#[derive(Module, Debug)]
pub struct MultiHeadAttention {
    /// `W^Q`, `[d_model, n_heads · d_head]`.
    pub query: Linear,
    /// `W^K`, as the query's.
    pub key: Linear,
    /// `W^V`, as the query's.
    pub value: Linear,
    /// `W^O`, `[n_heads · d_head, d_model]`.
    pub output: Linear,
    /// The number of heads.
    pub n_heads: usize,
    /// Of the weights of attention.
    pub dropout: Dropout,
}

impl MultiHeadAttentionConfig {
    /// With heads that share the width of the model, with biases, and without dropout.
    pub fn new(d_model: usize, n_heads: usize) -> Self {
        Self { d_model, n_heads, d_head: None, bias: true, dropout: 0.0 }
    }

    /// The width of a head.
    ///
    /// # Panics
    /// If it is not given, and the heads cannot share the width of the model.
    pub fn d_head(&self) -> usize {
        let Self { d_model, n_heads, .. } = *self;
        self.d_head.unwrap_or_else(|| {
            let is_shared = n_heads > 0 && d_model.is_multiple_of(n_heads);
            assert!(is_shared, "{n_heads} heads do not share a width of {d_model}");
            d_model / n_heads
        })
    }

    /// Weights as those of `torch.nn.Transformer`: uniform (Glorot), the three matrices of queries, keys and values
    /// taken as one; biases are zero.
    ///
    /// # Panics
    /// As [`d_head`](Self::d_head).
    pub fn init(&self, random: Stream, device: &Device) -> MultiHeadAttention {
        let [input, output] = self.products();
        let linear = |config: LinearConfig, fan_out, name| {
            glorot(config, fan_out, random.named(name), device)
        };
        MultiHeadAttention {
            query: linear(input, 3 * input.d_output, "query"),
            key: linear(input, 3 * input.d_output, "key"),
            value: linear(input, 3 * input.d_output, "value"),
            output: linear(output, output.d_output, "output"),
            n_heads: self.n_heads,
            dropout: Dropout::new(self.dropout),
        }
    }

    /// Weights of the normal distribution with the given standard deviation, biases zero.
    ///
    /// # Panics
    /// As [`d_head`](Self::d_head).
    pub fn init_normal(
        &self,
        deviation: f64,
        random: Stream,
        device: &Device,
    ) -> MultiHeadAttention {
        let [input, output] = self.products();
        let linear =
            |config: LinearConfig, name| config.init_normal(deviation, random.named(name), device);
        MultiHeadAttention {
            query: linear(input, "query"),
            key: linear(input, "key"),
            value: linear(input, "value"),
            output: linear(output, "output"),
            n_heads: self.n_heads,
            dropout: Dropout::new(self.dropout),
        }
    }

    /// The product that queries, keys and values each come of, and that of the output.
    fn products(&self) -> [LinearConfig; 2] {
        let Self { d_model, bias, .. } = *self;
        let d_inner = self.n_heads * self.d_head();
        [
            LinearConfig { d_input: d_model, d_output: d_inner, bias },
            LinearConfig { d_input: d_inner, d_output: d_model, bias },
        ]
    }

    /// The number of parameters; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [d_model, n_heads, d_head] =
            [self.d_model, self.n_heads, self.d_head()].map(|size| size as u64);
        let d_inner = n_heads.saturating_mul(d_head);
        let biases = if self.bias { d_inner.saturating_mul(3).saturating_add(d_model) } else { 0 };
        d_model.saturating_mul(d_inner).saturating_mul(4).saturating_add(biases)
    }
}

impl MultiHeadAttention {
    /// Self-attention. Dropout draws from `random`; without it nothing is dropped.
    ///
    /// # Shapes
    /// - input, output: `[batch_size, seq_length, d_model]`
    pub fn forward(
        &self,
        input: Tensor<3>,
        visibility: Visibility,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let [query, key, value] = self.queries_keys_values(input);
        self.attend(query, key, value, visibility, random)
    }

    /// The same, with the weights, before dropout.
    ///
    /// # Shapes
    /// - weights: `[batch_size, n_heads, seq_length, seq_length]`
    pub fn forward_with_weights(
        &self,
        input: Tensor<3>,
        visibility: Visibility,
        random: Option<Stream>,
    ) -> (Tensor<3>, Tensor<4>) {
        let [query, key, value] = self.queries_keys_values(input);
        let weights = self.weights(query.clone(), key.clone(), &visibility);
        (self.attend(query, key, value, visibility, random), weights)
    }

    /// Causal self-attention of the tokens that follow those in the cache.
    ///
    /// # Shapes
    /// - input, output: `[batch_size, seq_length, d_model]`, of the new tokens only
    pub fn forward_from(
        &self,
        input: Tensor<3>,
        cache: KeyValueCache,
        random: Option<Stream>,
    ) -> (Tensor<3>, KeyValueCache) {
        let [query, key, value] = self.queries_keys_values(input);
        let cache = cache.append(key, value);
        let (key, value) = cache.keys_values();
        (self.attend(query, key, value, Visibility::causal(), random), cache)
    }

    /// What cross-attention needs of a source, computed once. `lengths` are the numbers of valid tokens of its rows;
    /// `None` where every row is full.
    ///
    /// # Shapes
    /// - source: `[batch_size, source_length, d_model]`
    pub fn memory(&self, source: Tensor<3>, lengths: Option<&[usize]>) -> SourceMemory {
        let [key, value] =
            [&self.key, &self.value].map(|linear| self.heads(linear, source.clone()));
        SourceMemory::new(key, value, lengths)
    }

    /// Cross-attention.
    ///
    /// # Shapes
    /// - input, output: `[rows, seq_length, d_model]`, with the rows of the memory
    pub fn cross(
        &self,
        input: Tensor<3>,
        memory: &SourceMemory,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let [_, seq_length, _] = input.dims();
        let query = self.heads(&self.query, memory.gather(input));
        self.attend_source(query, memory, seq_length, random)
    }

    /// The same, with the weights, before dropout.
    ///
    /// # Shapes
    /// - weights: `[rows, n_heads, seq_length, source_length]`
    pub fn cross_with_weights(
        &self,
        input: Tensor<3>,
        memory: &SourceMemory,
        random: Option<Stream>,
    ) -> (Tensor<3>, Tensor<4>) {
        let [rows, seq_length, _] = input.dims();
        let query = self.heads(&self.query, memory.gather(input));
        let (key, _) = memory.keys_values();
        let [_, n_heads, source_length, _] = key.dims();
        let weights = self.weights(query.clone(), key, &memory.visibility());
        let [sources, _, queries, _] = weights.dims();
        let weights = weights.swap_dims(1, 2).reshape([sources, queries, n_heads * source_length]);
        let weights = memory.scatter(weights, seq_length);
        let weights = weights.reshape([rows, seq_length, n_heads, source_length]).swap_dims(1, 2);
        (self.attend_source(query, memory, seq_length, random), weights)
    }

    fn attend_source(
        &self,
        query: Tensor<4>,
        memory: &SourceMemory,
        seq_length: usize,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let (key, value) = memory.keys_values();
        memory.scatter(self.attend(query, key, value, memory.visibility(), random), seq_length)
    }

    fn queries_keys_values(&self, input: Tensor<3>) -> [Tensor<4>; 3] {
        [&self.query, &self.key, &self.value].map(|linear| self.heads(linear, input.clone()))
    }

    /// `[batch_size, n_heads, seq_length, d_head]`.
    fn heads(&self, linear: &Linear, input: Tensor<3>) -> Tensor<4> {
        let [batch_size, seq_length, _] = input.dims();
        let vectors = linear.forward(input);
        let d_head = vectors.dims()[2] / self.n_heads;
        vectors.reshape([batch_size, seq_length, self.n_heads, d_head]).swap_dims(1, 2)
    }

    fn attend(
        &self,
        query: Tensor<4>,
        key: Tensor<4>,
        value: Tensor<4>,
        visibility: Visibility,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let [batch_size, n_heads, seq_length, d_head] = query.dims();
        let dropout = self.dropout.draws(random);
        let options = AttentionOptions { scale: None, visibility, dropout };
        let heads = attention(query, key, value, options).swap_dims(1, 2);
        self.output.forward(heads.reshape([batch_size, seq_length, n_heads * d_head]))
    }

    fn weights(&self, query: Tensor<4>, key: Tensor<4>, visibility: &Visibility) -> Tensor<4> {
        let [.., d_head] = query.dims();
        attention_weights(query, key, 1.0 / (d_head as f64).sqrt(), visibility)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;
    use emberline_core::Cache;
    use emberline_core::parameters::parameter_count;

    use super::*;

    const CONFIG: MultiHeadAttentionConfig = MultiHeadAttentionConfig {
        d_model: 8,
        n_heads: 3,
        d_head: Some(5),
        bias: true,
        dropout: 0.5,
    };

    fn layer() -> MultiHeadAttention {
        CONFIG.init(Stream::new(1), &test_device())
    }

    fn random(seed: u64, shape: [usize; 3]) -> Tensor<3> {
        let values = Stream::new(seed).normals(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), &test_device())
    }

    fn assert_near<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
        let difference = (found - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "they differ by {difference}");
    }

    #[test]
    fn token_by_token_is_all_at_once() {
        let (layer, input) = (layer(), random(2, [2, 6, 8]));
        let whole = layer.forward(input.clone(), Visibility::causal(), None);
        let mut cache = KeyValueCache::default();
        for (start, length) in [(0, 1), (1, 3), (4, 2)] {
            let (found, next) =
                layer.forward_from(input.clone().narrow(1, start, length), cache, None);
            assert_near(found, whole.clone().narrow(1, start, length));
            cache = next;
        }
    }

    #[test]
    fn weights_are_those_that_the_values_are_added_up_with() {
        let (layer, input) = (layer(), random(2, [2, 6, 8]));
        let visibility = Visibility { keys: Some(vec![0..6, 0..2]), ..Visibility::causal() };
        let (output, weights) = layer.forward_with_weights(input.clone(), visibility.clone(), None);
        assert_eq!(weights.dims(), [2, 3, 6, 6]);
        let values = layer.heads(&layer.value, input.clone());
        let added = weights.matmul(values).swap_dims(1, 2).reshape([2, 6, 15]);
        assert_near(output.clone(), layer.output.forward(added));
        let plain = layer.forward(input, visibility, None);
        output.into_data().assert_eq(&plain.into_data(), true);
    }

    #[test]
    fn cross_attention_to_oneself_is_self_attention() {
        let (layer, input) = (layer(), random(2, [2, 6, 8]));
        let memory = layer.memory(input.clone(), Some(&[6, 3]));
        let (expected, weights) =
            layer.forward_with_weights(input.clone(), Visibility::lengths(&[6, 3]), None);
        assert_near(layer.cross(input.clone(), &memory, None), expected.clone());
        let (output, found) = layer.cross_with_weights(input, &memory, None);
        assert_near(output, expected);
        assert_near(found, weights);
    }

    #[test]
    fn rows_that_share_a_source_attend_as_each_would_alone() {
        let (layer, source) = (layer(), random(2, [2, 6, 8]));
        let memory = layer.memory(source, Some(&[6, 3]));
        for rows in [&[0, 0, 1, 1][..], &[1, 0, 1], &[1]] {
            let input = random(3, [rows.len(), 2, 8]);
            let shared = memory.clone().select_rows(rows);
            let (output, weights) = layer.cross_with_weights(input.clone(), &shared, None);
            for (place, row) in rows.iter().enumerate() {
                let alone = memory.clone().select_rows(&[*row]);
                let input = input.clone().narrow(0, place, 1);
                let (expected, expected_weights) = layer.cross_with_weights(input, &alone, None);
                assert_near(output.clone().narrow(0, place, 1), expected);
                assert_near(weights.clone().narrow(0, place, 1), expected_weights);
            }
        }
    }

    #[test]
    fn dropout_acts_only_with_a_stream() {
        let (layer, input) = (layer(), random(2, [2, 6, 8]));
        let output = |random: Option<Stream>| {
            layer.forward(input.clone(), Visibility::default(), random).into_data()
        };
        assert_ne!(output(Some(Stream::new(1))), output(None));
        assert_eq!(output(Some(Stream::new(1))), output(Some(Stream::new(1))));
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_layer() {
        assert_eq!(CONFIG.parameter_count(), 4 * 8 * 15 + 3 * 15 + 8);
        assert_eq!(parameter_count(&layer()) as u64, CONFIG.parameter_count());
        let plain = MultiHeadAttentionConfig { bias: false, d_head: None, n_heads: 2, ..CONFIG };
        assert_eq!(plain.parameter_count(), 4 * 8 * 8);
        let layer = plain.init(Stream::new(1), &test_device());
        assert_eq!(parameter_count(&layer) as u64, plain.parameter_count());
    }

    #[test]
    #[should_panic(expected = "3 heads do not share a width of 8")]
    fn heads_that_do_not_share_the_width_are_refused() {
        MultiHeadAttentionConfig::new(8, 3).init(Stream::new(1), &test_device());
    }
}
