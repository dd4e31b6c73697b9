//! The recurrent language model (Mikolov, Karafiát, Burget, Černocký, Khudanpur: "Recurrent neural network
//! based language model", Interspeech 2010), with LSTM cells.
//!
//! Against n-gram models its memory has no fixed length: everything before is in the state, and the next
//! token is scored from that state alone.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::{Embedding, Linear, LinearConfig};
use emberline_checkpoint::Stored;
use emberline_core::{Causal, Incremental, LanguageModel, Stream, TokenBatch, TokenEncoder};
use emberline_recurrent::{Lstm, LstmConfig, LstmState, StackState, torch};
use serde::{Deserialize, Serialize};

/// The sizes of a recurrent language model, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RnnLanguageModelConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The recurrent cell.
    pub cell: CellKind,
    /// The width of the token vectors.
    pub d_embedding: usize,
    /// The width of the state.
    pub d_hidden: usize,
    /// The number of recurrent layers.
    pub n_layers: usize,
    /// The probability with which outputs between the layers are dropped in training.
    pub dropout: f64,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `rnn_language_model`.
    #[default]
    RnnLanguageModel,
}

/// The recurrent cell of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellKind {
    /// [`LstmCell`](emberline_recurrent::LstmCell).
    Lstm,
}

/// Token vectors, recurrent layers, and a score for each token of the vocabulary.
#[derive(Module, Debug)]
pub struct RnnLanguageModel {
    /// `[vocab_size, d_embedding]`.
    pub embedding: Embedding,
    /// The layers.
    pub recurrent: Lstm,
    /// `[d_hidden, vocab_size]`, with a bias.
    pub head: Linear,
}

impl RnnLanguageModelConfig {
    /// Weights as torch draws those of `nn.Embedding`, `nn.LSTM` and `nn.Linear`.
    pub fn init(&self, random: Stream, device: &Device) -> RnnLanguageModel {
        let CellKind::Lstm = self.cell;
        let recurrent = LstmConfig {
            d_input: self.d_embedding,
            d_hidden: self.d_hidden,
            n_layers: self.n_layers,
            dropout: self.dropout,
        };
        RnnLanguageModel {
            embedding: Embedding::init(
                self.vocab_size,
                self.d_embedding,
                1.0,
                random.named("embedding"),
                device,
            ),
            recurrent: recurrent.init(random.named("recurrent"), device),
            head: LinearConfig::new(self.d_hidden, self.vocab_size)
                .init(random.named("head"), device),
        }
    }
}

impl TokenEncoder for RnnLanguageModel {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.encode_from(batch, None).0
    }

    fn d_model(&self) -> usize {
        self.head.weight.lazy_shape()[0]
    }
}

impl Incremental for RnnLanguageModel {
    type Cache = StackState<LstmState>;

    fn encode_from(
        &self,
        batch: &TokenBatch,
        cache: Option<Self::Cache>,
    ) -> (Tensor<3>, Self::Cache) {
        let vectors = self.embedding.forward(batch.tokens.clone()); // [batch_size, seq_length, d_embedding]
        self.recurrent.forward(vectors, cache, batch.lengths.as_deref(), batch.dropout)
    }
}

impl Causal for RnnLanguageModel {}

impl LanguageModel for RnnLanguageModel {
    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.forward(hidden)
    }

    fn vocab_size(&self) -> usize {
        self.head.weight.lazy_shape()[1]
    }
}

impl RnnLanguageModel {
    /// The name of a parameter in files: that of a torch module with the fields `embedding`
    /// (`nn.Embedding`), `lstm` (`nn.LSTM`) and `head` (`nn.Linear`).
    pub fn stored_name(path: &str) -> Stored {
        match path.split_once('.') {
            Some(("recurrent", path)) => {
                let Stored { name, transposed } = torch::lstm_name(path);
                Stored { name: format!("lstm.{name}"), transposed }
            }
            _ if path == "head.weight" => Stored::transposed(path),
            _ => Stored::same(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::{parameter_count, parameters};

    use super::*;

    fn config() -> RnnLanguageModelConfig {
        RnnLanguageModelConfig {
            model_type: ModelType::RnnLanguageModel,
            vocab_size: 11,
            cell: CellKind::Lstm,
            d_embedding: 6,
            d_hidden: 9,
            n_layers: 2,
            dropout: 0.0,
        }
    }

    #[test]
    fn the_laws_of_its_traits_hold() {
        let device = test_device();
        let model = config().init(Stream::new(1), &device);
        laws::causal(&model, &device);
        laws::incremental(&model, &device);
        laws::rows_are_independent(&model, &device);
    }

    #[test]
    fn its_parameters_are_those_of_the_layer_sizes() {
        let model = config().init(Stream::new(1), &test_device());
        let layer = |d_input: usize| 4 * 9 * (d_input + 9 + 2);
        assert_eq!(parameter_count(&model), 11 * 6 + layer(6) + layer(9) + 9 * 11 + 11);
    }

    #[test]
    fn every_parameter_has_a_torch_name_of_its_own() {
        let model = config().init(Stream::new(1), &test_device());
        let names: Vec<String> = parameters(&model)
            .iter()
            .map(|parameter| RnnLanguageModel::stored_name(&parameter.path).name)
            .collect();
        let layer = |l: usize| {
            [
                format!("lstm.weight_ih_l{l}"),
                format!("lstm.weight_hh_l{l}"),
                format!("lstm.bias_ih_l{l}"),
                format!("lstm.bias_hh_l{l}"),
            ]
        };
        let mut expected = vec!["embedding.weight".to_string()];
        expected.extend(layer(0));
        expected.extend(layer(1));
        expected.extend(["head.weight".to_string(), "head.bias".to_string()]);
        assert_eq!(names, expected);
    }

    #[test]
    fn the_config_names_the_model_and_refuses_unknown_keys() {
        let json = serde_json::to_value(config()).unwrap();
        assert_eq!(json["model_type"], "rnn_language_model");
        assert_eq!(
            serde_json::from_value::<RnnLanguageModelConfig>(json.clone()).unwrap(),
            config()
        );
        let mut unknown = json;
        unknown["n_heads"] = 3.into();
        assert!(serde_json::from_value::<RnnLanguageModelConfig>(unknown).is_err());
    }
}
