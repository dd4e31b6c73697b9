//! A view of numbers as a matrix.

use std::mem::MaybeUninit;
use std::ops::Range;

/// A matrix in memory: element (i, j) is at `i · row_stride + j · column_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows one after the other.
    ///
    /// # Panics
    /// If `values` has another length than `rows · columns`.
    pub(crate) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix of {rows} rows and {columns} columns");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers, rows as columns.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If they are not there.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.end <= self.rows, "rows {range:?} of {}", self.rows);
        let start = range.start * self.row_stride;
        Self { values: &self.values[start..], rows: range.len(), ..self }
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// If they are not there.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        assert!(range.end <= self.columns, "columns {range:?} of {}", self.columns);
        let start = range.start * self.column_stride;
        Self { values: &self.values[start..], columns: range.len(), ..self }
    }

    /// Row i.
    ///
    /// # Panics
    /// If the columns are not side by side.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> &'a [T] {
        assert_eq!(self.column_stride, 1, "the columns of a row are side by side");
        &self.values[i * self.row_stride..][..self.columns]
    }

    /// Copies the columns from `first` on, at most `width`, to the rows of `[rows, width]`; zeros where there are fewer.
    pub(crate) fn copy_columns(&self, first: usize, width: usize, to: &mut [MaybeUninit<T>])
    where
        T: Copy + Default,
    {
        /// A block of rows stays in the nearest cache while its columns are written.
        const BLOCK: usize = 64;
        let columns = width.min(self.columns - first);
        if columns < width {
            to.fill(MaybeUninit::new(T::default()));
        }
        if self.column_stride == 1 {
            // A copy of a length that the compiler knows is no call.
            return match width {
                _ if columns < width => self.copy_first(first, columns, width, to),
                32 => self.copy_whole::<32>(first, to),
                16 => self.copy_whole::<16>(first, to),
                8 => self.copy_whole::<8>(first, to),
                _ => self.copy_first(first, columns, width, to),
            };
        }
        if self.row_stride == 1 && columns == width {
            // As many columns at once as the processor reads as streams.
            match width {
                4 => return self.transpose::<4>(first, 0, width, to),
                6 => return self.transpose::<6>(first, 0, width, to),
                8 => return self.transpose::<8>(first, 0, width, to),
                16 => return self.transpose::<16>(first, 0, width, to),
                32 => {
                    self.transpose::<16>(first, 0, width, to);
                    return self.transpose::<16>(first, 16, width, to);
                }
                _ => {}
            }
        }
        for (block, to) in to.chunks_mut(BLOCK * width).enumerate() {
            for j in 0..columns {
                for (i, to) in to.chunks_exact_mut(width).enumerate() {
                    to[j].write(*self.at(block * BLOCK + i, first + j));
                }
            }
        }
    }

    /// The columns from `first` on, as many as there are in a row of `to`.
    fn copy_whole<const WIDTH: usize>(&self, first: usize, to: &mut [MaybeUninit<T>])
    where
        T: Copy,
    {
        let (rows, _) = to.as_chunks_mut::<WIDTH>();
        for (i, to) in rows.iter_mut().enumerate() {
            let row = self.row(i)[first..].first_chunk::<WIDTH>().expect("columns that are there");
            to.write_copy_of_slice(row);
        }
    }

    /// Columns whose numbers lie side by side, to `PART` places of each row from `offset` on.
    fn transpose<const PART: usize>(
        &self,
        first: usize,
        offset: usize,
        width: usize,
        to: &mut [MaybeUninit<T>],
    ) where
        T: Copy,
    {
        let columns: [&[T]; PART] = std::array::from_fn(|j| {
            &self.values[(first + offset + j) * self.column_stride..][..self.rows]
        });
        for (i, to) in to.chunks_exact_mut(width).take(self.rows).enumerate() {
            let to = to[offset..].first_chunk_mut::<PART>().expect("places for these columns");
            // No `map`, which is a call for many columns.
            for (to, column) in to.iter_mut().zip(columns) {
                to.write(column[i]);
            }
        }
    }

    /// Some columns from `first` on, to the first places of rows of `width`.
    fn copy_first(&self, first: usize, columns: usize, width: usize, to: &mut [MaybeUninit<T>])
    where
        T: Copy,
    {
        for (i, to) in to.chunks_exact_mut(width).enumerate() {
            to[..columns].write_copy_of_slice(&self.row(i)[first..][..columns]);
        }
    }

    /// Element (i, j).
    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> &'a T {
        &self.values[i * self.row_stride + j * self.column_stride]
    }
}
