//! Products of the state with one matrix, step after step.

use super::block::Buffer;
use crate::flex::Real;
use crate::flex::matrix::Matrix;
use crate::flex::packed::{Packed, multiply_add_unpacked};

/// From this many steps on a packed matrix is worth its copy.
const STEPS_WORTH_PACKING: usize = 4;

/// A matrix to multiply few rows with, many times.
pub(super) struct Product<'a, T> {
    matrix: Matrix<'a, T>,
    packed: Option<Packed<T>>,
}

impl<'a, T: Real> Product<'a, T> {
    pub(super) fn new(matrix: Matrix<'a, T>, steps: usize) -> Self {
        // What is not packed is read row by row, which a transposed matrix does not allow.
        let is_worth_it = steps >= STEPS_WORTH_PACKING || matrix.column_stride != 1;
        Self { matrix, packed: is_worth_it.then(|| Packed::new(matrix)) }
    }

    /// The first `rows` rows of `out`, from a column on, become those of `left`, from a column on, times the matrix.
    pub(super) fn assign(
        &self,
        rows: usize,
        (left, left_column): (&Buffer<T>, usize),
        (out, out_column): (&mut Buffer<T>, usize),
    ) {
        for row in 0..rows {
            out.row_mut(row)[out_column..][..self.matrix.columns].fill(T::ZERO);
        }
        self.add(rows, (left, left_column), (out, out_column));
    }

    /// As [`assign`](Self::assign), but adds to `out`.
    pub(super) fn add(
        &self,
        rows: usize,
        (left, left_column): (&Buffer<T>, usize),
        (out, out_column): (&mut Buffer<T>, usize),
    ) {
        let (left_stride, out_stride) = (left.stride(), out.stride());
        let (left, out) = (left.starting_at(left_column), out.starting_at_mut(out_column));
        match &self.packed {
            Some(packed) => packed.multiply_add(rows, left, left_stride, out, out_stride),
            None => multiply_add_unpacked(self.matrix, rows, left, left_stride, out, out_stride),
        }
    }
}
