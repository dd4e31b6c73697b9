//! The LSTM cell (Hochreiter and Schmidhuber, 1997; forget gate: Gers, Schmidhuber and Cummins, 2000).
//!
//! Against the plain recurrent cell it keeps a second vector, the memory cell, which a step changes by
//! adding and not by multiplying with a matrix: where the forget gate is open, values and gradients
//! pass unchanged over any distance.

use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Bool, Device, Tensor, TensorData};
pub use emberline_backend::lstm::LstmState;
use emberline_backend::lstm::{LstmWeights, lstm};
use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::cell::{RecurrentCell, RecurrentState};
use crate::stack::Stack;

/// The sizes of a stack of LSTM layers.
///
/// ```
/// # use emberline_recurrent::LstmConfig;
/// let config = LstmConfig { d_input: 10, d_hidden: 20, n_layers: 2, dropout: 0.0 };
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// The width of the input.
    pub d_input: usize,
    /// The width of every layer's output and cell.
    pub d_hidden: usize,
    /// The number of layers.
    pub n_layers: usize,
    /// The probability with which the outputs of every layer but the last are dropped.
    pub dropout: f64,
}

/// The sizes of one LSTM cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmCellConfig {
    /// The width of the input.
    pub d_input: usize,
    /// The width of the output and of the cell.
    pub d_hidden: usize,
}

/// One LSTM layer. The columns of its weights are the gates in torch's order: input, forget,
/// candidate, output.
///
/// There are two biases, as in torch: their sum is what counts, but an optimizer that normalises
/// gradients moves two biases twice as far as one.
#[derive(Module, Debug)]
pub struct LstmCell {
    /// W, `[d_input, 4 · d_hidden]`.
    pub weight_input: Param<Tensor<2>>,
    /// U, `[d_hidden, 4 · d_hidden]`.
    pub weight_hidden: Param<Tensor<2>>,
    /// The bias added to the input's part, `[4 · d_hidden]`.
    pub bias_input: Param<Tensor<1>>,
    /// The bias added to the hidden state's part, `[4 · d_hidden]`.
    pub bias_hidden: Param<Tensor<1>>,
}

impl LstmConfig {
    /// Layers with weights as [`LstmCellConfig::init`] draws them.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Stack<LstmCell> {
        let layers = (0..self.n_layers)
            .map(|layer| {
                let d_input = if layer == 0 { self.d_input } else { self.d_hidden };
                let config = LstmCellConfig { d_input, d_hidden: self.d_hidden };
                config.init(random.at(layer as u64), device)
            })
            .collect();
        Stack::new(layers, self.dropout)
    }
}

impl LstmCellConfig {
    /// All weights and biases uniform in `±1/√d_hidden`, as in `torch.nn.LSTM`.
    pub fn init(&self, random: Stream, device: &Device) -> LstmCell {
        let Self { d_input, d_hidden } = *self;
        let bound = 1.0 / (d_hidden as f64).sqrt();
        let matrix = |name: &str, rows: usize| {
            let values = random.named(name).uniforms(rows * 4 * d_hidden, -bound, bound);
            Param::from_data(TensorData::new(values, [rows, 4 * d_hidden]), device)
        };
        let bias = |name: &str| {
            let values = random.named(name).uniforms(4 * d_hidden, -bound, bound);
            Param::from_data(TensorData::new(values, [4 * d_hidden]), device)
        };
        LstmCell {
            weight_input: matrix("weight_input", d_input),
            weight_hidden: matrix("weight_hidden", d_hidden),
            bias_input: bias("bias_input"),
            bias_hidden: bias("bias_hidden"),
        }
    }
}

impl RecurrentCell for LstmCell {
    type State = LstmState;

    fn d_hidden(&self) -> usize {
        self.weight_hidden.lazy_shape()[0]
    }

    fn zero_state(&self, batch_size: usize, device: &Device) -> LstmState {
        LstmState::zeros(batch_size, self.d_hidden(), device)
    }

    /// ```text
    /// i = σ(W_i x + U_i h + b_i)      f = σ(W_f x + U_f h + b_f)
    /// g = tanh(W_g x + U_g h + b_g)   o = σ(W_o x + U_o h + b_o)
    /// c' = f ⊙ c + i ⊙ g              h' = o ⊙ tanh(c')
    /// ```
    fn step(&self, input: Tensor<2>, state: LstmState) -> (Tensor<2>, LstmState) {
        let LstmState { hidden, cell } = state;
        let gates = input.matmul(self.weight_input.val())
            + hidden.matmul(self.weight_hidden.val())
            + self.bias().unsqueeze();
        let [input_gate, forget_gate, candidate, output_gate] =
            gates.chunk(4, 1).try_into().expect("four gates");
        let cell = sigmoid(forget_gate) * cell + sigmoid(input_gate) * tanh(candidate);
        let hidden = sigmoid(output_gate) * tanh(cell.clone());
        (hidden.clone(), LstmState { hidden, cell })
    }

    fn sequence(
        &self,
        input: Tensor<3>,
        state: LstmState,
        lengths: Option<&[usize]>,
    ) -> (Tensor<3>, LstmState) {
        let weights = LstmWeights {
            input: self.weight_input.val(),
            hidden: self.weight_hidden.val(),
            bias: self.bias(),
        };
        lstm(input, state, weights, lengths)
    }
}

impl LstmCell {
    fn bias(&self) -> Tensor<1> {
        self.bias_input.val() + self.bias_hidden.val()
    }
}

impl RecurrentState for LstmState {
    const TENSORS: usize = 2;

    fn where_alive(self, before: Self, alive: Tensor<2, Bool>) -> Self {
        let alive = alive.expand(self.hidden.dims());
        Self {
            hidden: before.hidden.mask_where(alive.clone(), self.hidden),
            cell: before.cell.mask_where(alive, self.cell),
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;
    use crate::cell::sequence_unrolls_step;

    #[test]
    fn parameters_are_counted_as_in_torch() {
        let config = LstmConfig { d_input: 10, d_hidden: 20, n_layers: 2, dropout: 0.0 };
        assert_eq!(parameter_count(&config.init(Stream::new(0), &test_device())), 5920);
    }

    #[test]
    fn the_fused_sequence_unrolls_the_step() {
        let device = test_device();
        let cell = LstmCellConfig { d_input: 5, d_hidden: 19 }.init(Stream::new(1), &device);
        let values = Stream::new(2).normals(3 * 7 * 5, 1.0);
        let input = Tensor::from_data(TensorData::new(values, [3, 7, 5]), &device);
        sequence_unrolls_step(&cell, input.clone(), None);
        sequence_unrolls_step(&cell, input, Some(&[7, 2, 5]));
    }
}
