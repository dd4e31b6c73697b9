//! The result of a product whose columns are shared out to threads: each writes a part of every row.

use std::mem::MaybeUninit;

/// Rows of numbers that several threads write.
pub(crate) struct Columns<T> {
    values: *mut T,
    length: usize,
    columns: usize,
}

// SAFETY: no two threads write a number, or read what another writes, as `write` and the callers of `column` see to.
unsafe impl<T: Send> Sync for Columns<T> {}

impl<T> Columns<T> {
    /// Rows of so many numbers, one after the other. They must outlive it.
    pub(crate) fn new(values: &mut [MaybeUninit<T>], columns: usize) -> Self {
        Self { values: values.as_mut_ptr().cast(), length: values.len(), columns }
    }

    /// Where a column begins: that of the first row. Who writes through it, writes columns that no other thread does.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn column(&self, column: usize) -> *mut T {
        assert!(column < self.columns && column < self.length, "a column of a result");
        // SAFETY: it is there.
        unsafe { self.values.add(column) }
    }

    /// Writes numbers of a row from a column on.
    ///
    /// # Safety
    /// No other thread writes any of them.
    ///
    /// # Panics
    /// If the row is not there, or ends before.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, row: usize, column: usize, numbers: &[T])
    where
        T: Copy,
    {
        let place = row * self.columns + column;
        assert!(column + numbers.len() <= self.columns, "the columns of a result");
        assert!(place + numbers.len() <= self.length, "the rows of a result");
        // SAFETY: they are there, and nobody else's.
        unsafe { self.values.add(place).copy_from_nonoverlapping(numbers.as_ptr(), numbers.len()) };
    }
}
