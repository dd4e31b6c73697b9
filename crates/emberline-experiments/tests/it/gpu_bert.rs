//! BERT on a GPU, or on a software device that stands for one, against the CPU: a step of pretraining, one of
//! fine-tuning, and a prediction.

use std::path::Path;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, TensorData};
use emberline_backend::device::DeviceName;
use emberline_core::{SentencePair, Stream, TaskModel, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_finetuning::{Classification, ExampleBatch, LabelledBatch};
use emberline_models::bert::{BertConfig, BertForPreTraining, BertForSequenceClassification};
use emberline_pretraining::{MaskedRow, MaskedTokenAndNextSentence, PairRow, SentencePairBatch};
use emberline_text::Example;
use emberline_training::{AdamWConfig, BertAdamConfig, Objective, OptimizerConfig};
use serde_json::Value;

use crate::gpu::{assert_near, gpu, name, parameter_gradients};
use crate::program::Folder;

fn config() -> BertConfig {
    let small = BertConfig {
        vocab_size: 13,
        n_positions: 9,
        d_model: 12,
        n_layers: 2,
        n_heads: 3,
        d_ff: 20,
        deviation: 0.3,
        ..BertConfig::default()
    };
    small.with_labels(["good", "bad", "neither"])
}

/// The loss of a step with dropout, its gradients, and the model after it.
fn step<M: Module, O: Objective<M, Carry = ()>>(
    model: M,
    objective: &O,
    batch: &O::Batch,
    optimizer: OptimizerConfig,
) -> (M, Vec<TensorData>) {
    let (loss, ()) = objective.loss(&model, batch, None, Some(Stream::new(2)));
    let loss = loss.total(&objective.counts(batch));
    let mut values = vec![loss.clone().into_data()];
    let gradients = loss.backward();
    values.extend(parameter_gradients(&model, &gradients));
    let gradients = GradientsParams::from_grads(gradients, &model);
    (optimizer.init(&model).step(1e-4, model, gradients), values)
}

fn pretrained(device: &Device) -> Vec<TensorData> {
    let model: BertForPreTraining = config().init_for(Stream::new(1), &device.clone().autodiff());
    let pair = |tokens: &[u32], segments: &[u32], is_random| PairRow {
        tokens: tokens.to_vec(),
        segments: segments.to_vec(),
        is_random,
    };
    let masked = |tokens: &[u32], positions: &[usize], labels: &[u32]| MaskedRow {
        tokens: tokens.to_vec(),
        positions: positions.to_vec(),
        labels: labels.to_vec(),
    };
    let pairs = [
        pair(&[2, 5, 6, 3, 7, 8, 3], &[0, 0, 0, 0, 1, 1, 1], false),
        pair(&[2, 9, 3, 10, 3], &[0, 0, 0, 1, 1], true),
    ];
    let masks =
        [masked(&[2, 4, 6, 3, 7, 4, 3], &[1, 5], &[5, 8]), masked(&[2, 4, 3, 10, 3], &[1], &[9])];
    let batch = SentencePairBatch::new(&pairs.iter().zip(masks).collect::<Vec<_>>(), device);
    let optimizer = OptimizerConfig::BertAdam(BertAdamConfig::default());
    let (model, mut values) = step(model, &MaskedTokenAndNextSentence, &batch, optimizer);
    let model = model.valid();
    let hidden = model.encode(&batch.tokens);
    values.push(model.pair_logits(hidden.clone()).into_data());
    values.push(model.head(hidden.reshape([14, 12])).into_data());
    values
}

fn finetuned(device: &Device) -> Vec<TensorData> {
    let model: BertForSequenceClassification =
        config().init_for(Stream::new(1), &device.clone().autodiff());
    let example = |tokens: &[u32], label| Example {
        tokens: tokens.to_vec(),
        labels: vec![label],
        ..Example::default()
    };
    let examples = [example(&[2, 5, 6, 7, 3], 2), example(&[2, 8, 3], 0)];
    let batch = LabelledBatch::new(&examples.iter().collect::<Vec<_>>(), device);
    let optimizer = OptimizerConfig::AdamW(AdamWConfig::default());
    let (model, mut values) = step(model, &Classification, &batch, optimizer);
    let rows = TokenBatch::padded(&[&[2, 9, 10, 3], &[2, 3]], device);
    values.push(model.valid().logits(&rows).into_data());
    values
}

#[test]
fn a_step_of_pretraining_and_one_of_finetuning_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let flex = DeviceName::Flex.open().unwrap();
    assert_near("pretraining", &pretrained(&flex), &pretrained(&gpu));
    assert_near("fine-tuning", &finetuned(&flex), &finetuned(&gpu));
}

#[test]
fn a_prediction_is_that_of_the_cpu() {
    if gpu().is_none() {
        return;
    }
    let folder = Folder::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../emberline/tests/fixtures/words");
    let words = |device: &str| -> Value {
        let model = model.to_str().unwrap();
        let text = "The [MASK] sat on the mat.";
        let fill = ["predict", "fill-mask", model, "--text", text, "--device", device];
        serde_json::from_str(&folder.succeed(folder.emberline(&fill)).stdout).unwrap()
    };
    let [ours, theirs] = ["flex", &name()].map(words);
    for (ours, theirs) in ours.as_array().unwrap().iter().zip(theirs.as_array().unwrap()) {
        assert_eq!(ours["sequence"], theirs["sequence"]);
        let [a, b] = [ours, theirs].map(|word| word["score"].as_f64().unwrap());
        assert!((a - b).abs() < 1e-4, "{a} on flex, {b} elsewhere");
    }
}
