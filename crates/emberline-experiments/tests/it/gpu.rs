//! Training and generation on a GPU, or on a software device that stands for one, against the CPU.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use emberline_backend::device::{DeviceError, DeviceName};
use emberline_core::Stream;
use emberline_evaluation::in_context::{Answer, AskConfig, FewShot, evaluate_task, toml_task};
use emberline_models::gpt2::Gpt2Config;
use emberline_recurrent::{
    Activation, GruConfig, LstmConfig, Merge, RecurrentLayer, ResetGate, RnnConfig, Stack,
    UpdateGate,
};
use emberline_text::{Corpus, Tokenizer};

use crate::program::{Folder, metrics};

/// The device that `cargo xtask test --device NAME` names.
pub fn name() -> String {
    std::env::var("EMBERLINE_TEST_DEVICE").unwrap_or_else(|_| "wgpu".to_string())
}

/// The device, unless the machine has none; says so then.
pub fn gpu() -> Option<Device> {
    match name().parse::<DeviceName>().and_then(DeviceName::open) {
        Ok(device) => Some(device),
        Err(error @ DeviceError::Absent { .. }) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The outputs of layers over a ragged batch, their last output, and the gradients of input and weights.
fn values<L: RecurrentLayer>(layers: Stack<L>, device: &Device) -> Vec<TensorData> {
    let numbers = Stream::new(2).normals(3 * 6 * 5, 1.0);
    let input = Tensor::<3>::from_data(TensorData::new(numbers, [3, 6, 5]), device).require_grad();
    let (outputs, state) = layers.forward(input.clone(), None, Some(&[6, 2, 4]), None);
    let last = layers.last_output(&state);
    let mut values = vec![outputs.clone().into_data(), last.clone().into_data()];
    let gradients = (outputs.square().sum() + last.sum()).backward();
    values.push(input.grad(&gradients).unwrap().into_data());
    values.extend(parameter_gradients(&layers, &gradients));
    values
}

/// The gradients of all parameters, in order.
pub fn parameter_gradients<M: Module>(module: &M, gradients: &Gradients) -> Vec<TensorData> {
    let mut list = GradientList { gradients, values: Vec::new() };
    module.visit(&mut list);
    list.values
}

struct GradientList<'a> {
    gradients: &'a Gradients,
    values: Vec<TensorData>,
}

impl ModuleVisitor for GradientList<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.values.push(param.val().grad(self.gradients).unwrap().into_data());
    }
}

/// Whether what the CPU computed is what the other device did.
pub fn assert_near(name: &str, ours: &[TensorData], theirs: &[TensorData]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(ours.shape(), theirs.shape(), "{name}, value {index}");
        for (ours, theirs) in ours.iter::<f64>().zip(theirs.iter::<f64>()) {
            let tolerance = 1e-4 * ours.abs().max(1.0);
            assert!(
                (ours - theirs).abs() < tolerance,
                "{name}, value {index}: {ours} and {theirs}"
            );
        }
    }
}

/// Two layers of every kind and form, in both directions.
fn every_layer(device: &Device) -> Vec<(String, Vec<TensorData>)> {
    let random = Stream::new(1);
    let mut found = Vec::new();
    for activation in [Activation::Tanh, Activation::Relu] {
        let config = RnnConfig { activation, ..RnnConfig::new(5, 7, 2) };
        let layers = config.init_bidirectional(Merge::Mean, random, device);
        found.push((format!("{config:?}"), values(layers, device)));
    }
    for reset in [ResetGate::After, ResetGate::Before] {
        for update in [UpdateGate::Keeps, UpdateGate::Admits] {
            let config = GruConfig { reset, update, ..GruConfig::new(5, 7, 2) };
            let layers = config.init_bidirectional(Merge::Sum, random, device);
            found.push((format!("{config:?}"), values(layers, device)));
        }
    }
    let plain = LstmConfig::new(5, 7, 2);
    let clipped = LstmConfig {
        d_projection: Some(3),
        cell_clip: Some(0.2),
        projection_clip: Some(0.1),
        ..plain
    };
    for config in [plain, clipped] {
        let layers = config.init_bidirectional(Merge::Concat, random, device);
        found.push((format!("{config:?}"), values(layers, device)));
    }
    found
}

#[test]
fn every_recurrent_layer_and_its_gradients_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let flex = DeviceName::Flex.open().unwrap();
    let (ours, theirs) = (every_layer(&flex.autodiff()), every_layer(&gpu.autodiff()));
    for ((layer, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        assert_near(layer, ours, theirs);
    }
}

/// The scores that a small GPT-2 gives two answers, after an example.
fn scores_of_answers(device: &Device) -> Vec<f64> {
    let task = r#"
        name = "letters"
        separator = " "
        items = [{ context = "ab cab", choices = [" bac", " cb"], right = 1 }]
        examples = [{ context = "ca", targets = [" b"] }]
    "#;
    let task = toml_task("letters", task).unwrap();
    let tokenizer = Tokenizer::characters(&Corpus::new("letters", " abc").unwrap());
    let model = Gpt2Config {
        vocab_size: tokenizer.vocab_size(),
        n_positions: 16,
        d_model: 12,
        n_layers: 2,
        n_heads: 3,
        deviation: 0.3,
        ..Gpt2Config::default()
    };
    let model = model.init(Stream::new(1), device);
    let few_shot = FewShot { n_shots: 1, ..AskConfig::default().few_shot };
    let config = AskConfig { few_shot, max_positions: Some(16), ..AskConfig::default() };
    let found = evaluate_task(&model, &tokenizer, &task, &config, device).unwrap();
    let Answer::Scored(answers) = &found.samples[0].answer else { panic!("{found:?}") };
    answers.iter().map(|answer| answer.log_likelihood.sum).collect()
}

#[test]
fn the_scores_of_answers_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let flex = DeviceName::Flex.open().unwrap();
    let [ours, theirs] = [flex, gpu].map(|device| scores_of_answers(&device));
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} on flex, {theirs} on {}", name());
    }
}

#[test]
fn a_gpu_trains_and_writes_as_the_cpu_does() {
    if gpu().is_none() {
        return;
    }
    let gpu = name();
    let folder = Folder::new();
    let short = [
        "--set",
        "training.steps=3",
        "--set",
        "training.max_grad_norm=0.5",
        "--set",
        "model.n_layers=2",
    ];
    for device in ["flex", &gpu] {
        folder.succeed(folder.tiny_run(device, &[&short[..], &["--device", device]].concat()));
    }
    let [ours, theirs] = ["flex", &gpu].map(|device| metrics(&folder.path(device)));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for number in ["loss", "grad_norm", "validation_loss"] {
            if let (Some(ours), Some(theirs)) = (ours[number].as_f64(), theirs[number].as_f64()) {
                assert!(
                    (ours - theirs).abs() < 1e-4,
                    "{number}: {ours} on flex, {theirs} on {gpu}"
                );
            }
        }
    }
    // The most likely token each time, from the same weights.
    let greedy = |device: &str| {
        let arguments =
            ["generate", "flex", "--temperature", "0", "--prompt", "the ", "--device", device];
        let mut command = folder.emberline(&arguments);
        command.args(["--max-new-tokens", "12"]);
        folder.succeed(command).stdout
    };
    assert_eq!(greedy("flex"), greedy(&gpu));
}
