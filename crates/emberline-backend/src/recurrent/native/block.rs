//! The rows that one thread takes through the sequence, and its buffers.

use crate::flex::Real;
use crate::recurrent::Direction;

/// Numbers added to the rows of a buffer, so that rows whose length is a power of two do not all fall on
/// the same few lines of the cache.
const PADDING: usize = 16;

/// A few rows of numbers.
pub(super) struct Buffer<T> {
    values: Vec<T>,
    width: usize,
}

impl<T: Real> Buffer<T> {
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self { values: vec![T::ZERO; rows * (width + PADDING)], width }
    }

    pub(super) fn row(&self, index: usize) -> &[T] {
        &self.values[index * self.stride()..][..self.width]
    }

    pub(super) fn row_mut(&mut self, index: usize) -> &mut [T] {
        let stride = self.stride();
        &mut self.values[index * stride..][..self.width]
    }

    /// The numbers between the starts of two rows.
    pub(super) fn stride(&self) -> usize {
        self.width + PADDING
    }

    /// All rows from a column on.
    pub(super) fn starting_at(&self, column: usize) -> &[T] {
        &self.values[column..]
    }

    /// All rows from a column on.
    pub(super) fn starting_at_mut(&mut self, column: usize) -> &mut [T] {
        &mut self.values[column..]
    }
}

/// The next numbers of a buffer whose rows are handed out one after the other.
pub(super) fn share<'a, T>(left: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    left.split_off_mut(..count).expect("the buffer has a share for every row")
}

/// A row on its way forward.
pub(super) struct ForwardRow<'a, T> {
    pub(super) length: usize,
    /// `W x` of each step, which becomes its gates.
    pub(super) gates: &'a mut [T],
    /// See [`Saved`](super::Saved); empty where nothing is saved.
    pub(super) extra: &'a mut [T],
    pub(super) outputs: &'a mut [T],
    /// The state before the first step, and where that after the last one goes.
    pub(super) start: &'a [T],
    pub(super) hidden: &'a mut [T],
    /// The memory now.
    pub(super) memory: &'a mut [T],
}

impl<T: Real> ForwardRow<'_, T> {
    /// Keeps what the backward pass needs of the step at a position, if there will be one.
    pub(super) fn save_extra(&mut self, at: usize, values: &[T]) {
        if !self.extra.is_empty() {
            self.extra[at * values.len()..][..values.len()].copy_from_slice(values);
        }
    }
}

/// Rows on their way forward.
pub(super) struct ForwardBlock<'a, T> {
    pub(super) rows: Vec<ForwardRow<'a, T>>,
    pub(super) d_hidden: usize,
    /// The state now, `[rows, d_output]`.
    pub(super) hidden: Buffer<T>,
    /// Products with the state, `[rows, gates · d_hidden]`.
    pub(super) sums: Buffer<T>,
    /// `[rows, d_hidden]`.
    pub(super) scratch: Buffer<T>,
}

/// A row on its way back.
pub(super) struct BackwardRow<'a, T> {
    pub(super) length: usize,
    /// The gates of each step, which become their gradients.
    pub(super) gates: &'a mut [T],
    /// See [`Saved`](super::Saved).
    pub(super) extra: &'a mut [T],
    /// Where a projected cell leaves the gradients of its outputs.
    pub(super) projected_gradient: &'a mut [T],
    pub(super) outputs: &'a [T],
    pub(super) outputs_gradient: &'a [T],
    pub(super) hidden: &'a [T],
    pub(super) memory: &'a [T],
    /// The gradient of the final state, and where that of the first one goes.
    pub(super) hidden_gradient: &'a mut [T],
    /// The gradient of the memory now.
    pub(super) memory_gradient: &'a mut [T],
}

/// Rows on their way back.
pub(super) struct BackwardBlock<'a, T> {
    pub(super) rows: Vec<BackwardRow<'a, T>>,
    pub(super) direction: Direction,
    pub(super) d_hidden: usize,
    /// The gradient of the state now, `[rows, d_output]`.
    pub(super) hidden_gradient: Buffer<T>,
    /// The gradients of the products with the state, `[rows, gates · d_hidden]`.
    pub(super) sums_gradient: Buffer<T>,
    /// `[rows, d_hidden]`.
    pub(super) scratch: Buffer<T>,
}

impl<T: Real> BackwardRow<'_, T> {
    /// The output at a position.
    pub(super) fn output(&self, at: usize) -> &[T] {
        &self.outputs[at * self.hidden.len()..][..self.hidden.len()]
    }
}
