//! What recurrent cells and layers keep from one step to the next.

use burn::tensor::{Bool, Tensor};
use emberline_backend::recurrent::{HiddenState, LstmState};
use emberline_core::{Cache, Carry};

/// The state of a layer: tensors `[batch_size, width]`.
///
/// Generic over it: [`StackState`](crate::StackState), which training carries from batch to batch.
/// Every [`CellState`] is one, and [`BidirectionalState`](crate::BidirectionalState).
pub trait RecurrentState: Cache + Carry {
    /// The number of tensors that [`to_data`](emberline_core::Carry::to_data) gives.
    const TENSORS: usize;
}

/// The state of a cell, which one step makes of another.
///
/// Generic over it: [`unroll`](crate::cell::unroll) and [`Bidirectional`](crate::Bidirectional).
pub trait CellState: RecurrentState {
    /// h, `[batch_size, d_output]`: the output of the step that led here.
    fn hidden(&self) -> Tensor<2>;

    /// `before` in the rows that have ended, `self` in the others.
    ///
    /// # Shapes
    /// - ended: `[batch_size, 1]`
    fn unless_ended(self, before: Self, ended: Tensor<2, Bool>) -> Self;
}

impl RecurrentState for HiddenState {
    const TENSORS: usize = 1;
}

impl CellState for HiddenState {
    fn hidden(&self) -> Tensor<2> {
        self.hidden.clone()
    }

    fn unless_ended(self, before: Self, ended: Tensor<2, Bool>) -> Self {
        Self { hidden: either(self.hidden, before.hidden, ended) }
    }
}

impl RecurrentState for LstmState {
    const TENSORS: usize = 2;
}

impl CellState for LstmState {
    fn hidden(&self) -> Tensor<2> {
        self.hidden.clone()
    }

    fn unless_ended(self, before: Self, ended: Tensor<2, Bool>) -> Self {
        Self {
            hidden: either(self.hidden, before.hidden, ended.clone()),
            cell: either(self.cell, before.cell, ended),
        }
    }
}

fn either(going_on: Tensor<2>, before: Tensor<2>, ended: Tensor<2, Bool>) -> Tensor<2> {
    let ended = ended.expand(going_on.dims());
    going_on.mask_where(ended, before)
}
