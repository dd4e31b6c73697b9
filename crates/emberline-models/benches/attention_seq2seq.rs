//! Training steps of the models that translate with recurrent layers: through one vector, and with attention. Prints one
//! JSON object a line.

mod support;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy};
use emberline_core::{EncoderDecoder, Stream, TokenBatch};
use emberline_models::attention_seq2seq::bahdanau::{self, BahdanauConfig, OutputState};
use emberline_models::attention_seq2seq::luong::{self, LuongConfig, ScoreKind};
use emberline_models::seq2seq::cho::{self, ChoConfig};
use emberline_models::seq2seq::sutskever::{self, SutskeverConfig};
use emberline_training::{AdamWConfig, OptimizerConfig};
use support::{report, tokens};

const BATCH_SIZE: usize = 64;
const LENGTH: usize = 15;
const VOCAB_SIZE: usize = 6000;
const WIDTH: usize = 256;

fn main() {
    support::set_up();
    let device = Device::flex().autodiff();
    let random = Stream::new(0);
    let sutskever = SutskeverConfig {
        model_type: sutskever::ModelType::Sutskever,
        source_vocab_size: VOCAB_SIZE,
        target_vocab_size: VOCAB_SIZE,
        d_embedding: WIDTH,
        d_hidden: WIDTH,
        n_layers: 1,
        reversed_source: true,
        dropout: 0.2,
    };
    training_step("sutskever", sutskever.init(random, &device), &device);
    let cho = ChoConfig {
        model_type: cho::ModelType::Cho,
        source_vocab_size: VOCAB_SIZE,
        target_vocab_size: VOCAB_SIZE,
        d_embedding: WIDTH,
        d_hidden: WIDTH,
        n_layers: 1,
        d_maxout: WIDTH,
        dropout: 0.2,
    };
    training_step("cho", cho.init(random, &device), &device);
    let bahdanau = BahdanauConfig {
        model_type: bahdanau::ModelType::Bahdanau,
        source_vocab_size: VOCAB_SIZE,
        target_vocab_size: VOCAB_SIZE,
        d_embedding: WIDTH,
        d_hidden: WIDTH,
        d_alignment: WIDTH,
        d_maxout: WIDTH,
        output_state: OutputState::Current,
        dropout: 0.2,
    };
    training_step("bahdanau", bahdanau.init(random, &device), &device);
    for (name, input_feeding) in [("luong, fed", true), ("luong, not fed", false)] {
        let luong = LuongConfig {
            model_type: luong::ModelType::Luong,
            source_vocab_size: VOCAB_SIZE,
            target_vocab_size: VOCAB_SIZE,
            d_embedding: WIDTH,
            d_hidden: WIDTH,
            n_layers: 1,
            score: ScoreKind::General,
            input_feeding,
            reversed_source: true,
            dropout: 0.2,
        };
        training_step(name, luong.init(random, &device), &device);
    }
}

/// Forward, backward and AdamW, on one batch.
fn training_step<M: Module + EncoderDecoder>(name: &str, model: M, device: &Device) {
    let mut optimizer = OptimizerConfig::AdamW(AdamWConfig::default()).init(&model);
    let mut model = Some(model);
    let plain = device.clone().inner();
    let dropout = Some(Stream::new(2));
    let batch = |seed| TokenBatch {
        dropout,
        ..TokenBatch::new(tokens(seed, [BATCH_SIZE, LENGTH], VOCAB_SIZE, &plain))
    };
    let (source, target) = (batch(3), batch(4));
    let targets =
        tokens(5, [BATCH_SIZE, LENGTH], VOCAB_SIZE, &plain).reshape([BATCH_SIZE * LENGTH]);
    report(name, 30, || {
        let before = model.take().expect("a model between two steps");
        let (hidden, _) = before.decode(&target, before.encode(&source));
        let [.., d_hidden] = hidden.dims();
        let hidden = hidden.reshape([BATCH_SIZE * LENGTH, d_hidden]);
        let options = CrossEntropyOptions::default();
        let sum = linear_cross_entropy(hidden, before.head_weights(), targets.clone(), options);
        let loss = sum / (BATCH_SIZE * LENGTH) as f64;
        let gradients = GradientsParams::from_grads(loss.backward(), &before);
        model = Some(optimizer.step(1e-4, before, gradients));
    });
}
