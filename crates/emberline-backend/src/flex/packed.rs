//! Products with one matrix, many times by few rows or once by many: the recurrent step, and the
//! products over all steps around it.
//!
//! The matrix is copied once into panels of as many columns as fit in registers, so that each product
//! reads it as one stream from the cache of the core that works on these rows. Every element of a
//! result is a chain of multiply-adds in the order of the inner index, whatever the number of rows
//! in the call: results do not depend on how rows are shared out to threads.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::matrix::Matrix;
use super::simd::{self, Kernel, Level};
use super::vector::Vector;
use super::{Real, written};

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
            packed: self,
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
        const INNER: usize = 256;
        assert_eq!(left.columns, self.k, "inner dimensions of a product");
        let bias = bias.map(|bias| self.filled_up(bias));
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
                        packed: self,
                        rows,
                        left: Left::of(block, copy.as_deref()),
                        panels: self.panels(),
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

    /// A bias with zeros for the columns that fill up the last panel.
    fn filled_up(&self, bias: &[T]) -> Vec<T> {
        assert_eq!(bias.len(), self.n, "the width of a bias");
        let mut filled = bias.to_vec();
        filled.resize(self.n.next_multiple_of(panel_width::<T>(self.level)), T::ZERO);
        filled
    }

    /// The columns of the matrix.
    pub(crate) fn columns(&self) -> usize {
        self.n
    }

    fn panels(&self) -> Range<usize> {
        0..self.n.div_ceil(panel_width::<T>(self.level))
    }
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

/// The numbers of the widest tile.
const MAX_WIDTH: usize = 32;
/// The registers side by side in a tile.
const REGISTERS: usize = 2;

/// The rows of a tile: as many as leave its sums in registers, and hide the latency of a multiply-add. They are 16 of 32
/// registers, 12 of 16, and 8 of 16.
const fn tile_rows(level: Level) -> usize {
    match level {
        Level::Avx512 => 8,
        Level::Avx2 => 6,
        Level::Baseline => 4,
    }
}

/// The columns of a panel.
fn panel_width<T: Real>(level: Level) -> usize {
    let lanes = match level {
        Level::Avx512 => T::Avx512::LANES,
        Level::Avx2 => T::Avx2::LANES,
        Level::Baseline => T::Baseline::LANES,
    };
    REGISTERS * lanes
}

/// A part of a product: `rows` rows of the left matrix, a range of the inner index, a range of panels.
///
/// Made by the functions of [`Packed`] only, which see to it that both pointers have all the rows with
/// their strides, and that what is added to ([`Start::Output`]) is initialised.
struct Tiles<'a, T> {
    packed: &'a Packed<T>,
    rows: usize,
    /// Its columns are the part of the inner index.
    left: Left<'a, T>,
    inner: Range<usize>,
    panels: Range<usize>,
    out: *mut T,
    out_stride: usize,
    start: Start<'a, T>,
    /// Whether negative sums become zero.
    rectifies: bool,
}

/// The left matrix: where it is, or what [`groups_of_rows`] has made of it.
#[derive(Clone, Copy)]
enum Left<'a, T> {
    Strided(Matrix<'a, T>),
    Grouped { values: &'a [T], columns: usize },
}

impl<'a, T> Left<'a, T> {
    fn of(matrix: Matrix<'a, T>, groups: Option<&'a [T]>) -> Self {
        match groups {
            Some(values) => Self::Grouped { values, columns: matrix.columns },
            None => Self::Strided(matrix),
        }
    }
}

/// Panels that are filled together, at most, a block of rows at a time: what lies side by side in the matrix is read as a stream,
/// and each page of it once.
const PANELS: usize = 16;

/// Fills panels, the first of which is `first`.
fn copy_panels<T: Real>(
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

/// The place of some rows of the left matrix in one of its columns.
///
/// Generic over it: the loop of a tile. Implementors: [`Strided`], [`Grouped`], whose steps the compiler knows.
trait Column<T>: Copy {
    /// # Safety
    /// The row is there.
    unsafe fn starting_at(self, row: usize) -> Self;

    /// The number of row `r` of these.
    ///
    /// # Safety
    /// It is there.
    unsafe fn number(self, r: usize) -> T;

    /// The same rows in the next column, which may be the one after the last.
    fn next(self) -> Self;
}

#[derive(Clone, Copy)]
struct Strided<T> {
    values: *const T,
    row_stride: usize,
    column_stride: usize,
}

impl<T: Copy> Column<T> for Strided<T> {
    #[inline(always)]
    unsafe fn starting_at(self, row: usize) -> Self {
        // SAFETY: as the trait says.
        Self { values: unsafe { self.values.add(row * self.row_stride) }, ..self }
    }

    #[inline(always)]
    unsafe fn number(self, r: usize) -> T {
        // SAFETY: as the trait says.
        unsafe { *self.values.add(r * self.row_stride) }
    }

    #[inline(always)]
    fn next(self) -> Self {
        Self { values: self.values.wrapping_add(self.column_stride), ..self }
    }
}

#[derive(Clone, Copy)]
struct Grouped<T, const ROWS: usize> {
    values: *const T,
    columns: usize,
}

impl<T: Copy, const ROWS: usize> Column<T> for Grouped<T, ROWS> {
    #[inline(always)]
    unsafe fn starting_at(self, row: usize) -> Self {
        let place = row / ROWS * ROWS * self.columns + row % ROWS;
        // SAFETY: as the trait says.
        Self { values: unsafe { self.values.add(place) }, ..self }
    }

    #[inline(always)]
    unsafe fn number(self, r: usize) -> T {
        // SAFETY: as the trait says.
        unsafe { *self.values.add(r) }
    }

    #[inline(always)]
    fn next(self) -> Self {
        Self { values: self.values.wrapping_add(ROWS), ..self }
    }
}

/// A copy in the order `[groups, columns, rows_of_a_group]`, the last group filled up with zeros.
fn groups_of_rows<T: Real>(matrix: Matrix<T>, rows: usize) -> Vec<T> {
    let columns = matrix.transposed();
    let write = |groups: &mut [MaybeUninit<T>]| {
        for (group, values) in groups.chunks_exact_mut(matrix.columns * rows).enumerate() {
            columns.copy_columns(group * rows, rows, values);
        }
    };
    // SAFETY: all rows of every group are written.
    unsafe { written(matrix.rows.next_multiple_of(rows) * matrix.columns, write) }
}

/// What the sums of a tile start from.
#[derive(Clone, Copy)]
enum Start<'a, T> {
    Zero,
    /// A number a column, for all columns of all panels.
    Bias(&'a [T]),
    /// What is there.
    Output,
}

impl<T: Real> Kernel for Tiles<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        // SAFETY: the level was detected on this machine, and the pointers are as the type says.
        unsafe {
            match self.packed.level {
                Level::Avx512 => self.panels::<T::Avx512, { tile_rows(Level::Avx512) }>(),
                Level::Avx2 => self.panels::<T::Avx2, { tile_rows(Level::Avx2) }>(),
                Level::Baseline => self.panels::<T::Baseline, { tile_rows(Level::Baseline) }>(),
            }
        }
    }
}

impl<T: Real> Tiles<'_, T> {
    #[inline(always)]
    unsafe fn panels<V: Vector<Element = T>, const ROWS: usize>(self) {
        // SAFETY: as for this function.
        unsafe {
            match self.left {
                Left::Strided(Matrix { values, row_stride, column_stride, .. }) => {
                    let left = Strided { values: values.as_ptr(), row_stride, column_stride };
                    self.panels_by::<V, _, ROWS>(left);
                }
                Left::Grouped { values, columns } => {
                    let left = Grouped::<T, ROWS> { values: values.as_ptr(), columns };
                    self.panels_by::<V, _, ROWS>(left);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn panels_by<V: Vector<Element = T>, L: Column<T>, const ROWS: usize>(self, left: L) {
        let (k, width) = (self.packed.k, REGISTERS * V::LANES);
        for panel in self.panels.clone() {
            let values = &self.packed.panels[panel * k * width..][..k * width];
            let values = &values[self.inner.start * width..self.inner.end * width];
            let mut row = 0;
            // SAFETY: as for this function.
            unsafe {
                while self.rows - row >= ROWS {
                    self.tile::<V, _, ROWS>(left, row, panel * width, values);
                    row += ROWS;
                }
                while ROWS > 4 && self.rows - row >= 4 {
                    self.tile::<V, _, 4>(left, row, panel * width, values);
                    row += 4;
                }
                while self.rows - row >= 2 {
                    self.tile::<V, _, 2>(left, row, panel * width, values);
                    row += 2;
                }
                if row < self.rows {
                    self.tile::<V, _, 1>(left, row, panel * width, values);
                }
            }
        }
    }

    /// `out[row.., first..] = left[row.., inner] · values`, or `+=`, for `ROWS` rows and one panel.
    ///
    /// # Safety
    /// The rows are there, and the instruction set of `V`.
    #[inline(always)]
    unsafe fn tile<V: Vector<Element = T>, L: Column<T>, const ROWS: usize>(
        &self,
        left: L,
        row: usize,
        first: usize,
        values: &[T],
    ) {
        let width = REGISTERS * V::LANES;
        let columns = width.min(self.packed.n - first);
        // SAFETY: the rows of `out` have `columns` numbers from `first` on, and the buffer `width`; the rows of
        // `left` have the inner columns; `values` has `width` numbers for each of them.
        unsafe {
            let place = self.out.add(row * self.out_stride + first);
            // The last panel may be narrower than its registers: it goes through a buffer.
            let mut buffer = MaybeUninit::<[[T; MAX_WIDTH]; ROWS]>::uninit();
            let (out, out_stride) = match columns == width {
                true => (place, self.out_stride),
                // Zeros only here: to write them takes a whole tile a twentieth of its time.
                false => {
                    (buffer.write([[T::ZERO; MAX_WIDTH]; ROWS]).as_mut_ptr().cast(), MAX_WIDTH)
                }
            };
            let adds = matches!(self.start, Start::Output);
            if adds && columns < width {
                for r in 0..ROWS {
                    let from = place.add(r * self.out_stride);
                    out.add(r * out_stride).copy_from_nonoverlapping(from, columns);
                }
            }
            let mut sums = [[V::splat(T::ZERO); REGISTERS]; ROWS];
            let begin = match self.start {
                Start::Zero => None,
                Start::Bias(bias) => Some((bias[first..first + width].as_ptr(), 0)),
                Start::Output => Some((out.cast_const(), out_stride)),
            };
            if let Some((begin, stride)) = begin {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (register, sum) in sums.iter_mut().enumerate() {
                        *sum = V::load(begin.add(r * stride + register * V::LANES));
                    }
                }
            }
            let mut left = left.starting_at(row);
            for values in values.chunks_exact(width) {
                let mut panel = [V::splat(T::ZERO); REGISTERS];
                for (register, panel) in panel.iter_mut().enumerate() {
                    *panel = V::load(values.as_ptr().add(register * V::LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let factor = V::splat(left.number(r));
                    for (sum, value) in sums.iter_mut().zip(panel) {
                        *sum = factor.mul_add(value, *sum);
                    }
                }
                left = left.next();
            }
            if self.rectifies {
                let zero = V::splat(T::ZERO);
                sums.as_flattened_mut().iter_mut().for_each(|sum| *sum = zero.or_larger(*sum));
            }
            for (r, sums) in sums.iter().enumerate() {
                for (register, sum) in sums.iter().enumerate() {
                    sum.store(out.add(r * out_stride + register * V::LANES));
                }
            }
            if columns < width {
                for r in 0..ROWS {
                    let from = out.add(r * out_stride);
                    place.add(r * self.out_stride).copy_from_nonoverlapping(from, columns);
                }
            }
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
