//! Training and generation on a GPU, or on a software device that stands for one, against the CPU.

use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::device::{DeviceError, DeviceName};
use emberline_core::Stream;
use emberline_recurrent::LstmConfig;

use crate::program::{Folder, metrics};

/// The device that `cargo xtask test --device NAME` names.
fn name() -> String {
    std::env::var("EMBERLINE_TEST_DEVICE").unwrap_or_else(|_| "wgpu".to_string())
}

/// The device, unless the machine has none; says so then.
fn gpu() -> Option<Device> {
    match name().parse::<DeviceName>().and_then(DeviceName::open) {
        Ok(device) => Some(device),
        Err(error @ DeviceError::Absent { .. }) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The outputs of a deep LSTM over a sequence, its last states, and the gradients of its weights and input.
fn lstm_values(device: &Device) -> Vec<TensorData> {
    let config = LstmConfig::new(5, 7, 2);
    let lstm = config.init(Stream::new(1), device);
    let numbers = Stream::new(2).normals(3 * 6 * 5, 1.0);
    let input = Tensor::<3>::from_data(TensorData::new(numbers, [3, 6, 5]), device).require_grad();
    let (output, state) = lstm.forward(input.clone(), None, Some(&[6, 2, 4]), None);
    let mut values = vec![output.clone().into_data()];
    let mut loss = output.square().sum();
    for layer in state.0 {
        values.extend([layer.hidden.clone().into_data(), layer.cell.clone().into_data()]);
        loss = loss + layer.hidden.sum() + layer.cell.square().sum();
    }
    let gradients = loss.backward();
    values.push(input.grad(&gradients).unwrap().into_data());
    for layer in &lstm.layers {
        for matrix in [&layer.weight_input, &layer.weight_hidden] {
            values.push(matrix.val().grad(&gradients).unwrap().into_data());
        }
        for bias in [&layer.bias_input, &layer.bias_hidden] {
            values.push(bias.val().grad(&gradients).unwrap().into_data());
        }
    }
    values
}

#[test]
fn the_lstm_and_its_gradients_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let flex = DeviceName::Flex.open().unwrap();
    let (ours, theirs) = (lstm_values(&flex.autodiff()), lstm_values(&gpu.autodiff()));
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours.shape(), theirs.shape(), "value {index}");
        for (ours, theirs) in ours.iter::<f64>().zip(theirs.iter::<f64>()) {
            let tolerance = 1e-4 * ours.abs().max(1.0);
            assert!((ours - theirs).abs() < tolerance, "value {index}: {ours} and {theirs}");
        }
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
