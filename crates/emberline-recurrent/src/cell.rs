//! What every recurrent cell has in common: a step, and that step over a sequence.

use burn::module::{Module, ModuleDisplay, Param};
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::recurrent::{Direction, FedStep, Reading};
use emberline_core::{Carry, Stream, mask};

use crate::state::CellState;

/// One step of a recurrent network, and that step over a sequence.
///
/// Generic over it: [`RecurrentLayer`](crate::RecurrentLayer), which every cell is, and
/// [`Bidirectional`](crate::Bidirectional), which makes one layer of two. The law is
/// [`sequence_unrolls_step`].
pub trait RecurrentCell: Module + ModuleDisplay {
    /// What is kept from one step to the next.
    type State: CellState;

    /// The width of the output.
    fn d_output(&self) -> usize;

    /// The state at the start of a sequence, on the device and of the element type of the weights.
    fn zero_state(&self, batch_size: usize) -> Self::State;

    /// One step.
    ///
    /// # Shapes
    /// - input: `[batch_size, d_input]`
    /// - output: `[batch_size, d_output]`
    ///
    /// # Panics
    /// If shapes do not fit.
    fn step(&self, input: Tensor<2>, state: Self::State) -> (Tensor<2>, Self::State);

    /// All steps. Unrolls [`step`](Self::step), unless a cell has a faster way to the same numbers.
    ///
    /// The output of a step stands where its input stood, in both directions. With lengths, row r ends
    /// after `lengths[r]` steps: in reverse it is read from there to its first. Its outputs beyond its
    /// end are zero, and its final state is the one after the last step that was read.
    ///
    /// # Shapes
    /// - input: `[batch_size, seq_length, d_input]`
    /// - output: `[batch_size, seq_length, d_output]`
    ///
    /// # Panics
    /// If shapes do not fit, there is no step, or a length is missing, 0 or above `seq_length`.
    fn sequence(
        &self,
        input: Tensor<3>,
        state: Self::State,
        reading: Reading<'_>,
    ) -> (Tensor<3>, Self::State) {
        unroll(self, input, state, reading)
    }
}

/// A cell that a model can go through step by step, making a part of each input of the step before.
///
/// Generic over it: [`Stack::fed`](crate::Stack::fed). Implementors: [`GruCell`](crate::GruCell) and
/// [`LstmCell`](crate::LstmCell).
pub trait FedCell: RecurrentCell {
    /// The steps over inputs `[known; fed]`, or `fed` alone. The products with what is known are made for all steps at
    /// once, here.
    ///
    /// # Shapes
    /// - known: `[batch_size, n_steps, d_known]`
    ///
    /// # Panics
    /// If shapes do not fit.
    fn fed(&self, known: Option<Tensor<3>>, n_steps: usize) -> FedStep<Self::State>;
}

/// Calls `step` once for each step, in the order of reading.
///
/// # Panics
/// As [`RecurrentCell::sequence`].
pub fn unroll<C: RecurrentCell>(
    cell: &C,
    input: Tensor<3>,
    mut state: C::State,
    reading: Reading<'_>,
) -> (Tensor<3>, C::State) {
    let [batch_size, seq_length, d_input] = input.dims();
    assert!(seq_length > 0, "a sequence has at least one step, not {:?}", input.dims());
    let padding = reading.lengths.map(|lengths| {
        assert_eq!(lengths.len(), batch_size, "one length for each row");
        mask::padding(lengths, seq_length, &input.device().inner()).unsqueeze_dim::<3>(2) // [batch_size, seq_length, 1]
    });
    // Whatever stands in the padding: steps over it are taken, and must leave no trace.
    let input = match &padding {
        Some(padding) => {
            input.mask_fill(padding.clone().expand([batch_size, seq_length, d_input]), 0.0)
        }
        None => input,
    };
    let mut outputs = Vec::with_capacity(seq_length);
    for index in 0..seq_length {
        let position = match reading.direction {
            Direction::Forward => index,
            Direction::Reverse => seq_length - 1 - index,
        };
        let input = input.clone().narrow(1, position, 1).reshape([batch_size, d_input]);
        let (mut output, next) = cell.step(input, state.clone());
        state = match &padding {
            None => next,
            Some(padding) => {
                let ended = padding.clone().narrow(1, position, 1).squeeze_dim::<2>(1);
                output = output.clone().mask_fill(ended.clone().expand(output.dims()), 0.0);
                next.unless_ended(state, ended)
            }
        };
        outputs.push(output);
    }
    if reading.direction == Direction::Reverse {
        outputs.reverse();
    }
    (Tensor::stack(outputs, 1), state)
}

/// A parameter as torch draws all those of its recurrent modules: uniform in `±1/√d_hidden`.
pub(crate) fn uniform<const D: usize>(
    shape: [usize; D],
    d_hidden: usize,
    random: Stream,
    device: &Device,
) -> Param<Tensor<D>> {
    let bound = 1.0 / (d_hidden as f64).sqrt();
    let values = random.uniforms(shape.iter().product(), -bound, bound);
    Param::from_data(TensorData::new(values, shape), device)
}

/// The law: a sequence gives what its steps give one by one, within 1e-5, in outputs and final state; in
/// both directions, with full rows and with rows that end early.
///
/// # Panics
/// If it does not hold, or `input` has a single row or step, which cannot show it.
pub fn sequence_unrolls_step<C: RecurrentCell>(cell: &C, input: Tensor<3>) {
    let [batch_size, seq_length, _] = input.dims();
    assert!(seq_length > 1, "one step has no order");
    assert!(batch_size > 1, "the first row does not end early");
    let ragged: Vec<usize> = (0..batch_size).map(|row| seq_length - row % seq_length).collect();
    // From a state that is not zero, as in the middle of a text.
    let start = cell.zero_state(batch_size);
    let (_, start) = unroll(cell, input.clone(), start, Reading::default());
    for direction in [Direction::Forward, Direction::Reverse] {
        for lengths in [None, Some(&ragged[..])] {
            let reading = Reading { lengths, direction };
            let (outputs, state) = cell.sequence(input.clone(), start.clone(), reading);
            let (expected, expected_state) = unroll(cell, input.clone(), start.clone(), reading);
            let difference = largest_difference(&outputs.into_data(), &expected.into_data());
            assert!(
                difference < 1e-5,
                "{reading:?}: outputs of a sequence and of its steps differ by {difference}"
            );
            for (found, expected) in state.to_data().iter().zip(&expected_state.to_data()) {
                let difference = largest_difference(found, expected);
                assert!(
                    difference < 1e-5,
                    "{reading:?}: final states of a sequence and of its steps differ by {difference}"
                );
            }
        }
    }
}

fn largest_difference(found: &TensorData, expected: &TensorData) -> f64 {
    assert_eq!(found.shape(), expected.shape());
    let pairs = found.iter::<f64>().zip(expected.iter::<f64>());
    // In this order what is not a number is the largest of all.
    pairs.map(|(found, expected)| (found - expected).abs()).max_by(f64::total_cmp).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use emberline_backend::recurrent::HiddenState;
    use emberline_backend::test_device;

    use super::*;

    /// Adds up its input; its sequence has the fault.
    #[derive(Module, Debug)]
    struct RunningSum {
        scale: Param<Tensor<1>>,
        #[module(skip)]
        fault: Option<Fault>,
    }

    #[derive(Clone, Copy, Debug)]
    enum Fault {
        Lengths,
        Direction,
        State,
        NotANumber,
    }

    impl RunningSum {
        fn new(fault: Option<Fault>, device: &Device) -> Self {
            Self { scale: Param::from_data([0.5], device), fault }
        }
    }

    impl RecurrentCell for RunningSum {
        type State = HiddenState;

        fn d_output(&self) -> usize {
            1
        }

        fn zero_state(&self, batch_size: usize) -> HiddenState {
            let scale = self.scale.val();
            HiddenState::zeros(batch_size, 1, (&scale.device(), scale.dtype()))
        }

        fn step(&self, input: Tensor<2>, state: HiddenState) -> (Tensor<2>, HiddenState) {
            let hidden = state.hidden + input * self.scale.val().unsqueeze();
            (hidden.clone(), HiddenState { hidden })
        }

        fn sequence(
            &self,
            input: Tensor<3>,
            state: HiddenState,
            reading: Reading<'_>,
        ) -> (Tensor<3>, HiddenState) {
            let Reading { lengths, direction } = reading;
            match self.fault {
                None => unroll(self, input, state, reading),
                Some(Fault::Lengths) => {
                    unroll(self, input, state, Reading { lengths: None, direction })
                }
                Some(Fault::Direction) => {
                    let direction = Direction::Forward;
                    unroll(self, input, state, Reading { lengths, direction })
                }
                Some(Fault::State) => {
                    let (outputs, _) = unroll(self, input, state.clone(), reading);
                    (outputs, state)
                }
                Some(Fault::NotANumber) => {
                    let (outputs, state) = unroll(self, input, state, reading);
                    (outputs * f32::NAN, state)
                }
            }
        }
    }

    fn numbers(device: &Device) -> Tensor<3> {
        Tensor::from_data([[[1.0], [2.0], [4.0]], [[8.0], [16.0], [32.0]]], device)
    }

    fn unrolled(lengths: Option<&[usize]>, direction: Direction) -> (TensorData, TensorData) {
        let device = test_device();
        let cell = RunningSum::new(None, &device);
        let start = HiddenState { hidden: Tensor::from_data([[100.0], [200.0]], &device) };
        let reading = Reading { lengths, direction };
        let (outputs, state) = cell.sequence(numbers(&device), start, reading);
        (outputs.into_data(), state.hidden.into_data())
    }

    #[test]
    fn a_row_is_read_from_its_own_end_in_reverse_and_outputs_stay_in_place() {
        let ragged = Some(&[2, 3][..]);
        let (outputs, state) = unrolled(ragged, Direction::Forward);
        let expected = [[[100.5f32], [101.5], [0.0]], [[204.0], [212.0], [228.0]]];
        assert_eq!(outputs, TensorData::from(expected));
        assert_eq!(state, TensorData::from([[101.5f32], [228.0]]));

        let (outputs, state) = unrolled(ragged, Direction::Reverse);
        let expected = [[[101.5f32], [101.0], [0.0]], [[228.0], [224.0], [216.0]]];
        assert_eq!(outputs, TensorData::from(expected));
        assert_eq!(state, TensorData::from([[101.5f32], [228.0]]));
    }

    #[test]
    fn padding_that_is_not_a_number_stays_where_it_is() {
        let device = test_device().autodiff();
        let cell = RunningSum::new(None, &device);
        let input = numbers(&device).slice_fill([0..1, 1..3], f32::NAN);
        for direction in [Direction::Forward, Direction::Reverse] {
            let reading = Reading { lengths: Some(&[1, 3]), direction };
            let (outputs, _) = cell.sequence(input.clone(), cell.zero_state(2), reading);
            let outputs = outputs.sum();
            let gradient = cell.scale.val().grad(&outputs.backward()).unwrap();
            let total = gradient.into_scalar::<f32>() * 0.5;
            assert_eq!(outputs.into_scalar::<f32>(), total);
            assert!(total.is_finite());
        }
    }

    #[test]
    fn a_cell_that_only_unrolls_keeps_the_law() {
        let device = test_device();
        sequence_unrolls_step(&RunningSum::new(None, &device), numbers(&device));
    }

    #[test]
    #[should_panic(expected = "lengths: Some([3, 2]), direction: Forward }: outputs of a sequence")]
    fn a_sequence_that_overlooks_lengths_is_caught() {
        let device = test_device();
        sequence_unrolls_step(&RunningSum::new(Some(Fault::Lengths), &device), numbers(&device));
    }

    #[test]
    #[should_panic(expected = "lengths: None, direction: Reverse }: outputs of a sequence")]
    fn a_sequence_that_reads_forward_in_reverse_is_caught() {
        let device = test_device();
        sequence_unrolls_step(&RunningSum::new(Some(Fault::Direction), &device), numbers(&device));
    }

    #[test]
    #[should_panic(expected = "direction: Forward }: final states of a sequence")]
    fn a_sequence_that_loses_its_state_is_caught() {
        let device = test_device();
        sequence_unrolls_step(&RunningSum::new(Some(Fault::State), &device), numbers(&device));
    }

    #[test]
    #[should_panic(expected = "outputs of a sequence and of its steps differ by NaN")]
    fn a_sequence_that_is_not_a_number_is_caught() {
        let device = test_device();
        sequence_unrolls_step(&RunningSum::new(Some(Fault::NotANumber), &device), numbers(&device));
    }

    #[test]
    #[should_panic(expected = "a row of length 0 in a batch of length 3")]
    fn an_empty_row_is_refused() {
        unrolled(Some(&[0, 3]), Direction::Forward);
    }

    #[test]
    #[should_panic(expected = "a row of length 4 in a batch of length 3")]
    fn a_row_beyond_the_batch_is_refused() {
        unrolled(Some(&[4, 3]), Direction::Reverse);
    }

    #[test]
    #[should_panic(expected = "one length for each row")]
    fn lengths_of_the_wrong_count_are_refused() {
        unrolled(Some(&[3]), Direction::Forward);
    }
}
