//! The native bodies on Flex: forward and backward over slices.
//!
//! Rows of a batch do not see each other, so each thread takes a block of rows through the whole
//! sequence without ever waiting for another. Its state, and with the packed matrices its share of every
//! product, stay in the cache of its core. Only the products over all steps are shared.
//!
//! The rows of a block are sorted by length, the longest first: those that have a step are the first ones,
//! and what is beyond a row's end is neither computed nor stored. What is saved of the rows is stored without
//! padding, `[steps of all rows, width]`.

mod backward;
mod block;
pub(super) mod fed;
mod forward;
mod gru_after;
mod gru_before;
mod lstm;
mod product;
mod rnn;
mod steps;

pub(super) use backward::backward;
pub(super) use forward::forward;
pub(super) use product::STEPS_WORTH_PACKING;

use super::{Activation, Direction, LstmOptions, ResetGate, UpdateGate};
use crate::flex::Real;
use crate::flex::matrix::Matrix;

/// The cell that a layer repeats.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    Rnn(Activation),
    Gru(ResetGate, UpdateGate),
    Lstm(LstmOptions),
}

/// The arguments of a layer as contiguous slices.
pub(super) struct Inputs<'a, T> {
    pub(super) batch_size: usize,
    pub(super) seq_length: usize,
    pub(super) d_input: usize,
    pub(super) d_output: usize,
    pub(super) d_hidden: usize,
    pub(super) lengths: Option<&'a [usize]>,
    pub(super) direction: Direction,
    /// `[batch_size, seq_length, d_input]`.
    pub(super) input: &'a [T],
    pub(super) weight_input: &'a [T],
    pub(super) weight_hidden: &'a [T],
    pub(super) bias_input: &'a [T],
    pub(super) bias_hidden: &'a [T],
    /// `[batch_size, d_output]`.
    pub(super) hidden: &'a [T],
    /// The memory cell of an LSTM, `[batch_size, d_hidden]`; empty for others.
    pub(super) memory: &'a [T],
    /// `[d_hidden, d_output]`; empty where there is none.
    pub(super) projection: &'a [T],
}

/// What the backward pass needs of the forward pass.
#[derive(Default)]
pub(super) struct Saved<T> {
    /// The gates after their functions, `[steps of all rows, gates · d_hidden]`.
    pub(super) gates: Vec<T>,
    /// What else a cell needs, `[steps of all rows, d_hidden]`: the memory of an LSTM; of a GRU what its reset
    /// gate acts on (after) or what it leaves (before). Empty for others.
    pub(super) extra: Vec<T>,
}

/// What the forward pass has left, and the gradient of its result. What was saved is overwritten.
pub(super) struct Results<'a, T> {
    pub(super) flat: &'a [T],
    pub(super) gates: &'a mut [T],
    pub(super) extra: &'a mut [T],
    pub(super) gradient: &'a [T],
}

/// The gradients; those of what is absent, or was not asked for, are empty.
pub(super) struct Found<T> {
    pub(super) input: Vec<T>,
    pub(super) weight_input: Vec<T>,
    pub(super) weight_hidden: Vec<T>,
    pub(super) bias_input: Vec<T>,
    pub(super) bias_hidden: Vec<T>,
    pub(super) hidden: Vec<T>,
    pub(super) memory: Vec<T>,
    pub(super) projection: Vec<T>,
}

impl Cell {
    /// The number of gates, the candidate among them.
    pub(super) fn n_gates(self) -> usize {
        match self {
            Self::Rnn(_) => 1,
            Self::Gru(..) => 3,
            Self::Lstm(_) => 4,
        }
    }

    /// Whether something is saved besides the gates.
    fn saves_extra(self) -> bool {
        !matches!(self, Self::Rnn(_))
    }
}

impl<'a, T: Real> Inputs<'a, T> {
    /// The width of all gates together.
    fn d_gates(&self) -> usize {
        self.bias_hidden.len()
    }

    fn weight_hidden(&self) -> Matrix<'a, T> {
        Matrix::new(self.weight_hidden, self.d_output, self.d_gates())
    }

    fn projection(&self) -> Option<Matrix<'a, T>> {
        let is_there = !self.projection.is_empty();
        is_there.then(|| Matrix::new(self.projection, self.d_hidden, self.d_output))
    }

    /// The sum of both biases.
    fn bias(&self) -> Vec<T> {
        self.bias_input.iter().zip(self.bias_hidden).map(|(a, b)| *a + *b).collect()
    }
}

/// The numbers that a value is kept between; infinities where it is not.
fn limits<T: Real>(clip: Option<f64>) -> (T, T) {
    let limit = clip.unwrap_or(f64::INFINITY);
    (T::from_f64(-limit), T::from_f64(limit))
}

/// The factor of an update gate's sum that makes its sigmoid the share of the old state: 1 - σ(s) is σ(-s).
fn update_sign<T: Real>(update: UpdateGate) -> T {
    match update {
        UpdateGate::Keeps => T::ONE,
        UpdateGate::Admits => T::ZERO - T::ONE,
    }
}
