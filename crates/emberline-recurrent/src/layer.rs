//! A layer of a deep network: a whole sequence in, a whole sequence out.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use emberline_backend::recurrent::{Direction, Reading};

use crate::cell::RecurrentCell;
use crate::state::{CellState, RecurrentState};

/// What reads a batch of sequences and gives an output for every step.
///
/// Generic over it: [`Stack`](crate::Stack). Every [`RecurrentCell`] is a layer that reads forward, and
/// [`Bidirectional`](crate::Bidirectional) is one that reads both ways.
pub trait RecurrentLayer: Module + ModuleDisplay {
    /// What is kept from one sequence to the next.
    type State: RecurrentState;

    /// The width of the output.
    fn d_output(&self) -> usize;

    /// The state at the start of a sequence, on the device and of the element type of the weights.
    fn zero_state(&self, batch_size: usize) -> Self::State;

    /// Reads a sequence. With `lengths`, row r ends after `lengths[r]` steps: what follows is never read,
    /// and outputs there are zero.
    ///
    /// # Shapes
    /// - input: `[batch_size, seq_length, d_input]`
    /// - output: `[batch_size, seq_length, d_output]`
    ///
    /// # Panics
    /// As [`RecurrentCell::sequence`].
    fn sequence(
        &self,
        input: Tensor<3>,
        state: Self::State,
        lengths: Option<&[usize]>,
    ) -> (Tensor<3>, Self::State);

    /// What a final state says of a whole row, `[batch_size, d_output]`: the output of the step that was
    /// read last. That is a row's last valid step, and in reverse its first.
    fn last_output(&self, state: &Self::State) -> Tensor<2>;
}

impl<C: RecurrentCell> RecurrentLayer for C {
    type State = C::State;

    fn d_output(&self) -> usize {
        RecurrentCell::d_output(self)
    }

    fn zero_state(&self, batch_size: usize) -> Self::State {
        RecurrentCell::zero_state(self, batch_size)
    }

    fn sequence(
        &self,
        input: Tensor<3>,
        state: Self::State,
        lengths: Option<&[usize]>,
    ) -> (Tensor<3>, Self::State) {
        let reading = Reading { lengths, direction: Direction::Forward };
        RecurrentCell::sequence(self, input, state, reading)
    }

    fn last_output(&self, state: &Self::State) -> Tensor<2> {
        state.hidden()
    }
}
