use burn::tensor::{DType, Device, Tensor, TensorData, Tolerance};
use emberline_core::Stream;

use super::*;

const BATCH_SIZE: usize = 4;
const SEQ_LENGTH: usize = 5;
const D_INPUT: usize = 3;
const D_HIDDEN: usize = 6;
const D_PROJECTED: usize = 2;

/// A layer with the number of its gates, in each of its variants.
#[derive(Clone, Copy, Debug)]
enum Layer {
    Rnn(Activation),
    Gru(ResetGate, UpdateGate),
    Lstm(LstmOptions),
    Projected(LstmOptions),
}

const NO_CLIP: LstmOptions = LstmOptions { cell_clip: None, projection_clip: None };
/// Some numbers of the tests are beyond these limits and some are not.
const CLIP: LstmOptions = LstmOptions { cell_clip: Some(0.3), projection_clip: Some(0.1) };
const LAYERS: [Layer; 10] = [
    Layer::Rnn(Activation::Tanh),
    Layer::Rnn(Activation::Relu),
    Layer::Gru(ResetGate::After, UpdateGate::Keeps),
    Layer::Gru(ResetGate::After, UpdateGate::Admits),
    Layer::Gru(ResetGate::Before, UpdateGate::Keeps),
    Layer::Gru(ResetGate::Before, UpdateGate::Admits),
    Layer::Lstm(NO_CLIP),
    Layer::Lstm(CLIP),
    Layer::Projected(NO_CLIP),
    Layer::Projected(CLIP),
];
const READINGS: [Reading; 4] = [
    Reading { lengths: None, direction: Direction::Forward },
    Reading { lengths: None, direction: Direction::Reverse },
    Reading { lengths: Some(&[2, 5, 1, 4]), direction: Direction::Forward },
    Reading { lengths: Some(&[2, 5, 1, 4]), direction: Direction::Reverse },
];

impl Layer {
    fn gates(self) -> usize {
        match self {
            Self::Rnn(_) => 1,
            Self::Gru(..) => 3,
            Self::Lstm(_) | Self::Projected(_) => 4,
        }
    }

    fn d_output(self) -> usize {
        if let Self::Projected(_) = self { D_PROJECTED } else { D_HIDDEN }
    }
}

fn random<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let stream = Stream::new(11).named(name);
    let values: Vec<f64> =
        (0..shape.iter().product::<usize>() as u64).map(|i| 0.5 * stream.normal(i)).collect();
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F64))
}

/// What a layer is a function of, flat, in one order for all: input, input weights, hidden weights, input bias, hidden
/// bias, hidden state, memory, projection.
struct Arguments {
    input: Tensor<3>,
    matrices: Vec<Tensor<2>>,
    biases: Vec<Tensor<1>>,
}

fn arguments(layer: Layer, device: &Device) -> Arguments {
    let columns = layer.gates() * D_HIDDEN;
    Arguments {
        input: random("input", [BATCH_SIZE, SEQ_LENGTH, D_INPUT], device),
        matrices: vec![
            random("weight_input", [D_INPUT, columns], device),
            random("weight_hidden", [layer.d_output(), columns], device),
            random("hidden", [BATCH_SIZE, layer.d_output()], device),
            random("memory", [BATCH_SIZE, D_HIDDEN], device),
            random("projection", [D_HIDDEN, D_PROJECTED], device),
        ],
        biases: vec![
            random("bias_input", [columns], device),
            random("bias_hidden", [columns], device),
        ],
    }
}

impl Arguments {
    fn tracked(self) -> Self {
        Self {
            input: self.input.require_grad(),
            matrices: self.matrices.into_iter().map(Tensor::require_grad).collect(),
            biases: self.biases.into_iter().map(Tensor::require_grad).collect(),
        }
    }

    /// Outputs and final states.
    fn run(&self, layer: Layer, reading: Reading, is_native: bool) -> (Tensor<3>, Vec<Tensor<2>>) {
        let input = self.input.clone();
        let matrix = |index: usize| self.matrices[index].clone();
        let bias = |index: usize| self.biases[index].clone();
        let weights = CellWeights {
            input: matrix(0),
            hidden: matrix(1),
            bias_input: bias(0),
            bias_hidden: bias(1),
        };
        let state = HiddenState { hidden: matrix(2) };
        let with_memory = LstmState { hidden: matrix(2), cell: matrix(3) };
        let projection = matches!(layer, Layer::Projected(_)).then(|| matrix(4));
        match layer {
            Layer::Rnn(activation) => {
                let body = if is_native { rnn } else { portable::rnn };
                let (outputs, state) = body(input, state, weights, activation, reading);
                (outputs, vec![state.hidden])
            }
            Layer::Gru(reset, update) => {
                let body = if is_native { gru } else { portable::gru };
                let (outputs, state) = body(input, state, weights, reset, update, reading);
                (outputs, vec![state.hidden])
            }
            Layer::Lstm(options) | Layer::Projected(options) => {
                let body = if is_native { lstm } else { portable::lstm };
                let (outputs, state) =
                    body(input, with_memory, weights, projection, options, reading);
                (outputs, vec![state.hidden, state.cell])
            }
        }
    }
}

/// A number that depends on every output and on the final states.
fn objective((outputs, states): (Tensor<3>, Vec<Tensor<2>>)) -> Tensor<1> {
    let device = outputs.device();
    let mut sum = (outputs.clone() * random("o", outputs.dims(), &device)).sum();
    for (index, state) in states.into_iter().enumerate() {
        let factors = random(&format!("s{index}"), state.dims(), &device);
        sum = sum + (state * factors).sum();
    }
    sum
}

/// Values, then the gradients of the arguments that the layer has.
fn values_and_gradients(layer: Layer, reading: Reading, is_native: bool) -> Vec<TensorData> {
    let arguments = arguments(layer, &crate::test_device().autodiff()).tracked();
    let results = arguments.run(layer, reading, is_native);
    let mut found = vec![results.0.clone().into_data()];
    found.extend(results.1.iter().map(|state| state.clone().into_data()));
    let gradients = objective(results).backward();
    found.push(arguments.input.grad(&gradients).unwrap().into_data());
    for matrix in &arguments.matrices {
        found.extend(matrix.grad(&gradients).map(Tensor::into_data));
    }
    for bias in &arguments.biases {
        found.push(bias.grad(&gradients).unwrap().into_data());
    }
    found
}

#[test]
fn both_bodies_agree_in_values_and_gradients() {
    for layer in LAYERS {
        for reading in READINGS {
            let native = values_and_gradients(layer, reading, true);
            let portable = values_and_gradients(layer, reading, false);
            assert_eq!(native.len(), portable.len());
            for (index, (native, portable)) in native.iter().zip(portable).enumerate() {
                let close = native
                    .iter::<f64>()
                    .zip(portable.iter::<f64>())
                    .all(|(a, b)| (a - b).abs() < 1e-12);
                assert!(close, "{layer:?}, {reading:?}, result {index}:\n{native}\n{portable}");
            }
        }
    }
}

#[test]
fn gradients_are_the_finite_differences() {
    let device = crate::test_device();
    for layer in LAYERS {
        for reading in &READINGS[2..] {
            let all = values_and_gradients(layer, *reading, true);
            let gradients = &all[all.len() - gradient_count(layer)..];
            for (moved, gradient) in gradients.iter().enumerate() {
                for (index, expected) in gradient.iter::<f64>().enumerate().step_by(5) {
                    let value = |by: f64| {
                        let mut arguments = arguments(layer, &device);
                        arguments.shift(layer, moved, index, by);
                        objective(arguments.run(layer, *reading, true)).into_scalar::<f64>()
                    };
                    let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
                    assert!(
                        (slope - expected).abs() < 1e-7,
                        "{layer:?}, {reading:?}, argument {moved}, index {index}: {slope} {expected}"
                    );
                }
            }
        }
    }
}

/// Of the input, the matrices that a layer uses, and the two biases.
fn gradient_count(layer: Layer) -> usize {
    3 + match layer {
        Layer::Rnn(_) | Layer::Gru(..) => 3,
        Layer::Lstm(_) => 4,
        Layer::Projected(_) => 5,
    }
}

impl Arguments {
    fn fill_padding(&mut self, lengths: &[usize], value: f64) {
        let options = (&self.input.device(), DType::F64);
        let mut values = self.input.to_data().try_into_vec::<f64>().unwrap();
        for (row, length) in lengths.iter().enumerate() {
            let end = (row + 1) * SEQ_LENGTH * D_INPUT;
            values[(row * SEQ_LENGTH + length) * D_INPUT..end].fill(value);
        }
        self.input = Tensor::from_data(TensorData::new(values, self.input.shape()), options);
    }

    /// Changes one number of an argument, counted as the gradients are.
    fn shift(&mut self, layer: Layer, argument: usize, index: usize, by: f64) {
        fn shift<const D: usize>(tensor: &mut Tensor<D>, index: usize, by: f64) {
            let device = tensor.device();
            let mut values = tensor.to_data().try_into_vec::<f64>().unwrap();
            values[index] += by;
            let data = TensorData::new(values, tensor.shape());
            *tensor = Tensor::from_data(data, (&device, DType::F64));
        }
        let first_bias = gradient_count(layer) - 2;
        match argument {
            0 => shift(&mut self.input, index, by),
            _ if argument < first_bias => shift(&mut self.matrices[argument - 1], index, by),
            _ => shift(&mut self.biases[argument - first_bias], index, by),
        }
    }
}

#[test]
fn padding_is_never_read_and_its_outputs_are_zero() {
    for layer in LAYERS {
        for reading in &READINGS[2..] {
            for is_native in [true, false] {
                let mut arguments = arguments(layer, &crate::test_device());
                let (expected, _) = arguments.run(layer, *reading, is_native);
                arguments.fill_padding(reading.lengths.unwrap(), f64::NAN);
                let (found, states) = arguments.run(layer, *reading, is_native);
                found.clone().into_data().assert_eq(&expected.into_data(), true);
                assert!(states.iter().all(|s| s.to_data().iter::<f64>().all(f64::is_finite)));
                let outputs = found.into_data().try_into_vec::<f64>().unwrap();
                let width = layer.d_output();
                // The third row has one step.
                let padding = &outputs[(2 * SEQ_LENGTH + 1) * width..3 * SEQ_LENGTH * width];
                assert!(padding.iter().all(|value| *value == 0.0), "{layer:?} {padding:?}");
            }
        }
    }
}

#[test]
fn operands_may_be_views() {
    let device = crate::test_device();
    for layer in LAYERS {
        let mut arguments = arguments(layer, &device);
        let expected = arguments.run(layer, READINGS[0], true).0;
        let transposed = arguments.matrices[1].clone().transpose().into_data();
        let transposed = Tensor::<2>::from_data(transposed, (&device, DType::F64));
        arguments.matrices[1] = transposed.transpose();
        arguments.input = arguments.input.swap_dims(0, 1).swap_dims(0, 1);
        let found = arguments.run(layer, READINGS[0], true).0;
        found.into_data().assert_eq(&expected.into_data(), true);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for layer in LAYERS {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| values_and_gradients(layer, READINGS[3], true))
        };
        for (one, three) in run(1).iter().zip(run(3)) {
            one.assert_eq(&three, true);
        }
    }
}

/// An LSTM over `steps` zeros whose weights are all one number, from a hidden state of zeros.
fn uniform_lstm(
    cell: Tensor<2>,
    steps: usize,
    weight: f64,
    bias: Tensor<1>,
) -> (Tensor<3>, LstmState) {
    let (device, [_, width]) = (cell.device(), cell.dims());
    let state = LstmState { hidden: Tensor::zeros([1, width], &device), cell };
    let weights = CellWeights {
        input: Tensor::full([1, 4 * width], weight, &device),
        hidden: Tensor::full([width, 4 * width], weight, &device),
        bias_hidden: bias.zeros_like(),
        bias_input: bias,
    };
    let input = Tensor::zeros([1, steps, 1], &device);
    lstm(input, state, weights, None, LstmOptions::default(), Reading::default())
}

#[test]
fn zero_weights_halve_the_memory() {
    // Every gate is σ(0) = 1/2 and the candidate tanh(0) = 0, so c₁ = c₀ / 2 and h₁ = tanh(c₁) / 2.
    let device = crate::test_device();
    let (outputs, state) =
        uniform_lstm(Tensor::ones([1, 2], &device), 1, 0.0, Tensor::zeros([8], &device));
    state.cell.into_data().assert_eq(&TensorData::from([[0.5f32, 0.5]]), true);
    let h = 0.5 * 0.5f32.tanh();
    outputs
        .into_data()
        .assert_approx_eq::<f32>(&TensorData::from([[[h, h]]]), Tolerance::absolute(1e-6));
}

#[test]
fn an_open_forget_gate_and_a_shut_input_gate_keep_the_memory_for_a_thousand_steps() {
    let device = crate::test_device().autodiff();
    let cell = Tensor::<2>::from_data([[0.25f32, -3.0]], &device).require_grad();
    let bias = [-30.0f32, -30.0, 30.0, 30.0, 0.0, 0.0, 0.0, 0.0];
    let (_, state) = uniform_lstm(cell.clone(), 1000, 1.0, Tensor::from_data(bias, &device));
    let kept = TensorData::from([[0.25f32, -3.0]]);
    state.cell.clone().into_data().assert_approx_eq::<f32>(&kept, Tolerance::absolute(1e-6));
    let gradient = cell.grad(&state.cell.sum().backward()).unwrap().into_data();
    gradient.assert_approx_eq::<f32>(&TensorData::from([[1.0f32, 1.0]]), Tolerance::absolute(1e-6));
}

#[test]
fn a_shut_forget_gate_erases_the_memory_in_one_step() {
    let device = crate::test_device();
    let cell = Tensor::<2>::from_data([[0.25f32, -3.0]], &device);
    let bias = [-30.0f32, -30.0, -30.0, -30.0, 0.0, 0.0, 0.0, 0.0];
    let (_, state) = uniform_lstm(cell, 1, 1.0, Tensor::from_data(bias, &device));
    assert!(state.cell.into_data().iter::<f32>().all(|value| value.abs() < 1e-12));
}

#[test]
fn a_full_update_gate_keeps_the_state_or_admits_the_new_one() {
    let device = crate::test_device();
    let state = HiddenState { hidden: Tensor::from_data([[0.5f32, -0.25]], &device) };
    let bias = Tensor::from_data([0.0f32, 0.0, 30.0, 30.0, 0.0, 0.0], &device);
    let weights = CellWeights {
        input: Tensor::zeros([1, 6], &device),
        hidden: Tensor::zeros([2, 6], &device),
        bias_hidden: bias.zeros_like(),
        bias_input: bias,
    };
    let run = |update| {
        let input = Tensor::ones([1, 3, 1], &device);
        let (state, weights) = (state.clone(), weights.clone());
        let (_, state) = gru(input, state, weights, ResetGate::After, update, Reading::default());
        state.hidden.into_data()
    };
    run(UpdateGate::Keeps).assert_eq(&TensorData::from([[0.5f32, -0.25]]), true);
    let admitted = run(UpdateGate::Admits);
    assert!(admitted.iter::<f32>().all(|value| value.abs() < 1e-12), "{admitted}");
}

fn refused(reading: Reading) {
    arguments(LAYERS[0], &crate::test_device()).run(LAYERS[0], reading, true);
}

#[test]
#[should_panic(expected = "a row of length 6 in a batch of length 5")]
fn a_length_above_the_sequence_is_refused() {
    refused(Reading { lengths: Some(&[1, 6, 2, 1]), ..Reading::default() });
}

#[test]
#[should_panic(expected = "a row of length 0 in a batch of length 5")]
fn a_row_of_no_steps_is_refused() {
    refused(Reading { lengths: Some(&[1, 0, 2, 1]), ..Reading::default() });
}

#[test]
#[should_panic(expected = "one length for each row")]
fn lengths_of_another_count_are_refused() {
    refused(Reading { lengths: Some(&[1, 2]), ..Reading::default() });
}

#[test]
#[should_panic(expected = "state of a recurrent layer")]
fn a_state_of_another_width_is_refused() {
    let mut arguments = arguments(LAYERS[0], &crate::test_device());
    arguments.matrices[2] = random("hidden", [BATCH_SIZE, D_HIDDEN + 1], &crate::test_device());
    arguments.run(LAYERS[0], READINGS[0], true);
}
