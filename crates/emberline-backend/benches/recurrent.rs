//! The recurrent operations against their twin in PyTorch, `recurrent_torch.py` beside this file: the same
//! shapes, names and number of threads. Prints one JSON object a line.
//!
//! An argument keeps the measurements whose name contains it. With the arguments `memory CELL LENGTH` it
//! measures the peak memory of one forward and backward pass instead; the peak of a process never falls, so every
//! length needs a process of its own.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::memory;
use emberline_backend::recurrent::{
    Activation, CellWeights, Direction, HiddenState, LstmOptions, LstmState, Reading, ResetGate,
    UpdateGate, gru, lstm, rnn,
};
use emberline_core::Stream;

/// Batch, length, and the width of input and state.
type Shape = [usize; 3];

const SHAPES: [Shape; 3] = [[16, 64, 256], [64, 32, 512], [8, 256, 128]];
const RAGGED: Shape = [32, 64, 256];
const MEMORY_LENGTHS: [usize; 3] = [64, 128, 256];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    Rnn,
    Gru,
    Lstm,
}

const CELLS: [Cell; 3] = [Cell::Rnn, Cell::Gru, Cell::Lstm];

impl Cell {
    fn name(self) -> &'static str {
        match self {
            Self::Rnn => "rnn",
            Self::Gru => "gru",
            Self::Lstm => "lstm",
        }
    }

    fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }
}

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["memory", cell, length] => {
            let cell = CELLS.into_iter().find(|c| c.name() == *cell).expect("a cell");
            peak(cell, length.parse().expect("a length in steps"));
        }
        [] => measure(""),
        [filter] => measure(filter),
        other => panic!("at most one filter, or `memory CELL LENGTH`, not {other:?}"),
    }
}

fn measure(filter: &str) {
    memory::keep_freed_memory();
    for shape @ [batch_size, length, width] in SHAPES {
        for cell in CELLS {
            let what = format!("{batch_size}x{length}x{width}");
            let layer = Layer::new(cell, width, width, &Device::flex());
            let input = input(shape, &Device::flex());
            report(filter, &format!("{} forward {what}", cell.name()), || {
                black_box(layer.run(input.clone(), Reading::default()));
            });
            let device = Device::flex().autodiff();
            let layer = Layer::new(cell, width, width, &device);
            let input = self::input(shape, &device);
            report(filter, &format!("{} forward+backward {what}", cell.name()), || {
                backward(layer.run(input.clone(), Reading::default()), &input);
            });
        }
    }
    for cell in [Cell::Gru, Cell::Lstm] {
        ragged(filter, cell);
    }
    for cell in CELLS {
        for length in MEMORY_LENGTHS {
            if memory_name(cell, length).contains(filter) {
                let program = std::env::current_exe().expect("the path of this program");
                std::process::Command::new(program)
                    .args(["memory", cell.name(), &length.to_string()])
                    .status()
                    .expect("this program starts again");
            }
        }
    }
}

/// Two layers in both directions, their outputs side by side, over rows of many lengths.
fn ragged(filter: &str, cell: Cell) {
    let [batch_size, length, width] = RAGGED;
    let lengths: Vec<usize> = (0..batch_size).map(|row| 8 + row * 37 % 57).collect();
    let layers = |device: &Device| {
        [width, 2 * width].map(|d_input| {
            [Direction::Forward, Direction::Reverse]
                .map(|direction| (direction, Layer::new(cell, d_input, width, device)))
        })
    };
    let run = |layers: &[[(Direction, Layer); 2]], input: &Tensor<3>| {
        layers.iter().fold(input.clone(), |input, directions| {
            let outputs = directions.iter().map(|(direction, layer)| {
                let reading = Reading { lengths: Some(&lengths), direction: *direction };
                layer.run(input.clone(), reading)
            });
            Tensor::cat(outputs.collect(), 2)
        })
    };
    let name = |pass: &str| {
        format!("bidirectional {} ragged {pass} {batch_size}x{length}x{width}", cell.name())
    };
    let device = Device::flex();
    let (plain, input) = (layers(&device), input(RAGGED, &device));
    report(filter, &name("forward"), || {
        black_box(run(&plain, &input));
    });
    let device = device.autodiff();
    let (tracked, input) = (layers(&device), self::input(RAGGED, &device));
    report(filter, &name("forward+backward"), || backward(run(&tracked, &input), &input));
}

fn memory_name(cell: Cell, length: usize) -> String {
    format!("{} memory 16x{length}x256", cell.name())
}

fn peak(cell: Cell, length: usize) {
    let pass = |length: usize| {
        let device = Device::flex().autodiff();
        let layer = Layer::new(cell, 256, 256, &device);
        let input = input([16, length, 256], &device);
        backward(layer.run(input.clone(), Reading::default()), &input);
    };
    // Once at the smallest size, so that threads and code are there before the region.
    pass(1);
    let before = memory_of_process("VmRSS:");
    pass(length);
    let peak = memory_of_process("VmHWM:").saturating_sub(before);
    let name = memory_name(cell, length);
    println!("{{\"name\": \"{name}\", \"peak_mib\": {:.1}}}", peak as f64 / 1024.0);
}

fn backward(outputs: Tensor<3>, input: &Tensor<3>) {
    let gradients = outputs.sum().backward();
    black_box(input.grad(&gradients).expect("the input is tracked"));
}

struct Layer {
    cell: Cell,
    weights: CellWeights,
}

impl Layer {
    fn new(cell: Cell, d_input: usize, width: usize, device: &Device) -> Self {
        let (bound, columns) = (1.0 / (width as f64).sqrt(), cell.gates() * width);
        let weights = CellWeights {
            input: random("weight_input", [d_input, columns], bound, device),
            hidden: random("weight_hidden", [width, columns], bound, device),
            bias_input: random("bias_input", [columns], bound, device),
            bias_hidden: random("bias_hidden", [columns], bound, device),
        };
        Self { cell, weights }
    }

    fn run(&self, input: Tensor<3>, reading: Reading) -> Tensor<3> {
        let ([batch_size, ..], width) = (input.dims(), self.weights.hidden.dims()[0]);
        let device = input.device();
        let state = HiddenState::zeros(batch_size, width, &device);
        let weights = self.weights.clone();
        match self.cell {
            Cell::Rnn => rnn(input, state, weights, Activation::Tanh, reading).0,
            Cell::Gru => gru(input, state, weights, ResetGate::After, UpdateGate::Keeps, reading).0,
            Cell::Lstm => {
                let state = LstmState::zeros(batch_size, width, width, &device);
                lstm(input, state, weights, None, LstmOptions::default(), reading).0
            }
        }
    }
}

fn input(shape: Shape, device: &Device) -> Tensor<3> {
    random("input", shape, 1.0, device)
}

fn random<const D: usize>(name: &str, shape: [usize; D], bound: f64, device: &Device) -> Tensor<D> {
    let values = Stream::new(0).named(name).uniforms(shape.iter().product(), -bound, bound);
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

fn report(filter: &str, name: &str, mut run: impl FnMut()) {
    const RUNS: usize = 100;
    if !name.contains(filter) {
        return;
    }
    (0..20).for_each(|_| run());
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (minimum, median) = (times[0], times[RUNS / 2]);
    println!("{{\"name\": \"{name}\", \"median_ms\": {median:.3}, \"min_ms\": {minimum:.3}}}");
}

/// A line of `/proc/self/status`, in KiB.
fn memory_of_process(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux process");
    let value = status.lines().find_map(|l| l.strip_prefix(line)).expect("the line is there");
    value.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}
