//! A step of LoRA on a GPU, or on a software device that stands for one, against the CPU.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::device::DeviceName;
use emberline_core::{Stream, TokenBatch};
use emberline_finetuning::{Classification, LabelledBatch, LoraConfig, attach, merge};
use emberline_models::bert::{BertConfig, BertForSequenceClassification};
use emberline_training::{AdamWConfig, Objective, OptimizerConfig};

use crate::gpu::{assert_near, gpu};

/// The loss, the parameters that were trained, and the scores once they are merged.
fn step(device: &Device) -> Vec<TensorData> {
    let config = BertConfig {
        vocab_size: 11,
        d_model: 12,
        d_ff: 16,
        n_layers: 2,
        n_heads: 3,
        n_positions: 8,
        deviation: 0.3,
        ..BertConfig::default()
    };
    let autodiff = device.clone().autodiff();
    let model: BertForSequenceClassification = config.init_for(Stream::new(1), &autodiff);
    let lora = LoraConfig {
        saved_modules: vec!["head".to_string()],
        ..LoraConfig::new(2, 4.0, &["attention.query", "attention.value"])
    };
    let adapter = lora.init(&model, Stream::new(2)).unwrap();
    let model = attach(model, &[&adapter], None).unwrap();
    let planned = adapter.plan().of(&model).unwrap();
    let mut model = planned.prepare(0, model);
    let numbers = AdamWConfig { epsilon: 1e-3, ..AdamWConfig::default() };
    let mut optimizer = planned.optimizer(&OptimizerConfig::AdamW(numbers), &model);
    let batch = LabelledBatch {
        tokens: TokenBatch::padded(&[&[1, 5, 2, 9], &[3, 3]], device),
        labels: Tensor::from_data([1, 0], device),
        labelled: None,
    };
    let mut found = Vec::new();
    // In the first update B alone learns: A has no gradient while B is zero.
    for _ in 0..2 {
        let (loss, ()) = Classification.loss(&model, &batch, None, None);
        let loss = loss.terms[0].sum.clone();
        found.push(loss.clone().into_data());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.01, model, gradients);
    }
    struct Trained<'a>(&'a mut Vec<TensorData>);
    impl ModuleVisitor for Trained<'_> {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            if parameter.base().is_require_grad() {
                self.0.push(parameter.base().into_data());
            }
        }
    }
    model.visit(&mut Trained(&mut found));
    let merged = merge(model.valid());
    found.push(emberline_core::TaskModel::logits(&merged, &batch.tokens).into_data());
    found
}

#[test]
fn a_step_of_lora_is_that_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let flex = DeviceName::Flex.open().unwrap();
    assert_near("a step of LoRA", &step(&flex), &step(&gpu));
}
