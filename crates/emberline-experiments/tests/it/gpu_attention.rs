//! The operations of attention and the Transformer on a GPU, or on a software device that stands for one, against the
//! CPU.

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_attention::{PositionKind, Visibility};
use emberline_backend::attention::{AttentionOptions, attention};
use emberline_backend::device::DeviceName;
use emberline_backend::{
    CrossEntropyOptions, Dropout, Gelu, LabelSmoothing, additive_scores, layer_norm,
    linear_cross_entropy, log_sum_exp,
};
use emberline_core::{
    Cache, EncoderDecoder, HeadWeights, Stream, TokenBatch, VocabularyHead, laws,
};
use emberline_models::transformer::{Transformer, TransformerConfig, Vocabulary};

use crate::gpu::{assert_near, gpu, parameter_gradients};

/// The name of what was computed, and its values.
type Found = (String, Vec<TensorData>);

fn random<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(3).named(name).normals(shape.iter().product(), 1.0);
    Tensor::from_data(TensorData::new(values, shape), device).require_grad()
}

/// An output, and the gradients of what it was made from.
fn values<const D: usize, const E: usize>(
    output: Tensor<D>,
    arguments: &[Tensor<E>],
) -> Vec<TensorData> {
    let mut values = vec![output.clone().into_data()];
    let gradients = output.square().sum().backward();
    let of = |argument: &Tensor<E>| argument.grad(&gradients).unwrap().into_data();
    values.extend(arguments.iter().map(of));
    values
}

fn every_attention(device: &Device) -> Vec<Found> {
    let [query, key, value] = [("query", 3), ("key", 7), ("value", 7)]
        .map(|(name, length)| random(name, [2, 2, length, 5], device));
    let keys = || Some(vec![1..7, 0..0]);
    let plain = AttentionOptions::default();
    let masked = |visibility| AttentionOptions { visibility, ..Default::default() };
    let dropout = Some((0.4, Stream::new(5)));
    let all = [
        plain.clone(),
        masked(Visibility::causal()),
        masked(Visibility { keys: keys(), ..Visibility::default() }),
        masked(Visibility { causal: true, band: Some(2), keys: keys() }),
        AttentionOptions { scale: Some(1.3), dropout, ..plain },
    ];
    let found = |options: AttentionOptions| {
        let name = format!("{options:?}");
        let output = attention(query.clone(), key.clone(), value.clone(), options);
        (name, values(output, &[query.clone(), key.clone(), value.clone()]))
    };
    all.map(found).into()
}

fn every_other_operation(device: &Device) -> Vec<Found> {
    let input: Tensor<3> = random("input", [2, 5, 6], device);
    let vectors = ["gamma", "beta"].map(|name| random(name, [6], device));
    let [gamma, beta] = vectors.clone();
    let normal = layer_norm(input.clone(), gamma.clone(), beta, 1e-5);
    let dropped = Dropout::new(0.3).forward(input.clone(), Some(Stream::new(7)));
    let keys = random("keys", [2, 7, 6], device);
    let scores = additive_scores(input.clone(), keys.clone(), gamma);
    let mut found = vec![
        ("layer norm and its input".to_string(), values(normal.clone(), &[input.clone()])),
        ("dropout".to_string(), values(dropped, &[input.clone()])),
        ("additive scores".to_string(), values(scores, &[input.clone(), keys])),
    ];
    // A loss is differentiated once.
    let [gamma, beta] = vectors.clone();
    let normal = layer_norm(input.clone(), gamma, beta, 1e-5);
    found.push(("layer norm and its scale and shift".to_string(), values(normal, &vectors)));
    for form in [Gelu::Exact, Gelu::Tanh, Gelu::Quick] {
        found.push((format!("{form:?}"), values(form.forward(input.clone()), &[input.clone()])));
    }
    let sums = log_sum_exp(random("scores", [4, 9], device));
    found.push(("log of a sum of exponentials".to_string(), vec![sums.into_data()]));
    found
}

fn every_cross_entropy(device: &Device) -> Vec<Found> {
    let hidden: Tensor<2> = random("hidden", [4, 6], device);
    let table: Tensor<2> = random("table", [9, 6], device);
    let smoothings = [
        None,
        Some(LabelSmoothing::Uniform(0.1)),
        Some(LabelSmoothing::Others(0.1)),
        Some(LabelSmoothing::OthersBut { smoothing: 0.1, padding: 0 }),
    ];
    let found = |smoothing: Option<LabelSmoothing>| {
        let targets = Tensor::<1, Int>::from_data([3, 8, 0, 5], device);
        let options = CrossEntropyOptions { ignored: Some(8), smoothing };
        let head = HeadWeights::tied(table.clone(), None);
        let loss = linear_cross_entropy(hidden.clone(), head, targets, options);
        (format!("{options:?}"), values(loss, &[hidden.clone(), table.clone()]))
    };
    smoothings.map(found).into()
}

fn assert_all_near(ours: Vec<Found>, theirs: Vec<Found>) {
    assert_eq!(ours.len(), theirs.len());
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        assert_near(name, ours, theirs);
    }
}

#[test]
fn every_operation_of_attention_and_its_gradients_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let (flex, gpu) = (DeviceName::Flex.open().unwrap().autodiff(), gpu.autodiff());
    for operations in [every_attention, every_other_operation, every_cross_entropy] {
        assert_all_near(operations(&flex), operations(&gpu));
    }
}

fn transformer(positions: PositionKind, device: &Device) -> Transformer {
    let config = TransformerConfig {
        d_model: 8,
        d_ff: 12,
        n_heads: 2,
        n_encoder_layers: 2,
        n_decoder_layers: 2,
        positions,
        ..TransformerConfig::base(Vocabulary::Separate { source: 9, target: 11 })
    };
    config.init(Stream::new(1), device)
}

fn source(device: &Device) -> TokenBatch {
    TokenBatch::padded(&[&[1, 2, 3, 4], &[5, 6]], device)
}

/// The vectors of a target and the attention that it pays to the source, and every gradient, with dropout.
fn trained(device: &Device) -> Vec<TensorData> {
    let model = transformer(PositionKind::Learned { max_positions: 5 }, device);
    let dropout = Some(Stream::new(2));
    let source = TokenBatch { dropout, ..source(device) };
    let target = TokenBatch::from_rows(&[&[7, 8, 9, 10, 1], &[2, 3, 4, 5, 6]], device);
    let target = TokenBatch { dropout, ..target };
    let (hidden, attention, _) = model.decode_with_attention(&target, model.encode(&source));
    let mut values: Vec<TensorData> = attention.into_iter().map(Tensor::into_data).collect();
    values.push(hidden.clone().into_data());
    let [rows, length, d_model] = hidden.dims();
    let scores = model.head(hidden.reshape([rows * length, d_model]));
    values.extend(parameter_gradients(&model, &scores.square().sum().backward()));
    values
}

/// The vectors of a target word by word, of two beams of the second source and one of the first.
fn written(device: &Device) -> Vec<TensorData> {
    let model = transformer(PositionKind::Sinusoidal, device);
    let mut cache = model.encode(&source(device)).select_rows(&[1, 1, 0]);
    let mut values = Vec::new();
    for word in 0..5 {
        let target = TokenBatch::from_rows(&[&[word], &[word + 1], &[word + 2]], device);
        let (hidden, next) = model.decode(&target, cache);
        values.push(hidden.into_data());
        cache = next.select_rows(&[1, 0, 2]);
    }
    values
}

#[test]
fn the_transformer_trains_and_writes_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let flex = DeviceName::Flex.open().unwrap();
    let [ours, theirs] = [&flex, &gpu].map(|device| trained(&device.clone().autodiff()));
    assert_near("training", &ours, &theirs);
    assert_near("writing", &written(&flex), &written(&gpu));
    laws::encoder_decoder(&transformer(PositionKind::Sinusoidal, &gpu), 9, &gpu);
}
