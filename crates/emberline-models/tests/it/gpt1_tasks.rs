//! GPT-1 with the head of a task against the classes of `transformers`, with what `tests/fixtures/gpt1_tasks.py` writes.

use burn::tensor::{Int, Tensor};
use emberline_backend::test_device;
use emberline_checkpoint::{Weights, load_weights, read_config, save_weights};
use emberline_core::{
    EncoderTaskModel, Stream, TaskModel, TokenBatch, TokenEncoder, VocabularyHead,
};
use emberline_models::gpt1_task::{Gpt1Task, Gpt1TaskConfig};

use crate::fixture;
use crate::values::Values;

const CASES: [&str; 2] = ["gpt1_classifier", "gpt1_choice"];

/// The mean cross-entropy of some rows of scores.
fn mean_loss(scores: Tensor<2>, targets: Vec<i64>) -> Tensor<1> {
    let n = targets.len();
    let targets = Tensor::<1, Int>::from_data(targets.as_slice(), &test_device().autodiff());
    emberline_backend::cross_entropy(scores, targets) * (1.0 / n as f64)
}

#[test]
fn it_scores_and_learns_as_that_of_transformers() {
    for case in CASES {
        let directory = fixture(case);
        let config: Gpt1TaskConfig = read_config(&directory).unwrap();
        assert_eq!(config.validate(), Ok(()));
        let weights = Weights::open_published(&directory, &Gpt1Task::PUBLISHED_NAMES).unwrap();
        for values in Values::both(&directory.join("values")) {
            let device = test_device().autodiff();
            let model = values.cast(config.init(Stream::new(1), &device));
            let model = load_weights(model, &weights, &Gpt1Task::stored_name).unwrap();
            let numbers = |name: &str| values.tensors[name].iter::<i64>();
            let lengths: Vec<usize> = numbers("lengths").map(|length| length as usize).collect();
            let batch = TokenBatch {
                lengths: Some(lengths.clone()),
                ..TokenBatch::new(values.tokens("tokens"))
            };
            let hidden = model.encode(&batch);
            let logits = model.logits_of(&batch, hidden.clone());
            values.check("logits", logits.to_data());
            assert_eq!(logits.to_data(), model.logits(&batch).into_data());

            let [_, seq_length, d_model] = hidden.dims();
            let tokens: Vec<i64> = numbers("tokens").collect();
            let rows = || lengths.iter().enumerate();
            let predicting = rows().map(|(row, length)| {
                let row = hidden.clone().narrow(0, row, 1).narrow(1, 0, length - 1);
                row.reshape([length - 1, d_model])
            });
            let scores = model.head(Tensor::cat(predicting.collect(), 0));
            let targets = rows().flat_map(|(row, length)| {
                tokens[row * seq_length + 1..row * seq_length + length].to_vec()
            });
            let of_tokens = mean_loss(scores, targets.collect());
            let loss = mean_loss(logits, numbers("labels").collect()) + of_tokens * 0.5;
            values.check("loss", loss.to_data());
            values.check_gradients(&model, &loss.backward(), &Gpt1Task::stored_name);
        }
    }
}

#[test]
fn its_files_are_those_of_transformers() {
    for case in CASES {
        let directory = fixture(case);
        let config: Gpt1TaskConfig = read_config(&directory).unwrap();
        let weights = Weights::open_published(&directory, &Gpt1Task::PUBLISHED_NAMES).unwrap();
        let model = config.init(Stream::new(1), &test_device());
        let model = load_weights(model, &weights, &Gpt1Task::stored_name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        save_weights(&model, &file, &Gpt1Task::stored_name).unwrap();
        let saved = Weights::open(&file).unwrap();
        let names = |weights: &Weights| weights.names().map(str::to_string).collect::<Vec<_>>();
        assert_eq!(names(&saved), names(&weights));
        for name in weights.names() {
            let expected = weights.read(name).unwrap().unwrap().convert::<f32>();
            assert_eq!(saved.read(name).unwrap().unwrap(), expected, "{name}");
        }
    }
}
