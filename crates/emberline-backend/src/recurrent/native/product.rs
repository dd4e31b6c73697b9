//! Products of the state with one matrix, step after step.

use super::block::Buffer;
use crate::flex::Real;
use crate::flex::few_rows::add_product;
use crate::flex::matrix::Matrix;
use crate::flex::packed::{Packed, Part};

/// From this many steps on a packed matrix is worth its copy.
pub(in crate::recurrent) const STEPS_WORTH_PACKING: usize = 4;

/// A matrix to multiply few rows with, many times.
pub(super) struct Product<'a, T> {
    /// The rows and columns of the matrix.
    sizes: (usize, usize),
    form: Form<'a, T>,
}

enum Form<'a, T> {
    Packed(Packed<T>),
    Unpacked(Matrix<'a, T>),
}

impl<'a, T: Real> Product<'a, T> {
    pub(super) fn new(matrix: Matrix<'a, T>, steps: usize) -> Self {
        // What is not packed is read row by row, which a transposed matrix does not allow.
        if steps >= STEPS_WORTH_PACKING || matrix.column_stride != 1 {
            return Self::packed(matrix);
        }
        Self { sizes: (matrix.rows, matrix.columns), form: Form::Unpacked(matrix) }
    }

    /// Packs the matrix, which is not needed from then on.
    pub(super) fn packed(matrix: Matrix<T>) -> Self {
        Self { sizes: (matrix.rows, matrix.columns), form: Form::Packed(Packed::new(matrix)) }
    }

    /// The first `rows` rows of `out`, from a column on, become those of `left`, from a column on, times the matrix.
    pub(super) fn assign(
        &self,
        rows: usize,
        left: (&Buffer<T>, usize),
        (out, out_column): (&mut Buffer<T>, usize),
    ) {
        if let Form::Unpacked(matrix) = &self.form {
            for row in 0..rows {
                out.row_mut(row)[out_column..][..matrix.columns].fill(T::ZERO);
            }
        }
        self.multiply(rows, left, (out, out_column), false);
    }

    /// As [`assign`](Self::assign), but adds to `out`.
    pub(super) fn add(&self, rows: usize, left: (&Buffer<T>, usize), out: (&mut Buffer<T>, usize)) {
        self.multiply(rows, left, out, true);
    }

    /// What is not packed always adds.
    fn multiply(
        &self,
        rows: usize,
        (left, left_column): (&Buffer<T>, usize),
        (out, out_column): (&mut Buffer<T>, usize),
        adds: bool,
    ) {
        let (left_stride, out_stride) = (left.stride(), out.stride());
        let (left, out) = (left.starting_at(left_column), out.starting_at_mut(out_column));
        let (inner, columns) = self.sizes;
        let left = Matrix {
            values: left,
            rows,
            columns: inner,
            row_stride: left_stride,
            column_stride: 1,
        };
        match &self.form {
            Form::Packed(packed) => {
                let part = Part { inner: 0..inner, columns: 0..columns, adds };
                packed.multiply_part(left, part, out, out_stride);
            }
            Form::Unpacked(matrix) => add_product(left, *matrix, out, out_stride),
        }
    }
}
