//! Products with a matrix of int8: a quarter of the memory, and so of the time, that one of f32 takes to come to a few
//! rows.
//!
//! ```text
//! W_ij ≈ s_j q_ij, |q_ij| ≤ 127        x_ri ≈ t_r p_ri, |p_ri| ≤ limit        (x W)_rj ≈ t_r s_j Σ_i p_ri q_ij
//! ```
//!
//! Each column of W has its scale, fixed once, and each row of x, taken when it comes. The instruction that multiplies
//! takes numbers of 16 bits, so that rows get as many levels as keep a sum within 32: 22,018 for 768 numbers, and not 127.
//! What is lost is lost on the weights. Sums are whole numbers, and the same with every instruction set and any number of
//! threads.

mod product;
mod round;

use std::mem::MaybeUninit;

use rayon::prelude::*;

use self::product::{Products, Rounded};
use self::round::{RoundColumns, RoundRow};
use super::columns::Columns;
use super::matrix::Matrix;
use super::simd;
use super::written;

/// The levels of a weight on each side of zero.
const WEIGHT_LIMIT: i32 = 127;
/// The numbers of a column are filled up with zeros to a multiple of it.
const GROUP: usize = 32;

/// A matrix `[k, n]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Int8Matrix {
    /// `[n, k]`, each column filled up to a multiple of [`GROUP`].
    levels: Vec<i8>,
    /// `[n]`.
    scales: Vec<f32>,
    k: usize,
}

impl Int8Matrix {
    /// The nearest to a matrix, on all threads of the current pool. A column with a number that is none, or infinite,
    /// gives sums that are no numbers.
    ///
    /// # Panics
    /// If neither its columns nor its rows lie side by side, or its columns are too long for sums of 32 bits.
    pub(crate) fn new(matrix: Matrix<f32>) -> Self {
        /// Columns that one thread takes at once.
        const COLUMNS: usize = 64;
        let (k, n) = (matrix.rows, matrix.columns);
        assert!(k <= (i32::MAX / WEIGHT_LIMIT) as usize, "columns of {k} numbers");
        let stride = k.next_multiple_of(GROUP);
        let mut levels = vec![0; n * stride];
        let mut scales = vec![0.0; n];
        let blocks = levels.par_chunks_mut((COLUMNS * stride).max(1));
        let blocks = blocks.zip(scales.par_chunks_mut(COLUMNS)).enumerate();
        blocks.for_each(|(block, (levels, scales))| {
            let matrix = matrix.columns(block * COLUMNS..block * COLUMNS + scales.len());
            if matrix.column_stride == 1 {
                return simd::run(RoundColumns { matrix, levels, stride, scales });
            }
            let columns = matrix.transposed();
            let each = levels.chunks_exact_mut(stride.max(1)).zip(scales);
            for (column, (levels, scale)) in each.enumerate() {
                let (row, limit) = (columns.row(column), WEIGHT_LIMIT as f32);
                simd::run(RoundRow { row, levels, scale, limit });
            }
        });
        Self { levels, scales, k }
    }

    /// `[k, n]`.
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.k, self.scales.len()]
    }

    fn stride(&self) -> usize {
        self.k.next_multiple_of(GROUP)
    }

    /// The numbers that a column stands for.
    pub(crate) fn column(&self, column: usize) -> impl Iterator<Item = f32> {
        let levels = &self.levels[column * self.stride()..][..self.k];
        levels.iter().map(move |level| f32::from(*level) * self.scales[column])
    }

    /// `left · self + bias`, and where it `rectifies` the larger of that and zero, on all threads of the current pool.
    ///
    /// # Panics
    /// If the inner dimensions differ, or the bias has another width.
    pub(crate) fn affine(
        &self,
        left: Matrix<f32>,
        bias: Option<&[f32]>,
        rectifies: bool,
    ) -> Vec<f32> {
        /// The bytes of columns that stay in the second cache while all rows pass by.
        const NEAR: usize = 64 * 1024;
        let [k, n] = self.shape();
        assert_eq!(left.columns, k, "inner dimensions of a product");
        assert!(bias.is_none_or(|bias| bias.len() == n), "the width of a bias");
        let (m, stride) = (left.rows, self.stride());
        let mut levels = vec![0i16; m * stride];
        let mut scales = vec![0.0; m];
        let limit = limit(k);
        for (row, (levels, scale)) in
            levels.chunks_exact_mut(stride.max(1)).zip(&mut scales).enumerate()
        {
            simd::run(RoundRow { row: left.row(row), levels, scale, limit });
        }
        let width = (NEAR / stride.max(1)).max(8);
        let write = |out: &mut [MaybeUninit<f32>]| {
            let out = Columns::new(out, n);
            (0..n.div_ceil(width)).into_par_iter().for_each(|block| {
                let columns = block * width..n.min((block + 1) * width);
                let left = Rounded { levels: &levels, scales: &scales, stride };
                simd::run(Products { left, right: self, bias, rectifies, columns, out: &out });
            });
        };
        // SAFETY: every column of every row is written.
        unsafe { written(m * n, write) }
    }
}

/// The levels of a row on each side of zero: the sum of `k` products with weights stays within 32 bits.
fn limit(k: usize) -> f32 {
    let largest = i32::MAX / WEIGHT_LIMIT / i32::try_from(k.max(1)).expect("a length below 2³¹");
    largest.min(i32::from(i16::MAX)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, period: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37) % period) as f32 / 7.0 - 5.0).collect()
    }

    /// The levels of numbers and their scale, by the definition.
    fn rounded(numbers: &[f32], limit: f32) -> (Vec<i64>, f32) {
        let largest = numbers.iter().fold(0.0f32, |most, number| most.max(number.abs()));
        let levels = numbers.iter().map(|x| (x * (limit / largest)).round_ties_even() as i64);
        (levels.collect(), largest / limit)
    }

    #[test]
    fn a_product_is_that_of_its_definition_bit_for_bit() {
        let shapes =
            [(1, 19, 45), (2, 32, 8), (3, 64, 1), (4, 33, 7), (7, 96, 130), (13, 768, 100)];
        for (m, k, n) in shapes {
            let (left, right, bias) = (numbers(m * k, 101), numbers(k * n, 97), numbers(n, 13));
            let left = Matrix::new(&left, m, k);
            let matrix = Matrix::new(&right, k, n);
            let rows = (0..m).map(|r| rounded(left.row(r), limit(k))).collect::<Vec<_>>();
            let column = |c: usize| (0..k).map(|i| right[i * n + c]).collect::<Vec<_>>();
            let columns = (0..n).map(|c| rounded(&column(c), 127.0)).collect::<Vec<_>>();
            let of = |r: usize, c: usize| {
                let ((row, s), (column, t)) = (&rows[r], &columns[c]);
                let sum: i64 = row.iter().zip(column).map(|(a, b)| a * b).sum();
                i32::try_from(sum).unwrap() as f32 * (s * t) + bias[c]
            };
            for rectifies in [false, true] {
                let found = Int8Matrix::new(matrix).affine(left, Some(&bias), rectifies);
                for (place, found) in found.into_iter().enumerate() {
                    let expected = of(place / n, place % n);
                    let expected = if rectifies { expected.max(0.0) } else { expected };
                    assert_eq!(found, expected, "{m}x{k}x{n} at {place}");
                }
            }
        }
    }

    #[test]
    fn the_largest_levels_of_the_longest_rows_do_not_overflow() {
        for k in [1, 64, 3072, 12_288, 49_152] {
            let found = Int8Matrix::new(Matrix::new(&vec![-1.0; k], k, 1));
            let product = found.affine(Matrix::new(&vec![1.0; k], 1, k), None, false);
            assert!((product[0] / k as f32 + 1.0).abs() < 1e-6, "{k}: {}", product[0]);
        }
    }

    #[test]
    fn a_matrix_and_its_transpose_of_the_transpose_are_one() {
        let (k, n) = (70, 133);
        let values = numbers(k * n, 101);
        let turned: Vec<f32> = (0..k * n).map(|e| values[e % k * n + e / k]).collect();
        let found = Int8Matrix::new(Matrix::new(&values, k, n));
        assert_eq!(found, Int8Matrix::new(Matrix::new(&turned, n, k).transposed()));
        assert_eq!(found.shape(), [k, n]);
        for column in [0, n - 1] {
            for (row, found) in found.column(column).enumerate() {
                let expected = values[row * n + column];
                assert!((found - expected).abs() <= 10.0 / 127.0 / 2.0 + 1e-6);
            }
        }
    }

    #[test]
    fn what_is_no_number_or_infinite_is_not_hidden_and_stays_in_its_row_and_column() {
        for bad in [f32::NAN, f32::INFINITY] {
            let matrix = Int8Matrix::new(Matrix::new(&[1.0, 2.0, bad, 4.0], 2, 2));
            let found = matrix.affine(Matrix::new(&[1.0, 1.0], 1, 2), None, true);
            assert!(found[0].is_nan() && (found[1] - 6.0).abs() < 0.02, "{found:?}");
            let matrix = Int8Matrix::new(Matrix::new(&[1.0, 1.0], 2, 1));
            let found = matrix.affine(Matrix::new(&[1.0, bad, 1.0, 2.0], 2, 2), None, true);
            assert!(found[0].is_nan() && (found[1] - 3.0).abs() < 1e-4, "{found:?}");
        }
    }

    #[test]
    fn zeros_and_the_smallest_numbers_are_zero() {
        for tiny in [0.0, f32::from_bits(1)] {
            let matrix = Int8Matrix::new(Matrix::new(&[tiny, tiny], 2, 1));
            let found = matrix.affine(Matrix::new(&[1.0, tiny, tiny, tiny], 2, 2), None, false);
            assert_eq!(found, [0.0, 0.0]);
        }
    }
}
