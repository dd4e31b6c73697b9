//! The recurrent models that translate on a GPU, or on a software device that stands for one, against the CPU.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::device::DeviceName;
use emberline_core::{Cache, EncoderDecoder, Stream, TokenBatch};
use emberline_models::attention_seq2seq::bahdanau::{self, BahdanauConfig, OutputState};
use emberline_models::attention_seq2seq::luong::{self, LuongConfig, ScoreKind};
use emberline_models::seq2seq::cho::{self, ChoConfig};
use emberline_models::seq2seq::sutskever::{self, SutskeverConfig};

use crate::gpu::{assert_near, gpu, parameter_gradients};

fn source(device: &Device) -> TokenBatch {
    TokenBatch::padded(&[&[1, 2, 3, 4], &[5, 6]], device)
}

/// The vectors of a target and the attention that it pays to the source, and every gradient, with dropout.
fn trained<M: Module + EncoderDecoder>(model: &M, device: &Device) -> Vec<TensorData> {
    let dropout = Some(Stream::new(2));
    let source = TokenBatch { dropout, ..source(device) };
    let target = TokenBatch::from_rows(&[&[7, 8, 9, 10, 1], &[2, 3, 4, 5, 6]], device);
    let target = TokenBatch { dropout, ..target };
    let (hidden, attention, _) = model.decode_with_attention(&target, model.encode(&source));
    let mut values: Vec<TensorData> = attention.into_iter().map(Tensor::into_data).collect();
    values.push(hidden.clone().into_data());
    let [rows, length, d_hidden] = hidden.dims();
    let scores = model.head(hidden.reshape([rows * length, d_hidden]));
    values.extend(parameter_gradients(model, &scores.square().sum().backward()));
    values
}

/// The vectors of a target word by word, of two beams of the second source and one of the first.
fn written<M: EncoderDecoder>(model: &M, device: &Device) -> Vec<TensorData> {
    let mut cache = model.encode(&source(device)).select_rows(&[1, 1, 0]);
    let mut values = Vec::new();
    for word in 0..3 {
        let target = TokenBatch::from_rows(&[&[word], &[word + 1], &[word + 2]], device);
        let (hidden, next) = model.decode(&target, cache);
        values.push(hidden.into_data());
        cache = next.select_rows(&[1, 0, 2]);
    }
    values
}

fn trains_and_writes_as_on_the_cpu<M: Module + EncoderDecoder>(
    name: &str,
    init: impl Fn(&Device) -> M,
) {
    let Some(gpu) = gpu() else { return };
    let flex = DeviceName::Flex.open().unwrap();
    let [ours, theirs] = [&flex, &gpu].map(|device| {
        let device = device.clone().autodiff();
        trained(&init(&device), &device)
    });
    assert_near(&format!("training {name}"), &ours, &theirs);
    let [ours, theirs] = [&flex, &gpu].map(|device| written(&init(device), device));
    assert_near(&format!("writing with {name}"), &ours, &theirs);
}

#[test]
fn sutskevers_model_trains_and_writes_on_a_gpu_as_on_the_cpu() {
    let config = SutskeverConfig {
        model_type: sutskever::ModelType::Sutskever,
        source_vocab_size: 9,
        target_vocab_size: 11,
        d_embedding: 4,
        d_hidden: 6,
        n_layers: 2,
        reversed_source: true,
        dropout: 0.2,
    };
    trains_and_writes_as_on_the_cpu("sutskever", |device| config.init(Stream::new(1), device));
}

#[test]
fn chos_model_trains_and_writes_on_a_gpu_as_on_the_cpu() {
    let config = ChoConfig {
        model_type: cho::ModelType::Cho,
        source_vocab_size: 9,
        target_vocab_size: 11,
        d_embedding: 4,
        d_hidden: 6,
        n_layers: 2,
        d_maxout: 5,
        dropout: 0.2,
    };
    trains_and_writes_as_on_the_cpu("cho", |device| config.init(Stream::new(1), device));
}

#[test]
fn bahdanaus_model_trains_and_writes_on_a_gpu_as_on_the_cpu() {
    for output_state in [OutputState::Previous, OutputState::Current] {
        let config = BahdanauConfig {
            model_type: bahdanau::ModelType::Bahdanau,
            source_vocab_size: 9,
            target_vocab_size: 11,
            d_embedding: 4,
            d_hidden: 6,
            d_alignment: 7,
            d_maxout: 5,
            output_state,
            dropout: 0.2,
        };
        let name = format!("bahdanau, {output_state:?}");
        trains_and_writes_as_on_the_cpu(&name, |device| config.init(Stream::new(1), device));
    }
}

#[test]
fn luongs_model_trains_and_writes_on_a_gpu_as_on_the_cpu() {
    // Additive scores are Bahdanau's.
    let cases = [
        (ScoreKind::Dot, true),
        (ScoreKind::ScaledDot, false),
        (ScoreKind::Cosine, true),
        (ScoreKind::General, false),
    ];
    for (score, input_feeding) in cases {
        let config = LuongConfig {
            model_type: luong::ModelType::Luong,
            source_vocab_size: 9,
            target_vocab_size: 11,
            d_embedding: 4,
            d_hidden: 6,
            n_layers: 2,
            score,
            input_feeding,
            reversed_source: true,
            dropout: 0.2,
        };
        let name = format!("luong, {score:?}, fed {input_feeding}");
        trains_and_writes_as_on_the_cpu(&name, |device| config.init(Stream::new(1), device));
    }
}
