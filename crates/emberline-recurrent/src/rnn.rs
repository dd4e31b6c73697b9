//! The plain recurrent network (Elman: "Finding structure in time", 1990).
//!
//! Against a feed-forward layer it reads its own last output beside the input, so that an output depends on
//! everything before it:
//!
//! ```text
//! h' = tanh(W x + b + U h + b')          or ReLU instead of tanh
//! ```
//!
//! What is read off it, `y = g(V h + c)`, has weights of its own: a [`Linear`](emberline_backend::Linear)
//! after these layers. Back through d steps a gradient is multiplied d times with `diag(tanh′) U`, and so
//! vanishes or explodes with the distance: what the gates of its successors are for.

use burn::module::{Module, Param};
use burn::tensor::activation::{relu, tanh};
use burn::tensor::{Device, Tensor};
use emberline_backend::recurrent::{Activation, CellWeights, HiddenState, Reading, rnn};
use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::bidirectional::{Bidirectional, Merge};
use crate::cell::{RecurrentCell, uniform};
use crate::stack::{Stack, bidirectional_layers, layers};

/// The sizes of a stack of plain recurrent layers.
///
/// ```
/// # use emberline_recurrent::{Activation, RnnConfig};
/// let config = RnnConfig { activation: Activation::Relu, ..RnnConfig::new(10, 20, 2) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RnnConfig {
    /// The width of the input.
    pub d_input: usize,
    /// The width of every layer's output.
    pub d_hidden: usize,
    /// The number of layers.
    pub n_layers: usize,
    /// The probability with which the outputs of every layer but the last are dropped.
    pub dropout: f64,
    /// The function of every step.
    pub activation: Activation,
}

/// One plain recurrent layer.
///
/// There are two biases, as in torch: their sum is what counts, but an optimizer that normalises
/// gradients moves two biases twice as far as one.
#[derive(Module, Debug)]
pub struct RnnCell {
    /// W, `[d_input, d_hidden]`.
    pub weight_input: Param<Tensor<2>>,
    /// U, `[d_hidden, d_hidden]`.
    pub weight_hidden: Param<Tensor<2>>,
    /// b, added to the input's part, `[d_hidden]`.
    pub bias_input: Param<Tensor<1>>,
    /// b', added to the hidden state's part, `[d_hidden]`.
    pub bias_hidden: Param<Tensor<1>>,
    /// The function of every step.
    #[module(skip)]
    pub activation: Activation,
}

impl RnnConfig {
    /// With tanh, and without dropout.
    pub fn new(d_input: usize, d_hidden: usize, n_layers: usize) -> Self {
        Self { d_input, d_hidden, n_layers, dropout: 0.0, activation: Activation::Tanh }
    }

    /// Layers that read forward, each as [`init_cell`](Self::init_cell) makes it.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Stack<RnnCell> {
        let cell = |d_input, random| Self { d_input, ..*self }.init_cell(random, device);
        Stack::new(layers(self.n_layers, self.d_input, random, cell), self.dropout)
    }

    /// Layers that read both ways.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init_bidirectional(
        &self,
        merge: Merge,
        random: Stream,
        device: &Device,
    ) -> Stack<Bidirectional<RnnCell>> {
        let cell = |d_input, random| Self { d_input, ..*self }.init_cell(random, device);
        let layers = bidirectional_layers(self.n_layers, self.d_input, merge, random, cell);
        Stack::new(layers, self.dropout)
    }

    /// The first layer alone; all weights and biases uniform in `±1/√d_hidden`, as in `torch.nn.RNN`.
    pub fn init_cell(&self, random: Stream, device: &Device) -> RnnCell {
        let Self { d_input, d_hidden, .. } = *self;
        let matrix =
            |name: &str, rows| uniform([rows, d_hidden], d_hidden, random.named(name), device);
        let bias = |name: &str| uniform([d_hidden], d_hidden, random.named(name), device);
        RnnCell {
            weight_input: matrix("weight_input", d_input),
            weight_hidden: matrix("weight_hidden", d_hidden),
            bias_input: bias("bias_input"),
            bias_hidden: bias("bias_hidden"),
            activation: self.activation,
        }
    }
}

impl RecurrentCell for RnnCell {
    type State = HiddenState;

    fn d_output(&self) -> usize {
        self.weight_hidden.lazy_shape()[0]
    }

    fn zero_state(&self, batch_size: usize) -> HiddenState {
        let weight = self.weight_hidden.val();
        HiddenState::zeros(batch_size, self.d_output(), (&weight.device(), weight.dtype()))
    }

    /// ```text
    /// h' = tanh(W x + b + U h + b')
    /// ```
    fn step(&self, input: Tensor<2>, state: HiddenState) -> (Tensor<2>, HiddenState) {
        let expected = [input.dims()[0], self.d_output()];
        assert_eq!(state.hidden.dims(), expected, "state of a recurrent layer");
        let sum = input.matmul(self.weight_input.val())
            + self.bias_input.val().unsqueeze()
            + state.hidden.matmul(self.weight_hidden.val())
            + self.bias_hidden.val().unsqueeze();
        let hidden = match self.activation {
            Activation::Tanh => tanh(sum),
            Activation::Relu => relu(sum),
        };
        (hidden.clone(), HiddenState { hidden })
    }

    fn sequence(
        &self,
        input: Tensor<3>,
        state: HiddenState,
        reading: Reading<'_>,
    ) -> (Tensor<3>, HiddenState) {
        let weights = CellWeights {
            input: self.weight_input.val(),
            hidden: self.weight_hidden.val(),
            bias_input: self.bias_input.val(),
            bias_hidden: self.bias_hidden.val(),
        };
        rnn(input, state, weights, self.activation, reading)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;
    use crate::cell::sequence_unrolls_step;

    #[test]
    fn parameters_are_counted_as_in_torch() {
        let config = RnnConfig::new(10, 20, 2);
        assert_eq!(parameter_count(&config.init(Stream::new(0), &test_device())), 1480);
    }

    #[test]
    fn the_fused_sequence_unrolls_the_step() {
        let device = test_device();
        let values = Stream::new(2).normals(3 * 7 * 5, 1.0);
        let input = Tensor::from_data(TensorData::new(values, [3, 7, 5]), &device);
        for activation in [Activation::Tanh, Activation::Relu] {
            let config = RnnConfig { activation, ..RnnConfig::new(5, 19, 1) };
            sequence_unrolls_step(&config.init_cell(Stream::new(1), &device), input.clone());
        }
    }

    #[test]
    fn a_gradient_is_multiplied_with_u_at_every_step_it_goes_back() {
        let device = test_device().autodiff();
        let gradient = |u: f32, steps: usize| {
            let config = RnnConfig { activation: Activation::Relu, ..RnnConfig::new(1, 1, 1) };
            let mut cell = config.init_cell(Stream::new(0), &device);
            cell.weight_hidden = Param::from_data([[u]], &device);
            // ReLU stays in its open half.
            cell.bias_input = Param::from_data([1.0], &device);
            cell.bias_hidden = Param::from_data([0.0], &device);
            let start = Tensor::<2>::ones([1, 1], &device).require_grad();
            let (input, state) =
                (Tensor::zeros([1, steps, 1], &device), HiddenState { hidden: start.clone() });
            let (_, last) = RecurrentCell::sequence(&cell, input, state, Reading::default());
            start.grad(&last.hidden.backward()).expect("a tracked tensor").into_scalar::<f32>()
        };
        assert_eq!(gradient(0.5, 1), 0.5);
        assert_eq!(gradient(0.5, 20), 0.5f32.powi(20));
        assert_eq!(gradient(2.0, 20), 2.0f32.powi(20));
    }

    #[test]
    #[should_panic(expected = "state of a recurrent layer")]
    fn a_state_of_another_batch_is_not_spread_over_the_rows_of_a_step() {
        let device = test_device();
        let cell = RnnConfig::new(2, 4, 1).init_cell(Stream::new(0), &device);
        let state = RecurrentCell::zero_state(&cell, 1);
        cell.step(Tensor::zeros([3, 2], &device), state);
    }

    #[test]
    #[should_panic(expected = "state of a recurrent layer")]
    fn a_state_of_another_width_is_refused() {
        let device = test_device();
        let [wide, narrow] =
            [4, 3].map(|width| RnnConfig::new(2, width, 1).init(Stream::new(0), &device));
        let input = Tensor::zeros([1, 2, 2], &device);
        wide.forward(input, Some(narrow.zero_state(1)), None, None);
    }
}
