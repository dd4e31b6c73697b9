//! The sizes of Bahdanau's model, and the model of these sizes.

use burn::tensor::Device;
use emberline_attention::scores::{ScoreConfig, ScoreKind};
use emberline_backend::{Dropout, Embedding, LinearConfig};
use emberline_core::Stream;
use emberline_recurrent::{AnyConfig, CellKind, GruConfig, Merge, ResetGate, UpdateGate};
use serde::{Deserialize, Serialize};

use super::Bahdanau;

/// The sizes of Bahdanau's model, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BahdanauConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The number of tokens of a source.
    pub source_vocab_size: usize,
    /// The number of tokens of a target.
    pub target_vocab_size: usize,
    /// The width of the token vectors.
    pub d_embedding: usize,
    /// The width of the states: of each direction of the encoder, and of the decoder.
    pub d_hidden: usize,
    /// The width in which states and vectors of the source are compared.
    pub d_alignment: usize,
    /// The number of maxout units, of two numbers each.
    pub d_maxout: usize,
    /// The state that the output reads.
    pub output_state: OutputState,
    /// The probability with which token vectors, and what the head reads, are dropped in training.
    pub dropout: f64,
}

/// The state that the output of Bahdanau's model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputState {
    /// s_{i-1}, which chose the context: the paper's appendix A.2.2.
    Previous,
    /// s_i, which knows the context: the paper's equation 4.
    Current,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `bahdanau`.
    #[default]
    Bahdanau,
}

impl BahdanauConfig {
    /// The model of the paper.
    pub fn published() -> Self {
        Self {
            model_type: ModelType::Bahdanau,
            source_vocab_size: 30_000,
            target_vocab_size: 30_000,
            d_embedding: 620,
            d_hidden: 1000,
            d_alignment: 1000,
            d_maxout: 500,
            output_state: OutputState::Previous,
            dropout: 0.0,
        }
    }

    /// Weights as torch draws those of `nn.Embedding`, `nn.GRU` and `nn.Linear`.
    pub fn init(&self, random: Stream, device: &Device) -> Bahdanau {
        let Self { d_embedding, d_hidden, d_maxout, .. } = *self;
        let embedding = |name: &str, vocab_size| {
            Embedding::init(vocab_size, d_embedding, 1.0, random.named(name), device)
        };
        let layer = |d_input| GruConfig {
            reset: ResetGate::Before,
            update: UpdateGate::Admits,
            ..GruConfig::new(d_input, d_hidden, 1)
        };
        let linear = |name: &str, d_input, d_output, bias| {
            LinearConfig { d_input, d_output, bias }.init(random.named(name), device)
        };
        let d_context = 2 * d_hidden;
        Bahdanau {
            source_embedding: embedding("source_embedding", self.source_vocab_size),
            encoder: layer(d_embedding).init_bidirectional(
                Merge::Concat,
                random.named("encoder"),
                device,
            ),
            start: linear("start", d_hidden, d_hidden, false),
            score: self.score().init(random.named("score"), device),
            target_embedding: embedding("target_embedding", self.target_vocab_size),
            decoder: layer(d_embedding + d_context).init(random.named("decoder"), device),
            output: linear("output", d_hidden + d_embedding + d_context, 2 * d_maxout, true),
            head: linear("head", d_maxout, self.target_vocab_size, true),
            dropout: Dropout::new(self.dropout),
            output_state: self.output_state,
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [source_vocab_size, target_vocab_size, d_embedding, d_hidden, d_maxout] = [
            self.source_vocab_size,
            self.target_vocab_size,
            self.d_embedding,
            self.d_hidden,
            self.d_maxout,
        ]
        .map(|size| size as u64);
        let layer = |d_input| {
            let (cell, d_hidden) = (CellKind::Gru, self.d_hidden);
            AnyConfig { cell, d_input, d_hidden, n_layers: 1, dropout: 0.0 }
        };
        let d_input = self.d_hidden.saturating_mul(2).saturating_add(self.d_embedding);
        let what_is_read = d_hidden.saturating_mul(3).saturating_add(d_embedding);
        let a_target_token = d_embedding.saturating_add(d_maxout).saturating_add(1);
        let parts = [
            source_vocab_size.saturating_mul(d_embedding),
            layer(self.d_embedding).bidirectional_parameter_count(Merge::Concat),
            d_hidden.saturating_mul(d_hidden),
            self.score().parameter_count(),
            layer(d_input).parameter_count(),
            what_is_read.saturating_add(1).saturating_mul(d_maxout).saturating_mul(2),
            target_vocab_size.saturating_mul(a_target_token),
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    fn score(&self) -> ScoreConfig {
        ScoreConfig {
            kind: ScoreKind::Additive,
            d_query: self.d_hidden,
            d_key: self.d_hidden.saturating_mul(2),
            d_alignment: self.d_alignment,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;

    pub fn config(output_state: OutputState) -> BahdanauConfig {
        BahdanauConfig {
            model_type: ModelType::Bahdanau,
            source_vocab_size: 11,
            target_vocab_size: 13,
            d_embedding: 6,
            d_hidden: 9,
            d_alignment: 7,
            d_maxout: 5,
            output_state,
            dropout: 0.0,
        }
    }

    #[test]
    fn the_published_model_is_counted_from_its_equations() {
        let (n, m, l, n_alignment, vocab_size) = (1000, 620, 500, 1000, 30_000);
        let encoder = 2 * 3 * n * (m + n);
        let decoder = 3 * n * (m + n + 2 * n);
        let alignment = n_alignment * (n + 2 * n + 1);
        let output = 2 * l * (n + m + 2 * n);
        let embeddings_and_head = vocab_size * (m + m + l);
        let weights = encoder + decoder + n * n + alignment + output + embeddings_and_head;
        let biases = 2 * 2 * 3 * n + 2 * 3 * n + 2 * l + vocab_size;
        assert_eq!(BahdanauConfig::published().parameter_count(), weights + biases);
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        let layer = |d_input: u64| 3 * 9 * (d_input + 9 + 2);
        let alignment = 7 * (9 + 18 + 1);
        let output = 10 * (9 + 6 + 18 + 1) + 13 * (5 + 1);
        let expected = 11 * 6 + 2 * layer(6) + 9 * 9 + alignment + 13 * 6 + layer(6 + 18) + output;
        let config = config(OutputState::Previous);
        assert_eq!(config.parameter_count(), expected);
        let model = config.init(Stream::new(1), &test_device());
        assert_eq!(parameter_count(&model) as u64, expected);
    }

    #[test]
    fn the_config_names_the_model_and_refuses_unknown_keys() {
        let config = config(OutputState::Previous);
        let mut json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["model_type"], "bahdanau");
        assert_eq!(json["output_state"], "previous");
        let read = |json| serde_json::from_value::<BahdanauConfig>(json);
        assert_eq!(read(json.clone()).unwrap(), config);
        json["n_heads"] = 3.into();
        assert!(read(json).is_err());
    }
}
