//! The smallest published GPT-2 and nanoGPT's configuration for a CPU, with random weights and no dropout: a forward with
//! scores at every position, and updates with AdamW. Their twin in Python is `gpt2_torch.py` beside this file. Prints one
//! JSON object a line.

mod support;

use std::hint::black_box;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy};
use emberline_core::{Stream, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_training::{AdamWConfig, OptimizerConfig};
use support::{report, resident_mib, tokens};

fn main() {
    support::set_up();
    // First, for freed memory is kept.
    let small = without_dropout(Gpt2Config::default());
    let before = resident_mib("VmRSS:");
    training_step("gpt2 training step 4x128", 10, &small, [4, 128]);
    let peak = resident_mib("VmHWM:") - before;
    println!("{{\"name\": \"gpt2 training step 4x128 memory\", \"peak_mib\": {peak:.0}}}");

    let device = Device::flex();
    let model = small.init(Stream::new(0), &device);
    let batch = TokenBatch::new(tokens(1, [1, 512], small.vocab_size, &device));
    report("gpt2 forward 1x512", 10, || {
        let hidden = model.encode(&batch).reshape([512, small.d_model]);
        black_box(model.head(hidden));
    });
    drop(model);

    let char_gpt = without_dropout(Gpt2Config {
        vocab_size: 65,
        n_positions: 64,
        d_model: 128,
        n_layers: 4,
        n_heads: 4,
        ..Gpt2Config::default()
    });
    training_step("char-gpt training step 12x64", 100, &char_gpt, [12, 64]);
}

fn without_dropout(config: Gpt2Config) -> Gpt2Config {
    Gpt2Config { residual_dropout: 0.0, embedding_dropout: 0.0, attention_dropout: 0.0, ..config }
}

/// Updates of a fresh model.
fn training_step(name: &str, runs: usize, config: &Gpt2Config, shape: [usize; 2]) {
    let device = Device::flex().autodiff();
    let mut model = config.init(Stream::new(0), &device);
    let mut optimizer = OptimizerConfig::AdamW(AdamWConfig::default()).init(&model);
    let batch = tokens(1, shape, config.vocab_size, &device.inner());
    let n_tokens: usize = shape.iter().product();
    let targets = batch.clone().reshape([n_tokens]);
    report(name, runs, || {
        let loss = loss(&model, batch.clone(), targets.clone()) / n_tokens as f64;
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-4, model.clone(), gradients);
    });
}

/// The sum over all tokens, each of which is to say itself: the work is that of any targets.
fn loss(model: &Gpt2, tokens: Tensor<2, Int>, targets: Tensor<1, Int>) -> Tensor<1> {
    let hidden = model.encode(&TokenBatch::new(tokens));
    let hidden = hidden.flatten(0, 1);
    linear_cross_entropy(hidden, model.head_weights(), targets, CrossEntropyOptions::default())
}
