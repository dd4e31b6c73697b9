//! The steps of the rows of a batch: which there are, and how they lie in memory.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::Inputs;
use crate::flex::Real;
use crate::recurrent::Direction;

/// The number of steps of each row.
pub(super) struct Steps {
    lengths: Vec<usize>,
    seq_length: usize,
}

impl Steps {
    pub(super) fn new<T>(inputs: &Inputs<T>) -> Self {
        let seq_length = inputs.seq_length;
        let lengths =
            inputs.lengths.map_or_else(|| vec![seq_length; inputs.batch_size], <[usize]>::to_vec);
        Self { lengths, seq_length }
    }

    /// The steps of each row.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The steps of all rows.
    pub(super) fn total(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn is_full(&self) -> bool {
        self.lengths.iter().all(|length| *length == self.seq_length)
    }

    /// The rows `[seq_length, width]` of a padded tensor, without padding.
    pub(super) fn packed<'a, T: Real>(&self, padded: &'a [T], width: usize) -> Cow<'a, [T]> {
        if self.is_full() {
            return Cow::Borrowed(padded);
        }
        let mut packed = Vec::with_capacity(self.total() * width);
        for (row, length) in padded.chunks_exact(self.seq_length * width).zip(&self.lengths) {
            packed.extend_from_slice(&row[..length * width]);
        }
        Cow::Owned(packed)
    }

    /// The inverse of [`packed`](Self::packed): zeros beyond a row's end.
    pub(super) fn padded<T: Real>(&self, packed: Vec<T>, width: usize) -> Vec<T> {
        if self.is_full() {
            return packed;
        }
        let mut padded = vec![T::ZERO; self.lengths.len() * self.seq_length * width];
        let rows = padded.chunks_exact_mut(self.seq_length * width);
        let mut rest = packed.as_slice();
        for (row, length) in rows.zip(&self.lengths) {
            let (values, after) = rest.split_at(length * width);
            row[..values.len()].copy_from_slice(values);
            rest = after;
        }
        padded
    }
}

/// Shares rows out to the threads, the longest first to each, so that all have about as much to do.
pub(super) fn deal<R>(mut rows: Vec<R>, length: impl Fn(&R) -> usize) -> Vec<Vec<R>> {
    let n_blocks = rows.len().min(rayon::current_num_threads());
    rows.sort_by_key(|row| Reverse(length(row)));
    let mut blocks: Vec<Vec<R>> = (0..n_blocks).map(|_| Vec::new()).collect();
    for (index, row) in rows.into_iter().enumerate() {
        blocks[index % n_blocks].push(row);
    }
    blocks
}

/// The values before a step of a row in the order of reading: those of a neighbour, or `start` at the row's edge.
pub(super) fn before<'a, T>(
    values: &'a [T],
    start: &'a [T],
    (at, length): (usize, usize),
    direction: Direction,
) -> &'a [T] {
    let neighbour = match direction {
        Direction::Forward => at.checked_sub(1),
        Direction::Reverse => Some(at + 1).filter(|next| *next < length),
    };
    neighbour.map_or(start, |at| &values[at * start.len()..][..start.len()])
}
