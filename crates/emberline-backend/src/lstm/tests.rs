use burn::tensor::{DType, Device, Tensor, TensorData, Tolerance};
use emberline_core::Stream;

use super::*;

/// Input, hidden, cell, input weights, hidden weights, bias of a small layer in f64.
struct Case {
    input: Tensor<3>,
    state: LstmState,
    weights: LstmWeights,
}

const SIZES: [usize; 4] = [3, 5, 4, 6]; // batch_size, seq_length, d_input, d_hidden

fn random<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let stream = Stream::new(11).named(name);
    let values: Vec<f64> =
        (0..shape.iter().product::<usize>() as u64).map(|i| 0.5 * stream.normal(i)).collect();
    let tensor = Tensor::from_data(TensorData::new(values, shape), (device, DType::F64));
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

fn case(device: &Device) -> Case {
    let [batch_size, seq_length, d_input, d_hidden] = SIZES;
    Case {
        input: random("input", [batch_size, seq_length, d_input], device),
        state: LstmState {
            hidden: random("hidden", [batch_size, d_hidden], device),
            cell: random("cell", [batch_size, d_hidden], device),
        },
        weights: LstmWeights {
            input: random("weight_input", [d_input, 4 * d_hidden], device),
            hidden: random("weight_hidden", [d_hidden, 4 * d_hidden], device),
            bias: random("bias", [4 * d_hidden], device),
        },
    }
}

/// A number that depends on every output and on both final states.
fn objective(outputs: Tensor<3>, state: LstmState) -> Tensor<1> {
    let device = outputs.device();
    (outputs.clone() * random("o", outputs.dims(), &device)).sum()
        + (state.hidden.clone() * random("h", state.hidden.dims(), &device)).sum()
        + (state.cell.clone() * random("c", state.cell.dims(), &device)).sum()
}

type Body = fn(Tensor<3>, LstmState, LstmWeights, Option<&[usize]>) -> (Tensor<3>, LstmState);

fn gradients(body: Body, lengths: Option<&[usize]>) -> Vec<TensorData> {
    let case = case(&crate::test_device().autodiff());
    let (outputs, state) =
        body(case.input.clone(), case.state.clone(), case.weights.clone(), lengths);
    let mut found = vec![
        outputs.clone().into_data(),
        state.hidden.clone().into_data(),
        state.cell.clone().into_data(),
    ];
    let gradients = objective(outputs, state).backward();
    found.push(case.input.grad(&gradients).unwrap().into_data());
    for tensor in [case.state.hidden, case.state.cell, case.weights.input, case.weights.hidden] {
        found.push(tensor.grad(&gradients).unwrap().into_data());
    }
    found.push(case.weights.bias.grad(&gradients).unwrap().into_data());
    found
}

#[test]
fn both_bodies_agree_in_values_and_gradients() {
    for lengths in [None, Some(&[5, 1, 3][..])] {
        for (native, portable) in
            gradients(operation::lstm, lengths).iter().zip(gradients(portable::lstm, lengths))
        {
            native.assert_approx_eq::<f64>(&portable, Tolerance::absolute(1e-12));
        }
    }
}

#[test]
fn gradients_are_the_finite_differences() {
    let device = crate::test_device();
    let analytic = &gradients(operation::lstm, Some(&[5, 2, 4]))[3..];
    let value = |moved: usize, index: usize, by: f64| {
        let Case { mut input, mut state, mut weights } = case(&device);
        fn shift<const D: usize>(tensor: &mut Tensor<D>, index: usize, by: f64) {
            let (mut values, device) =
                (tensor.to_data().try_into_vec::<f64>().unwrap(), tensor.device());
            values[index] += by;
            let data = TensorData::new(values, tensor.shape());
            *tensor = Tensor::from_data(data, (&device, DType::F64));
        }
        match moved {
            0 => shift(&mut input, index, by),
            1 => shift(&mut state.hidden, index, by),
            2 => shift(&mut state.cell, index, by),
            3 => shift(&mut weights.input, index, by),
            4 => shift(&mut weights.hidden, index, by),
            _ => shift(&mut weights.bias, index, by),
        }
        let (outputs, state) = lstm(input, state, weights, Some(&[5, 2, 4]));
        objective(outputs, state).into_scalar::<f64>()
    };
    for (moved, gradient) in analytic.iter().enumerate() {
        for (index, expected) in gradient.iter::<f64>().enumerate().step_by(3) {
            let step = 1e-5;
            let slope = (value(moved, index, step) - value(moved, index, -step)) / (2.0 * step);
            assert!(
                (slope - expected).abs() < 1e-8,
                "argument {moved}, index {index}: {slope} {expected}"
            );
        }
    }
}

#[test]
fn operands_may_be_views() {
    let device = crate::test_device();
    let Case { input, state, weights } = case(&device);
    let expected = lstm(input.clone(), state.clone(), weights.clone(), None).0;
    let transposed = weights.hidden.clone().transpose().into_data();
    let transposed = Tensor::<2>::from_data(transposed, (&device, DType::F64));
    let weights = LstmWeights { hidden: transposed.transpose(), ..weights };
    let found = lstm(input.swap_dims(0, 1).swap_dims(0, 1), state, weights, None).0;
    found.into_data().assert_eq(&expected.into_data(), true);
}

#[test]
fn zero_weights_halve_the_cell() {
    // Every gate is σ(0) = 1/2 and the candidate tanh(0) = 0, so c₁ = c₀ / 2 and h₁ = tanh(c₁) / 2.
    let device = crate::test_device();
    let ones = Tensor::<2>::ones([1, 2], &device);
    let state = LstmState { hidden: ones.clone(), cell: ones };
    let weights = LstmWeights {
        input: Tensor::zeros([3, 8], &device),
        hidden: Tensor::zeros([2, 8], &device),
        bias: Tensor::zeros([8], &device),
    };
    let (outputs, state) = lstm(Tensor::ones([1, 1, 3], &device), state, weights, None);
    state.cell.into_data().assert_eq(&TensorData::from([[0.5f32, 0.5]]), true);
    let h = 0.5 * 0.5f32.tanh();
    outputs
        .into_data()
        .assert_approx_eq::<f32>(&TensorData::from([[[h, h]]]), Tolerance::absolute(1e-6));
}

#[test]
fn an_open_forget_gate_and_a_shut_input_gate_keep_the_cell_for_a_thousand_steps() {
    let device = crate::test_device().autodiff();
    let cell = Tensor::<2>::from_data([[0.25f32, -3.0]], &device).require_grad();
    let state = LstmState { hidden: Tensor::zeros([1, 2], &device), cell: cell.clone() };
    let bias = [-30.0f32, -30.0, 30.0, 30.0, 0.0, 0.0, 0.0, 0.0];
    let weights = LstmWeights {
        input: Tensor::ones([1, 8], &device),
        hidden: Tensor::ones([2, 8], &device),
        bias: Tensor::from_data(bias, &device),
    };
    let (_, state) = lstm(Tensor::zeros([1, 1000, 1], &device), state, weights, None);
    let kept = TensorData::from([[0.25f32, -3.0]]);
    state.cell.clone().into_data().assert_approx_eq::<f32>(&kept, Tolerance::absolute(1e-6));
    let gradient = cell.grad(&state.cell.sum().backward()).unwrap().into_data();
    gradient.assert_approx_eq::<f32>(&TensorData::from([[1.0f32, 1.0]]), Tolerance::absolute(1e-6));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| gradients(operation::lstm, None))
    };
    for (one, three) in run(1).iter().zip(run(3)) {
        one.assert_eq(&three, true);
    }
}

#[test]
#[should_panic(expected = "a row of length 6 in a batch of length 5")]
fn a_length_above_the_sequence_is_refused() {
    let Case { input, state, weights } = case(&crate::test_device());
    lstm(input, state, weights, Some(&[1, 6, 2]));
}
