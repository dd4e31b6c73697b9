//! The five shapes of task, with cells small enough to follow on paper.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_core::Stream;
use emberline_recurrent::{
    Activation, BiRnn, Bidirectional, GruConfig, Merge, Rnn, RnnCell, RnnConfig, Stack,
};

/// One number in, one number out: `h' = max(0, w x + u h)`.
fn cell(w: f32, u: f32, device: &Device) -> RnnCell {
    RnnCell {
        weight_input: Param::from_data([[w]], device),
        weight_hidden: Param::from_data([[u]], device),
        bias_input: Param::from_data([0.0], device),
        bias_hidden: Param::from_data([0.0], device),
        activation: Activation::Relu,
    }
}

fn rnn(w: f32, u: f32, device: &Device) -> Rnn {
    Stack::new(vec![cell(w, u, device)], 0.0)
}

/// Rows of three, the second of which ends after two: what follows is noise.
fn rows(device: &Device) -> (Tensor<3>, [usize; 2]) {
    (Tensor::from_data([[[1.0], [2.0], [4.0]], [[8.0], [16.0], [99.0]]], device), [3, 2])
}

#[test]
fn one_to_one_is_a_feed_forward_layer() {
    let device = test_device();
    let network = RnnConfig::new(3, 4, 1).init(Stream::new(1), &device);
    let input = Tensor::<2>::from_data([[1.0, -2.0, 0.5]], &device);
    let (output, _) = network.forward(input.clone().unsqueeze_dim(1), None, None, None);

    let cell = &network.layers[0];
    let bias = cell.bias_input.val() + cell.bias_hidden.val();
    let expected = (input.matmul(cell.weight_input.val()) + bias.unsqueeze()).tanh();
    let difference: f32 = (output.squeeze_dim::<2>(1) - expected).abs().max().into_scalar();
    assert!(difference < 1e-6, "{difference}");
}

#[test]
fn many_to_one_reads_the_last_valid_step() {
    let device = test_device();
    let (input, lengths) = rows(&device);
    let network = rnn(1.0, 0.5, &device);
    let (_, state) = network.forward(input, None, Some(&lengths), None);
    // 4 + (2 + 1/2)/2 and 16 + 8/2.
    let expected = TensorData::from([[5.25f32], [20.0]]);
    assert_eq!(network.last_output(&state).into_data(), expected);
}

#[test]
fn many_to_one_of_both_directions_reads_the_last_valid_step_and_the_first() {
    let device = test_device();
    let (input, lengths) = rows(&device);
    let [forward, reverse] = [cell(1.0, 0.5, &device), cell(1.0, 0.5, &device)];
    let layer = Bidirectional { forward, reverse, merge: Merge::Concat };
    let network: BiRnn = Stack::new(vec![layer], 0.0);
    let (_, state) = network.forward(input, None, Some(&lengths), None);
    // In reverse 1 + (2 + 4/2)/2 and 8 + 16/2.
    let expected = TensorData::from([[5.25f32, 3.0], [20.0, 16.0]]);
    assert_eq!(network.last_output(&state).into_data(), expected);
}

#[test]
fn one_to_many_reads_its_own_output_until_it_stops() {
    let device = test_device();
    let network = rnn(0.25, 0.25, &device);
    let write = |max_length: usize| {
        let (mut input, mut state) = (Tensor::<3>::from_data([[[8.0]]], &device), None);
        let mut written = Vec::new();
        while written.len() < max_length {
            let (output, next) = network.forward(input, state, None, None);
            let number: f32 = output.clone().into_scalar();
            written.push(number);
            if number < 0.3 {
                break;
            }
            (input, state) = (output, Some(next));
        }
        written
    };
    // 8/4, then (2 + 2)/4, (1 + 1)/4, (½ + ½)/4.
    assert_eq!(write(10), [2.0, 1.0, 0.5, 0.25]);
    assert_eq!(write(2), [2.0, 1.0]);
}

#[test]
fn many_to_many_in_step_answers_for_every_prefix() {
    let device = test_device();
    let network = GruConfig::new(2, 3, 2).init(Stream::new(1), &device);
    let values = Stream::new(2).normals(4 * 2, 1.0);
    let input = Tensor::<3>::from_data(TensorData::new(values, [1, 4, 2]), &device);
    let (outputs, _) = network.forward(input.clone(), None, None, None);
    for length in 1..=4 {
        let prefix = input.clone().narrow(1, 0, length);
        let (_, state) = network.forward(prefix, None, None, None);
        let output = outputs.clone().narrow(1, length - 1, 1).squeeze_dim::<2>(1);
        let difference: f32 = (output - network.last_output(&state)).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference} after {length} steps");
    }
}

#[test]
fn an_encoder_hands_its_last_state_to_the_decoder() {
    let device = test_device();
    let (input, lengths) = rows(&device);
    let (encoder, decoder) = (rnn(1.0, 1.0, &device), rnn(1.0, 0.5, &device));
    let (_, memory) = encoder.forward(input, None, Some(&lengths), None);
    // The decoder reads the targets so far, a zero for their start: here the number 1 after it.
    let targets = Tensor::<3>::from_data([[[0.0], [1.0]], [[0.0], [1.0]]], &device);
    let (outputs, _) = decoder.forward(targets, Some(memory), None, None);
    // The rows add up to 7 and 24; the decoder halves what it remembers and adds what it reads.
    let expected = TensorData::from([[[3.5f32], [2.75]], [[12.0], [7.0]]]);
    assert_eq!(outputs.into_data(), expected);
}
