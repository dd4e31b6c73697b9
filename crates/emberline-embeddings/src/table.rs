//! Rows of numbers, as kernels want them.

use rayon::prelude::*;

use crate::simd::{LANES, Lanes};

/// A table of rows of one width.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    lanes: Vec<Lanes>,
    width: usize,
}

impl Table {
    /// Zeros.
    pub(crate) fn zeros(n_rows: usize, width: usize) -> Self {
        Self { lanes: vec![Lanes::ZERO; n_rows * width.div_ceil(LANES)], width }
    }

    /// The rows of some numbers.
    pub(crate) fn of(numbers: &[f32], width: usize) -> Self {
        let mut table = Self::zeros(numbers.len() / width, width);
        for (row, numbers) in numbers.chunks_exact(width).enumerate() {
            table.row_mut(row).copy_from_slice(numbers);
        }
        table
    }

    /// How many numbers a row has.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The lanes of a row.
    pub(crate) fn stride(&self) -> usize {
        self.width.div_ceil(LANES)
    }

    /// The rows there are.
    pub(crate) fn n_rows(&self) -> usize {
        self.lanes.len() / self.stride()
    }

    /// The numbers of a row.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &numbers(self.lanes_of(row))[..self.width]
    }

    /// The numbers of a row.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let (stride, width) = (self.stride(), self.width);
        &mut numbers_mut(&mut self.lanes[row * stride..][..stride])[..width]
    }

    /// Every row, for several threads.
    pub(crate) fn par_rows_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [f32]> {
        let (stride, width) = (self.stride(), self.width);
        self.lanes.par_chunks_exact_mut(stride).map(move |row| &mut numbers_mut(row)[..width])
    }

    /// A row with the zeros behind it.
    #[inline(always)]
    pub(crate) fn lanes_of(&self, row: usize) -> &[Lanes] {
        let stride = self.stride();
        &self.lanes[row * stride..][..stride]
    }

    /// The rows, to be changed by several threads.
    pub(crate) fn shared(&mut self) -> SharedRows<'_> {
        let stride = self.stride();
        SharedRows { start: self.lanes.as_mut_ptr(), length: self.lanes.len(), stride, _rows: self }
    }
}

/// Lanes as the numbers that they are.
pub(crate) fn numbers(lanes: &[Lanes]) -> &[f32] {
    // SAFETY: `Lanes` is an array of numbers and nothing else.
    unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), lanes.len() * LANES) }
}

fn numbers_mut(lanes: &mut [Lanes]) -> &mut [f32] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), lanes.len() * LANES) }
}

/// Rows of a table that several threads change, each its own.
pub(crate) struct SharedRows<'a> {
    start: *mut Lanes,
    length: usize,
    stride: usize,
    _rows: &'a mut Table,
}

// SAFETY: what is behind it is reached through `row` only, by one thread a row.
unsafe impl Sync for SharedRows<'_> {}

impl SharedRows<'_> {
    /// The lanes of a row.
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// A row.
    ///
    /// # Safety
    /// Nobody else has this row at the same time.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn row(&self, row: usize) -> &mut [Lanes] {
        let from = row * self.stride;
        assert!(from + self.stride <= self.length, "row {row}");
        // SAFETY: the lanes are there, and only the caller has them.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), self.stride) }
    }
}
