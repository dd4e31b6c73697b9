//! The models that learn to recall, the sequences, and what is asked of them.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::{Embedding, Linear, LinearConfig, cross_entropy};
use emberline_core::{Count, Loss, Stream};
use emberline_recurrent::{
    AnyCell, AnyConfig, CellKind, CellState, LstmCell, Reading, RecurrentCell,
};
use emberline_training::{Data, Objective};

use super::{MemoryHorizonConfig, SequencesConfig};

/// What forces a gate: its sigmoid is 1 or 0 in f32, whatever is added to it.
const FORCE: f32 = 30.0;

/// The name of the only term of the loss.
const TERM: &str = "recall";

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

/// A learner for every memory and distance, none of which knows of the others: their losses are added up,
/// so that one training trains each as it would be trained alone.
#[derive(Module, Debug)]
pub struct Learners {
    /// Memory after memory, each by rising distance.
    learners: Vec<Learner>,
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

impl Learners {
    /// Learners of which those of one memory begin with the same weights, and those of all with the same ends.
    pub fn new(config: &MemoryHorizonConfig, random: Stream, device: &Device) -> Self {
        let (d_embedding, d_hidden) = (config.model.d_embedding, config.model.d_hidden);
        let n_symbols = config.data.n_symbols;
        let learner = |memory: Memory| Learner {
            embedding: Embedding::init(
                n_symbols,
                d_embedding,
                1.0,
                random.named("embedding"),
                device,
            ),
            cell: memory.cell(d_embedding, d_hidden, random.named("cell"), device),
            head: LinearConfig::new(d_hidden, n_symbols).init(random.named("head"), device),
        };
        let of_memory = |memory| config.data.distances.iter().map(move |_| learner(memory));
        Self { learners: Memory::ALL.into_iter().flat_map(of_memory).collect() }
    }

    /// The learner of a memory for one of the distances.
    pub fn learner(&self, memory: Memory, distance: usize, distances: &[usize]) -> &Learner {
        let place = distances.iter().position(|other| *other == distance);
        let place = place.expect("the distance is one of those that are learned");
        &self.learners[memory as usize * distances.len() + place]
    }
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

    /// Scores of what the first symbol was, `[batch_size, n_symbols]`, after `distance` more.
    fn scores(&self, symbols: Tensor<2, Int>, distance: usize) -> Tensor<2> {
        let [batch_size, _] = symbols.dims();
        let vectors = self.embed(symbols.narrow(1, 0, distance + 1));
        let start = self.cell.zero_state(batch_size);
        let (_, state) = self.cell.sequence(vectors, start, Reading::default());
        self.head.forward(state.hidden())
    }

    /// The share of sequences whose first symbol it names after `distance` more.
    pub fn accuracy(&self, batches: impl Iterator<Item = Tensor<2, Int>>, distance: usize) -> f64 {
        let (mut right, mut count) = (0, 0);
        for symbols in batches {
            let [batch_size, _] = symbols.dims();
            let named = self.scores(symbols.clone(), distance).argmax(1).reshape([batch_size]);
            let equal = named.equal(first_symbols(symbols)).into_data();
            right += equal.iter::<bool>().filter(|equal| *equal).count();
            count += batch_size;
        }
        right as f64 / count as f64
    }
}

fn first_symbols(symbols: Tensor<2, Int>) -> Tensor<1, Int> {
    let [batch_size, _] = symbols.dims();
    symbols.narrow(1, 0, 1).reshape([batch_size])
}

/// Every learner names the first symbol after its own distance.
pub struct Recall<'a> {
    /// The distances.
    pub distances: &'a [usize],
}

impl Objective<Learners> for Recall<'_> {
    type Batch = Tensor<2, Int>;
    type Carry = ();

    fn counts(&self, batch: &Tensor<2, Int>) -> Vec<Count> {
        let answers = batch.dims()[0] * Memory::ALL.len() * self.distances.len();
        vec![Count { term: TERM, count: answers as f64 }]
    }

    fn loss(
        &self,
        model: &Learners,
        batch: &Tensor<2, Int>,
        _carry: Option<()>,
        _dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let distances = self.distances.iter().cycle();
        let losses = model.learners.iter().zip(distances).map(|(learner, distance)| {
            let scores = learner.scores(batch.clone(), *distance);
            cross_entropy(scores, first_symbols(batch.clone()))
        });
        let sum = losses.reduce(|a, b| a + b).expect("there is a distance");
        (Loss::single(TERM, sum), ())
    }

    fn tokens(&self, batch: &Tensor<2, Int>) -> u64 {
        let steps: usize = self.distances.iter().map(|distance| distance + 1).sum();
        (batch.dims()[0] * Memory::ALL.len() * steps) as u64
    }
}

/// Random symbols, never the same sequence twice.
pub struct Sequences {
    n_symbols: usize,
    batch_size: usize,
    seq_length: usize,
    validation_batches: usize,
    random: Stream,
    device: Device,
}

impl Sequences {
    /// Sequences as long as the longest distance needs them.
    pub fn new(config: &SequencesConfig, random: Stream, device: &Device) -> Self {
        Self {
            n_symbols: config.n_symbols,
            batch_size: config.batch_size,
            seq_length: config.distances.last().map_or(1, |distance| distance + 1),
            validation_batches: config.validation_batches,
            random,
            device: device.clone(),
        }
    }

    /// `[rows, seq_length]`.
    pub fn symbols(&self, rows: usize, seq_length: usize, random: Stream) -> Tensor<2, Int> {
        let symbol = |index| random.below(index as u64, self.n_symbols) as i32;
        let symbols: Vec<i32> = (0..rows * seq_length).map(symbol).collect();
        Tensor::from_data(TensorData::new(symbols, [rows, seq_length]), &self.device)
    }

    fn batch(&self, random: Stream) -> Tensor<2, Int> {
        self.symbols(self.batch_size, self.seq_length, random)
    }
}

impl Data for Sequences {
    type Batch = Tensor<2, Int>;

    fn update(&self, step: u64) -> Vec<Tensor<2, Int>> {
        vec![self.batch(self.random.named("training").at(step))]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = Tensor<2, Int>> {
        let random = self.random.named("validation");
        (0..self.validation_batches as u64).map(move |batch| self.batch(random.at(batch)))
    }

    fn updates_per_epoch(&self) -> u64 {
        u64::MAX
    }
}
