//! The models against the torch modules that `tests/fixtures/recurrent_heads.py` writes down.

mod bert;
mod bert_files;
mod bert_sentences;
mod gpt;
mod gpt1_tasks;
mod transformer;
mod translators;
mod values;

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{Stored, Weights, load_tensors, load_weights};
use emberline_core::{Stream, TaskModel, TokenBatch};
use emberline_models::recurrent_classifier::{
    self, RecurrentClassifier, RecurrentClassifierConfig,
};
use emberline_models::recurrent_tagger::{self, RecurrentTagger, RecurrentTaggerConfig};
use emberline_recurrent::{CellKind, Merge};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Loads the weights of a torch module, and compares the scores.
fn check<M: Module + TaskModel>(name: &str, model: M, stored_name: &dyn Fn(&str) -> Stored) {
    let device = test_device();
    let weights = Weights::open(fixture(&format!("{name}.safetensors"))).unwrap();
    let model = load_weights(model, &weights, stored_name).unwrap();
    let tensors = load_tensors(fixture(&format!("{name}_scores.safetensors"))).unwrap();
    let tensor =
        |name: &str| -> &TensorData { &tensors.iter().find(|(known, _)| known == name).unwrap().1 };
    let lengths = tensor("lengths").iter::<i64>().map(|length| length as usize).collect();
    let tokens = Tensor::<2, Int>::from_data(tensor("tokens").clone(), &device);
    let batch = TokenBatch { lengths: Some(lengths), ..TokenBatch::new(tokens) };
    let (found, expected) = (model.logits(&batch).into_data(), tensor("logits"));
    assert_eq!(found.shape(), expected.shape());
    for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
        assert!((found - expected).abs() < 1e-5, "{found} is not torch's {expected}");
    }
}

#[test]
fn the_classifier_scores_what_its_torch_module_does() {
    let config = RecurrentClassifierConfig {
        model_type: recurrent_classifier::ModelType::default(),
        vocab_size: 7,
        n_classes: 3,
        cell: CellKind::Gru,
        merge: Merge::Concat,
        d_embedding: 4,
        d_hidden: 5,
        n_layers: 2,
        dropout: 0.0,
    };
    let model = config.init(Stream::new(1), &test_device());
    check("classifier", model, &RecurrentClassifier::stored_name);
}

#[test]
fn the_tagger_scores_what_its_torch_module_does() {
    let config = RecurrentTaggerConfig {
        model_type: recurrent_tagger::ModelType::default(),
        vocab_size: 7,
        n_classes: 3,
        cell: CellKind::Lstm,
        merge: Merge::Concat,
        d_embedding: 4,
        d_hidden: 5,
        n_layers: 2,
        dropout: 0.0,
    };
    let model = config.init(Stream::new(1), &test_device());
    check("tagger", model, &RecurrentTagger::stored_name);
}
