#![doc = include_str!("../README.md")]

pub mod cell;
pub mod lstm;
pub mod stack;
pub mod torch;

pub use cell::{RecurrentCell, RecurrentState};
pub use lstm::{LstmCell, LstmCellConfig, LstmConfig, LstmState};
pub use stack::{Stack, StackState};

/// Layers of LSTM cells.
pub type Lstm = Stack<LstmCell>;
