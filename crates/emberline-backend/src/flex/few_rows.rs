//! Products of few rows with a matrix that is read once, where it is: a token that is decoded, a few beams.
//!
//! Such a product takes as long as its matrix takes to come from memory, and a copy in another order
//! ([`packed`](super::packed)) would take it twice.

use rayon::prelude::*;

use super::Real;
use super::lanes::{LANES, across};
use super::matrix::Matrix;
use super::simd::{self, Kernel};

/// `left · right + bias`, and where it `rectifies` the larger of that and zero, on all threads of the current pool.
///
/// Where the columns of `right` are side by side a number is the same chain of multiply-adds as that of
/// [`Packed::affine`](super::packed::Packed::affine), so has the same bits. Where its rows are, sums are taken lane by
/// lane.
///
/// # Panics
/// If the inner dimensions differ, the rows of `left` are not side by side, or neither the columns of `right` nor its
/// rows are.
pub(crate) fn affine<T: Real>(
    left: Matrix<T>,
    right: Matrix<T>,
    bias: Option<&[T]>,
    rectifies: bool,
) -> Vec<T> {
    /// Columns of a block at most: as many numbers as stay in the nearest cache for all rows.
    const COLUMNS: usize = 512;
    assert_eq!(left.columns, right.rows, "inner dimensions of a product");
    let (m, n) = (left.rows, right.columns);
    let n_blocks = n.div_ceil(COLUMNS).next_multiple_of(rayon::current_num_threads());
    let width = n.div_ceil(n_blocks.max(1)).next_multiple_of(LANES);
    // Block after block, each with all rows.
    let mut blocks = vec![T::ZERO; m * n];
    blocks.par_chunks_mut((m * width).max(1)).enumerate().for_each(|(block, out)| {
        let columns = block * width..n.min((block + 1) * width);
        let n_columns = columns.len();
        if let Some(bias) = bias {
            let bias = &bias[columns.clone()];
            out.chunks_exact_mut(n_columns).for_each(|out| out.copy_from_slice(bias));
        }
        let right = right.columns(columns);
        match right.column_stride {
            1 => add_product(left, right, out, n_columns),
            _ => add_dots(left, right.transposed(), out, n_columns),
        }
        if rectifies {
            // Numbers that are none stay so.
            out.iter_mut().filter(|sum| **sum < T::ZERO).for_each(|sum| *sum = T::ZERO);
        }
    });
    if m < 2 || n <= width {
        return blocks;
    }
    let mut product = Vec::with_capacity(m * n);
    for row in 0..m {
        for block in blocks.chunks(m * width) {
            let width = block.len() / m;
            product.extend_from_slice(&block[row * width..][..width]);
        }
    }
    product
}

/// `out += left · right` on this thread; row r of `out` starts at `r · out_stride`. The same sums in the same order as
/// [`Packed::multiply_part`](super::packed::Packed::multiply_part), so the same bits.
///
/// # Panics
/// If the columns of a matrix are not side by side, or a slice ends before its last row.
pub(crate) fn add_product<T: Real>(
    left: Matrix<T>,
    right: Matrix<T>,
    out: &mut [T],
    out_stride: usize,
) {
    simd::run(AddRows { left, right, out, out_stride });
}

struct AddRows<'a, T> {
    left: Matrix<'a, T>,
    right: Matrix<'a, T>,
    out: &'a mut [T],
    out_stride: usize,
}

impl<T: Real> Kernel for AddRows<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        /// Rows of the right matrix that are added at once, so that a sum is loaded and stored once for all of them.
        const AT_ONCE: usize = 8;
        let Self { left, right, out, out_stride } = self;
        let (n, whole) = (right.columns, right.rows - right.rows % AT_ONCE);
        for first in (0..whole).step_by(AT_ONCE) {
            let right: [&[T]; AT_ONCE] = std::array::from_fn(|i| right.row(first + i));
            for r in 0..left.rows {
                let factors: &[T; AT_ONCE] =
                    left.row(r)[first..].first_chunk().expect("a whole group");
                for (j, sum) in out[r * out_stride..][..n].iter_mut().enumerate() {
                    let mut chain = *sum;
                    for (factor, row) in factors.iter().zip(right) {
                        chain = factor.mul_add::<FMA>(row[j], chain);
                    }
                    *sum = chain;
                }
            }
        }
        for index in whole..right.rows {
            let row = right.row(index);
            for r in 0..left.rows {
                let factor = left.row(r)[index];
                for (sum, value) in out[r * out_stride..][..n].iter_mut().zip(row) {
                    *sum = factor.mul_add::<FMA>(*value, *sum);
                }
            }
        }
    }
}

/// `out += left · rightᵀ` on this thread, both of rows that are side by side; row r of `out` starts at
/// `r · out_stride`. Sums are taken lane by lane.
///
/// # Panics
/// As [`add_product`].
pub(crate) fn add_dots<T: Real>(
    left: Matrix<T>,
    right: Matrix<T>,
    out: &mut [T],
    out_stride: usize,
) {
    simd::run(AddDots { left, right, out, out_stride });
}

struct AddDots<'a, T> {
    left: Matrix<'a, T>,
    right: Matrix<'a, T>,
    out: &'a mut [T],
    out_stride: usize,
}

impl<T: Real> Kernel for AddDots<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        for column in 0..self.right.rows {
            let right = self.right.row(column);
            for row in 0..self.left.rows {
                self.out[row * self.out_stride + column] +=
                    dot::<T, FMA>(self.left.row(row), right);
            }
        }
    }
}

/// The product of two rows: four groups of lanes, so that no multiply-add waits for the one before it.
#[inline(always)]
fn dot<T: Real, const FMA: bool>(a: &[T], b: &[T]) -> T {
    const GROUPS: usize = 4;
    let mut sums = [[T::ZERO; LANES]; GROUPS];
    let (a, b) = (a.chunks_exact(GROUPS * LANES), b.chunks_exact(GROUPS * LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest = rest.fold(T::ZERO, |sum, (a, b)| a.mul_add::<FMA>(*b, sum));
    for (a, b) in a.zip(b) {
        for (group, sums) in sums.iter_mut().enumerate() {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let place = group * LANES + lane;
                *sum = a[place].mul_add::<FMA>(b[place], *sum);
            }
        }
    }
    let mut total = sums[0];
    for group in &sums[1..] {
        total.iter_mut().zip(group).for_each(|(total, sum)| *total += *sum);
    }
    across(total) + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::packed::Packed;

    fn numbers(n: usize, period: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37) % period) as f32 / 7.0 - 5.0).collect()
    }

    #[test]
    fn few_rows_have_the_bits_of_a_packed_product() {
        for (m, k, n) in [(1, 19, 45), (3, 8, 1040), (5, 70, 16), (2, 1, 1)] {
            let (left, right, bias) = (numbers(m * k, 101), numbers(k * n, 97), numbers(n, 13));
            let (left, right) = (Matrix::new(&left, m, k), Matrix::new(&right, k, n));
            for rectifies in [false, true] {
                for bias in [None, Some(&bias[..])] {
                    let expected = Packed::new(right).affine(left, bias, rectifies);
                    assert_eq!(affine(left, right, bias, rectifies), expected, "{m}x{k}x{n}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_of_columns_gives_the_product_of_the_definition() {
        for (m, k, n) in [(1, 19, 45), (3, 150, 1040), (5, 64, 3)] {
            let left: Vec<f64> = (0..m * k).map(|i| (i % 11) as f64 - 5.0).collect();
            let right: Vec<f64> = (0..k * n).map(|i| (i % 13) as f64 - 6.0).collect();
            let of = |r: usize, c: usize| -> f64 {
                (0..k).map(|i| left[r * k + i] * right[c * k + i]).sum()
            };
            let expected: Vec<f64> = (0..m * n).map(|e| of(e / n, e % n) + 1.0).collect();
            let right = Matrix::new(&right, n, k).transposed();
            let ones = vec![1.0; n];
            assert_eq!(affine(Matrix::new(&left, m, k), right, Some(&ones), false), expected);
        }
    }

    #[test]
    fn rectifying_hides_no_nan() {
        let found = affine(Matrix::new(&[f32::NAN], 1, 1), Matrix::new(&[1.0], 1, 1), None, true);
        assert!(found[0].is_nan());
    }
}
