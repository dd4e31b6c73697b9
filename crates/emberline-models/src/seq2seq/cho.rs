//! The RNN encoder-decoder (Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio: "Learning phrase
//! representations using RNN encoder-decoder for statistical machine translation", 2014), which brought the GRU.
//!
//! Against [Sutskever's](crate::seq2seq::sutskever) the one vector c is not only where the decoder starts: it enters
//! every step, and the output, so that it need not survive in the state.
//!
//! ```text
//! c = tanh(V h_T)      s_0 = tanh(V' c)      s_t = GRU(s_{t-1}, [y_{t-1}; c])
//! t_t = maxout(O_h s_t + O_y y_{t-1} + O_c c)      p(y_t) = softmax(G_l G_r t_t)
//! ```
//!
//! Departures: the appendix of the paper prints a decoder that resets after the products, `r ⊙ [U s + C c]`; here c is an
//! input like y and only the state is reset, before its product, as in the paper's encoder, in Bahdanau's decoder and in
//! GroundHog, the program of the authors. That lets one fused operation read the whole target. A GRU layer has two biases, as in torch, where the paper has none. Layers above the first are ours.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::{Dropout, Embedding, Linear, LinearConfig};
use emberline_checkpoint::Stored;
use emberline_core::{Cache, EncoderDecoder, HeadWeights, Stream, TokenBatch, VocabularyHead};
use emberline_recurrent::{
    AnyConfig, CellKind, Gru, GruConfig, HiddenState, ResetGate, StackState,
};
use serde::{Deserialize, Serialize};

use crate::seq2seq::{embedded, maxout};
use crate::stored::stored_translator_name;

/// The sizes of Cho's model, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The number of tokens of a source.
    pub source_vocab_size: usize,
    /// The number of tokens of a target.
    pub target_vocab_size: usize,
    /// The width of the token vectors, and of what the head reads: the rank of its matrix.
    pub d_embedding: usize,
    /// The width of the states, and of c.
    pub d_hidden: usize,
    /// The number of layers of the encoder, and of the decoder.
    pub n_layers: usize,
    /// The number of maxout units, of two numbers each.
    pub d_maxout: usize,
    /// The probability with which token vectors, outputs between the layers, and what the head reads are dropped in
    /// training.
    pub dropout: f64,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `cho`.
    #[default]
    Cho,
}

/// An encoder and a decoder of GRU layers.
#[derive(Module, Debug)]
pub struct Cho {
    /// `[source_vocab_size, d_embedding]`.
    pub source_embedding: Embedding,
    /// Reads the source.
    pub encoder: Gru,
    /// V, `[d_hidden, d_hidden]`.
    pub context: Linear,
    /// V', `[d_hidden, n_layers · d_hidden]`.
    pub start: Linear,
    /// `[target_vocab_size, d_embedding]`.
    pub target_embedding: Embedding,
    /// Of y and c.
    pub decoder: Gru,
    /// O_h, O_y and O_c, `[d_hidden + d_embedding + d_hidden, 2 · d_maxout]`.
    pub output: Linear,
    /// G_r, `[d_maxout, d_embedding]`.
    pub reduction: Linear,
    /// G_l, `[d_embedding, target_vocab_size]`.
    pub head: Linear,
    /// Applied to token vectors and to what the head reads.
    pub dropout: Dropout,
}

/// What Cho's decoder goes on from.
#[derive(Clone, Debug)]
pub struct ChoCache {
    /// c, `[batch_size, d_hidden]`.
    pub context: Tensor<2>,
    /// The decoder's.
    pub state: StackState<HiddenState>,
}

impl ChoConfig {
    /// The model of the paper.
    pub fn published() -> Self {
        Self {
            model_type: ModelType::Cho,
            source_vocab_size: 15_000,
            target_vocab_size: 15_000,
            d_embedding: 100,
            d_hidden: 1000,
            n_layers: 1,
            d_maxout: 500,
            dropout: 0.0,
        }
    }

    /// Weights as torch draws those of `nn.Embedding`, `nn.GRU` and `nn.Linear`.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Cho {
        let Self { d_embedding, d_hidden, n_layers, d_maxout, dropout, .. } = *self;
        let embedding = |name: &str, vocab_size| {
            Embedding::init(vocab_size, d_embedding, 1.0, random.named(name), device)
        };
        let layers = |name: &str, d_input| {
            let reset = ResetGate::Before;
            let config =
                GruConfig { dropout, reset, ..GruConfig::new(d_input, d_hidden, n_layers) };
            config.init(random.named(name), device)
        };
        let matrix = |name: &str, d_input, d_output| {
            LinearConfig { d_input, d_output, bias: false }.init(random.named(name), device)
        };
        Cho {
            source_embedding: embedding("source_embedding", self.source_vocab_size),
            encoder: layers("encoder", d_embedding),
            context: matrix("context", d_hidden, d_hidden),
            start: matrix("start", d_hidden, n_layers * d_hidden),
            target_embedding: embedding("target_embedding", self.target_vocab_size),
            decoder: layers("decoder", d_embedding + d_hidden),
            output: matrix("output", d_hidden + d_embedding + d_hidden, 2 * d_maxout),
            reduction: matrix("reduction", d_maxout, d_embedding),
            head: matrix("head", d_embedding, self.target_vocab_size),
            dropout: Dropout::new(dropout),
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [source_vocab_size, target_vocab_size, d_embedding, d_hidden, n_layers, d_maxout] = [
            self.source_vocab_size,
            self.target_vocab_size,
            self.d_embedding,
            self.d_hidden,
            self.n_layers,
            self.d_maxout,
        ]
        .map(|size| size as u64);
        let layers = |d_input| {
            let Self { d_hidden, n_layers, dropout, .. } = *self;
            let cell = CellKind::Gru;
            AnyConfig { cell, d_input, d_hidden, n_layers, dropout }.parameter_count()
        };
        let what_is_read = d_hidden.saturating_mul(2).saturating_add(d_embedding);
        let parts = [
            source_vocab_size.saturating_mul(d_embedding),
            layers(self.d_embedding),
            d_hidden.saturating_mul(d_hidden).saturating_mul(n_layers.saturating_add(1)),
            target_vocab_size.saturating_mul(d_embedding).saturating_mul(2),
            layers(self.d_embedding.saturating_add(self.d_hidden)),
            what_is_read.saturating_mul(d_maxout).saturating_mul(2),
            d_maxout.saturating_mul(d_embedding),
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl VocabularyHead for Cho {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(self.head.weight.val(), None)
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.forward(hidden)
    }
}

impl EncoderDecoder for Cho {
    type Cache = ChoCache;

    fn encode(&self, source: &TokenBatch) -> ChoCache {
        let random = source.dropout.map(|random| random.named("encoder"));
        let vectors = embedded(&self.source_embedding, &self.dropout, source, "source_embedding"); // [batch_size, source_length, d_embedding]
        let lengths = source.right_padded_lengths();
        let (_, state) = self.encoder.forward(vectors, None, lengths, random);
        let context = self.context.forward(self.encoder.last_output(&state)).tanh(); // [batch_size, d_hidden]
        let start = self.start.forward(context.clone()).tanh().chunk(self.decoder.layers.len(), 1);
        let state = start.into_iter().map(|hidden| HiddenState { hidden }).collect();
        ChoCache { context, state: StackState(state) }
    }

    fn decode(&self, target: &TokenBatch, cache: ChoCache) -> (Tensor<3>, ChoCache) {
        let [batch_size, target_length] = target.dims();
        let ChoCache { context, state } = cache;
        let random = |place| target.dropout.map(|random| random.named(place));
        let vectors = embedded(&self.target_embedding, &self.dropout, target, "target_embedding"); // [batch_size, target_length, d_embedding]
        let d_context = context.dims()[1];
        let at_every_step =
            context.clone().unsqueeze_dim::<3>(1).expand([batch_size, target_length, d_context]);
        let input = Tensor::cat(vec![vectors, at_every_step], 2); // [batch_size, target_length, d_embedding + d_hidden]
        let lengths = target.right_padded_lengths();
        let (states, state) =
            self.decoder.forward(input.clone(), Some(state), lengths, random("decoder"));
        let output = maxout(self.output.forward(Tensor::cat(vec![states, input], 2))); // [batch_size, target_length, d_maxout]
        let hidden = self.dropout.forward(self.reduction.forward(output), random("head"));
        (hidden, ChoCache { context, state })
    }
}

impl Cache for ChoCache {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self { context: self.context.select_rows(rows), state: self.state.select_rows(rows) }
    }
}

impl Cho {
    /// The name of a parameter in files: that of a torch module with the fields of this one, as `nn.Embedding`,
    /// `nn.GRU` and `nn.Linear`; torch's own GRU resets after the product, and cannot read them.
    pub fn stored_name(path: &str) -> Stored {
        stored_translator_name(path)
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::{parameter_count, parameters};

    use super::*;

    fn config() -> ChoConfig {
        ChoConfig {
            model_type: ModelType::Cho,
            source_vocab_size: 11,
            target_vocab_size: 13,
            d_embedding: 6,
            d_hidden: 9,
            n_layers: 2,
            d_maxout: 5,
            dropout: 0.0,
        }
    }

    #[test]
    fn the_law_holds_with_one_layer_and_with_two() {
        let device = test_device();
        for n_layers in [1, 2] {
            let model = ChoConfig { n_layers, ..config() }.init(Stream::new(1), &device);
            laws::encoder_decoder(&model, 11, &device);
        }
    }

    #[test]
    fn the_context_enters_every_step_and_the_output() {
        let device = test_device();
        let model = config().init(Stream::new(1), &device);
        let cache = model.encode(&TokenBatch::from_rows(&[&[1, 2, 3]], &device));
        let target = TokenBatch::from_rows(&[&[1, 2, 3]], &device);
        let other = ChoCache { context: cache.context.clone() * -1.0, ..cache.clone() };
        let [(hidden, cache), (other_hidden, other)] =
            [cache, other].map(|cache| model.decode(&target, cache));
        for position in 0..3 {
            let [found, other] =
                [&hidden, &other_hidden].map(|hidden| hidden.clone().narrow(1, position, 1));
            assert_ne!(found.into_data(), other.into_data(), "position {position}");
        }
        assert_ne!(cache.state.0[0].hidden.to_data(), other.state.0[0].hidden.to_data());

        // A decoder that does not listen leaves what the output hears.
        let mut deaf = model.clone();
        for layer in &mut deaf.decoder.layers {
            layer.weight_input = layer.weight_input.clone().map(|weight| weight * 0.0);
        }
        let hears = |sign: f64| {
            let context = cache.context.clone() * sign;
            deaf.decode(&target, ChoCache { context, ..cache.clone() }).0.into_data()
        };
        assert_ne!(hears(1.0), hears(-1.0));
    }

    #[test]
    fn token_vectors_layers_and_what_the_head_reads_are_dropped_only_with_a_stream() {
        let device = test_device();
        let decoded = |dropout: f64, random: Option<Stream>| {
            let model = ChoConfig { dropout, ..config() }.init(Stream::new(1), &device);
            let batch =
                TokenBatch { dropout: random, ..TokenBatch::from_rows(&[&[1, 2]], &device) };
            model.decode(&batch, model.encode(&batch)).0.into_data()
        };
        assert_eq!(decoded(0.5, None), decoded(0.0, None));
        assert_ne!(decoded(0.5, Some(Stream::new(2))), decoded(0.0, None));
    }

    #[test]
    fn the_published_model_is_counted_from_its_equations() {
        let (embeddings, head) = (2 * 15_000 * 100, 15_000 * 100);
        let gru = |d_input: u64| 3 * 1000 * (d_input + 1000);
        let (v, v_prime) = (1000 * 1000, 1000 * 1000);
        let (output, reduction) = (2 * 500 * (1000 + 100 + 1000), 500 * 100);
        let weights = embeddings + head + gru(100) + gru(1100) + v + v_prime + output + reduction;
        let biases = 2 * 2 * 3 * 1000;
        assert_eq!(ChoConfig::published().parameter_count(), weights + biases);
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        let layers = |d_input: u64| 3 * 9 * (d_input + 9 + 2) + 3 * 9 * (9 + 9 + 2);
        let output = 2 * 5 * (9 + 6 + 9) + 5 * 6 + 6 * 13;
        let expected = 11 * 6 + layers(6) + 9 * 9 + 9 * 18 + 13 * 6 + layers(6 + 9) + output;
        assert_eq!(config().parameter_count(), expected);
        let model = config().init(Stream::new(1), &test_device());
        assert_eq!(parameter_count(&model) as u64, expected);
    }

    #[test]
    fn every_parameter_has_a_name_of_its_own() {
        let model = ChoConfig { n_layers: 1, ..config() }.init(Stream::new(1), &test_device());
        let names: Vec<String> = parameters(&model)
            .iter()
            .map(|parameter| Cho::stored_name(&parameter.path).name)
            .collect();
        let layer = |field: &str| {
            ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
                .map(|parameter| format!("{field}.{parameter}"))
        };
        let weight = |field: &str| format!("{field}.weight");
        let mut expected = vec![weight("source_embedding")];
        expected.extend(layer("encoder"));
        expected.extend(["context", "start", "target_embedding"].map(weight));
        expected.extend(layer("decoder"));
        expected.extend(["output", "reduction", "head"].map(weight));
        assert_eq!(names, expected);
    }

    #[test]
    fn the_config_names_the_model_and_refuses_unknown_keys() {
        let mut json = serde_json::to_value(config()).unwrap();
        assert_eq!(json["model_type"], "cho");
        let read = |json| serde_json::from_value::<ChoConfig>(json);
        assert_eq!(read(json.clone()).unwrap(), config());
        json["n_heads"] = 3.into();
        assert!(read(json).is_err());
    }
}
