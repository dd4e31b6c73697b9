//! The body for every device: plain tensor operations, differentiated by Burn.

use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Tensor, TensorData};

use super::{LstmState, LstmWeights};

pub(super) fn lstm(
    input: Tensor<3>,
    state: LstmState,
    weights: LstmWeights,
    lengths: Option<&[usize]>,
) -> (Tensor<3>, LstmState) {
    let [batch_size, seq_length, d_input] = input.dims();
    let [_, d_hidden] = state.hidden.dims();
    // Time first, so that a step is one block of memory and the backward pass of its slice small.
    let rows = input.swap_dims(0, 1).reshape([seq_length * batch_size, d_input]);
    let projected = rows.matmul(weights.input) + weights.bias.unsqueeze();
    let steps = projected.reshape([seq_length, batch_size, 4 * d_hidden]).split(1, 0);

    let LstmState { mut hidden, mut cell } = state;
    let mut outputs = Vec::with_capacity(seq_length);
    for (step, projected) in steps.into_iter().enumerate() {
        let gates = projected.reshape([batch_size, 4 * d_hidden])
            + hidden.clone().matmul(weights.hidden.clone());
        let gate = |index: usize| gates.clone().narrow(1, index * d_hidden, d_hidden);
        let (input_gate, forget_gate) = (sigmoid(gate(0)), sigmoid(gate(1)));
        let (candidate, output_gate) = (tanh(gate(2)), sigmoid(gate(3)));
        let next_cell = forget_gate * cell.clone() + input_gate * candidate;
        let next_hidden = output_gate * tanh(next_cell.clone());
        match lengths.filter(|lengths| lengths.iter().any(|length| *length <= step)) {
            None => {
                (hidden, cell) = (next_hidden.clone(), next_cell);
                outputs.push(next_hidden);
            }
            Some(lengths) => {
                let alive = lengths.iter().map(|length| f32::from(*length > step)).collect();
                let alive = TensorData::new::<f32, _>(alive, [batch_size, 1]);
                let options = (&next_hidden.device(), next_hidden.dtype());
                let alive = Tensor::<2>::from_data(alive, options);
                let ended = alive.clone().neg() + 1.0;
                hidden = next_hidden.clone() * alive.clone() + hidden * ended.clone();
                cell = next_cell * alive.clone() + cell * ended;
                outputs.push(next_hidden * alive);
            }
        }
    }
    (Tensor::stack::<3>(outputs, 1), LstmState { hidden, cell })
}
