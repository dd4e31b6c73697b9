//! Sequence to sequence with LSTM layers (Sutskever, Vinyals, Le: "Sequence to sequence learning with neural
//! networks", 2014).
//!
//! The memory is the last state of all layers, h and c, from which a decoder of the same shape starts. The source is
//! read from its end, so that its first words are close to the first words of the target.
//!
//! A layer has two biases, as in torch, and the head has one; the paper counts none of them.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::{Dropout, Embedding, Linear, LinearConfig};
use emberline_checkpoint::Stored;
use emberline_core::{EncoderDecoder, HeadWeights, Stream, TokenBatch, VocabularyHead};
use emberline_recurrent::{
    AnyConfig, CellKind, Direction, Lstm, LstmConfig, LstmState, StackState,
};
use serde::{Deserialize, Serialize};

use crate::seq2seq::{embedded, read};
use crate::stored::stored_translator_name;

/// The sizes of Sutskever's model, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SutskeverConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The number of tokens of a source.
    pub source_vocab_size: usize,
    /// The number of tokens of a target.
    pub target_vocab_size: usize,
    /// The width of the token vectors.
    pub d_embedding: usize,
    /// The width of the states.
    pub d_hidden: usize,
    /// The number of layers of the encoder, and of the decoder.
    pub n_layers: usize,
    /// Whether a source is read from its end, as in the paper.
    pub reversed_source: bool,
    /// The probability with which token vectors, outputs between the layers, and what the head reads are dropped in
    /// training.
    pub dropout: f64,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `sutskever`.
    #[default]
    Sutskever,
}

/// An encoder and a decoder of LSTM layers.
#[derive(Module, Debug)]
pub struct Sutskever {
    /// `[source_vocab_size, d_embedding]`.
    pub source_embedding: Embedding,
    /// Reads the source.
    pub encoder: Lstm,
    /// `[target_vocab_size, d_embedding]`.
    pub target_embedding: Embedding,
    /// Starts from the states in which the encoder ends.
    pub decoder: Lstm,
    /// `[d_hidden, target_vocab_size]`, with a bias.
    pub head: Linear,
    /// Applied to token vectors and to what the head reads.
    pub dropout: Dropout,
    /// Whether a source is read from its end.
    #[module(skip)]
    pub reversed_source: bool,
}

impl SutskeverConfig {
    /// The model of the paper.
    pub fn published() -> Self {
        Self {
            model_type: ModelType::Sutskever,
            source_vocab_size: 160_000,
            target_vocab_size: 80_000,
            d_embedding: 1000,
            d_hidden: 1000,
            n_layers: 4,
            reversed_source: true,
            dropout: 0.0,
        }
    }

    /// Weights as torch draws those of `nn.Embedding`, `nn.LSTM` and `nn.Linear`.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Sutskever {
        let Self { d_embedding, d_hidden, n_layers, dropout, .. } = *self;
        let embedding = |name: &str, vocab_size| {
            Embedding::init(vocab_size, d_embedding, 1.0, random.named(name), device)
        };
        let layers = LstmConfig { dropout, ..LstmConfig::new(d_embedding, d_hidden, n_layers) };
        Sutskever {
            source_embedding: embedding("source_embedding", self.source_vocab_size),
            encoder: layers.init(random.named("encoder"), device),
            target_embedding: embedding("target_embedding", self.target_vocab_size),
            decoder: layers.init(random.named("decoder"), device),
            head: LinearConfig::new(d_hidden, self.target_vocab_size)
                .init(random.named("head"), device),
            dropout: Dropout::new(dropout),
            reversed_source: self.reversed_source,
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [source_vocab_size, target_vocab_size, d_embedding, d_hidden] =
            [self.source_vocab_size, self.target_vocab_size, self.d_embedding, self.d_hidden]
                .map(|size| size as u64);
        let layers = AnyConfig {
            cell: CellKind::Lstm,
            d_input: self.d_embedding,
            d_hidden: self.d_hidden,
            n_layers: self.n_layers,
            dropout: self.dropout,
        };
        let a_target_token = d_embedding.saturating_add(d_hidden).saturating_add(1);
        source_vocab_size
            .saturating_mul(d_embedding)
            .saturating_add(target_vocab_size.saturating_mul(a_target_token))
            .saturating_add(layers.parameter_count().saturating_mul(2))
    }
}

impl VocabularyHead for Sutskever {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(self.head.weight.val(), self.head.bias.as_ref().map(|bias| bias.val()))
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.forward(hidden)
    }
}

impl EncoderDecoder for Sutskever {
    type Cache = StackState<LstmState>;

    fn encode(&self, source: &TokenBatch) -> Self::Cache {
        let vectors = embedded(&self.source_embedding, &self.dropout, source, "source_embedding"); // [batch_size, source_length, d_embedding]
        let direction = if self.reversed_source { Direction::Reverse } else { Direction::Forward };
        read(&self.encoder, vectors, source, direction).1
    }

    fn decode(&self, target: &TokenBatch, cache: Self::Cache) -> (Tensor<3>, Self::Cache) {
        let random = |place| target.dropout.map(|random| random.named(place));
        let vectors = embedded(&self.target_embedding, &self.dropout, target, "target_embedding"); // [batch_size, target_length, d_embedding]
        let lengths = target.right_padded_lengths();
        let (hidden, state) =
            self.decoder.forward(vectors, Some(cache), lengths, random("decoder"));
        (self.dropout.forward(hidden, random("head")), state)
    }
}

impl Sutskever {
    /// The name of a parameter in files: that of a torch module with the fields of this one, as `nn.Embedding`,
    /// `nn.LSTM` and `nn.Linear`.
    pub fn stored_name(path: &str) -> Stored {
        stored_translator_name(path)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::{parameter_count, parameters};

    use super::*;

    fn config() -> SutskeverConfig {
        SutskeverConfig {
            model_type: ModelType::Sutskever,
            source_vocab_size: 11,
            target_vocab_size: 13,
            d_embedding: 6,
            d_hidden: 9,
            n_layers: 2,
            reversed_source: true,
            dropout: 0.0,
        }
    }

    fn memory(model: &Sutskever, rows: &[&[u32]]) -> Vec<f32> {
        let state = model.encode(&TokenBatch::padded(rows, &test_device()));
        state.0.iter().flat_map(|layer| layer.cell.to_data().iter().collect::<Vec<f32>>()).collect()
    }

    #[test]
    fn the_law_holds_in_both_orders_of_reading() {
        let device = test_device();
        for reversed_source in [true, false] {
            let config = SutskeverConfig { reversed_source, ..config() };
            laws::encoder_decoder(&config.init(Stream::new(1), &device), 11, &device);
        }
    }

    #[test]
    fn teacher_forcing_a_whole_target_is_feeding_it_step_by_step() {
        let device = test_device();
        let model = config().init(Stream::new(1), &device);
        let source = TokenBatch::padded(&[&[1, 2, 3], &[4]], &device);
        let target = Tensor::from_data([[5, 6, 7], [8, 9, 10]], &device);
        let (whole, _) = model.decode(&TokenBatch::new(target.clone()), model.encode(&source));
        let mut cache = model.encode(&source);
        for position in 0..3 {
            let token = TokenBatch::new(target.clone().narrow(1, position, 1));
            let (step, next) = model.decode(&token, cache);
            let difference: f32 =
                (whole.clone().narrow(1, position, 1) - step).abs().max().into_scalar();
            assert!(difference < 1e-6, "position {position} differs by {difference}");
            cache = next;
        }
    }

    #[test]
    fn a_source_is_turned_around_inside_its_real_length() {
        let reversed = config().init(Stream::new(1), &test_device());
        let forward = Sutskever { reversed_source: false, ..reversed.clone() };
        let found = memory(&reversed, &[&[1, 2, 3], &[4, 5, 6, 7, 8]]);
        assert_eq!(found, memory(&forward, &[&[3, 2, 1], &[8, 7, 6, 5, 4]]));
        assert_ne!(found, memory(&forward, &[&[1, 2, 3], &[4, 5, 6, 7, 8]]));
    }

    #[test]
    fn one_fixed_memory_is_all_that_a_target_knows_of_its_source() {
        let mut model = config().init(Stream::new(1), &test_device());
        let target = TokenBatch::from_rows(&[&[1, 2, 3]], &test_device());
        let decoded = |model: &Sutskever, source: &[u32]| {
            let source = TokenBatch::from_rows(&[source], &test_device());
            model.decode(&target, model.encode(&source)).0.into_data()
        };
        assert_ne!(decoded(&model, &[1, 2]), decoded(&model, &[3, 4, 5]));
        for layer in &mut model.encoder.layers {
            layer.weight_input = layer.weight_input.clone().map(|weight| weight * 0.0);
            layer.weight_hidden = layer.weight_hidden.clone().map(|weight| weight * 0.0);
            for bias in [&mut layer.bias_input, &mut layer.bias_hidden] {
                *bias = Param::from_tensor(bias.val() * 0.0);
            }
        }
        assert_eq!(decoded(&model, &[1, 2]), decoded(&model, &[3, 4, 5]));
    }

    #[test]
    fn token_vectors_layers_and_what_the_head_reads_are_dropped_only_with_a_stream() {
        let device = test_device();
        let decoded = |dropout: f64, random: Option<Stream>| {
            let model = SutskeverConfig { dropout, ..config() }.init(Stream::new(1), &device);
            let batch =
                TokenBatch { dropout: random, ..TokenBatch::from_rows(&[&[1, 2]], &device) };
            model.decode(&batch, model.encode(&batch)).0.into_data()
        };
        assert_eq!(decoded(0.5, None), decoded(0.0, None));
        assert_ne!(decoded(0.5, Some(Stream::new(2))), decoded(0.0, None));
    }

    #[test]
    fn the_published_model_has_384_million_weights_and_its_biases() {
        let (embeddings, head) = (160_000_000 + 80_000_000, 80_000_000);
        let layers = 8 * 4 * 1000 * (1000 + 1000);
        assert_eq!(embeddings + head + layers, 384_000_000);
        let biases = 8 * 4 * 1000 * 2 + 80_000;
        assert_eq!(SutskeverConfig::published().parameter_count(), 384_000_000 + biases);
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        let layers = 4 * 9 * (6 + 9 + 2) + 4 * 9 * (9 + 9 + 2);
        let expected = 11 * 6 + 13 * 6 + 2 * layers + 13 * (9 + 1);
        assert_eq!(config().parameter_count(), expected);
        let model = config().init(Stream::new(1), &test_device());
        assert_eq!(parameter_count(&model) as u64, expected);
    }

    #[test]
    fn every_parameter_has_a_torch_name_of_its_own() {
        let config = SutskeverConfig { n_layers: 1, ..config() };
        let model = config.init(Stream::new(1), &test_device());
        let names: Vec<String> = parameters(&model)
            .iter()
            .map(|parameter| Sutskever::stored_name(&parameter.path).name)
            .collect();
        let layer = |field: &str| {
            ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
                .map(|parameter| format!("{field}.{parameter}"))
        };
        let mut expected = vec!["source_embedding.weight".to_string()];
        expected.extend(layer("encoder"));
        expected.push("target_embedding.weight".to_string());
        expected.extend(layer("decoder"));
        expected.extend(["head.weight".to_string(), "head.bias".to_string()]);
        assert_eq!(names, expected);
        assert!(Sutskever::stored_name("head.weight").transposed);
        assert!(!Sutskever::stored_name("source_embedding.weight").transposed);
    }

    #[test]
    fn the_config_names_the_model_and_refuses_unknown_keys() {
        let mut json = serde_json::to_value(config()).unwrap();
        assert_eq!(json["model_type"], "sutskever");
        let read = |json| serde_json::from_value::<SutskeverConfig>(json);
        assert_eq!(read(json.clone()).unwrap(), config());
        json["n_heads"] = 3.into();
        assert!(read(json).is_err());
    }
}
