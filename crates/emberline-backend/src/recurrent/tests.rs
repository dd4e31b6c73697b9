//! Closed forms, and what is refused; what holds of every layer is in the modules.

mod bodies;
mod fed;
mod layers;

use burn::tensor::{Tensor, TensorData, Tolerance};

use super::*;
use layers::{BATCH_SIZE, D_HIDDEN, FULL, LAYERS, Layer, NO_CLIP, arguments, random};

/// An LSTM over `steps` zeros whose weights are all one number, from a hidden state of zeros.
fn uniform_lstm(
    cell: Tensor<2>,
    steps: usize,
    weight: f64,
    bias: Tensor<1>,
    options: LstmOptions,
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
    lstm(input, state, weights, None, options, FULL)
}

#[test]
fn zero_weights_halve_the_memory() {
    // Every gate is σ(0) = 1/2 and the candidate tanh(0) = 0, so c₁ = c₀ / 2 and h₁ = tanh(c₁) / 2.
    let device = crate::test_device();
    let (outputs, state) =
        uniform_lstm(Tensor::ones([1, 2], &device), 1, 0.0, Tensor::zeros([8], &device), NO_CLIP);
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
    let (_, state) =
        uniform_lstm(cell.clone(), 1000, 1.0, Tensor::from_data(bias, &device), NO_CLIP);
    let kept = TensorData::from([[0.25f32, -3.0]]);
    state.cell.clone().into_data().assert_approx_eq::<f32>(&kept, Tolerance::absolute(1e-6));
    let gradient = cell.grad(&state.cell.sum().backward()).unwrap().into_data();
    gradient.assert_approx_eq::<f32>(&TensorData::from([[1.0f32, 1.0]]), Tolerance::absolute(1e-6));
}

#[test]
fn a_memory_that_is_kept_at_its_limit_is_not_clipped_there() {
    let device = crate::test_device().autodiff();
    let bias = [-30.0f32, -30.0, 30.0, 30.0, 0.0, 0.0, 0.0, 0.0];
    let options = LstmOptions { cell_clip: Some(0.25), projection_clip: None };
    // The first number stands at the limit and the second is cut to it.
    let cell = Tensor::<2>::from_data([[0.25f32, 0.5]], &device).require_grad();
    let bias = Tensor::from_data(bias, &device);
    let (_, state) = uniform_lstm(cell.clone(), 10, 0.0, bias, options);
    assert_eq!(state.cell.to_data(), TensorData::from([[0.25f32, 0.25]]));
    let gradient = cell.grad(&state.cell.sum().backward()).unwrap().into_data();
    assert_eq!(gradient, TensorData::from([[1.0f32, 0.0]]));
}

#[test]
fn a_shut_forget_gate_erases_the_memory_in_one_step() {
    let device = crate::test_device();
    let cell = Tensor::<2>::from_data([[0.25f32, -3.0]], &device);
    let bias = [-30.0f32, -30.0, -30.0, -30.0, 0.0, 0.0, 0.0, 0.0];
    let (_, state) = uniform_lstm(cell, 1, 1.0, Tensor::from_data(bias, &device), NO_CLIP);
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
        let (_, state) = gru(input, state, weights, ResetGate::After, update, FULL);
        state.hidden.into_data()
    };
    run(UpdateGate::Keeps).assert_eq(&TensorData::from([[0.5f32, -0.25]]), true);
    let admitted = run(UpdateGate::Admits);
    assert!(admitted.iter::<f32>().all(|value| value.abs() < 1e-12), "{admitted}");
}

#[test]
fn a_row_that_has_ended_does_not_explode() {
    // Another step of the first row would be beyond the largest float.
    let device = crate::test_device();
    for body in [rnn, portable::rnn] {
        let state = HiddenState { hidden: Tensor::from_data([[1.0f32], [0.0]], &device) };
        let weights = CellWeights {
            input: Tensor::zeros([1, 1], &device),
            hidden: Tensor::full([1, 1], 1e20, &device),
            bias_input: Tensor::zeros([1], &device),
            bias_hidden: Tensor::zeros([1], &device),
        };
        let reading = Reading { lengths: Some(&[1, 2]), ..FULL };
        let input = Tensor::zeros([2, 2, 1], &device);
        let (outputs, state) = body(input, state, weights, Activation::Relu, reading);
        let expected = TensorData::from([[[1e20f32], [0.0]], [[0.0], [0.0]]]);
        assert_eq!(outputs.into_data(), expected);
        assert_eq!(state.hidden.into_data(), TensorData::from([[1e20f32], [0.0]]));
    }
}

fn refused(reading: Reading) {
    LAYERS[0].run(&arguments(LAYERS[0], &crate::test_device()), reading, true);
}

#[test]
#[should_panic(expected = "a row of length 6 in a batch of length 5")]
fn a_length_above_the_sequence_is_refused() {
    refused(Reading { lengths: Some(&[1, 6, 2, 1]), ..FULL });
}

#[test]
#[should_panic(expected = "a row of length 0 in a batch of length 5")]
fn a_row_of_no_steps_is_refused() {
    refused(Reading { lengths: Some(&[1, 0, 2, 1]), ..FULL });
}

#[test]
#[should_panic(expected = "one length for each row")]
fn lengths_of_another_count_are_refused() {
    refused(Reading { lengths: Some(&[1, 2]), ..FULL });
}

#[test]
#[should_panic(expected = "state of a recurrent layer")]
fn a_state_of_another_width_is_refused() {
    let mut arguments = arguments(LAYERS[0], &crate::test_device());
    arguments.matrices[2] = random("hidden", [BATCH_SIZE, D_HIDDEN + 1], &crate::test_device());
    LAYERS[0].run(&arguments, FULL, true);
}

#[test]
#[should_panic(expected = "memory of an LSTM")]
fn a_memory_of_another_batch_is_refused() {
    let layer = Layer::Lstm(NO_CLIP);
    let mut arguments = arguments(layer, &crate::test_device());
    arguments.matrices[3] = random("memory", [BATCH_SIZE + 1, D_HIDDEN], &crate::test_device());
    layer.run(&arguments, FULL, true);
}

#[test]
#[should_panic(expected = "input weights of a GRU")]
fn weights_of_another_cell_are_refused() {
    let gru = Layer::Gru(ResetGate::After, UpdateGate::Keeps);
    gru.run(&arguments(Layer::Lstm(NO_CLIP), &crate::test_device()), FULL, true);
}

#[test]
#[should_panic(expected = "an LSTM needs units, not 0 and 18")]
fn a_projection_to_nothing_is_refused() {
    let device = crate::test_device();
    let layer = Layer::Projected(NO_CLIP);
    let mut arguments = arguments(layer, &device);
    arguments.matrices[1] = Tensor::zeros([0, 4 * D_HIDDEN], &device);
    arguments.matrices[4] = Tensor::zeros([D_HIDDEN, 0], &device);
    layer.run(&arguments, FULL, true);
}

#[test]
#[should_panic(expected = "an LSTM cannot keep numbers within ±-1")]
fn a_clip_that_is_not_positive_is_refused() {
    let layer = Layer::Lstm(LstmOptions { cell_clip: Some(-1.0), projection_clip: None });
    layer.run(&arguments(layer, &crate::test_device()), FULL, true);
}
