//! The recurrent classifier: a text in, a class out (many-to-one). Deep bidirectional layers after Schuster and
//! Paliwal ("Bidirectional recurrent neural networks", 1997) and Graves, Mohamed, Hinton ("Speech recognition
//! with deep recurrent neural networks", 2013).
//!
//! Against the [language model](crate::rnn_language_model) there is one answer for the whole row, so that the
//! layers may read it from both ends: each direction of the last layer has seen every token at its last step,
//! the forward one at the row's last token and the reverse one at the first. What it knows there is all that
//! is scored.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::{Dropout, Embedding, Linear, LinearConfig};
use emberline_checkpoint::Stored;
use emberline_core::task::Row;
use emberline_core::{Stream, TaskModel, TokenBatch};
use emberline_recurrent::{AnyBidirectional, AnyConfig};
pub use emberline_recurrent::{CellKind, Merge};
use serde::{Deserialize, Serialize};

use crate::stored::stored_name;

/// The sizes of a recurrent classifier, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecurrentClassifierConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The number of classes.
    pub n_classes: usize,
    /// The recurrent cell.
    pub cell: CellKind,
    /// How the two directions of a layer become one.
    pub merge: Merge,
    /// The width of the token vectors.
    pub d_embedding: usize,
    /// The width of the state of a direction.
    pub d_hidden: usize,
    /// The number of recurrent layers.
    pub n_layers: usize,
    /// The probability with which outputs between the layers, and what the head reads, are dropped in
    /// training.
    pub dropout: f64,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `recurrent_classifier`.
    #[default]
    RecurrentClassifier,
}

/// Token vectors, bidirectional layers, and a score for each class.
#[derive(Module, Debug)]
pub struct RecurrentClassifier {
    /// `[vocab_size, d_embedding]`.
    pub embedding: Embedding,
    /// The layers.
    pub recurrent: AnyBidirectional,
    /// Applied to what the head reads.
    pub dropout: Dropout,
    /// `[d_output, n_classes]`, with a bias.
    pub head: Linear,
}

impl RecurrentClassifierConfig {
    /// Weights as torch draws those of `nn.Embedding`, its recurrent modules and `nn.Linear`.
    pub fn init(&self, random: Stream, device: &Device) -> RecurrentClassifier {
        let (vocab_size, d_embedding) = (self.vocab_size, self.d_embedding);
        let embedding = random.named("embedding");
        let d_output = self.merge.d_output(self.d_hidden);
        RecurrentClassifier {
            embedding: Embedding::init(vocab_size, d_embedding, 1.0, embedding, device),
            recurrent: self.recurrent().init_bidirectional(
                self.merge,
                random.named("recurrent"),
                device,
            ),
            dropout: Dropout::new(self.dropout),
            head: LinearConfig::new(d_output, self.n_classes).init(random.named("head"), device),
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [vocab_size, n_classes, d_embedding, d_output] =
            [self.vocab_size, self.n_classes, self.d_embedding, self.merge.d_output(self.d_hidden)]
                .map(|size| size as u64);
        self.recurrent()
            .bidirectional_parameter_count(self.merge)
            .saturating_add(vocab_size.saturating_mul(d_embedding))
            .saturating_add(n_classes.saturating_mul(d_output.saturating_add(1)))
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

impl TaskModel for RecurrentClassifier {
    type Item = Row;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        let vectors = self.embedding.forward(batch.tokens.clone()); // [batch_size, seq_length, d_embedding]
        let random = |part| batch.dropout.map(|random| random.named(part));
        let lengths = batch.right_padded_lengths();
        let (_, state) = self.recurrent.forward(vectors, None, lengths, random("recurrent"));
        let last = self.recurrent.last_output(&state); // [batch_size, d_output]
        self.head.forward(self.dropout.forward(last, random("head")))
    }

    fn n_classes(&self) -> usize {
        self.head.weight.lazy_shape()[1]
    }
}

impl RecurrentClassifier {
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

    const CELLS: [CellKind; 3] = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm];

    fn config(cell: CellKind, merge: Merge) -> RecurrentClassifierConfig {
        RecurrentClassifierConfig {
            model_type: ModelType::RecurrentClassifier,
            vocab_size: 11,
            n_classes: 4,
            cell,
            merge,
            d_embedding: 6,
            d_hidden: 5,
            n_layers: 2,
            dropout: 0.0,
        }
    }

    fn scores(model: &RecurrentClassifier, rows: &[&[u32]], dropout: Option<Stream>) -> Vec<f32> {
        let batch = TokenBatch { dropout, ..TokenBatch::padded(rows, &test_device()) };
        model.logits(&batch).into_data().iter().collect()
    }

    #[test]
    fn padding_is_hidden_from_every_cell() {
        let device = test_device();
        for cell in CELLS {
            for merge in [Merge::Sum, Merge::Concat] {
                let model = config(cell, merge).init(Stream::new(1), &device);
                assert_eq!(model.n_classes(), 4);
                laws::padding_is_hidden(&model, 11, &device);
            }
        }
    }

    #[test]
    fn every_token_counts_and_so_does_its_place() {
        let model = config(CellKind::Gru, Merge::Sum).init(Stream::new(1), &test_device());
        let of = |row: &[u32]| scores(&model, &[row], None);
        let row = of(&[1, 2, 3, 4]);
        for other in [[5, 2, 3, 4], [1, 5, 3, 4], [1, 2, 5, 4], [1, 2, 3, 5], [4, 3, 2, 1]] {
            assert_ne!(of(&other), row, "{other:?}");
        }
    }

    #[test]
    fn what_the_head_reads_is_dropped_only_with_a_stream() {
        let scores = |dropout: f64, random: Option<Stream>| {
            let config = RecurrentClassifierConfig {
                n_layers: 1,
                dropout,
                ..config(CellKind::Rnn, Merge::Sum)
            };
            scores(&config.init(Stream::new(1), &test_device()), &[&[1, 2]], random)
        };
        assert_eq!(scores(0.5, None), scores(0.0, None));
        assert_ne!(scores(0.5, Some(Stream::new(2))), scores(0.0, None));
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        for (cell, gates) in CELLS.into_iter().zip([1, 3, 4]) {
            for (merge, d_output) in [(Merge::Mean, 5), (Merge::Concat, 10)] {
                let layer = |d_input: u64| 2 * gates * 5 * (d_input + 5 + 2);
                let expected = 11 * 6 + layer(6) + layer(d_output) + 4 * (d_output + 1);
                assert_eq!(config(cell, merge).parameter_count(), expected);
                let model = config(cell, merge).init(Stream::new(1), &test_device());
                assert_eq!(parameter_count(&model) as u64, expected);
            }
        }
    }

    #[test]
    fn every_parameter_has_a_torch_name_of_its_own() {
        let model = config(CellKind::Gru, Merge::Concat).init(Stream::new(1), &test_device());
        let names: Vec<String> = parameters(&model)
            .iter()
            .map(|parameter| RecurrentClassifier::stored_name(&parameter.path).name)
            .collect();
        let mut expected = vec!["embedding.weight".to_string()];
        for place in ["l0", "l0_reverse", "l1", "l1_reverse"] {
            for parameter in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] {
                expected.push(format!("gru.{parameter}_{place}"));
            }
        }
        expected.extend(["head.weight".to_string(), "head.bias".to_string()]);
        assert_eq!(names, expected);
    }

    #[test]
    fn the_config_names_the_model_and_refuses_unknown_keys() {
        let config = config(CellKind::Lstm, Merge::Product);
        let mut json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["model_type"], "recurrent_classifier");
        assert_eq!((&json["cell"], &json["merge"]), (&"lstm".into(), &"product".into()));
        let read = |json| serde_json::from_value::<RecurrentClassifierConfig>(json);
        assert_eq!(read(json.clone()).unwrap(), config);
        json["n_heads"] = 3.into();
        assert!(read(json).is_err());
    }
}
