//! One step of a cell at a time, with its matrices packed once for all steps.

use super::backward::{StepBack, StepsBack, through_steps, weight_gradients};
use super::forward::{self, Step};
use super::product::Product;
use super::steps::Steps;
use super::{Cell, Found, Inputs, Results, Saved, gru_before, lstm};
use crate::flex::Real;
use crate::flex::matrix::Matrix;
use crate::flex::packed::Packed;
use crate::recurrent::ResetGate;

/// The matrices of a cell whose two biases add up.
pub(in crate::recurrent) struct Forward<T> {
    cell: Cell,
    weight_input: Packed<T>,
    step: Box<dyn Step<T> + Send>,
}

impl<T: Real> Forward<T> {
    pub(in crate::recurrent) fn new(cell: Cell, inputs: &Inputs<T>) -> Self {
        let step: Box<dyn Step<T> + Send> = match cell {
            Cell::Gru(ResetGate::Before, update) => {
                Box::new(gru_before::Forward::new(inputs, update, Product::packed))
            }
            Cell::Lstm(options) => Box::new(lstm::Forward::new(inputs, options, Product::packed)),
            Cell::Rnn(_) | Cell::Gru(ResetGate::After, _) => unreachable!("{cell:?} is not fed"),
        };
        let weight_input = Matrix::new(inputs.weight_input, inputs.d_input, inputs.d_gates());
        Self { cell, weight_input: Packed::new(weight_input), step }
    }

    /// As [`forward`](super::forward()) for one step, with `known` of each row of the batch added to its product.
    pub(in crate::recurrent) fn step<'a>(
        &self,
        inputs: &Inputs<T>,
        known: impl Iterator<Item = &'a [T]>,
        saved: Option<&mut Saved<T>>,
    ) -> Vec<T> {
        let input = Matrix::new(inputs.input, inputs.batch_size, inputs.d_input);
        let mut sums = self.weight_input.multiply(input);
        for (sums, known) in sums.chunks_exact_mut(inputs.d_gates()).zip(known) {
            sums.iter_mut().zip(known).for_each(|(sum, value)| *sum += *value);
        }
        forward::run(self.cell, &*self.step, inputs, sums, saved)
    }
}

/// The matrices for the way back.
pub(in crate::recurrent) struct Backward<T> {
    cell: Cell,
    weight_input: Packed<T>,
    step: Box<dyn StepBack<T> + Send>,
}

impl<T: Real> Backward<T> {
    pub(in crate::recurrent) fn new(cell: Cell, inputs: &Inputs<T>) -> Self {
        let step: Box<dyn StepBack<T> + Send> = match cell {
            Cell::Gru(ResetGate::Before, update) => {
                Box::new(gru_before::Backward::new(inputs, update))
            }
            Cell::Lstm(options) => Box::new(lstm::Backward::new(inputs, options)),
            Cell::Rnn(_) | Cell::Gru(ResetGate::After, _) => unreachable!("{cell:?} is not fed"),
        };
        let weight_input = Matrix::new(inputs.weight_input, inputs.d_input, inputs.d_gates());
        Self { cell, weight_input: Packed::new(weight_input.transposed()), step }
    }

    /// The gradients of input, hidden state and memory of one step. What the results keep of the gates becomes the
    /// gradient of their sums.
    pub(in crate::recurrent) fn step(
        &self,
        inputs: &Inputs<T>,
        results: &mut Results<T>,
    ) -> [Vec<T>; 3] {
        let states = through_steps(self.cell, &*self.step, inputs, results);
        let gates = Matrix::new(results.gates, inputs.batch_size, inputs.d_gates());
        [self.weight_input.multiply(gates), states.hidden, states.memory]
    }
}

/// The gradients of both weights from those of the gates' sums of many steps, which stand as rows of one batch.
pub(in crate::recurrent) fn gradients<T: Real>(
    cell: Cell,
    rows: &Inputs<T>,
    gates: &[T],
    extra: &[T],
) -> Found<T> {
    let back = StepsBack { outputs: rows.hidden, gates, extra, projected: &[] };
    weight_gradients(cell, rows, &Steps::new(rows), back)
}
