//! BERT of the base size, with random weights: the forward pass, and a step of fine-tuning a classifier without dropout.
//! Its twin in PyTorch is `bert_torch.py` beside this file. Prints one JSON object a line.
//!
//! With the argument `memory` it prints, instead, the peak of resident memory of making the classifier and taking two
//! steps, weights included.

mod support;

use std::hint::black_box;

use burn::optim::GradientsParams;
use burn::tensor::Device;
use emberline_core::{Stream, TokenBatch, TokenEncoder};
use emberline_finetuning::{Classification, LabelledBatch};
use emberline_models::bert::{BertConfig, BertForSequenceClassification};
use emberline_training::{AdamWConfig, Objective, OptimizerConfig};
use support::{report, resident_mib, tokens};

const ROWS: usize = 8;
const LENGTH: usize = 128;

fn main() {
    support::set_up();
    if std::env::args().any(|argument| argument == "memory") {
        return peak();
    }
    let device = Device::flex();
    let config = BertConfig::default();
    let bert = config.init(Stream::new(0), &device);
    for rows in [1, ROWS] {
        let batch = TokenBatch::new(tokens(1, [rows, LENGTH], config.vocab_size, &device));
        report(&format!("bert base forward {rows}x{LENGTH}"), 20, || {
            black_box(bert.pooled(bert.encode(&batch)));
        });
    }
    let mut step = finetuning(&config, [ROWS, LENGTH], &device);
    report(&format!("bert base fine-tuning step {ROWS}x{LENGTH}"), 5, &mut step);
}

/// A step of training a classifier, which is made when this is called.
fn finetuning(config: &BertConfig, shape: [usize; 2], device: &Device) -> impl FnMut() + use<> {
    let config = BertConfig { dropout: 0.0, attention_dropout: 0.0, ..config.clone() };
    let batch = LabelledBatch {
        tokens: TokenBatch::new(tokens(1, shape, config.vocab_size, device)),
        labels: tokens(1, [1, shape[0]], config.n_classes(), device).squeeze_dim(0),
        labelled: None,
    };
    let device = device.clone().autodiff();
    let mut model: BertForSequenceClassification = config.init_for(Stream::new(0), &device);
    let mut optimizer = OptimizerConfig::AdamW(AdamWConfig::default()).init(&model);
    move || {
        let (loss, ()) = Classification.loss(&model, &batch, None, None);
        let counts = <Classification as Objective<BertForSequenceClassification>>::counts(
            &Classification,
            &batch,
        );
        let gradients = GradientsParams::from_grads(loss.total(&counts).backward(), &model);
        model = optimizer.step(2e-5, model.clone(), gradients);
    }
}

fn peak() {
    let device = Device::flex();
    let small = BertConfig {
        vocab_size: 8,
        d_model: 64,
        n_layers: 1,
        n_heads: 1,
        d_ff: 64,
        ..BertConfig::default()
    };
    // Once at the smallest size, so that threads and code are there before the region.
    finetuning(&small, [2, 2], &device)();
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = resident_mib("VmRSS:");
    let mut step = finetuning(&BertConfig::default(), [ROWS, LENGTH], &device);
    step();
    step();
    let peak = resident_mib("VmHWM:") - before;
    println!(
        "{{\"name\": \"bert base fine-tuning memory {ROWS}x{LENGTH}\", \"peak_mib\": {peak:.1}}}"
    );
}
