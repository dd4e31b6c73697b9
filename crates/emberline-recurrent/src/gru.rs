//! The gated recurrent unit (Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio: "Learning
//! phrase representations using RNN encoder-decoder", 2014).
//!
//! Against the LSTM it has no memory cell of its own, and two gates instead of three: the hidden state is the
//! memory, and one gate both keeps the old and admits the new.
//!
//! There are two published forms. In the paper the reset gate acts on the state before its product with
//! `U_n`; in torch and cuDNN it acts on the product, which lets one product serve all gates. And there are two
//! meanings of the update gate z: it keeps the old state (the paper, torch) or admits the new one (Bahdanau
//! and others, 2015). Negating the columns of z turns one meaning into the other; nothing turns one form into
//! the other.

use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device, Tensor};
use emberline_backend::recurrent::{
    CellWeights, FedStep, HiddenState, Reading, ResetGate, UpdateGate, fed_gru, gru,
};
use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::bidirectional::{Bidirectional, Merge};
use crate::cell::{FedCell, RecurrentCell, uniform};
use crate::stack::{Stack, bidirectional_layers, layers};

/// The sizes and the form of a stack of GRU layers.
///
/// ```
/// # use emberline_recurrent::{GruConfig, ResetGate};
/// let config = GruConfig { reset: ResetGate::Before, ..GruConfig::new(10, 20, 2) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GruConfig {
    /// The width of the input.
    pub d_input: usize,
    /// The width of every layer's output.
    pub d_hidden: usize,
    /// The number of layers.
    pub n_layers: usize,
    /// The probability with which the outputs of every layer but the last are dropped.
    pub dropout: f64,
    /// Where the reset gate acts.
    pub reset: ResetGate,
    /// What the update gate means.
    pub update: UpdateGate,
}

/// One GRU layer. The columns of its weights are the gates in torch's order: reset, update, candidate.
///
/// There are two biases, as in torch. In torch's form that of the candidate's hidden part is inside the
/// reset gate's product, so that no sum of the two can replace them.
#[derive(Module, Debug)]
pub struct GruCell {
    /// W, `[d_input, 3 · d_hidden]`.
    pub weight_input: Param<Tensor<2>>,
    /// U, `[d_hidden, 3 · d_hidden]`.
    pub weight_hidden: Param<Tensor<2>>,
    /// b, added to the input's part, `[3 · d_hidden]`.
    pub bias_input: Param<Tensor<1>>,
    /// b', added to the hidden state's part, `[3 · d_hidden]`.
    pub bias_hidden: Param<Tensor<1>>,
    /// Where the reset gate acts.
    #[module(skip)]
    pub reset: ResetGate,
    /// What the update gate means.
    #[module(skip)]
    pub update: UpdateGate,
}

impl GruConfig {
    /// In the form of torch, and without dropout.
    pub fn new(d_input: usize, d_hidden: usize, n_layers: usize) -> Self {
        let (reset, update) = (ResetGate::After, UpdateGate::Keeps);
        Self { d_input, d_hidden, n_layers, dropout: 0.0, reset, update }
    }

    /// Layers that read forward, each as [`init_cell`](Self::init_cell) makes it.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Stack<GruCell> {
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
    ) -> Stack<Bidirectional<GruCell>> {
        let cell = |d_input, random| Self { d_input, ..*self }.init_cell(random, device);
        let layers = bidirectional_layers(self.n_layers, self.d_input, merge, random, cell);
        Stack::new(layers, self.dropout)
    }

    /// The first layer alone; all weights and biases uniform in `±1/√d_hidden`, as in `torch.nn.GRU`.
    pub fn init_cell(&self, random: Stream, device: &Device) -> GruCell {
        let Self { d_input, d_hidden, .. } = *self;
        let columns = 3 * d_hidden;
        let matrix =
            |name: &str, rows| uniform([rows, columns], d_hidden, random.named(name), device);
        let bias = |name: &str| uniform([columns], d_hidden, random.named(name), device);
        GruCell {
            weight_input: matrix("weight_input", d_input),
            weight_hidden: matrix("weight_hidden", d_hidden),
            bias_input: bias("bias_input"),
            bias_hidden: bias("bias_hidden"),
            reset: self.reset,
            update: self.update,
        }
    }
}

impl RecurrentCell for GruCell {
    type State = HiddenState;

    fn d_output(&self) -> usize {
        self.weight_hidden.lazy_shape()[0]
    }

    fn zero_state(&self, batch_size: usize) -> HiddenState {
        let weight = self.weight_hidden.val();
        HiddenState::zeros(batch_size, self.d_output(), (&weight.device(), weight.dtype()))
    }

    /// ```text
    /// r = σ(W_r x + b_r + U_r h + b'_r)      z = σ(W_z x + b_z + U_z h + b'_z)
    /// n = tanh(W_n x + b_n + r ⊙ (U_n h + b'_n))      after
    /// n = tanh(W_n x + b_n + U_n (r ⊙ h) + b'_n)      before
    /// h' = z ⊙ h + (1 - z) ⊙ n                        keeps
    /// h' = (1 - z) ⊙ h + z ⊙ n                        admits
    /// ```
    fn step(&self, input: Tensor<2>, state: HiddenState) -> (Tensor<2>, HiddenState) {
        let (hidden, d_hidden) = (state.hidden, self.d_output());
        assert_eq!(hidden.dims(), [input.dims()[0], d_hidden], "state of a GRU");
        let of_input = input.matmul(self.weight_input.val()) + self.bias_input.val().unsqueeze();
        let [reset_input, update_input, new_input] =
            of_input.chunk(3, 1).try_into().expect("two gates and a candidate");
        let of_hidden = |hidden: Tensor<2>, from: usize, count: usize| {
            let weight = self.weight_hidden.val().narrow(1, from * d_hidden, count * d_hidden);
            let bias = self.bias_hidden.val().narrow(0, from * d_hidden, count * d_hidden);
            hidden.matmul(weight) + bias.unsqueeze()
        };
        let [reset_hidden, update_hidden] =
            of_hidden(hidden.clone(), 0, 2).chunk(2, 1).try_into().expect("two gates");
        let reset = sigmoid(reset_input + reset_hidden);
        let update = sigmoid(update_input + update_hidden);
        let new = tanh(match self.reset {
            ResetGate::After => new_input + reset * of_hidden(hidden.clone(), 2, 1),
            ResetGate::Before => new_input + of_hidden(reset * hidden.clone(), 2, 1),
        });
        let rest = update.clone().neg() + 1.0;
        let hidden = match self.update {
            UpdateGate::Keeps => update * hidden + rest * new,
            UpdateGate::Admits => rest * hidden + update * new,
        };
        (hidden.clone(), HiddenState { hidden })
    }

    fn sequence(
        &self,
        input: Tensor<3>,
        state: HiddenState,
        reading: Reading<'_>,
    ) -> (Tensor<3>, HiddenState) {
        gru(input, state, self.weights(), self.reset, self.update, reading)
    }
}

impl FedCell for GruCell {
    fn fed(&self, known: Option<Tensor<3>>, n_steps: usize) -> FedStep<HiddenState> {
        fed_gru(known, n_steps, self.weights(), self.reset, self.update)
    }
}

impl GruCell {
    fn weights(&self) -> CellWeights {
        CellWeights {
            input: self.weight_input.val(),
            hidden: self.weight_hidden.val(),
            bias_input: self.bias_input.val(),
            bias_hidden: self.bias_hidden.val(),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;
    use crate::cell::sequence_unrolls_step;

    const FORMS: [(ResetGate, UpdateGate); 4] = [
        (ResetGate::After, UpdateGate::Keeps),
        (ResetGate::After, UpdateGate::Admits),
        (ResetGate::Before, UpdateGate::Keeps),
        (ResetGate::Before, UpdateGate::Admits),
    ];

    fn cell(reset: ResetGate, update: UpdateGate) -> GruCell {
        let config = GruConfig { reset, update, ..GruConfig::new(5, 19, 1) };
        config.init_cell(Stream::new(1), &test_device())
    }

    fn numbers() -> Tensor<3> {
        let values = Stream::new(2).normals(3 * 7 * 5, 1.0);
        Tensor::from_data(TensorData::new(values, [3, 7, 5]), &test_device())
    }

    fn outputs(cell: &GruCell) -> Tensor<3> {
        RecurrentCell::sequence(cell, numbers(), cell.zero_state(3), Reading::default()).0
    }

    fn largest_difference(a: Tensor<3>, b: Tensor<3>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    /// The columns of one gate, times a factor plus a number.
    fn change<const D: usize>(
        param: Param<Tensor<D>>,
        gate: usize,
        factor: f64,
        plus: f64,
    ) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let mut gates = tensor.chunk(3, D - 1);
            gates[gate] = gates[gate].clone() * factor + plus;
            Tensor::cat(gates, D - 1)
        })
    }

    #[test]
    fn parameters_are_counted_as_in_torch() {
        let config = GruConfig::new(10, 20, 2);
        assert_eq!(parameter_count(&config.init(Stream::new(0), &test_device())), 4440);
    }

    #[test]
    fn the_fused_sequence_unrolls_the_step_in_every_form() {
        for (reset, update) in FORMS {
            sequence_unrolls_step(&cell(reset, update), numbers());
        }
    }

    #[test]
    fn both_forms_agree_where_the_reset_gate_is_open_and_differ_elsewhere() {
        let random = [ResetGate::After, ResetGate::Before]
            .map(|reset| outputs(&cell(reset, UpdateGate::Keeps)));
        let [after, before] = random;
        assert!(largest_difference(after, before) > 1e-2);

        let open = |reset: ResetGate| {
            let mut cell = cell(reset, UpdateGate::Keeps);
            cell.bias_input = change(cell.bias_input, 0, 0.0, 30.0);
            cell.bias_hidden = change(cell.bias_hidden, 2, 0.0, 0.0);
            outputs(&cell)
        };
        assert!(largest_difference(open(ResetGate::After), open(ResetGate::Before)) < 1e-6);
    }

    #[test]
    fn negated_weights_turn_one_meaning_of_the_update_gate_into_the_other() {
        for reset in [ResetGate::After, ResetGate::Before] {
            let keeps = outputs(&cell(reset, UpdateGate::Keeps));
            let mut admits = cell(reset, UpdateGate::Admits);
            assert!(largest_difference(keeps.clone(), outputs(&admits)) > 1e-2);
            admits.weight_input = change(admits.weight_input, 1, -1.0, 0.0);
            admits.weight_hidden = change(admits.weight_hidden, 1, -1.0, 0.0);
            admits.bias_input = change(admits.bias_input, 1, -1.0, 0.0);
            admits.bias_hidden = change(admits.bias_hidden, 1, -1.0, 0.0);
            assert!(largest_difference(keeps, outputs(&admits)) < 1e-6);
        }
    }

    #[test]
    fn an_update_gate_that_keeps_everything_copies_the_state() {
        let mut cell = cell(ResetGate::After, UpdateGate::Keeps);
        cell.bias_input = change(cell.bias_input, 1, 0.0, 60.0);
        let start = HiddenState { hidden: Tensor::ones([3, 19], &test_device()) * 0.5 };
        let (_, state) =
            RecurrentCell::sequence(&cell, numbers(), start.clone(), Reading::default());
        let difference: f32 = (state.hidden - start.hidden).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");
    }

    #[test]
    #[should_panic(expected = "state of a GRU")]
    fn a_state_of_another_batch_is_not_spread_over_the_rows_of_a_step() {
        let cell = cell(ResetGate::After, UpdateGate::Keeps);
        cell.step(Tensor::zeros([3, 5], &test_device()), cell.zero_state(1));
    }

    #[test]
    #[should_panic(expected = "state of a GRU")]
    fn a_state_of_another_batch_is_refused() {
        let cell = cell(ResetGate::After, UpdateGate::Keeps);
        RecurrentCell::sequence(&cell, numbers(), cell.zero_state(2), Reading::default());
    }
}
