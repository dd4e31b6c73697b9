//! The sizes of Luong's model, and the model of these sizes.

use burn::tensor::Device;
use emberline_attention::scores::ScoreConfig;
pub use emberline_attention::scores::ScoreKind;
use emberline_backend::{Dropout, Embedding, LinearConfig};
use emberline_core::Stream;
use emberline_recurrent::{AnyConfig, CellKind, LstmConfig};
use serde::{Deserialize, Serialize};

use super::Luong;

/// The sizes of Luong's model, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LuongConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The number of tokens of a source.
    pub source_vocab_size: usize,
    /// The number of tokens of a target.
    pub target_vocab_size: usize,
    /// The width of the token vectors.
    pub d_embedding: usize,
    /// The width of the states, and in which an additive score compares them.
    pub d_hidden: usize,
    /// The number of layers of the encoder, and of the decoder.
    pub n_layers: usize,
    /// How well a state of the decoder fits one of the source; of the paper are `dot`, `general` and `concat`.
    pub score: ScoreKind,
    /// Whether h̃ is an input of the next step.
    pub input_feeding: bool,
    /// Whether a source is read from its end.
    pub reversed_source: bool,
    /// The probability with which token vectors, outputs between the layers, and what the head reads are dropped in
    /// training.
    pub dropout: f64,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `luong`.
    #[default]
    Luong,
}

impl LuongConfig {
    /// The largest model of the paper with global attention, on its vocabularies.
    pub fn published() -> Self {
        Self {
            model_type: ModelType::Luong,
            source_vocab_size: 50_000,
            target_vocab_size: 50_000,
            d_embedding: 1000,
            d_hidden: 1000,
            n_layers: 4,
            score: ScoreKind::General,
            input_feeding: true,
            reversed_source: true,
            dropout: 0.2,
        }
    }

    /// Weights as torch draws those of `nn.Embedding`, `nn.LSTM` and `nn.Linear`.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Luong {
        let Self { d_embedding, d_hidden, dropout, .. } = *self;
        let embedding = |name: &str, vocab_size| {
            Embedding::init(vocab_size, d_embedding, 1.0, random.named(name), device)
        };
        let layers = |name: &str, d_input| {
            let config = LstmConfig::new(d_input, d_hidden, self.n_layers);
            LstmConfig { dropout, ..config }.init(random.named(name), device)
        };
        Luong {
            source_embedding: embedding("source_embedding", self.source_vocab_size),
            encoder: layers("encoder", d_embedding),
            target_embedding: embedding("target_embedding", self.target_vocab_size),
            decoder: layers("decoder", self.d_decoder_input()),
            score: self.score().init(random.named("score"), device),
            attentional: LinearConfig { d_input: 2 * d_hidden, d_output: d_hidden, bias: false }
                .init(random.named("attentional"), device),
            head: LinearConfig::new(d_hidden, self.target_vocab_size)
                .init(random.named("head"), device),
            dropout: Dropout::new(dropout),
            input_feeding: self.input_feeding,
            reversed_source: self.reversed_source,
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [source_vocab_size, target_vocab_size, d_embedding, d_hidden] =
            [self.source_vocab_size, self.target_vocab_size, self.d_embedding, self.d_hidden]
                .map(|size| size as u64);
        let layers = |d_input| {
            let Self { d_hidden, n_layers, dropout, .. } = *self;
            let cell = CellKind::Lstm;
            AnyConfig { cell, d_input, d_hidden, n_layers, dropout }.parameter_count()
        };
        let a_target_token = d_embedding.saturating_add(d_hidden).saturating_add(1);
        let parts = [
            source_vocab_size.saturating_mul(d_embedding),
            layers(self.d_embedding),
            target_vocab_size.saturating_mul(a_target_token),
            layers(self.d_decoder_input()),
            self.score().parameter_count(),
            d_hidden.saturating_mul(d_hidden).saturating_mul(2),
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    fn d_decoder_input(&self) -> usize {
        let d_fed = if self.input_feeding { self.d_hidden } else { 0 };
        self.d_embedding.saturating_add(d_fed)
    }

    fn score(&self) -> ScoreConfig {
        let d_hidden = self.d_hidden;
        ScoreConfig { kind: self.score, d_query: d_hidden, d_key: d_hidden, d_alignment: d_hidden }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;

    pub const SCORES: [ScoreKind; 5] = [
        ScoreKind::Dot,
        ScoreKind::ScaledDot,
        ScoreKind::Cosine,
        ScoreKind::General,
        ScoreKind::Additive,
    ];

    pub fn config(score: ScoreKind, input_feeding: bool) -> LuongConfig {
        LuongConfig {
            model_type: ModelType::Luong,
            source_vocab_size: 11,
            target_vocab_size: 13,
            d_embedding: 6,
            d_hidden: 9,
            n_layers: 2,
            score,
            input_feeding,
            reversed_source: true,
            dropout: 0.0,
        }
    }

    #[test]
    fn the_published_model_is_counted_from_its_equations() {
        let (n, vocab_size) = (1000, 50_000);
        let layer = |d_input: u64| 4 * n * (d_input + n);
        let encoder = 4 * layer(n);
        let decoder = layer(2 * n) + 3 * layer(n);
        let (general, combination) = (n * n, n * 2 * n);
        let weights = 3 * vocab_size * n + encoder + decoder + general + combination;
        let biases = 8 * 2 * 4 * n + vocab_size;
        assert_eq!(LuongConfig::published().parameter_count(), weights + biases);
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        let layers = |d_input: u64| 4 * 9 * (d_input + 9 + 2) + 4 * 9 * (9 + 9 + 2);
        let scores = [0, 0, 0, 9 * 9, 9 * (9 + 9 + 1)];
        for (kind, score) in SCORES.into_iter().zip(scores) {
            for (input_feeding, d_input) in [(true, 6 + 9), (false, 6)] {
                let expected = 11 * 6 + layers(6) + 13 * 6 + layers(d_input);
                let expected = expected + score + 18 * 9 + 13 * (9 + 1);
                let config = config(kind, input_feeding);
                assert_eq!(config.parameter_count(), expected);
                let model = config.init(Stream::new(1), &test_device());
                assert_eq!(parameter_count(&model) as u64, expected);
            }
        }
    }

    #[test]
    fn the_config_names_the_model_and_refuses_unknown_keys_and_scores() {
        let config = config(ScoreKind::ScaledDot, true);
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["model_type"], "luong");
        let read = |json| serde_json::from_value::<LuongConfig>(json);
        assert_eq!(read(json.clone()).unwrap(), config);
        let with = |key: &str, value: &str| {
            let mut json = json.clone();
            json[key] = value.into();
            read(json)
        };
        assert_eq!(with("score", "concat").unwrap().score, ScoreKind::Additive);
        let error = with("score", "manhattan").unwrap_err().to_string();
        for name in ["manhattan", "dot", "scaled_dot", "cosine", "general", "additive"] {
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
        assert!(with("n_heads", "3").is_err());
    }
}
