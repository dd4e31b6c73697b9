//! Random numbers of a stream one after the other, for what cannot say beforehand how many it needs.

use std::ops::RangeInclusive;

use emberline_core::Stream;

pub struct Draws {
    stream: Stream,
    next: u64,
}

impl Draws {
    pub fn new(stream: Stream) -> Self {
        Self { stream, next: 0 }
    }

    fn index(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// A number in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        let index = self.index();
        self.stream.uniform(index)
    }

    /// A whole number of the range.
    pub fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        let (low, high) = range.into_inner();
        let index = self.index();
        low + self.stream.below(index, high - low + 1)
    }
}
