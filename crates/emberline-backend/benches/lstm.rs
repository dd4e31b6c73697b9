//! The LSTM operation against its twin in PyTorch, `lstm_torch.py` beside this file: the same shapes,
//! names and number of threads. Prints one JSON object a line.
//!
//! With an argument `memory LENGTH` it measures the peak memory of one forward and backward pass of that
//! length instead; the peak of a process never falls, so every length needs a process of its own.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::lstm::{LstmState, LstmWeights, lstm};
use emberline_backend::memory;
use emberline_core::Stream;

const BATCH_SIZE: usize = 16;
const WIDTH: usize = 256;

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().expect("the first pool");
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.as_slice() {
        [] => {
            memory::keep_freed_memory();
            time();
            for length in ["64", "128", "256"] {
                let program = std::env::current_exe().expect("the path of this program");
                std::process::Command::new(program)
                    .args(["memory", length])
                    .status()
                    .expect("this program starts again");
            }
        }
        [mode, length] if mode == "memory" => peak(length.parse().expect("a length in steps")),
        other => panic!("no argument or `memory LENGTH`, not {other:?}"),
    }
}

fn time() {
    let device = Device::flex();
    let (input, state, weights) = arguments(64, &device);
    report(&format!("lstm forward {BATCH_SIZE}x64x{WIDTH}"), 200, || {
        black_box(lstm(input.clone(), state.clone(), weights.clone(), None));
    });
    let (input, state, weights) = arguments(64, &device.autodiff());
    report(&format!("lstm forward+backward {BATCH_SIZE}x64x{WIDTH}"), 100, || {
        backward(&input, &state, &weights);
    });
}

fn peak(length: usize) {
    // Once at the smallest size, so that threads and code are there before the region.
    let (input, state, weights) = arguments(1, &Device::flex().autodiff());
    backward(&input, &state, &weights);
    let before = memory_of_process("VmRSS:");
    let (input, state, weights) = arguments(length, &Device::flex().autodiff());
    backward(&input, &state, &weights);
    let peak = memory_of_process("VmHWM:").saturating_sub(before);
    let name = format!("lstm memory {BATCH_SIZE}x{length}x{WIDTH}");
    println!("{{\"name\": \"{name}\", \"peak_mib\": {:.1}}}", peak as f64 / 1024.0);
}

fn backward(input: &Tensor<3>, state: &LstmState, weights: &LstmWeights) {
    let (outputs, _) = lstm(input.clone(), state.clone(), weights.clone(), None);
    let gradients = outputs.sum().backward();
    black_box(input.grad(&gradients).expect("the input is tracked"));
}

fn arguments(length: usize, device: &Device) -> (Tensor<3>, LstmState, LstmWeights) {
    let bound = 1.0 / (WIDTH as f64).sqrt();
    fn random<const D: usize>(
        name: &str,
        shape: [usize; D],
        bound: f64,
        device: &Device,
    ) -> Tensor<D> {
        let values = Stream::new(0).named(name).uniforms(shape.iter().product(), -bound, bound);
        let tensor = Tensor::from_data(TensorData::new(values, shape), device);
        if device.is_autodiff() { tensor.require_grad() } else { tensor }
    }
    let zeros = Tensor::zeros([BATCH_SIZE, WIDTH], device);
    (
        random("input", [BATCH_SIZE, length, WIDTH], 1.0, device),
        LstmState { hidden: zeros.clone(), cell: zeros },
        LstmWeights {
            input: random("weight_input", [WIDTH, 4 * WIDTH], bound, device),
            hidden: random("weight_hidden", [WIDTH, 4 * WIDTH], bound, device),
            bias: random("bias", [4 * WIDTH], bound, device),
        },
    )
}

fn report(name: &str, runs: usize, mut run: impl FnMut()) {
    (0..10).for_each(|_| run());
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (minimum, median) = (times[0], times[runs / 2]);
    println!("{{\"name\": \"{name}\", \"median_ms\": {median:.3}, \"min_ms\": {minimum:.3}}}");
}

/// A line of `/proc/self/status`, in KiB.
fn memory_of_process(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux process");
    let value = status.lines().find_map(|l| l.strip_prefix(line)).expect("the line is there");
    value.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}
