#![doc = include_str!("../README.md")]

pub mod any;
pub mod bidirectional;
pub mod cell;
pub mod gru;
pub mod layer;
pub mod lstm;
pub mod rnn;
pub mod stack;
pub mod state;
pub mod tensorflow;
pub mod torch;

pub use any::{AnyCell, AnyConfig, AnyState, CellKind};
pub use bidirectional::{Bidirectional, BidirectionalState, Merge};
pub use cell::{FedCell, RecurrentCell};
pub use emberline_backend::recurrent::{
    Activation, Direction, FedStep, HiddenState, LstmOptions, LstmState, Reading, ResetGate,
    UpdateGate,
};
pub use emberline_core::{Carry, Stream};
pub use gru::{GruCell, GruConfig};
pub use layer::RecurrentLayer;
pub use lstm::{LstmCell, LstmConfig};
pub use rnn::{RnnCell, RnnConfig};
pub use stack::{FedStack, Stack, StackState};
pub use state::{CellState, RecurrentState};

/// Plain recurrent layers.
pub type Rnn = Stack<RnnCell>;
/// GRU layers.
pub type Gru = Stack<GruCell>;
/// LSTM layers.
pub type Lstm = Stack<LstmCell>;
/// Layers of a cell chosen at run time.
pub type AnyStack = Stack<AnyCell>;
/// Bidirectional plain recurrent layers.
pub type BiRnn = Stack<Bidirectional<RnnCell>>;
/// Bidirectional GRU layers.
pub type BiGru = Stack<Bidirectional<GruCell>>;
/// Bidirectional LSTM layers.
pub type BiLstm = Stack<Bidirectional<LstmCell>>;
/// Bidirectional layers of a cell chosen at run time.
pub type AnyBidirectional = Stack<Bidirectional<AnyCell>>;
