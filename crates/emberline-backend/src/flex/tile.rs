//! The innermost part of every product: tiles of a result, whose sums stay in registers while the inner index passes by.
//!
//! The right matrix comes in panels of as many columns as fit in registers. Every element of a result is a chain of
//! multiply-adds in the order of the inner index, whatever the number of rows in the call: results do not depend on how
//! rows and columns are shared out to threads.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::matrix::Matrix;
use super::simd::{Kernel, Level};
use super::vector::Vector;
use super::{Real, written};

/// The numbers of the widest tile.
const MAX_WIDTH: usize = 32;
/// The registers side by side in a tile.
const REGISTERS: usize = 2;

/// The rows of a tile: as many as leave its sums in registers, and hide the latency of a multiply-add. They are 16 of 32
/// registers, 12 of 16, and 8 of 16.
pub(super) const fn tile_rows(level: Level) -> usize {
    match level {
        Level::Avx512 => 8,
        Level::Avx2 => 6,
        Level::Baseline => 4,
    }
}

/// The columns of a panel.
pub(super) fn panel_width<T: Real>(level: Level) -> usize {
    let lanes = match level {
        Level::Avx512 => T::Avx512::LANES,
        Level::Avx2 => T::Avx2::LANES,
        Level::Baseline => T::Baseline::LANES,
    };
    REGISTERS * lanes
}

/// The right matrix, `[k, n]`.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a, T> {
    /// `[panels, k, panel_width]`, the last panel filled up with zeros.
    pub(super) values: &'a [T],
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) level: Level,
}

/// A part of a product: `rows` rows of the left matrix, a range of the inner index, a range of panels.
///
/// Whoever makes one sees to it that both pointers have all the rows with their strides, that what is added to
/// ([`Start::Output`]) is initialised, and that the level was detected on this machine.
pub(super) struct Tiles<'a, T> {
    pub(super) right: Panels<'a, T>,
    pub(super) rows: usize,
    /// Its columns are the part of the inner index.
    pub(super) left: Left<'a, T>,
    pub(super) inner: Range<usize>,
    pub(super) panels: Range<usize>,
    pub(super) out: *mut T,
    pub(super) out_stride: usize,
    pub(super) start: Start<'a, T>,
    /// Whether negative sums become zero.
    pub(super) rectifies: bool,
}

/// The left matrix: where it is, or what [`groups_of_rows`] has made of it.
#[derive(Clone, Copy)]
pub(super) enum Left<'a, T> {
    Strided(Matrix<'a, T>),
    Grouped { values: &'a [T], columns: usize },
}

impl<'a, T> Left<'a, T> {
    pub(super) fn of(matrix: Matrix<'a, T>, groups: Option<&'a [T]>) -> Self {
        match groups {
            Some(values) => Self::Grouped { values, columns: matrix.columns },
            None => Self::Strided(matrix),
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
pub(super) fn groups_of_rows<T: Real>(matrix: Matrix<T>, rows: usize) -> Vec<T> {
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
pub(super) enum Start<'a, T> {
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
            match self.right.level {
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
        let (k, width) = (self.right.k, REGISTERS * V::LANES);
        for panel in self.panels.clone() {
            let values = &self.right.values[panel * k * width..][..k * width];
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
        let columns = width.min(self.right.n - first);
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
