//! The recurrent language model (Mikolov, Karafiát, Burget, Černocký, Khudanpur: "Recurrent neural network
//! based language model", Interspeech 2010), over the cell that its config names: the plain one of the paper, or
//! its gated successors.
//!
//! Against n-gram models its memory has no fixed length: everything before is in the state, and the next
//! token is scored from that state alone.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::{Embedding, Linear, LinearConfig};
use emberline_checkpoint::Stored;
use emberline_core::{
    Causal, HeadWeights, Incremental, Stream, TokenBatch, TokenEncoder, VocabularyHead,
};
pub use emberline_recurrent::CellKind;
use emberline_recurrent::{AnyConfig, AnyStack, AnyState, StackState};
use serde::{Deserialize, Serialize};

use crate::published::{InvalidConfig, require_dropouts, require_sizes};
use crate::stored::stored_name;

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

/// Token vectors, recurrent layers, and a score for each token of the vocabulary.
#[derive(Module, Debug)]
pub struct RnnLanguageModel {
    /// `[vocab_size, d_embedding]`.
    pub embedding: Embedding,
    /// The layers.
    pub recurrent: AnyStack,
    /// `[d_hidden, vocab_size]`, with a bias.
    pub head: Linear,
}

impl RnnLanguageModelConfig {
    /// Weights as torch draws those of `nn.Embedding`, its recurrent modules and `nn.Linear`.
    pub fn init(&self, random: Stream, device: &Device) -> RnnLanguageModel {
        RnnLanguageModel {
            embedding: Embedding::init(
                self.vocab_size,
                self.d_embedding,
                1.0,
                random.named("embedding"),
                device,
            ),
            recurrent: self.recurrent().init(random.named("recurrent"), device),
            head: LinearConfig::new(self.d_hidden, self.vocab_size)
                .init(random.named("head"), device),
        }
    }

    /// Whether a model can be made of it; the error names the first field that cannot be.
    ///
    /// # Errors
    /// [`InvalidConfig`].
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        require_sizes(&[
            ("vocab_size", self.vocab_size),
            ("d_embedding", self.d_embedding),
            ("d_hidden", self.d_hidden),
            ("n_layers", self.n_layers),
        ])?;
        require_dropouts(&[("dropout", self.dropout)])
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [vocab_size, d_embedding, d_hidden] =
            [self.vocab_size, self.d_embedding, self.d_hidden].map(|size| size as u64);
        let a_token = d_embedding.saturating_add(d_hidden).saturating_add(1);
        self.recurrent().parameter_count().saturating_add(vocab_size.saturating_mul(a_token))
    }

    fn recurrent(&self) -> AnyConfig {
        AnyConfig {
            cell: self.cell,
            d_input: self.d_embedding,
            d_hidden: self.d_hidden,
            n_layers: self.n_layers,
            dropout: self.dropout,
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
    type Cache = StackState<AnyState>;

    fn encode_from(
        &self,
        batch: &TokenBatch,
        cache: Option<Self::Cache>,
    ) -> (Tensor<3>, Self::Cache) {
        let vectors = self.embedding.forward(batch.tokens.clone()); // [batch_size, seq_length, d_embedding]
        self.recurrent.forward(vectors, cache, batch.right_padded_lengths(), batch.dropout)
    }
}

impl Causal for RnnLanguageModel {}

impl VocabularyHead for RnnLanguageModel {
    fn head_weights(&self) -> HeadWeights {
        let bias = self.head.bias.as_ref().map(|bias| bias.val());
        HeadWeights::own(self.head.weight.val(), bias)
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.forward(hidden)
    }
}

impl RnnLanguageModel {
    /// The name of a parameter in files: that of a torch module with the fields `embedding`
    /// (`nn.Embedding`), `head` (`nn.Linear`), and `rnn` (`nn.RNN`), `gru` (`nn.GRU`) or `lstm` (`nn.LSTM`).
    pub fn stored_name(path: &str) -> Stored {
        stored_name(path)
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::{parameter_count, parameters};

    use super::*;

    const CELLS: [(CellKind, &str); 3] =
        [(CellKind::Rnn, "rnn"), (CellKind::Gru, "gru"), (CellKind::Lstm, "lstm")];

    fn config(cell: CellKind) -> RnnLanguageModelConfig {
        RnnLanguageModelConfig {
            model_type: ModelType::RnnLanguageModel,
            vocab_size: 11,
            cell,
            d_embedding: 6,
            d_hidden: 9,
            n_layers: 2,
            dropout: 0.0,
        }
    }

    #[test]
    fn the_laws_of_its_traits_hold_with_every_cell() {
        let device = test_device();
        for (cell, _) in CELLS {
            let model = config(cell).init(Stream::new(1), &device);
            laws::causal(&model, &device);
            laws::incremental(&model, &device);
            laws::carry_is_stored(&model, &device);
            laws::rows_are_independent(&model, &device);
        }
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        let layers = |gates: u64| gates * 9 * (6 + 9 + 2) + gates * 9 * (9 + 9 + 2);
        for ((cell, _), gates) in CELLS.into_iter().zip([1, 3, 4]) {
            let expected = 11 * 6 + layers(gates) + 9 * 11 + 11;
            assert_eq!(config(cell).parameter_count(), expected);
            let model = config(cell).init(Stream::new(1), &test_device());
            assert_eq!(parameter_count(&model) as u64, expected);
        }
    }

    #[test]
    fn every_parameter_has_a_torch_name_of_its_own() {
        for (cell, field) in CELLS {
            let model = config(cell).init(Stream::new(1), &test_device());
            let names: Vec<String> = parameters(&model)
                .iter()
                .map(|parameter| RnnLanguageModel::stored_name(&parameter.path).name)
                .collect();
            let layer = |l: usize| {
                ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
                    .map(|parameter| format!("{field}.{parameter}_l{l}"))
            };
            let mut expected = vec!["embedding.weight".to_string()];
            expected.extend(layer(0));
            expected.extend(layer(1));
            expected.extend(["head.weight".to_string(), "head.bias".to_string()]);
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn the_config_names_model_and_cell_and_refuses_unknown_keys() {
        for (cell, name) in CELLS {
            let json = serde_json::to_value(config(cell)).unwrap();
            assert_eq!(json["model_type"], "rnn_language_model");
            assert_eq!(json["cell"], name);
            assert_eq!(
                serde_json::from_value::<RnnLanguageModelConfig>(json.clone()).unwrap(),
                config(cell)
            );
            let mut unknown = json;
            unknown["n_heads"] = 3.into();
            assert!(serde_json::from_value::<RnnLanguageModelConfig>(unknown).is_err());
        }
    }
}
