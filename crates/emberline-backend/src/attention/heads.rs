//! Room for `[batch_size, n_heads, length, width]` in which the heads of a token lie side by side, as the linear layer
//! after attention reads them.

use burn_flex::FlexTensor;

use crate::flex::{Real, tensor};

/// The room. Several threads fill it, each with heads of its own.
pub(super) struct Heads<T> {
    /// `[batch_size, n_heads, length, width]`.
    shape: [usize; 4],
    /// `[batch_size, length, n_heads, width]`, of no length until all of it is filled.
    values: Vec<T>,
    start: Start<T>,
}

/// The first number of the room.
struct Start<T>(*mut T);

// SAFETY: what is behind it is written through `Heads::write` only, and there by one thread a row.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T: Real> Heads<T> {
    pub(super) fn new(shape: [usize; 4]) -> Self {
        let mut values = Vec::with_capacity(shape.iter().product());
        let start = Start(values.as_mut_ptr());
        Self { shape, values, start }
    }

    /// Writes a row of a head; heads count through the batch.
    ///
    /// # Safety
    /// No other thread writes this head at the same time.
    ///
    /// # Panics
    /// If there is no such row, or it has another width.
    pub(super) unsafe fn write(&self, head: usize, row: usize, numbers: &[T]) {
        let [batch_size, n_heads, length, width] = self.shape;
        assert!(head < batch_size * n_heads && row < length, "row {row} of head {head}");
        assert_eq!(numbers.len(), width, "the width of a head");
        let place = (head / n_heads * length + row) * n_heads + head % n_heads;
        // SAFETY: the place is one of `batch_size · length · n_heads` rows of the room, and only this thread's.
        unsafe {
            self.start.0.add(place * width).copy_from_nonoverlapping(numbers.as_ptr(), width)
        };
    }

    /// Writes all rows of a head.
    ///
    /// # Safety
    /// As for [`write`](Self::write).
    ///
    /// # Panics
    /// As [`write`](Self::write).
    pub(super) unsafe fn write_head(&self, head: usize, numbers: &[T]) {
        for (row, numbers) in numbers.chunks_exact(self.shape[3].max(1)).enumerate() {
            // SAFETY: as for this function.
            unsafe { self.write(head, row, numbers) };
        }
    }

    /// The room as a tensor `[batch_size, n_heads, length, width]`.
    ///
    /// # Safety
    /// All of it was filled.
    pub(super) unsafe fn into_tensor(mut self) -> FlexTensor {
        let [batch_size, n_heads, length, width] = self.shape;
        // SAFETY: the capacity is this, and all of it was written.
        unsafe { self.values.set_len(batch_size * n_heads * length * width) };
        tensor(self.values, [batch_size, length, n_heads, width]).transpose(1, 2)
    }
}
