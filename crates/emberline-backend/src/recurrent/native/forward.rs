//! The forward pass of every cell.

use rayon::prelude::*;

use super::block::{Buffer, ForwardBlock, ForwardRow, share};
use super::product::Product;
use super::steps::{Steps, deal};
use super::{Cell, Inputs, Saved, gru_after, gru_before, lstm, rnn};
use crate::flex::Real;
use crate::flex::matrix::Matrix;
use crate::flex::once;
use crate::recurrent::{Direction, ResetGate};

/// A cell with its matrices ready.
pub(super) trait Step<T>: Sync {
    /// From `W x` and the state to the gates and the next state, for the first `active` rows at position `at`.
    fn step(&self, block: &mut ForwardBlock<T>, active: usize, at: usize);
}

/// Outputs, final hidden state and final memory, one after the other.
pub(in crate::recurrent) fn forward<T: Real>(
    cell: Cell,
    inputs: &Inputs<T>,
    saved: Option<&mut Saved<T>>,
) -> Vec<T> {
    let steps = Steps::new(inputs);
    let input = steps.packed(inputs.input, inputs.d_input);
    let weight_input = Matrix::new(inputs.weight_input, inputs.d_input, inputs.d_gates());
    let sums = once::product(Matrix::new(&input, steps.total(), inputs.d_input), weight_input);
    let product = |matrix| Product::new(matrix, inputs.seq_length);
    match cell {
        Cell::Rnn(activation) => {
            run(cell, &rnn::Forward::new(inputs, activation), inputs, sums, saved)
        }
        Cell::Gru(ResetGate::After, update) => {
            run(cell, &gru_after::Forward::new(inputs, update), inputs, sums, saved)
        }
        Cell::Gru(ResetGate::Before, update) => {
            run(cell, &gru_before::Forward::new(inputs, update, product), inputs, sums, saved)
        }
        Cell::Lstm(options) => {
            run(cell, &lstm::Forward::new(inputs, options, product), inputs, sums, saved)
        }
    }
}

/// As [`forward`], from `W x` of every step, `[steps of all rows, gates · d_hidden]`.
pub(super) fn run<T: Real>(
    cell: Cell,
    step: &dyn Step<T>,
    inputs: &Inputs<T>,
    sums: Vec<T>,
    saved: Option<&mut Saved<T>>,
) -> Vec<T> {
    let Inputs { batch_size, seq_length, d_output, d_hidden, .. } = *inputs;
    let steps = Steps::new(inputs);
    let (total, d_gates) = (steps.total(), inputs.d_gates());
    let mut gates = sums;
    let saves_extra = saved.is_some() && cell.saves_extra();
    let d_extra = if saves_extra { d_hidden } else { 0 };
    let d_memory = inputs.memory.len() / batch_size;
    let mut extra = vec![T::ZERO; total * d_extra];
    let n_outputs = batch_size * seq_length * d_output;
    let mut flat = vec![T::ZERO; n_outputs + batch_size * (d_output + d_memory)];
    let (mut outputs, finals) = flat.split_at_mut(n_outputs);
    let (mut hidden, mut memory) = finals.split_at_mut(batch_size * d_output);
    memory.copy_from_slice(inputs.memory);

    let (mut gates_left, mut extra_left) = (&mut gates[..], &mut extra[..]);
    let rows = (steps.lengths().iter().zip(inputs.hidden.chunks(d_output)))
        .map(|(&length, start)| ForwardRow {
            length,
            gates: share(&mut gates_left, length * d_gates),
            extra: share(&mut extra_left, length * d_extra),
            outputs: share(&mut outputs, seq_length * d_output),
            start,
            hidden: share(&mut hidden, d_output),
            memory: share(&mut memory, d_memory),
        })
        .collect();
    deal(rows, |row| row.length).into_par_iter().for_each(|rows| {
        let block = ForwardBlock {
            d_hidden,
            hidden: Buffer::new(rows.len(), d_output),
            sums: Buffer::new(rows.len(), d_gates),
            scratch: Buffer::new(rows.len(), d_hidden),
            rows,
        };
        run_block(step, block, inputs.direction);
    });
    if let Some(saved) = saved {
        *saved = Saved { gates, extra };
    }
    flat
}

fn run_block<T: Real>(step: &dyn Step<T>, mut block: ForwardBlock<T>, direction: Direction) {
    for (index, row) in block.rows.iter().enumerate() {
        block.hidden.row_mut(index).copy_from_slice(row.start);
    }
    let longest = block.rows[0].length;
    for index in 0..longest {
        let at = match direction {
            Direction::Forward => index,
            Direction::Reverse => longest - 1 - index,
        };
        let active = block.rows.partition_point(|row| row.length > at);
        step.step(&mut block, active, at);
        for (index, row) in block.rows[..active].iter_mut().enumerate() {
            let hidden = block.hidden.row(index);
            row.outputs[at * hidden.len()..][..hidden.len()].copy_from_slice(hidden);
        }
    }
    for (index, row) in block.rows.iter_mut().enumerate() {
        row.hidden.copy_from_slice(block.hidden.row(index));
    }
}
