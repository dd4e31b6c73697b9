//! The backward pass of every cell.

use rayon::prelude::*;

use super::block::{BackwardBlock, BackwardRow, Buffer, share};
use super::steps::{Steps, before, deal};
use super::{Cell, Found, Inputs, Results, gru_after, gru_before, lstm, rnn};
use crate::flex::Real;
use crate::flex::matrix::Matrix;
use crate::flex::once;
use crate::flex::packed::Packed;
use crate::recurrent::{Direction, ResetGate};

/// A cell with its matrices ready for the way back.
pub(super) trait StepBack<T>: Sync {
    /// From the gradient of the state after a step to that of the state before it, and from the gates to their
    /// gradients, for the first `active` rows at position `at`.
    fn step_back(&self, block: &mut BackwardBlock<T>, active: usize, at: usize);
}

/// The gradients, given those of [`forward`](super::forward)'s result.
pub(in crate::recurrent) fn backward<T: Real>(
    cell: Cell,
    inputs: &Inputs<T>,
    results: Results<T>,
    input_is_tracked: bool,
) -> Found<T> {
    match cell {
        Cell::Rnn(activation) => {
            run(cell, &rnn::Backward::new(inputs, activation), inputs, results, input_is_tracked)
        }
        Cell::Gru(ResetGate::After, update) => {
            run(cell, &gru_after::Backward::new(inputs, update), inputs, results, input_is_tracked)
        }
        Cell::Gru(ResetGate::Before, update) => {
            run(cell, &gru_before::Backward::new(inputs, update), inputs, results, input_is_tracked)
        }
        Cell::Lstm(options) => {
            run(cell, &lstm::Backward::new(inputs, options), inputs, results, input_is_tracked)
        }
    }
}

fn run<T: Real>(
    cell: Cell,
    step: &dyn StepBack<T>,
    inputs: &Inputs<T>,
    mut results: Results<T>,
    input_is_tracked: bool,
) -> Found<T> {
    let states = through_steps(cell, step, inputs, &mut results);
    let Results { flat, gates, extra, .. } = results;
    let steps = Steps::new(inputs);
    let outputs = &flat[..inputs.batch_size * inputs.seq_length * inputs.d_output];
    let steps_back = StepsBack { outputs, gates, extra, projected: &states.projected };
    let weights = weight_gradients(cell, inputs, &steps, steps_back);
    let input = match input_is_tracked {
        true => input_gradient(inputs, &steps, gates),
        false => Vec::new(),
    };
    Found { input, hidden: states.hidden, memory: states.memory, ..weights }
}

/// The gradients of the states before the first step, and of the projected outputs.
pub(super) struct StateGradients<T> {
    pub(super) hidden: Vec<T>,
    pub(super) memory: Vec<T>,
    projected: Vec<T>,
}

/// Goes back through the steps: what the results keep of the gates becomes the gradients of their sums.
pub(super) fn through_steps<T: Real>(
    cell: Cell,
    step: &dyn StepBack<T>,
    inputs: &Inputs<T>,
    results: &mut Results<T>,
) -> StateGradients<T> {
    let Results { flat, gates, extra, gradient } = results;
    let Inputs { batch_size, seq_length, d_output, d_hidden, direction, .. } = *inputs;
    let steps = Steps::new(inputs);
    let d_gates = inputs.d_gates();
    let outputs = &flat[..batch_size * seq_length * d_output];
    let (outputs_gradient, finals_gradient) = gradient.split_at(outputs.len());
    let (final_hidden, final_memory) = finals_gradient.split_at(batch_size * d_output);
    let (mut hidden, mut memory) = (final_hidden.to_vec(), final_memory.to_vec());
    let d_extra = if cell.saves_extra() { d_hidden } else { 0 };
    let d_projected = if inputs.projection.is_empty() { 0 } else { d_output };
    let d_memory = memory.len() / batch_size;
    let mut projected = vec![T::ZERO; steps.total() * d_projected];

    let (mut gates_left, mut extra_left) = (&mut gates[..], &mut extra[..]);
    let mut projected_left = &mut projected[..];
    let (mut hidden_left, mut memory_left) = (&mut hidden[..], &mut memory[..]);
    let rows = (steps.lengths().iter().enumerate())
        .map(|(row, &length)| BackwardRow {
            length,
            gates: share(&mut gates_left, length * d_gates),
            extra: share(&mut extra_left, length * d_extra),
            projected_gradient: share(&mut projected_left, length * d_projected),
            outputs: of_row(outputs, row, seq_length * d_output),
            outputs_gradient: of_row(outputs_gradient, row, seq_length * d_output),
            hidden: of_row(inputs.hidden, row, d_output),
            memory: of_row(inputs.memory, row, d_memory),
            hidden_gradient: share(&mut hidden_left, d_output),
            memory_gradient: share(&mut memory_left, d_memory),
        })
        .collect();
    deal(rows, |row| row.length).into_par_iter().for_each(|rows| {
        let block = BackwardBlock {
            direction,
            d_hidden,
            hidden_gradient: Buffer::new(rows.len(), d_output),
            sums_gradient: Buffer::new(rows.len(), d_gates),
            scratch: Buffer::new(rows.len(), d_hidden),
            rows,
        };
        run_block(step, block);
    });
    StateGradients { hidden, memory, projected }
}

fn run_block<T: Real>(step: &dyn StepBack<T>, mut block: BackwardBlock<T>) {
    for (index, row) in block.rows.iter().enumerate() {
        block.hidden_gradient.row_mut(index).copy_from_slice(row.hidden_gradient);
    }
    let longest = block.rows[0].length;
    for index in 0..longest {
        let at = match block.direction {
            Direction::Forward => longest - 1 - index,
            Direction::Reverse => index,
        };
        let active = block.rows.partition_point(|row| row.length > at);
        for (index, row) in block.rows[..active].iter().enumerate() {
            let hidden_gradient = block.hidden_gradient.row_mut(index);
            let outputs_gradient = of_row(row.outputs_gradient, at, hidden_gradient.len());
            let pairs = hidden_gradient.iter_mut().zip(outputs_gradient);
            pairs.for_each(|(sum, value)| *sum += *value);
        }
        step.step_back(&mut block, active, at);
    }
    for (index, row) in block.rows.iter_mut().enumerate() {
        row.hidden_gradient.copy_from_slice(block.hidden_gradient.row(index));
    }
}

/// What the way back has left of all steps, each `[steps of all rows, width]` but the outputs, which are padded.
pub(super) struct StepsBack<'a, T> {
    pub(super) outputs: &'a [T],
    /// The gradients of the gates' sums.
    pub(super) gates: &'a [T],
    /// What a cell has made of what it saved: of a GRU the gradient of what the reset gate acts on (after) or what
    /// it leaves (before), of a projected LSTM `o ⊙ tanh(c)`.
    pub(super) extra: &'a [T],
    /// The gradients of the projected outputs; empty where there is no projection.
    pub(super) projected: &'a [T],
}

/// The gradients of weights, biases and projection: products and sums over the steps of all rows.
pub(super) fn weight_gradients<T: Real>(
    cell: Cell,
    inputs: &Inputs<T>,
    steps: &Steps,
    back: StepsBack<T>,
) -> Found<T> {
    let StepsBack { outputs, gates, extra, projected } = back;
    let Inputs { d_input, d_output, d_hidden, .. } = *inputs;
    let (total, d_gates) = (steps.total(), inputs.d_gates());
    let gates = Matrix::new(gates, total, d_gates);
    let input = steps.packed(inputs.input, d_input);
    let input = Matrix::new(&input, total, d_input).transposed();
    let before = states_before(inputs, steps, outputs);
    let before = Matrix::new(&before, total, d_output).transposed();
    let packed = Packed::new(gates);
    let bias_input = column_sums(gates);
    // Of a GRU the new state's part of U meets other numbers than its part of W.
    let reset_and_update = 0..2 * d_hidden;
    let new = 2 * d_hidden..d_gates;
    let (weight_hidden, bias_hidden) = match cell {
        Cell::Gru(ResetGate::After, _) => {
            let extra = Matrix::new(extra, total, d_hidden);
            let first = once::product(before, gates.columns(reset_and_update.clone()));
            let second = once::product(before, extra);
            let bias = [&bias_input[reset_and_update], &column_sums(extra)].concat();
            (side_by_side(&first, &second, d_hidden), bias)
        }
        Cell::Gru(ResetGate::Before, _) => {
            let extra = Matrix::new(extra, total, d_hidden).transposed();
            let first = once::product(before, gates.columns(reset_and_update));
            let second = once::product(extra, gates.columns(new));
            (side_by_side(&first, &second, d_hidden), bias_input.clone())
        }
        Cell::Rnn(_) | Cell::Lstm(_) => (packed.multiply(before), bias_input.clone()),
    };
    let projection = match projected {
        [] => Vec::new(),
        values => {
            let extra = Matrix::new(extra, total, d_hidden).transposed();
            once::product(extra, Matrix::new(values, total, d_output))
        }
    };
    Found {
        weight_input: packed.multiply(input),
        weight_hidden,
        bias_input,
        bias_hidden,
        projection,
        input: Vec::new(),
        hidden: Vec::new(),
        memory: Vec::new(),
    }
}

fn input_gradient<T: Real>(inputs: &Inputs<T>, steps: &Steps, gates: &[T]) -> Vec<T> {
    let d_gates = inputs.d_gates();
    let weight_input = Matrix::new(inputs.weight_input, inputs.d_input, d_gates);
    let gates = Matrix::new(gates, steps.total(), d_gates);
    let packed = once::product(gates, weight_input.transposed());
    steps.padded(packed, inputs.d_input)
}

/// The numbers of one row of `[rows, width]`.
fn of_row<T>(values: &[T], row: usize, width: usize) -> &[T] {
    &values[row * width..][..width]
}

/// The state before each step, `[steps of all rows, d_output]`.
fn states_before<T: Real>(inputs: &Inputs<T>, steps: &Steps, outputs: &[T]) -> Vec<T> {
    let width = inputs.d_output;
    let mut states = Vec::with_capacity(steps.total() * width);
    let rows = outputs.chunks(inputs.seq_length * width).zip(inputs.hidden.chunks(width));
    for ((outputs, start), length) in rows.zip(steps.lengths()) {
        for at in 0..*length {
            states.extend_from_slice(before(outputs, start, (at, *length), inputs.direction));
        }
    }
    states
}

/// The rows of two matrices after each other; the first is twice as wide as the second.
fn side_by_side<T: Real>(first: &[T], second: &[T], width: usize) -> Vec<T> {
    let mut both = Vec::with_capacity(first.len() + second.len());
    for (first, second) in first.chunks(2 * width).zip(second.chunks(width)) {
        both.extend_from_slice(first);
        both.extend_from_slice(second);
    }
    both
}

/// Sums down the columns: blocks of rows in parallel, then the blocks in order, so that the bits do not
/// depend on the number of threads.
fn column_sums<T: Real>(matrix: Matrix<T>) -> Vec<T> {
    const ROWS: usize = 128;
    let add = |sums: &mut Vec<T>, row: &[T]| {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += *value;
        }
    };
    let blocks: Vec<Vec<T>> = matrix
        .values
        .par_chunks(ROWS * matrix.columns)
        .map(|block| {
            let mut sums = vec![T::ZERO; matrix.columns];
            block.chunks_exact(matrix.columns).for_each(|row| add(&mut sums, row));
            sums
        })
        .collect();
    let mut sums = vec![T::ZERO; matrix.columns];
    blocks.iter().for_each(|block| add(&mut sums, block));
    sums
}
