//! A matrix that is multiplied many times by few rows: the recurrent step, and its backward pass.
//!
//! The matrix is copied once into panels of as many columns as fit in registers, so that each product
//! reads it as one stream from the cache of the core that works on these rows. Every element of a
//! result is one chain of multiply-adds in the order of the inner index, whatever the number of rows
//! in the call: results do not depend on how rows are shared out to threads.

use rayon::prelude::*;

use super::Real;
use super::product::Matrix;
use super::simd::{self, Kernel, Level};

/// A matrix `[k, n]` in panels.
pub(crate) struct Packed<T> {
    /// `[panels, k, panel_width]`, the last panel filled up with zeros.
    panels: Vec<T>,
    k: usize,
    n: usize,
    level: Level,
}

impl<T: Real> Packed<T> {
    /// Copies a matrix into panels.
    pub(crate) fn new(matrix: Matrix<T>) -> Self {
        let level = Level::detect();
        let (k, n, width) = (matrix.rows, matrix.columns, panel_width(level));
        let mut panels = vec![T::ZERO; n.div_ceil(width) * k * width];
        panels.par_chunks_mut((k * width).max(1)).enumerate().for_each(|(panel, values)| {
            let first = panel * width;
            let columns = width.min(n - first);
            for (row, values) in values.chunks_exact_mut(width).enumerate() {
                for (column, value) in values[..columns].iter_mut().enumerate() {
                    *value = *matrix.at(row, first + column);
                }
            }
        });
        Self { panels, k, n, level }
    }

    /// `out += left · self` for `rows` rows.
    ///
    /// Row r of `left` starts at `r · left_stride` and has k numbers; row r of `out` starts at
    /// `r · out_stride` and has n.
    ///
    /// # Panics
    /// If a slice ends before its last row.
    pub(crate) fn multiply_add(
        &self,
        rows: usize,
        left: &[T],
        left_stride: usize,
        out: &mut [T],
        out_stride: usize,
    ) {
        if rows == 0 {
            return;
        }
        assert!(left.len() >= (rows - 1) * left_stride + self.k, "the left rows end too early");
        assert!(
            out.len() >= (rows - 1) * out_stride + self.n,
            "the rows of the result end too early"
        );
        simd::run(MultiplyAdd { packed: self, rows, left, left_stride, out, out_stride });
    }
}

/// `out += left · matrix` for a matrix that is used too seldom to be worth packing. The same sums in the
/// same order as [`Packed::multiply_add`], so the same bits.
///
/// # Panics
/// If the columns of `matrix` are not side by side, or a slice ends before its last row.
pub(crate) fn multiply_add_unpacked<T: Real>(
    matrix: Matrix<T>,
    rows: usize,
    left: &[T],
    left_stride: usize,
    out: &mut [T],
    out_stride: usize,
) {
    for row in 0..rows {
        let left = &left[row * left_stride..][..matrix.rows];
        let out = &mut out[row * out_stride..][..matrix.columns];
        simd::run(AddRows { matrix, left, out });
    }
}

struct AddRows<'a, T> {
    matrix: Matrix<'a, T>,
    left: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> Kernel for AddRows<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        for (index, factor) in self.left.iter().enumerate() {
            let row = self.matrix.row(index);
            for (out, value) in self.out.iter_mut().zip(row) {
                *out = factor.mul_add::<FMA>(*value, *out);
            }
        }
    }
}

/// The columns of a panel: two registers of f32.
fn panel_width(level: Level) -> usize {
    match level {
        Level::Avx512 => 32,
        Level::Avx2 => 16,
        Level::Baseline => 8,
    }
}

struct MultiplyAdd<'a, T> {
    packed: &'a Packed<T>,
    rows: usize,
    left: &'a [T],
    left_stride: usize,
    out: &'a mut [T],
    out_stride: usize,
}

impl<T: Real> Kernel for MultiplyAdd<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        // Rows times registers of a panel are the sums that the registers hold at once.
        match self.packed.level {
            Level::Avx512 => self.panels::<8, 32, FMA>(),
            Level::Avx2 => self.panels::<4, 16, FMA>(),
            Level::Baseline => self.panels::<4, 8, FMA>(),
        }
    }
}

impl<T: Real> MultiplyAdd<'_, T> {
    #[inline(always)]
    fn panels<const ROWS: usize, const WIDTH: usize, const FMA: bool>(mut self) {
        let k = self.packed.k;
        for (panel, values) in self.packed.panels.chunks_exact((k * WIDTH).max(1)).enumerate() {
            let mut row = 0;
            while self.rows - row >= ROWS {
                self.tile::<ROWS, WIDTH, FMA>(row, panel, values);
                row += ROWS;
            }
            while self.rows - row >= 2 {
                self.tile::<2, WIDTH, FMA>(row, panel, values);
                row += 2;
            }
            if row < self.rows {
                self.tile::<1, WIDTH, FMA>(row, panel, values);
            }
        }
    }

    #[inline(always)]
    fn tile<const ROWS: usize, const WIDTH: usize, const FMA: bool>(
        &mut self,
        row: usize,
        panel: usize,
        values: &[T],
    ) {
        let (k, first) = (self.packed.k, panel * WIDTH);
        let columns = WIDTH.min(self.packed.n - first);
        let left: [&[T]; ROWS] =
            std::array::from_fn(|r| &self.left[(row + r) * self.left_stride..][..k]);
        let mut sums = [[T::ZERO; WIDTH]; ROWS];
        for (r, sums) in sums.iter_mut().enumerate() {
            let out = &self.out[(row + r) * self.out_stride + first..][..columns];
            sums[..columns].copy_from_slice(out);
        }
        for (index, values) in values.chunks_exact(WIDTH).enumerate() {
            let values: &[T; WIDTH] = values.try_into().expect("a chunk of the panel's width");
            for r in 0..ROWS {
                let factor = left[r][index];
                for column in 0..WIDTH {
                    sums[r][column] = factor.mul_add::<FMA>(values[column], sums[r][column]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let out = &mut self.out[(row + r) * self.out_stride + first..][..columns];
            out.copy_from_slice(&sums[..columns]);
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
            let mut out = vec![1.0; rows * (n + 3)];
            packed.multiply_add(rows, &left, k + 2, &mut out, n + 3);
            for r in 0..rows {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|i| left[r * (k + 2) + i] * matrix[i * n + j]).sum();
                    assert_eq!(out[r * (n + 3) + j], 1.0 + sum);
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_whatever_the_rows_beside_it() {
        let (k, n) = (33, 70);
        let matrix: Vec<f32> = (0..k * n).map(|i| ((i * 37) % 101) as f32 / 7.0).collect();
        let left: Vec<f32> = (0..9 * k).map(|i| ((i * 53) % 97) as f32 / 3.0).collect();
        let packed = Packed::new(Matrix::new(&matrix, k, n));
        let mut together = vec![0.0; 9 * n];
        packed.multiply_add(9, &left, k, &mut together, n);
        for r in 0..9 {
            let mut alone = vec![0.0; n];
            packed.multiply_add(1, &left[r * k..], k, &mut alone, n);
            assert_eq!(alone, together[r * n..][..n]);
            let mut unpacked = vec![0.0; n];
            let matrix = Matrix::new(&matrix, k, n);
            multiply_add_unpacked(matrix, 1, &left[r * k..], k, &mut unpacked, n);
            assert_eq!(unpacked, alone);
        }
    }
}
