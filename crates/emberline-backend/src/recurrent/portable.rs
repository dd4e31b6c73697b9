//! The bodies for every device: plain tensor operations, differentiated by Burn.

use burn::tensor::activation::{relu, sigmoid, tanh};
use burn::tensor::{Bool, Tensor, TensorData};
use emberline_core::mask::padding;

use super::{
    Activation, CellWeights, Direction, HiddenState, LstmOptions, LstmState, Reading, ResetGate,
    UpdateGate,
};

pub(super) fn rnn(
    input: Tensor<3>,
    state: HiddenState,
    weights: CellWeights,
    activation: Activation,
    reading: Reading,
) -> (Tensor<3>, HiddenState) {
    let bias = weights.bias_input + weights.bias_hidden;
    let projected = project(input, weights.input, bias, reading.lengths);
    let step = |projected: Tensor<2>, [hidden]: [Tensor<2>; 1]| {
        let sum = projected + hidden.matmul(weights.hidden.clone());
        [match activation {
            Activation::Tanh => tanh(sum),
            Activation::Relu => relu(sum),
        }]
    };
    let (outputs, [hidden]) = unroll(projected, [state.hidden], reading, step);
    (outputs, HiddenState { hidden })
}

pub(super) fn gru(
    input: Tensor<3>,
    state: HiddenState,
    weights: CellWeights,
    reset: ResetGate,
    update: UpdateGate,
    reading: Reading,
) -> (Tensor<3>, HiddenState) {
    let width = state.hidden.dims()[1];
    let projected = project(input, weights.input, weights.bias_input, reading.lengths);
    let bias = weights.bias_hidden.unsqueeze::<2>();
    let gates = |tensor: &Tensor<2>| tensor.clone().narrow(1, 0, 2 * width);
    let new = |tensor: &Tensor<2>| tensor.clone().narrow(1, 2 * width, width);
    let (gate_matrix, gate_bias) = (gates(&weights.hidden), gates(&bias));
    let (new_matrix, new_bias) = (new(&weights.hidden), new(&bias));
    let step = |projected: Tensor<2>, [hidden]: [Tensor<2>; 1]| {
        let [reset_input, update_input, new_input] = columns(projected);
        let gate_sums = hidden.clone().matmul(gate_matrix.clone()) + gate_bias.clone();
        let [reset_sum, update_sum] = columns(gate_sums);
        let reset_gate = sigmoid(reset_input + reset_sum);
        let update_gate = sigmoid(update_input + update_sum);
        let new_sum = match reset {
            ResetGate::After => {
                reset_gate * (hidden.clone().matmul(new_matrix.clone()) + new_bias.clone())
            }
            ResetGate::Before => {
                (reset_gate * hidden.clone()).matmul(new_matrix.clone()) + new_bias.clone()
            }
        };
        let new = tanh(new_input + new_sum);
        let change = new.clone() - hidden.clone();
        [match update {
            UpdateGate::Keeps => new - update_gate * change,
            UpdateGate::Admits => hidden + update_gate * change,
        }]
    };
    let (outputs, [hidden]) = unroll(projected, [state.hidden], reading, step);
    (outputs, HiddenState { hidden })
}

pub(super) fn lstm(
    input: Tensor<3>,
    state: LstmState,
    weights: CellWeights,
    projection: Option<Tensor<2>>,
    options: LstmOptions,
    reading: Reading,
) -> (Tensor<3>, LstmState) {
    let bias = weights.bias_input + weights.bias_hidden;
    let projected = project(input, weights.input, bias, reading.lengths);
    let clip = |values: Tensor<2>, limit: Option<f64>| match limit {
        Some(limit) => values.clamp(-limit, limit),
        None => values,
    };
    let step = |projected: Tensor<2>, [hidden, cell]: [Tensor<2>; 2]| {
        let sums = projected + hidden.matmul(weights.hidden.clone());
        let [input_gate, forget_gate, candidate, output_gate] = columns(sums);
        let cell = sigmoid(forget_gate) * cell + sigmoid(input_gate) * tanh(candidate);
        let cell = clip(cell, options.cell_clip);
        let mut hidden = sigmoid(output_gate) * tanh(cell.clone());
        if let Some(projection) = &projection {
            hidden = hidden.matmul(projection.clone());
        }
        [clip(hidden, options.projection_clip), cell]
    };
    let states = [state.hidden, state.cell];
    let (outputs, [hidden, cell]) = unroll(projected, states, reading, step);
    (outputs, LstmState { hidden, cell })
}

/// `x W + b` of every step, `[seq_length, batch_size, width]`: time first, so that a step is one block of
/// memory and the backward pass of its slice small. Padding counts as zeros, whatever stands in it.
fn project(
    mut input: Tensor<3>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    lengths: Option<&[usize]>,
) -> Tensor<3> {
    let [batch_size, seq_length, d_input] = input.dims();
    let width = bias.dims()[0];
    if let Some(lengths) = lengths {
        let padding = padding(lengths, seq_length, &input.device().inner());
        let padding = padding.unsqueeze_dim::<3>(2).expand(input.dims());
        input = input.mask_fill(padding, 0.0);
    }
    let rows = input.swap_dims(0, 1).reshape([seq_length * batch_size, d_input]);
    (rows.matmul(weight) + bias.unsqueeze()).reshape([seq_length, batch_size, width])
}

/// Equal shares of the columns.
fn columns<const N: usize>(tensor: Tensor<2>) -> [Tensor<2>; N] {
    tensor.chunk(N, 1).try_into().expect("as many shares as there are gates")
}

/// Calls `step` in the order of reading, from the states before to those after. The first state is the output.
fn unroll<const N: usize>(
    projected: Tensor<3>,
    mut states: [Tensor<2>; N],
    reading: Reading,
    step: impl Fn(Tensor<2>, [Tensor<2>; N]) -> [Tensor<2>; N],
) -> (Tensor<3>, [Tensor<2>; N]) {
    let [seq_length, batch_size, width] = projected.dims();
    let device = projected.device().inner();
    let mut inputs: Vec<(usize, Tensor<3>)> =
        projected.split(1, 0).into_iter().enumerate().collect();
    if reading.direction == Direction::Reverse {
        inputs.reverse();
    }
    let mut outputs = Vec::with_capacity(seq_length);
    for (at, projected) in inputs {
        let next = step(projected.reshape([batch_size, width]), states.clone());
        match reading.lengths.filter(|lengths| lengths.iter().any(|length| *length <= at)) {
            None => {
                outputs.push(next[0].clone());
                states = next;
            }
            Some(lengths) => {
                let ended: Vec<bool> = lengths.iter().map(|length| *length <= at).collect();
                let ended = TensorData::new(ended, [batch_size, 1]);
                let ended = Tensor::<2, Bool>::from_data(ended, &device);
                let ended_of = |state: &Tensor<2>| ended.clone().expand(state.dims());
                outputs.push(next[0].clone().mask_fill(ended_of(&next[0]), 0.0));
                let mut before = states.into_iter();
                states = next.map(|next| {
                    let before = before.next().expect("as many states before as after");
                    let ended = ended_of(&next);
                    next.mask_where(ended, before)
                });
            }
        }
    }
    if reading.direction == Direction::Reverse {
        outputs.reverse();
    }
    (Tensor::stack::<3>(outputs, 1), states)
}
