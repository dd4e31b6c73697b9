//! Products of few rows with a matrix that is read once, where it is: a token that is decoded, a few beams.
//!
//! Such a product takes as long as its matrix takes to come from memory, and a copy in another order
//! ([`packed`](super::packed)) would take it twice.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::columns::Columns;
use super::lanes::{LANES, across};
use super::matrix::Matrix;
use super::simd::{self, Kernel, Level};
use super::vector::Vector;
use super::{Real, written};

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
    /// Columns of a block at most.
    const COLUMNS: usize = 1024;
    assert_eq!(left.columns, right.rows, "inner dimensions of a product");
    let (m, n) = (left.rows, right.columns);
    // Long pieces of rows come faster from memory.
    let n_blocks = n.div_ceil(COLUMNS).next_multiple_of(rayon::current_num_threads());
    let width = n.div_ceil(n_blocks.max(1)).next_multiple_of(LANES);
    let write = |product: &mut [MaybeUninit<T>]| {
        let product = Columns::new(product, n);
        (0..n.div_ceil(width)).into_par_iter().for_each(|block| {
            let columns = block * width..n.min((block + 1) * width);
            let n_columns = columns.len();
            let mut out = match bias {
                Some(bias) => bias[columns.clone()].repeat(m),
                None => vec![T::ZERO; m * n_columns],
            };
            let right = right.columns(columns.clone());
            match right.column_stride {
                1 => add_product(left, right, &mut out, n_columns),
                _ => add_dots(left, right.transposed(), &mut out, n_columns),
            }
            if rectifies {
                // Numbers that are none stay so.
                out.iter_mut().filter(|sum| **sum < T::ZERO).for_each(|sum| *sum = T::ZERO);
            }
            for (row, out) in out.chunks_exact(n_columns).enumerate() {
                // SAFETY: these columns are only here.
                unsafe { product.write(row, columns.start, out) };
            }
        });
    };
    // SAFETY: all columns of every row are written.
    unsafe { written(m * n, write) }
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
    fn body<const FMA: bool>(mut self) {
        let Self { left, right, ref out, out_stride } = self;
        if left.rows == 0 || right.rows == 0 {
            return;
        }
        assert!(right.column_stride == 1 && left.column_stride == 1, "rows that lie side by side");
        assert_eq!(left.columns, right.rows, "inner dimensions of a product");
        let end = |rows: usize, stride: usize| (rows - 1) * stride + right.columns;
        assert!(right.values.len() >= end(right.rows, right.row_stride), "the rows of a matrix");
        assert!(out.len() >= end(left.rows, out_stride), "the rows of a result");
        // SAFETY: the rows are there, and the level was detected on this machine.
        unsafe {
            match Level::detect() {
                Level::Avx512 => self.rows::<T::Avx512, FMA>(),
                Level::Avx2 => self.rows::<T::Avx2, FMA>(),
                Level::Baseline => self.rows::<T::Baseline, FMA>(),
            }
        }
    }
}

impl<T: Real> AddRows<'_, T> {
    /// A few rows at a time. Some rows of the right matrix are added at once, so that a sum is loaded and stored once for
    /// all of them; to two rows, so that each of their numbers is loaded once for both. Four of them and not
    /// eight where there are several: in a matrix whose width is a multiple of 1,024 all lie in one place of the cache.
    ///
    /// # Safety
    /// The rows of all three are there, and the instruction set of `V`.
    #[inline(always)]
    unsafe fn rows<V: Vector<Element = T>, const FMA: bool>(&mut self) {
        let (n_rows, inner) = (self.left.rows, self.right.rows);
        let at_once = if n_rows < 2 { 8 } else { 4 };
        let mut first = 0;
        while inner - first >= at_once {
            let mut row = 0;
            // SAFETY: as for this function.
            unsafe {
                while n_rows - row >= 2 {
                    self.add::<V, FMA, 2, 4>(row, first);
                    row += 2;
                }
                match n_rows - row {
                    0 => {}
                    _ if n_rows < 2 => self.add::<V, FMA, 1, 8>(row, first),
                    _ => self.add::<V, FMA, 1, 4>(row, first),
                }
            }
            first += at_once;
        }
        for inner in first..inner {
            for row in 0..n_rows {
                // SAFETY: as for this function.
                unsafe { self.add::<V, FMA, 1, 1>(row, inner) };
            }
        }
    }

    /// `out[row..row + ROWS] += left[row..row + ROWS, first..first + INNER] · right[first..first + INNER]`
    ///
    /// # Safety
    /// The rows are there, and the instruction set of `V`.
    #[inline(always)]
    unsafe fn add<
        V: Vector<Element = T>,
        const FMA: bool,
        const ROWS: usize,
        const INNER: usize,
    >(
        &mut self,
        row: usize,
        first: usize,
    ) {
        /// The numbers of a line of the cache, or a half.
        const LINE: usize = 16;
        let (right, left, n) = (self.right, self.left, self.right.columns);
        let whole = n - n % V::LANES;
        let out = self.out[row * self.out_stride..].as_mut_ptr();
        // Loops over arrays, of which none is made by a closure: those are not compiled for the instruction set.
        // SAFETY: the rows are there, each with its stride.
        unsafe {
            let right_row =
                |i: usize| right.values.as_ptr().wrapping_add((first + i) * right.row_stride);
            let number = |r: usize, i: usize| left.values[(row + r) * left.row_stride + first + i];
            let mut factors = [[V::splat(T::ZERO); INNER]; ROWS];
            for (r, factors) in factors.iter_mut().enumerate() {
                for (i, factor) in factors.iter_mut().enumerate() {
                    *factor = V::splat(number(r, i));
                }
            }
            for column in (0..whole).step_by(V::LANES) {
                // One row alone does nothing but wait for memory, and the processor sees by itself where it goes on.
                if ROWS > 1 && row == 0 && column.is_multiple_of(LINE) {
                    for i in INNER..2 * INNER {
                        simd::prefetch(right_row(i).wrapping_add(column));
                    }
                }
                let mut numbers = [V::splat(T::ZERO); INNER];
                for (i, numbers) in numbers.iter_mut().enumerate() {
                    *numbers = V::load(right_row(i).add(column));
                }
                for (r, factors) in factors.iter().enumerate() {
                    let place = out.add(r * self.out_stride + column);
                    let mut chain = V::load(place);
                    for (factor, numbers) in factors.iter().zip(&numbers) {
                        chain = factor.mul_add(*numbers, chain);
                    }
                    chain.store(place);
                }
            }
            for column in whole..n {
                for r in 0..ROWS {
                    let place = out.add(r * self.out_stride + column);
                    for i in 0..INNER {
                        *place = number(r, i).mul_add::<FMA>(*right_row(i).add(column), *place);
                    }
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
    fn body<const FMA: bool>(mut self) {
        let n_rows = self.left.rows;
        let mut row = 0;
        while n_rows - row >= 4 {
            self.rows::<FMA, 4, 1>(row);
            row += 4;
        }
        while n_rows - row >= 2 {
            self.rows::<FMA, 2, 2>(row);
            row += 2;
        }
        if row < n_rows {
            self.rows::<FMA, 1, 4>(row);
        }
    }
}

impl<T: Real> AddDots<'_, T> {
    /// All columns of the product in `ROWS` rows, `COLUMNS` at once: as many sums as hide the latency of a multiply-add.
    #[inline(always)]
    fn rows<const FMA: bool, const ROWS: usize, const COLUMNS: usize>(&mut self, row: usize) {
        let n_columns = self.right.rows;
        let mut column = 0;
        while n_columns - column >= COLUMNS {
            self.add::<FMA, ROWS, COLUMNS>(row, column);
            column += COLUMNS;
        }
        for column in column..n_columns {
            self.add::<FMA, ROWS, 1>(row, column);
        }
    }

    #[inline(always)]
    fn add<const FMA: bool, const ROWS: usize, const COLUMNS: usize>(
        &mut self,
        row: usize,
        column: usize,
    ) {
        let inner = self.left.columns;
        let whole = inner - inner % LANES;
        let (mut left, mut right) = ([&[][..]; ROWS], [&[][..]; COLUMNS]);
        for (r, left) in left.iter_mut().enumerate() {
            *left = &self.left.row(row + r)[..inner];
        }
        for (c, right) in right.iter_mut().enumerate() {
            *right = &self.right.row(column + c)[..inner];
        }
        let mut sums = [[[T::ZERO; LANES]; COLUMNS]; ROWS];
        for place in (0..whole).step_by(LANES) {
            for (sums, left) in sums.iter_mut().zip(&left) {
                // SAFETY: `whole` is within every row.
                let left = unsafe { left.get_unchecked(place..place + LANES) };
                for (sums, right) in sums.iter_mut().zip(&right) {
                    // SAFETY: as above.
                    let right = unsafe { right.get_unchecked(place..place + LANES) };
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        *sum = left[lane].mul_add::<FMA>(right[lane], *sum);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, sums) in sums.into_iter().enumerate() {
                let rest = left[r][whole..].iter().zip(&right[c][whole..]);
                let rest = rest.fold(T::ZERO, |sum, (a, b)| a.mul_add::<FMA>(*b, sum));
                self.out[(row + r) * self.out_stride + column + c] += across(sums) + rest;
            }
        }
    }
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
        for (m, k, n) in [(1, 19, 45), (3, 8, 1040), (5, 70, 16), (7, 21, 2100), (2, 1, 1)] {
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
        for (m, k, n) in [(1, 19, 45), (3, 150, 1040), (5, 64, 3), (7, 33, 9)] {
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
