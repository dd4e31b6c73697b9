//! A cell chosen at run time, so that a model's config can name it.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use emberline_backend::recurrent::{HiddenState, LstmState, Reading};
use emberline_core::{Cache, Carry, Stream};
use serde::{Deserialize, Serialize};

use crate::bidirectional::{Bidirectional, Merge};
use crate::cell::RecurrentCell;
use crate::gru::{GruCell, GruConfig};
use crate::lstm::{LstmCell, LstmConfig};
use crate::rnn::{RnnCell, RnnConfig};
use crate::stack::{Stack, bidirectional_layers, layers};
use crate::state::{CellState, RecurrentState};

/// The recurrent cell of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellKind {
    /// [`RnnCell`], with tanh.
    Rnn,
    /// [`GruCell`], in torch's form.
    Gru,
    /// [`LstmCell`], without projection and clipping.
    Lstm,
}

/// The kind and sizes of a stack of recurrent layers.
///
/// ```
/// # use emberline_recurrent::{AnyConfig, CellKind};
/// let config =
///     AnyConfig { cell: CellKind::Gru, d_input: 10, d_hidden: 20, n_layers: 2, dropout: 0.1 };
/// assert_eq!(config.parameter_count(), 4440);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnyConfig {
    /// The recurrent cell.
    pub cell: CellKind,
    /// The width of the input.
    pub d_input: usize,
    /// The width of every layer's output.
    pub d_hidden: usize,
    /// The number of layers.
    pub n_layers: usize,
    /// The probability with which the outputs of every layer but the last are dropped.
    pub dropout: f64,
}

/// One of the cells.
#[derive(Module, Debug)]
pub enum AnyCell {
    /// A plain recurrent layer.
    Rnn(RnnCell),
    /// A GRU layer.
    Gru(GruCell),
    /// An LSTM layer.
    Lstm(LstmCell),
}

/// The state of [`AnyCell`].
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one a layer, and a box is one more allocation"
)]
pub enum AnyState {
    /// Of a plain recurrent layer or a GRU.
    Hidden(HiddenState),
    /// Of an LSTM.
    Lstm(LstmState),
}

impl AnyConfig {
    /// Layers that read forward.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Stack<AnyCell> {
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
    ) -> Stack<Bidirectional<AnyCell>> {
        let cell = |d_input, random| Self { d_input, ..*self }.init_cell(random, device);
        let layers = bidirectional_layers(self.n_layers, self.d_input, merge, random, cell);
        Stack::new(layers, self.dropout)
    }

    /// The first layer alone.
    pub fn init_cell(&self, random: Stream, device: &Device) -> AnyCell {
        let Self { d_input, d_hidden, .. } = *self;
        match self.cell {
            CellKind::Rnn => {
                AnyCell::Rnn(RnnConfig::new(d_input, d_hidden, 1).init_cell(random, device))
            }
            CellKind::Gru => {
                AnyCell::Gru(GruConfig::new(d_input, d_hidden, 1).init_cell(random, device))
            }
            CellKind::Lstm => {
                AnyCell::Lstm(LstmConfig::new(d_input, d_hidden, 1).init_cell(random, device))
            }
        }
    }

    /// The parameters of [`init`](Self::init), which is not called for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        self.layers_parameter_count(1, self.d_hidden)
    }

    /// The parameters of [`init_bidirectional`](Self::init_bidirectional), likewise.
    pub fn bidirectional_parameter_count(&self, merge: Merge) -> u64 {
        self.layers_parameter_count(2, merge.d_output(self.d_hidden))
    }

    /// Of layers of some cells each, whose output has the given width.
    fn layers_parameter_count(&self, n_cells: u64, d_output: usize) -> u64 {
        let cell = |d_input: usize| {
            let rows = (d_input as u64).saturating_add(self.d_hidden as u64).saturating_add(2);
            let columns = self.cell.n_gates().saturating_mul(self.d_hidden as u64);
            rows.saturating_mul(columns)
        };
        let Some(above) = self.n_layers.checked_sub(1) else { return 0 };
        let above = cell(d_output).saturating_mul(above as u64);
        cell(self.d_input).saturating_add(above).saturating_mul(n_cells)
    }
}

impl CellKind {
    /// The width of the weights, in widths of the state.
    fn n_gates(self) -> u64 {
        match self {
            Self::Rnn => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }
}

impl RecurrentCell for AnyCell {
    type State = AnyState;

    fn d_output(&self) -> usize {
        match self {
            Self::Rnn(cell) => cell.d_output(),
            Self::Gru(cell) => cell.d_output(),
            Self::Lstm(cell) => cell.d_output(),
        }
    }

    fn zero_state(&self, batch_size: usize) -> AnyState {
        match self {
            Self::Rnn(cell) => AnyState::Hidden(cell.zero_state(batch_size)),
            Self::Gru(cell) => AnyState::Hidden(cell.zero_state(batch_size)),
            Self::Lstm(cell) => AnyState::Lstm(cell.zero_state(batch_size)),
        }
    }

    fn step(&self, input: Tensor<2>, state: AnyState) -> (Tensor<2>, AnyState) {
        match self {
            Self::Rnn(cell) => hidden(cell.step(input, state.into_hidden())),
            Self::Gru(cell) => hidden(cell.step(input, state.into_hidden())),
            Self::Lstm(cell) => lstm(cell.step(input, state.into_lstm())),
        }
    }

    fn sequence(
        &self,
        input: Tensor<3>,
        state: AnyState,
        reading: Reading<'_>,
    ) -> (Tensor<3>, AnyState) {
        match self {
            Self::Rnn(cell) => hidden(cell.sequence(input, state.into_hidden(), reading)),
            Self::Gru(cell) => hidden(cell.sequence(input, state.into_hidden(), reading)),
            Self::Lstm(cell) => lstm(cell.sequence(input, state.into_lstm(), reading)),
        }
    }
}

fn hidden<const D: usize>(result: (Tensor<D>, HiddenState)) -> (Tensor<D>, AnyState) {
    (result.0, AnyState::Hidden(result.1))
}

fn lstm<const D: usize>(result: (Tensor<D>, LstmState)) -> (Tensor<D>, AnyState) {
    (result.0, AnyState::Lstm(result.1))
}

impl AnyState {
    fn into_hidden(self) -> HiddenState {
        match self {
            Self::Hidden(state) => state,
            Self::Lstm(_) => panic!("a layer without a memory cell was given the state of an LSTM"),
        }
    }

    fn into_lstm(self) -> LstmState {
        match self {
            Self::Lstm(state) => state,
            Self::Hidden(_) => panic!("an LSTM was given a state without a memory cell"),
        }
    }
}

impl RecurrentState for AnyState {
    const TENSORS: usize = 2;
}

impl CellState for AnyState {
    fn hidden(&self) -> Tensor<2> {
        match self {
            Self::Hidden(state) => state.hidden(),
            Self::Lstm(state) => state.hidden(),
        }
    }

    fn unless_ended(self, before: Self, ended: Tensor<2, Bool>) -> Self {
        match self {
            Self::Hidden(state) => Self::Hidden(state.unless_ended(before.into_hidden(), ended)),
            Self::Lstm(state) => Self::Lstm(state.unless_ended(before.into_lstm(), ended)),
        }
    }
}

impl Carry for AnyState {
    fn detach(self) -> Self {
        match self {
            Self::Hidden(state) => Self::Hidden(state.detach()),
            Self::Lstm(state) => Self::Lstm(state.detach()),
        }
    }

    /// An empty tensor stands in for the memory cell that there is not: the data of several layers must
    /// tell two states of one tensor from one of two.
    fn to_data(&self) -> Vec<TensorData> {
        match self {
            Self::Hidden(state) => {
                let no_cell = TensorData::new(Vec::<f32>::new(), [0]);
                [state.to_data(), vec![no_cell]].concat()
            }
            Self::Lstm(state) => state.to_data(),
        }
    }

    fn from_data(mut data: Vec<TensorData>, device: &Device) -> Option<Self> {
        if data.len() == Self::TENSORS && data[1].num_elements() == 0 {
            data.truncate(1);
            return HiddenState::from_data(data, device).map(Self::Hidden);
        }
        LstmState::from_data(data, device).map(Self::Lstm)
    }
}

impl Cache for AnyState {
    fn select_rows(self, rows: &[usize]) -> Self {
        match self {
            Self::Hidden(state) => Self::Hidden(state.select_rows(rows)),
            Self::Lstm(state) => Self::Lstm(state.select_rows(rows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;
    use crate::cell::sequence_unrolls_step;
    use crate::stack::StackState;

    const KINDS: [CellKind; 3] = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm];

    fn config(cell: CellKind) -> AnyConfig {
        AnyConfig { cell, d_input: 5, d_hidden: 7, n_layers: 3, dropout: 0.0 }
    }

    fn numbers(device: &Device) -> Tensor<3> {
        let values = Stream::new(2).normals(3 * 4 * 5, 1.0);
        Tensor::from_data(TensorData::new(values, [3, 4, 5]), device)
    }

    #[test]
    fn every_kind_keeps_the_law() {
        let device = test_device();
        for kind in KINDS {
            let cell = config(kind).init_cell(Stream::new(1), &device);
            sequence_unrolls_step(&cell, numbers(&device));
        }
    }

    #[test]
    fn any_cell_computes_what_its_kind_does() {
        let device = test_device();
        let (any, gru) = (config(CellKind::Gru), GruConfig::new(5, 7, 3));
        let any = any.init(Stream::new(1), &device).forward(numbers(&device), None, None, None);
        let gru = gru.init(Stream::new(1), &device).forward(numbers(&device), None, None, None);
        assert_eq!(any.0.into_data(), gru.0.into_data());
    }

    #[test]
    fn parameters_are_known_before_there_are_any() {
        let (device, random) = (test_device(), Stream::new(0));
        for config in KINDS.map(config) {
            let made = parameter_count(&config.init(random, &device)) as u64;
            assert_eq!(config.parameter_count(), made);
            for merge in [Merge::Sum, Merge::Concat] {
                let made = parameter_count(&config.init_bidirectional(merge, random, &device));
                assert_eq!(config.bidirectional_parameter_count(merge), made as u64);
            }
        }
    }

    #[test]
    fn a_state_of_every_kind_survives_as_data_and_its_rows_can_be_picked() {
        let device = test_device();
        for kind in KINDS {
            let stack = config(kind).init(Stream::new(1), &device);
            let (_, state) = stack.forward(numbers(&device), None, None, None);
            let data = state.to_data();
            let back = StackState::<AnyState>::from_data(data.clone(), &device).unwrap();
            assert_eq!(back.to_data(), data);
            let goes_on = |state| stack.forward(numbers(&device), Some(state), None, None).0;
            assert_eq!(goes_on(back.clone()).into_data(), goes_on(state).into_data());
            let row = back.clone().select_rows(&[2]).0[1].hidden();
            assert_eq!(row.into_data(), back.0[1].hidden().narrow(0, 2, 1).into_data());
            assert!(StackState::<AnyState>::from_data(data[1..].to_vec(), &device).is_none());
        }
    }

    #[test]
    fn padding_that_is_not_a_number_stays_where_it_is() {
        let device = test_device().autodiff();
        for kind in KINDS {
            let stack = config(kind).init_bidirectional(Merge::Sum, Stream::new(1), &device);
            let results = |padding: f32| {
                let input = numbers(&device).slice_fill([1..2, 2..4], padding).require_grad();
                let (outputs, state) = stack.forward(input.clone(), None, Some(&[4, 2, 3]), None);
                let loss = outputs.clone().sum() + stack.last_output(&state).sum();
                let gradients = loss.backward();
                let (AnyCell::Lstm(LstmCell { weight_input, .. })
                | AnyCell::Gru(GruCell { weight_input, .. })
                | AnyCell::Rnn(RnnCell { weight_input, .. })) = &stack.layers[0].reverse;
                let weight = weight_input.val().grad(&gradients).unwrap();
                let input = input.grad(&gradients).unwrap();
                [outputs.into_data(), weight.into_data(), input.into_data()]
            };
            assert_eq!(results(f32::NAN), results(0.0), "{kind:?}");
        }
    }

    #[test]
    #[should_panic(expected = "an LSTM was given a state without a memory cell")]
    fn the_state_of_another_kind_is_refused() {
        let device = test_device();
        let [gru, lstm] =
            [CellKind::Gru, CellKind::Lstm].map(|kind| config(kind).init(Stream::new(1), &device));
        lstm.forward(numbers(&device), Some(gru.zero_state(3)), None, None);
    }
}
