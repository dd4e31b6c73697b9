//! What every recurrent cell has in common.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use emberline_core::Cache;

/// One step of a recurrent network, and that step over a sequence.
///
/// Generic over it: [`Stack`](crate::Stack). The law is [`sequence_unrolls_step`].
pub trait RecurrentCell: burn::module::Module {
    /// What is kept from one step to the next.
    type State: RecurrentState;

    /// The width of the output.
    fn d_hidden(&self) -> usize;

    /// The state at the start of a sequence.
    fn zero_state(&self, batch_size: usize, device: &Device) -> Self::State;

    /// One step.
    ///
    /// # Shapes
    /// - input: `[batch_size, d_input]`
    /// - output: `[batch_size, d_hidden]`
    fn step(&self, input: Tensor<2>, state: Self::State) -> (Tensor<2>, Self::State);

    /// All steps. Unrolls [`step`](Self::step), unless a cell has a faster way to the same numbers.
    ///
    /// With `lengths`, row r ends after `lengths[r]` steps: its outputs after that are zero, and its
    /// final state is that of its last step.
    ///
    /// # Shapes
    /// - input: `[batch_size, seq_length, d_input]`
    /// - output: `[batch_size, seq_length, d_hidden]`
    fn sequence(
        &self,
        input: Tensor<3>,
        state: Self::State,
        lengths: Option<&[usize]>,
    ) -> (Tensor<3>, Self::State) {
        unroll(self, input, state, lengths)
    }
}

/// The state of a cell: tensors `[batch_size, width]`.
pub trait RecurrentState: Cache {
    /// The number of tensors that [`to_data`](emberline_core::Carry::to_data) gives.
    const TENSORS: usize;

    /// `self` in the rows that are alive, `before` in the others.
    ///
    /// # Shapes
    /// - alive: `[batch_size, 1]`
    fn where_alive(self, before: Self, alive: Tensor<2, Bool>) -> Self;
}

/// Calls `step` once for each step.
pub fn unroll<C: RecurrentCell>(
    cell: &C,
    input: Tensor<3>,
    mut state: C::State,
    lengths: Option<&[usize]>,
) -> (Tensor<3>, C::State) {
    let [batch_size, seq_length, d_input] = input.dims();
    let mut outputs = Vec::with_capacity(seq_length);
    for step in 0..seq_length {
        let input = input.clone().narrow(1, step, 1).reshape([batch_size, d_input]);
        let (mut output, next) = cell.step(input, state.clone());
        state = match lengths {
            None => next,
            Some(lengths) => {
                let alive: Vec<bool> = lengths.iter().map(|length| step < *length).collect();
                let alive = TensorData::new(alive, [batch_size, 1]);
                let alive = Tensor::<2, Bool>::from_data(alive, &output.device().inner());
                let zeros = output.zeros_like();
                output = zeros.mask_where(alive.clone().expand(output.dims()), output);
                next.where_alive(state, alive)
            }
        };
        outputs.push(output);
    }
    (Tensor::stack(outputs, 1), state)
}

/// The law: a sequence gives what its steps give one by one, within 1e-5, in outputs and final state.
///
/// # Panics
/// If it does not hold.
pub fn sequence_unrolls_step<C: RecurrentCell>(
    cell: &C,
    input: Tensor<3>,
    lengths: Option<&[usize]>,
) {
    let [batch_size, ..] = input.dims();
    let start = cell.zero_state(batch_size, &input.device());
    // From a state that is not zero, as in the middle of a text.
    let (_, start) = cell.sequence(input.clone(), start, None);
    let (outputs, state) = cell.sequence(input.clone(), start.clone(), lengths);
    let (expected_outputs, expected_state) = unroll(cell, input, start, lengths);
    let difference = f64::from((outputs - expected_outputs).abs().max().into_scalar::<f32>());
    assert!(difference < 1e-5, "outputs of a sequence and of its steps differ by {difference}");
    for (found, expected) in emberline_core::Carry::to_data(&state)
        .iter()
        .zip(emberline_core::Carry::to_data(&expected_state))
    {
        for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
            assert!((found - expected).abs() < 1e-5, "final states differ: {found} and {expected}");
        }
    }
}
