//! The models that learn to recall.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::{Embedding, Linear, LinearConfig};
use emberline_core::Stream;
use emberline_recurrent::{
    AnyCell, AnyConfig, CellKind, CellState, LstmCell, Reading, RecurrentCell,
};

use super::super::recall::{Learners, Recaller};
use super::MemoryHorizonConfig;

/// What forces a gate: its sigmoid is 1 or 0 in f32, whatever is added to it.
const FORCE: f32 = 30.0;

/// What remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The plain recurrent cell.
    Rnn,
    /// The GRU.
    Gru,
    /// The LSTM.
    Lstm,
    /// The LSTM with its forget gate forced open: whatever is added to its cell stays.
    LstmOpen,
    /// The LSTM with its forget gate forced shut: its cell is that of the last step alone.
    LstmShut,
}

impl Memory {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 5] = [Self::Rnn, Self::Gru, Self::Lstm, Self::LstmOpen, Self::LstmShut];

    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rnn => "RNN",
            Self::Gru => "GRU",
            Self::Lstm => "LSTM",
            Self::LstmOpen => "LSTM, forget gate open",
            Self::LstmShut => "LSTM, forget gate shut",
        }
    }

    /// What `result.json` calls it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Rnn => "rnn",
            Self::Gru => "gru",
            Self::Lstm => "lstm",
            Self::LstmOpen => "lstm_open",
            Self::LstmShut => "lstm_shut",
        }
    }

    fn kind(self) -> CellKind {
        match self {
            Self::Rnn => CellKind::Rnn,
            Self::Gru => CellKind::Gru,
            Self::Lstm | Self::LstmOpen | Self::LstmShut => CellKind::Lstm,
        }
    }

    fn config(self, d_input: usize, d_hidden: usize) -> AnyConfig {
        AnyConfig { cell: self.kind(), d_input, d_hidden, n_layers: 1, dropout: 0.0 }
    }

    /// A cell with weights as they are drawn, but for the bias of a gate that is forced.
    pub fn cell(self, d_input: usize, d_hidden: usize, random: Stream, device: &Device) -> AnyCell {
        let cell = self.config(d_input, d_hidden).init_cell(random, device);
        match (self, cell) {
            (Self::LstmOpen, AnyCell::Lstm(cell)) => AnyCell::Lstm(forced(cell, 1, FORCE)),
            (Self::LstmShut, AnyCell::Lstm(cell)) => AnyCell::Lstm(forced(cell, 1, -FORCE)),
            (_, cell) => cell,
        }
    }
}

/// The cell with a gate (input, forget, candidate, output) that its bias alone decides on.
pub fn forced(cell: LstmCell, gate: usize, bias: f32) -> LstmCell {
    let d_hidden = cell.bias_input.lazy_shape()[0] / 4;
    let columns = gate * d_hidden..(gate + 1) * d_hidden;
    let with = |parameter: Param<Tensor<1>>, value: f32| {
        parameter.map(|tensor| {
            let device = tensor.device();
            let mut values: Vec<f32> = tensor.into_data().iter().collect();
            values[columns.clone()].fill(value);
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [length]), &device)
        })
    };
    LstmCell {
        bias_input: with(cell.bias_input, bias),
        bias_hidden: with(cell.bias_hidden, 0.0),
        ..cell
    }
}

/// Names the first symbol of a sequence from the state after its last.
#[derive(Module, Debug)]
pub struct Learner {
    embedding: Embedding,
    cell: AnyCell,
    head: Linear,
}

/// The parameters of all learners, which are not made for it.
pub fn parameters_of(config: &MemoryHorizonConfig) -> u64 {
    let (d_embedding, d_hidden) = (config.model.d_embedding, config.model.d_hidden);
    let n_symbols = config.data.n_symbols as u64;
    let ends = n_symbols * (d_embedding + d_hidden + 1) as u64;
    let learner = |memory: Memory| {
        memory.config(d_embedding, d_hidden).parameter_count().saturating_add(ends)
    };
    let all = Memory::ALL.map(learner).into_iter().fold(0, u64::saturating_add);
    all.saturating_mul(config.data.distances.len() as u64)
}

/// Learners of which those of one memory begin with the same weights, and those of all with the same ends.
pub fn learners(
    config: &MemoryHorizonConfig,
    random: Stream,
    device: &Device,
) -> Learners<Learner> {
    let (d_embedding, d_hidden) = (config.model.d_embedding, config.model.d_hidden);
    let n_symbols = config.data.n_symbols;
    let embedding =
        || Embedding::init(n_symbols, d_embedding, 1.0, random.named("embedding"), device);
    let learner = |memory: Memory| Learner {
        embedding: embedding(),
        cell: memory.cell(d_embedding, d_hidden, random.named("cell"), device),
        head: LinearConfig::new(d_hidden, n_symbols).init(random.named("head"), device),
    };
    Learners::new(Memory::ALL, &config.data.distances, learner)
}

impl Learner {
    /// The state after every step, `[batch_size, seq_length, d_hidden]`, of embedded symbols.
    pub fn states(&self, vectors: Tensor<3>) -> Tensor<3> {
        let [batch_size, ..] = vectors.dims();
        self.cell.sequence(vectors, self.cell.zero_state(batch_size), Reading::default()).0
    }

    /// The symbols as vectors, `[batch_size, seq_length, d_embedding]`.
    pub fn embed(&self, symbols: Tensor<2, Int>) -> Tensor<3> {
        self.embedding.forward(symbols)
    }
}

impl Recaller for Learner {
    fn scores(&self, symbols: Tensor<2, Int>) -> Tensor<2> {
        let [batch_size, _] = symbols.dims();
        let start = self.cell.zero_state(batch_size);
        let (_, state) = self.cell.sequence(self.embed(symbols), start, Reading::default());
        self.head.forward(state.hidden())
    }
}
