//! The LSTM (Hochreiter and Schmidhuber, 1997; forget gate: Gers, Schmidhuber and Cummins, 2000; projection:
//! Sak, Senior and Beaufays, 2014).
//!
//! Against the plain recurrent network it keeps a second vector, the memory cell, which a step changes by
//! adding and not by multiplying with a matrix: where the forget gate is open, values and gradients
//! pass unchanged over any distance. There are no peepholes from the cell to the gates, as in torch.
//!
//! With a projection the output is a linear map of `o ⊙ tanh(c)`, so that many cells need no large U; with
//! clipping, cells and outputs keep within bounds. ELMo has both.

use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device, Tensor};
use emberline_backend::recurrent::{
    CellWeights, FedStep, LstmOptions, LstmState, Reading, fed_lstm, lstm,
};
use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::bidirectional::{Bidirectional, Merge};
use crate::cell::{FedCell, RecurrentCell, uniform};
use crate::stack::{Stack, bidirectional_layers, layers};

/// The sizes of a stack of LSTM layers.
///
/// ```
/// # use emberline_recurrent::LstmConfig;
/// let config = LstmConfig { d_projection: Some(5), ..LstmConfig::new(10, 20, 2) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// The width of the input.
    pub d_input: usize,
    /// The width of every layer's cell; of its output too, unless that is projected.
    pub d_hidden: usize,
    /// The number of layers.
    pub n_layers: usize,
    /// The probability with which the outputs of every layer but the last are dropped.
    pub dropout: f64,
    /// The width to which outputs are projected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_projection: Option<usize>,
    /// Cells are kept within ± this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_clip: Option<f64>,
    /// Outputs are kept within ± this number, after the projection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_clip: Option<f64>,
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
    /// U, `[d_output, 4 · d_hidden]`.
    pub weight_hidden: Param<Tensor<2>>,
    /// b, added to the input's part, `[4 · d_hidden]`.
    pub bias_input: Param<Tensor<1>>,
    /// b', added to the hidden state's part, `[4 · d_hidden]`.
    pub bias_hidden: Param<Tensor<1>>,
    /// P, `[d_hidden, d_output]`; without it both widths are equal.
    pub projection: Option<Param<Tensor<2>>>,
    /// Cells are kept within ± this number.
    #[module(skip)]
    pub cell_clip: Option<f64>,
    /// Outputs are kept within ± this number, after the projection.
    #[module(skip)]
    pub projection_clip: Option<f64>,
}

impl LstmConfig {
    /// Without projection, clipping and dropout.
    pub fn new(d_input: usize, d_hidden: usize, n_layers: usize) -> Self {
        Self {
            d_input,
            d_hidden,
            n_layers,
            dropout: 0.0,
            d_projection: None,
            cell_clip: None,
            projection_clip: None,
        }
    }

    /// Layers that read forward, each as [`init_cell`](Self::init_cell) makes it.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Stack<LstmCell> {
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
    ) -> Stack<Bidirectional<LstmCell>> {
        let cell = |d_input, random| Self { d_input, ..*self }.init_cell(random, device);
        let layers = bidirectional_layers(self.n_layers, self.d_input, merge, random, cell);
        Stack::new(layers, self.dropout)
    }

    /// The first layer alone; all weights and biases uniform in `±1/√d_hidden`, as in `torch.nn.LSTM`.
    pub fn init_cell(&self, random: Stream, device: &Device) -> LstmCell {
        let Self { d_input, d_hidden, .. } = *self;
        let columns = 4 * d_hidden;
        let matrix = |name: &str, shape| uniform::<2>(shape, d_hidden, random.named(name), device);
        let bias = |name: &str| uniform([columns], d_hidden, random.named(name), device);
        let d_output = self.d_projection.unwrap_or(d_hidden);
        LstmCell {
            weight_input: matrix("weight_input", [d_input, columns]),
            weight_hidden: matrix("weight_hidden", [d_output, columns]),
            bias_input: bias("bias_input"),
            bias_hidden: bias("bias_hidden"),
            projection: self.d_projection.map(|width| matrix("projection", [d_hidden, width])),
            cell_clip: self.cell_clip,
            projection_clip: self.projection_clip,
        }
    }
}

impl RecurrentCell for LstmCell {
    type State = LstmState;

    fn d_output(&self) -> usize {
        self.weight_hidden.lazy_shape()[0]
    }

    fn zero_state(&self, batch_size: usize) -> LstmState {
        let weight = self.weight_hidden.val();
        let options = (&weight.device(), weight.dtype());
        LstmState::zeros(batch_size, self.d_output(), self.d_hidden(), options)
    }

    /// ```text
    /// i = σ(W_i x + b_i + U_i h + b'_i)      f = σ(W_f x + b_f + U_f h + b'_f)
    /// g = tanh(W_g x + b_g + U_g h + b'_g)   o = σ(W_o x + b_o + U_o h + b'_o)
    /// c' = f ⊙ c + i ⊙ g                     h' = o ⊙ tanh(c'), times P if there is one
    /// ```
    fn step(&self, input: Tensor<2>, state: LstmState) -> (Tensor<2>, LstmState) {
        let LstmState { hidden, cell } = state;
        let [batch_size, _] = input.dims();
        assert_eq!(hidden.dims(), [batch_size, self.d_output()], "state of an LSTM");
        assert_eq!(cell.dims(), [batch_size, self.d_hidden()], "memory of an LSTM");
        let gates = input.matmul(self.weight_input.val())
            + self.bias_input.val().unsqueeze()
            + hidden.matmul(self.weight_hidden.val())
            + self.bias_hidden.val().unsqueeze();
        let [input_gate, forget_gate, candidate, output_gate] =
            gates.chunk(4, 1).try_into().expect("three gates and a candidate");
        let cell = sigmoid(forget_gate) * cell + sigmoid(input_gate) * tanh(candidate);
        let cell = clip(cell, self.cell_clip);
        let mut hidden = sigmoid(output_gate) * tanh(cell.clone());
        if let Some(projection) = &self.projection {
            hidden = hidden.matmul(projection.val());
        }
        let hidden = clip(hidden, self.projection_clip);
        (hidden.clone(), LstmState { hidden, cell })
    }

    fn sequence(
        &self,
        input: Tensor<3>,
        state: LstmState,
        reading: Reading<'_>,
    ) -> (Tensor<3>, LstmState) {
        let projection = self.projection.as_ref().map(Param::val);
        lstm(input, state, self.weights(), projection, self.options(), reading)
    }
}

impl FedCell for LstmCell {
    fn fed(&self, known: Option<Tensor<3>>, n_steps: usize) -> FedStep<LstmState> {
        let projection = self.projection.as_ref().map(Param::val);
        fed_lstm(known, n_steps, self.weights(), projection, self.options())
    }
}

impl LstmCell {
    /// The width of the memory cell.
    pub fn d_hidden(&self) -> usize {
        self.weight_hidden.lazy_shape()[1] / 4
    }

    fn weights(&self) -> CellWeights {
        CellWeights {
            input: self.weight_input.val(),
            hidden: self.weight_hidden.val(),
            bias_input: self.bias_input.val(),
            bias_hidden: self.bias_hidden.val(),
        }
    }

    fn options(&self) -> LstmOptions {
        LstmOptions { cell_clip: self.cell_clip, projection_clip: self.projection_clip }
    }
}

fn clip(values: Tensor<2>, limit: Option<f64>) -> Tensor<2> {
    match limit {
        Some(limit) => values.clamp(-limit, limit),
        None => values,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;
    use crate::cell::sequence_unrolls_step;

    fn numbers<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
        let values = Stream::new(2).normals(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// A cell whose input gate is shut, and whose forget gate has the given bias.
    fn gated(forget_bias: f32, device: &Device) -> LstmCell {
        let mut cell = LstmConfig::new(2, 3, 1).init_cell(Stream::new(1), device);
        let gates = [-60.0, forget_bias, 0.0, 0.0].map(|bias| [bias; 3]).concat();
        cell.bias_input = Param::from_data(TensorData::new(gates, [12]), device);
        cell
    }

    #[test]
    fn parameters_are_counted_as_in_torch() {
        let device = test_device();
        let config = LstmConfig::new(10, 20, 2);
        assert_eq!(parameter_count(&config.init(Stream::new(0), &device)), 5920);
        let both = config.init_bidirectional(Merge::Concat, Stream::new(0), &device);
        assert_eq!(parameter_count(&both), 15_040);
        let projected = LstmConfig { d_projection: Some(5), ..config };
        assert_eq!(parameter_count(&projected.init(Stream::new(0), &device)), 2520);
    }

    #[test]
    fn the_fused_sequence_unrolls_the_step_in_every_form() {
        let device = test_device();
        let plain = LstmConfig::new(5, 19, 1);
        let clipped = LstmConfig { cell_clip: Some(0.2), projection_clip: Some(0.05), ..plain };
        let projected = LstmConfig { d_projection: Some(7), ..plain };
        let both = LstmConfig { d_projection: Some(7), ..clipped };
        for config in [plain, clipped, projected, both] {
            let cell = config.init_cell(Stream::new(1), &device);
            sequence_unrolls_step(&cell, numbers([3, 7, 5], &device));
        }
    }

    #[test]
    fn clipping_bounds_cells_and_outputs() {
        let device = test_device();
        let config = LstmConfig {
            d_projection: Some(3),
            cell_clip: Some(0.2),
            projection_clip: Some(0.05),
            ..LstmConfig::new(5, 8, 1)
        };
        let largest = |values: TensorData| values.iter::<f32>().fold(0.0f32, |a, b| a.max(b.abs()));
        let layers = config.init(Stream::new(1), &device);
        let (outputs, state) = layers.forward(numbers([3, 7, 5], &device), None, None, None);
        assert_eq!(largest(outputs.into_data()), 0.05);
        assert_eq!(largest(state.0[0].cell.to_data()), 0.2);
    }

    #[test]
    fn an_open_forget_gate_carries_the_cell_and_its_gradient_a_thousand_steps() {
        let device = test_device().autodiff();
        let cell = gated(60.0, &device);
        let start = Tensor::<2>::from_data([[0.5, -1.0, 2.0]], &device).require_grad();
        let state = LstmState { hidden: Tensor::zeros([1, 3], &device), cell: start.clone() };
        let input = numbers([1, 1000, 2], &device);
        let (_, last) = RecurrentCell::sequence(&cell, input, state, Reading::default());
        assert_eq!(last.cell.to_data(), start.to_data());
        let gradient = start.grad(&last.cell.sum().backward()).expect("a tracked tensor");
        assert_eq!(gradient.into_data(), TensorData::from([[1.0f32; 3]]));
    }

    #[test]
    fn a_shut_forget_gate_erases_the_cell_at_once() {
        let device = test_device();
        let state = LstmState {
            hidden: Tensor::zeros([1, 3], &device),
            cell: Tensor::ones([1, 3], &device),
        };
        let input = numbers([1, 2], &device);
        let (_, last) = gated(-60.0, &device).step(input, state);
        assert!(last.cell.into_data().iter::<f32>().all(|value| value.abs() < 1e-20));
    }

    #[test]
    fn a_start_from_zeros_has_the_element_type_of_the_weights() {
        let device = test_device();
        let mut cell = LstmConfig::new(2, 3, 1).init_cell(Stream::new(1), &device);
        for weight in [&mut cell.weight_input, &mut cell.weight_hidden] {
            *weight = Param::from_tensor(weight.val().cast(DType::F64));
        }
        for bias in [&mut cell.bias_input, &mut cell.bias_hidden] {
            *bias = Param::from_tensor(bias.val().cast(DType::F64));
        }
        let input = numbers([1, 2, 2], &device).cast(DType::F64);
        let (output, _) = Stack::new(vec![cell], 0.0).forward(input, None, None, None);
        assert_eq!(output.dtype(), DType::F64);
    }

    #[test]
    #[should_panic(expected = "memory of an LSTM")]
    fn a_memory_of_another_batch_is_not_spread_over_the_rows_of_a_step() {
        let device = test_device();
        let cell = LstmConfig::new(2, 4, 1).init_cell(Stream::new(0), &device);
        let state = LstmState { cell: Tensor::zeros([1, 4], &device), ..cell.zero_state(3) };
        cell.step(numbers([3, 2], &device), state);
    }

    #[test]
    #[should_panic(expected = "state of an LSTM")]
    fn a_hidden_state_of_another_width_is_refused() {
        let device = test_device();
        let config = LstmConfig::new(2, 4, 1);
        let cell = config.init_cell(Stream::new(0), &device);
        let projected = LstmConfig { d_projection: Some(3), ..config };
        let state = projected.init_cell(Stream::new(0), &device).zero_state(1);
        RecurrentCell::sequence(&cell, numbers([1, 2, 2], &device), state, Reading::default());
    }
}
