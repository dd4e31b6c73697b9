//! Causal self-attention as GPT has it (Radford, Narasimhan, Salimans, Sutskever: "Improving language understanding by
//! generative pre-training", 2018).
//!
//! ```text
//! [Q | K | V] = X W + b        head_i = Attention(Q_i, K_i, V_i)        output = [head_1 | … | head_h] W^O + b^O
//! ```
//!
//! Against [`MultiHeadAttention`](crate::MultiHeadAttention) queries, keys and values come of one product, and a token
//! sees nothing after itself. In a band it sees the last few tokens only (Child, Gray, Radford, Sutskever: "Generating
//! long sequences with sparse transformers", 2019), which every other layer of GPT-3 does.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::attention::{AttentionOptions, Visibility, attention};
use emberline_backend::{Dropout, Linear, LinearConfig};
use emberline_core::Stream;

use crate::cache::KeyValueCache;

/// The sizes of a [`CausalSelfAttention`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CausalSelfAttentionConfig {
    /// The width of input and output.
    pub d_model: usize,
    /// The number of heads.
    pub n_heads: usize,
    /// The width of a head.
    pub d_head: usize,
    /// The last tokens that a token sees, itself among them; `None` where it sees all before it.
    pub band: Option<usize>,
    /// The probability with which a weight of attention is dropped in training.
    pub dropout: f64,
}

/// Self-attention to the tokens so far.
#[derive(Module, Debug)]
pub struct CausalSelfAttention {
    /// `[d_model, 3 · n_heads · d_head]`: the queries of all heads, then their keys, then their values.
    pub input: Linear,
    /// `W^O`, `[n_heads · d_head, d_model]`.
    pub output: Linear,
    /// The number of heads.
    pub n_heads: usize,
    /// The last tokens that a token sees, itself among them; `None` where it sees all before it.
    #[module(skip)]
    pub band: Option<usize>,
    /// Of the weights of attention.
    pub dropout: Dropout,
}

impl CausalSelfAttentionConfig {
    /// Weights of the normal distribution, with the standard deviations of the first and of the last product; biases
    /// are zero.
    pub fn init(
        &self,
        [input, output]: [f64; 2],
        random: Stream,
        device: &Device,
    ) -> CausalSelfAttention {
        let Self { d_model, n_heads, d_head, band, dropout } = *self;
        let d_inner = n_heads * d_head;
        let of_input = LinearConfig::new(d_model, 3 * d_inner);
        let of_output = LinearConfig::new(d_inner, d_model);
        CausalSelfAttention {
            input: of_input.init_normal(input, random.named("input"), device),
            output: of_output.init_normal(output, random.named("output"), device),
            n_heads,
            band,
            dropout: Dropout::new(dropout),
        }
    }

    /// The number of parameters; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [d_model, n_heads, d_head] =
            [self.d_model, self.n_heads, self.d_head].map(|size| size as u64);
        let d_inner = n_heads.saturating_mul(d_head);
        let weights = d_model.saturating_mul(d_inner).saturating_mul(4);
        weights.saturating_add(d_inner.saturating_mul(3)).saturating_add(d_model)
    }
}

impl CausalSelfAttention {
    /// The same with weights of int8, as [`Linear::into_int8`].
    #[must_use]
    pub fn into_int8(self) -> Self {
        Self { input: self.input.into_int8(), output: self.output.into_int8(), ..self }
    }

    /// Attends. Dropout draws from `random`; without it nothing is dropped. `starts` are the first valid tokens of rows
    /// that are padded on the left.
    ///
    /// # Shapes
    /// - input, output: `[batch_size, seq_length, d_model]`
    pub fn forward(
        &self,
        input: Tensor<3>,
        starts: Option<&[usize]>,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let [query, key, value] = self.queries_keys_values(input);
        self.attend(query, key, value, starts, random)
    }

    /// The same for tokens that follow those in the cache; `starts` count from the first token of the cache.
    ///
    /// # Shapes
    /// - input, output: `[batch_size, seq_length, d_model]`, of the new tokens only
    pub fn forward_from(
        &self,
        input: Tensor<3>,
        cache: KeyValueCache,
        starts: Option<&[usize]>,
        random: Option<Stream>,
    ) -> (Tensor<3>, KeyValueCache) {
        let [query, key, value] = self.queries_keys_values(input);
        let cache = cache.append(key, value);
        let (key, value) = cache.keys_values();
        (self.attend(query, key, value, starts, random), cache)
    }

    /// Three views of one product, `[batch_size, n_heads, seq_length, d_head]` each.
    fn queries_keys_values(&self, input: Tensor<3>) -> [Tensor<4>; 3] {
        let [batch_size, seq_length, _] = input.dims();
        let n_heads = self.n_heads;
        let product = self.input.forward(input);
        let d_head = product.dims()[2] / (3 * n_heads);
        let heads = product.reshape([batch_size, seq_length, 3 * n_heads, d_head]).swap_dims(1, 2);
        [0, 1, 2].map(|part| heads.clone().narrow(1, part * n_heads, n_heads))
    }

    fn attend(
        &self,
        query: Tensor<4>,
        key: Tensor<4>,
        value: Tensor<4>,
        starts: Option<&[usize]>,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let [batch_size, n_heads, seq_length, d_head] = query.dims();
        let [_, _, key_length, _] = key.dims();
        let keys = starts.map(|starts| starts.iter().map(|start| *start..key_length).collect());
        let visibility = Visibility { causal: true, band: self.band, keys };
        let dropout = self.dropout.draws(random);
        let options = AttentionOptions { scale: None, visibility, dropout };
        let heads = attention(query, key, value, options).swap_dims(1, 2);
        self.output.forward(heads.reshape([batch_size, seq_length, n_heads * d_head]))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::{storage_address, test_device};
    use emberline_core::parameters::parameter_count;

    use super::*;
    use crate::multi_head::{MultiHeadAttention, MultiHeadAttentionConfig};

    const CONFIG: CausalSelfAttentionConfig =
        CausalSelfAttentionConfig { d_model: 8, n_heads: 3, d_head: 5, band: None, dropout: 0.5 };

    fn layer(band: Option<usize>) -> CausalSelfAttention {
        let config = CausalSelfAttentionConfig { band, ..CONFIG };
        config.init([0.3, 0.3], Stream::new(1), &test_device())
    }

    fn random(seed: u64, shape: [usize; 3]) -> Tensor<3> {
        let values = Stream::new(seed).normals(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), &test_device())
    }

    fn assert_near(found: Tensor<3>, expected: Tensor<3>) {
        let difference = (found - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "they differ by {difference}");
    }

    /// The same layer with three products.
    fn apart(layer: &CausalSelfAttention) -> MultiHeadAttention {
        let config =
            MultiHeadAttentionConfig { d_head: Some(5), ..MultiHeadAttentionConfig::new(8, 3) };
        let mut other = config.init(Stream::new(0), &test_device());
        let parts = [&mut other.query, &mut other.key, &mut other.value];
        for (part, linear) in parts.into_iter().enumerate() {
            let whole = layer.input.weight.val();
            linear.weight = linear.weight.clone().map(|_| whole.narrow(1, part * 15, 15));
        }
        other.output = layer.output.clone();
        other
    }

    #[test]
    fn one_product_is_three_side_by_side() {
        let (layer, input) = (layer(None), random(2, [2, 6, 8]));
        let expected = apart(&layer).forward(input.clone(), Visibility::causal(), None);
        assert_near(layer.forward(input, None, None), expected);
    }

    #[test]
    fn queries_keys_and_values_are_views_of_the_product() {
        let device = test_device();
        for device in [device.clone(), device.autodiff()] {
            let layer = CONFIG.init([0.3, 0.3], Stream::new(1), &device);
            let input = Tensor::<3>::ones([2, 6, 8], &device);
            let addresses =
                layer.queries_keys_values(input).map(|part| storage_address(&part).unwrap());
            assert_eq!(addresses, [addresses[0]; 3]);
        }
    }

    #[test]
    fn token_by_token_is_all_at_once_in_a_band_too() {
        let input = random(2, [2, 6, 8]);
        for band in [None, Some(1), Some(3)] {
            let layer = layer(band);
            let whole = layer.forward(input.clone(), None, None);
            let mut cache = KeyValueCache::default();
            for (start, length) in [(0, 1), (1, 3), (4, 2)] {
                let part = input.clone().narrow(1, start, length);
                let (found, next) = layer.forward_from(part, cache, None, None);
                assert_near(found, whole.clone().narrow(1, start, length));
                cache = next;
            }
        }
    }

    #[test]
    fn a_band_as_wide_as_the_text_is_none() {
        let output = |band| layer(band).forward(random(2, [2, 6, 8]), None, None).into_data();
        output(Some(6)).assert_eq(&output(None), true);
        assert_ne!(output(Some(5)), output(None));
    }

    #[test]
    fn a_row_that_starts_later_sees_nothing_before_its_start() {
        let (layer, input) = (layer(Some(3)), random(2, [2, 6, 8]));
        let padded = layer.forward(input.clone(), Some(&[0, 2]), None);
        let alone = layer.forward(input.slice([1..2, 2..6]), None, None);
        assert_near(padded.slice([1..2, 2..6]), alone);
    }

    #[test]
    fn dropout_acts_only_with_a_stream() {
        let (layer, input) = (layer(None), random(2, [2, 6, 8]));
        let output =
            |random: Option<Stream>| layer.forward(input.clone(), None, random).into_data();
        assert_ne!(output(Some(Stream::new(1))), output(None));
        assert_eq!(output(Some(Stream::new(1))), output(Some(Stream::new(1))));
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_layer() {
        assert_eq!(CONFIG.parameter_count(), 8 * 45 + 45 + 15 * 8 + 8);
        assert_eq!(parameter_count(&layer(None)) as u64, CONFIG.parameter_count());
    }
}
