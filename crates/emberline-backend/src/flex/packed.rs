//! Products with one matrix, many times by few rows or once by many: the recurrent step, and the
//! products over all steps around it.
//!
//! The matrix is copied once into panels of as many columns as fit in registers, so that each product
//! reads it as one stream from the cache of the core that works on these rows.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::matrix::Matrix;
use super::simd::{self, Level};
use super::tile::{Left, Panels, Start, Tiles, groups_of_rows, panel_width, tile_rows};
use super::{Real, written};

/// The indices of a block of the inner index.
pub(super) const INNER: usize = 256;

/// A matrix `[k, n]` in panels.
pub(crate) struct Packed<T> {
    /// `[panels, k, panel_width]`, the last panel filled up with zeros.
    panels: Vec<T>,
    k: usize,
    n: usize,
    level: Level,
}

impl<T: Real> Packed<T> {
    /// Copies a matrix into panels, some panels at a time.
    pub(crate) fn new(matrix: Matrix<T>) -> Self {
        let level = Level::detect();
        let (k, n, width) = (matrix.rows, matrix.columns, panel_width::<T>(level));
        let write = |panels: &mut [MaybeUninit<T>]| {
            let share = n.div_ceil(width).div_ceil(2 * rayon::current_num_threads()).min(PANELS);
            let groups = panels.par_chunks_mut((share * k * width).max(1)).enumerate();
            groups.for_each(|(group, panels)| copy_panels(matrix, group * share, width, panels));
        };
        // SAFETY: all columns of every panel are written.
        let panels = unsafe { written(n.div_ceil(width) * k * width, write) };
        Self { panels, k, n, level }
    }

    /// `out = left · self`, or `+=`, on this thread, of a part of the inner index and for a part of the columns.
    ///
    /// Columns beside the part may be written too. Row r of `out` starts at `r · out_stride`.
    ///
    /// # Panics
    /// If the part is not within the product, or a slice ends before its last row.
    pub(crate) fn multiply_part(
        &self,
        left: Matrix<T>,
        part: Part,
        out: &mut [T],
        out_stride: usize,
    ) {
        // SAFETY: all of it is initialised, and stays so: only numbers are written.
        unsafe { self.multiply_part_into(left, part, uninit(out), out_stride) }
    }

    /// As [`multiply_part`](Self::multiply_part), into what need not be initialised.
    ///
    /// # Safety
    /// If the part adds, the columns of its panels are initialised in all rows.
    ///
    /// # Panics
    /// As `multiply_part`.
    pub(crate) unsafe fn multiply_part_into(
        &self,
        left: Matrix<T>,
        part: Part,
        out: &mut [MaybeUninit<T>],
        out_stride: usize,
    ) {
        let Part { inner, columns, adds } = part;
        if left.rows == 0 || columns.is_empty() || (inner.is_empty() && adds) {
            return;
        }
        assert!(inner.start < inner.end && inner.end <= self.k, "{inner:?} of {}", self.k);
        assert!(columns.end <= self.n, "columns {columns:?} of {}", self.n);
        let last = (left.rows - 1) * left.row_stride + (inner.end - 1) * left.column_stride;
        assert!(last < left.values.len(), "the left rows end too early");
        let end = (left.rows - 1) * out_stride + self.n;
        assert!(out.len() >= end, "the rows of the result end too early");
        let width = panel_width::<T>(self.level);
        let block = left.columns(inner.clone());
        let copy = self.copy_of(block, columns.len());
        simd::run(Tiles {
            right: self.panels(),
            rows: left.rows,
            left: Left::of(block, copy.as_deref()),
            inner,
            panels: columns.start / width..columns.end.div_ceil(width),
            out: out.as_mut_ptr().cast(),
            out_stride,
            start: if adds { Start::Output } else { Start::Zero },
            rectifies: false,
        });
    }

    /// `left · self`, `[left.rows, n]`, on all threads of the current pool.
    ///
    /// # Panics
    /// If the inner dimensions differ.
    pub(crate) fn multiply(&self, left: Matrix<T>) -> Vec<T> {
        self.affine(left, None, false)
    }

    /// `left · self + bias`, and where it `rectifies` the larger of that and zero.
    ///
    /// The inner index is taken in blocks, whose sums are added up: long sums stay exact enough, and a
    /// block of a panel stays in the cache while the rows pass by.
    ///
    /// # Panics
    /// If the inner dimensions differ, or the bias has another width.
    pub(crate) fn affine(&self, left: Matrix<T>, bias: Option<&[T]>, rectifies: bool) -> Vec<T> {
        assert_eq!(left.columns, self.k, "inner dimensions of a product");
        let bias = bias.map(|bias| filled_up(bias, self.n, self.level));
        assert!(self.k > 0, "a product over an empty inner dimension");
        let (m, n) = (left.rows, self.n);
        // Rows do not depend on each other: shares for the threads, two each so that one may be late.
        let share_of_rows =
            m.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(tile_rows(self.level));
        let mut product = Vec::with_capacity(m * n);
        product.spare_capacity_mut()[..m * n]
            .par_chunks_mut((share_of_rows * n).max(1))
            .enumerate()
            .for_each(|(share, out)| {
                let rows = out.len() / n;
                let left = left.rows(share * share_of_rows..share * share_of_rows + rows);
                for first in (0..self.k).step_by(INNER) {
                    let inner = first..self.k.min(first + INNER);
                    let block = left.columns(inner.clone());
                    let copy = self.copy_of(block, n);
                    simd::run(Tiles {
                        right: self.panels(),
                        rows,
                        left: Left::of(block, copy.as_deref()),
                        panels: 0..n.div_ceil(panel_width::<T>(self.level)),
                        out: out.as_mut_ptr().cast(),
                        out_stride: n,
                        start: match &bias {
                            _ if first > 0 => Start::Output,
                            Some(bias) => Start::Bias(bias),
                            None => Start::Zero,
                        },
                        rectifies: rectifies && inner.end == self.k,
                        inner,
                    });
                }
            });
        // SAFETY: every share has written its rows: the first inner block without reading them.
        unsafe { product.set_len(m * n) };
        product
    }

    /// A copy of the left matrix in the order in which tiles read it, for a product with so many columns; nothing where
    /// it would not pay. Each number is read once for each panel.
    fn copy_of(&self, left: Matrix<T>, columns: usize) -> Option<Vec<T>> {
        /// What stays in the nearest cache beside a block of a panel is read fast in any order.
        const NEAR: usize = 4 * 1024;
        let enough = if left.column_stride == 1 { 256 } else { 64 };
        let pays = left.rows * left.columns > NEAR && columns >= enough;
        pays.then(|| groups_of_rows(left, tile_rows(self.level)))
    }

    /// The columns of the matrix.
    pub(crate) fn columns(&self) -> usize {
        self.n
    }

    fn panels(&self) -> Panels<'_, T> {
        Panels { values: &self.panels, k: self.k, n: self.n, level: self.level }
    }
}

/// A bias with zeros for the columns that fill up the last panel.
pub(super) fn filled_up<T: Real>(bias: &[T], columns: usize, level: Level) -> Vec<T> {
    assert_eq!(bias.len(), columns, "the width of a bias");
    let mut filled = bias.to_vec();
    filled.resize(columns.next_multiple_of(panel_width::<T>(level)), T::ZERO);
    filled
}

/// Numbers as what they may be written over.
fn uninit<T: Copy>(numbers: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: both types have one layout. The caller writes numbers only.
    unsafe { &mut *(std::ptr::from_mut(numbers) as *mut [MaybeUninit<T>]) }
}

/// A part of a product.
pub(crate) struct Part {
    /// Of the inner index.
    pub(crate) inner: Range<usize>,
    /// Of the result.
    pub(crate) columns: Range<usize>,
    /// Whether the result is added to what is there.
    pub(crate) adds: bool,
}

/// Panels that are filled together, at most, a block of rows at a time: what lies side by side in the matrix is read as a stream,
/// and each page of it once.
const PANELS: usize = 16;

/// Fills panels, the first of which is `first`.
pub(super) fn copy_panels<T: Real>(
    matrix: Matrix<T>,
    first: usize,
    width: usize,
    panels: &mut [MaybeUninit<T>],
) {
    const ROWS: usize = 16;
    let k = matrix.rows;
    // Columns that lie side by side are streams as they are.
    let rows = if matrix.column_stride == 1 { ROWS } else { k };
    for start in (0..k).step_by(rows) {
        let block = matrix.rows(start..k.min(start + rows));
        for (panel, values) in panels.chunks_exact_mut(k * width).enumerate() {
            let values = &mut values[start * width..][..block.rows * width];
            block.copy_columns((first + panel) * width, width, values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_product_is_that_of_the_definition_for_every_number_of_rows() {
        let (k, n) = (19, 45);
        let matrix: Vec<f64> = (0..k * n).map(|i| (i % 17) as f64 - 8.0).collect();
        let packed = Packed::new(Matrix::new(&matrix, k, n));
        for rows in 0..20 {
            let left: Vec<f64> = (0..rows * (k + 2)).map(|i| (i % 7) as f64 - 3.0).collect();
            let row_stride = k + 2;
            let view = Matrix { values: &left, rows, columns: k, row_stride, column_stride: 1 };
            for adds in [true, false] {
                let mut out = vec![1.0; rows * (n + 3)];
                let part = Part { inner: 0..k, columns: 0..n, adds };
                packed.multiply_part(view, part, &mut out, n + 3);
                for r in 0..rows {
                    for j in 0..n {
                        let sum: f64 =
                            (0..k).map(|i| left[r * row_stride + i] * matrix[i * n + j]).sum();
                        assert_eq!(out[r * (n + 3) + j], sum + f64::from(adds));
                    }
                }
            }
        }
    }

    #[test]
    fn a_part_of_a_product_reads_no_other_inner_index() {
        let (m, k, n) = (3, 70, 45);
        let left: Vec<f64> = (0..m * k).map(|i| (i % 7) as f64 - 3.0).collect();
        let mut matrix: Vec<f64> = (0..k * n).map(|i| (i % 17) as f64 - 8.0).collect();
        matrix[..11 * n].fill(f64::NAN);
        matrix[57 * n..].fill(f64::NAN);
        let part = Part { inner: 11..57, columns: 33..36, adds: false };
        let mut out = vec![0.0; m * n];
        let packed = Packed::new(Matrix::new(&matrix, k, n));
        packed.multiply_part(Matrix::new(&left, m, k), part, &mut out, n);
        for r in 0..m {
            for j in 33..36 {
                let sum: f64 = (11..57).map(|i| left[r * k + i] * matrix[i * n + j]).sum();
                assert_eq!(out[r * n + j], sum);
            }
        }
    }

    #[test]
    fn a_whole_product_is_that_of_the_definition_in_every_layout() {
        // More inner indices than one block; rows and columns that fill no tile.
        for (m, k, n) in [(15, 7, 9), (70, 1100, 37), (1, 1, 1)] {
            let left: Vec<f64> = (0..m * k).map(|i| (i % 11) as f64 - 5.0).collect();
            let right: Vec<f64> = (0..k * n).map(|i| (i % 13) as f64 - 6.0).collect();
            let (left_t, right_t) = (transpose(&left, m, k), transpose(&right, k, n));
            let expected: Vec<f64> = (0..m * n)
                .map(|e| (0..k).map(|i| left[e / n * k + i] * right[i * n + e % n]).sum())
                .collect();
            let rights = [Matrix::new(&right, k, n), Matrix::new(&right_t, n, k).transposed()];
            let lefts = [Matrix::new(&left, m, k), Matrix::new(&left_t, k, m).transposed()];
            for right in rights {
                for left in lefts {
                    assert_eq!(Packed::new(right).multiply(left), expected);
                }
            }
        }
    }

    fn transpose(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
        (0..values.len()).map(|e| values[e % rows * columns + e / rows]).collect()
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_the_rows_beside_it() {
        let (k, n) = (33, 70);
        let matrix: Vec<f32> = (0..k * n).map(|i| ((i * 37) % 101) as f32 / 7.0).collect();
        let left: Vec<f32> = (0..9 * k).map(|i| ((i * 53) % 97) as f32 / 3.0).collect();
        let packed = Packed::new(Matrix::new(&matrix, k, n));
        let multiply = |rows: usize, left: &[f32]| {
            let mut out = vec![0.0; rows * n];
            let part = Part { inner: 0..k, columns: 0..n, adds: false };
            packed.multiply_part(Matrix::new(left, rows, k), part, &mut out, n);
            out
        };
        let together = multiply(9, &left);
        for r in 0..9 {
            let alone = multiply(1, &left[r * k..][..k]);
            assert_eq!(alone, together[r * n..][..n]);
        }
    }
}
