//! What recurrent cells and layers keep from one step to the next.

use burn::tensor::{Bool, Tensor};
use emberline_backend::recurrent::{HiddenState, LstmState};
use emberline_core::Cache;

/// The state of a layer: tensors `[batch_size, width]`.
///
/// Generic over it: [`StackState`](crate::StackState), which training carries from batch to batch.
/// Every [`CellState`] is one, and [`BidirectionalState`](crate::BidirectionalState).
pub trait RecurrentState: Cache {
    /// The number of tensors that [`to_data`](emberline_core::Carry::to_data) gives.
    const TENSORS: usize;
}

/// The state of a cell, which one step makes of another.
///
/// Generic over it: [`unroll`](crate::cell::unroll) and [`Bidirectional`](crate::Bidirectional).
pub trait CellState: RecurrentState {
    /// h, `[batch_size, d_output]`: the output of the step that led here.
    fn hidden(&self) -> Tensor<2>;

    /// `self` in the rows that are alive, `before` in the others.
    ///
    /// # Shapes
    /// - alive: `[batch_size, 1]`
    fn where_alive(self, before: Self, alive: Tensor<2, Bool>) -> Self;
}

impl RecurrentState for HiddenState {
    const TENSORS: usize = 1;
}

impl CellState for HiddenState {
    fn hidden(&self) -> Tensor<2> {
        self.hidden.clone()
    }

    fn where_alive(self, before: Self, alive: Tensor<2, Bool>) -> Self {
        Self { hidden: select(self.hidden, before.hidden, alive) }
    }
}

impl RecurrentState for LstmState {
    const TENSORS: usize = 2;
}

impl CellState for LstmState {
    fn hidden(&self) -> Tensor<2> {
        self.hidden.clone()
    }

    fn where_alive(self, before: Self, alive: Tensor<2, Bool>) -> Self {
        Self {
            hidden: select(self.hidden, before.hidden, alive.clone()),
            cell: select(self.cell, before.cell, alive),
        }
    }
}

fn select(alive_values: Tensor<2>, other_values: Tensor<2>, alive: Tensor<2, Bool>) -> Tensor<2> {
    let alive = alive.expand(alive_values.dims());
    other_values.mask_where(alive, alive_values)
}
