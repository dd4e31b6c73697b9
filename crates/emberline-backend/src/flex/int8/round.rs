//! Numbers to the nearest whole multiples of a scale.

use super::{GROUP, WEIGHT_LIMIT};
use crate::flex::lanes::LANES;
use crate::flex::matrix::Matrix;
use crate::flex::simd::Kernel;

/// A number plus this has the nearest whole number in its low bits, the even one of two.
const ROUNDER: f32 = 12_582_912.0;

/// The factors to levels and back for numbers up to `largest`. Numbers so small that their factor is infinite are zeros.
#[inline(always)]
fn factors(largest: f32, limit: f32) -> (f32, f32) {
    let factor = limit / largest;
    if factor == f32::INFINITY { (0.0, 0.0) } else { (factor, largest / limit) }
}

/// The larger absolute value; what is no number, or infinite, is added to `spoilt`, and makes it none.
#[inline(always)]
fn larger(largest: &mut f32, spoilt: &mut f32, number: f32) {
    let size = number.abs();
    *largest = if size > *largest { size } else { *largest };
    *spoilt += number * 0.0;
}

/// A level, from the bits of a number to which [`ROUNDER`] was added.
///
/// Generic over it: [`RoundRow`]. Implementors: `i8` of weights, `i16` of what they are multiplied with.
pub(super) trait Bits {
    fn of(number: f32) -> Self;
}

impl Bits for i8 {
    #[inline(always)]
    fn of(number: f32) -> Self {
        number.to_bits() as Self
    }
}

impl Bits for i16 {
    #[inline(always)]
    fn of(number: f32) -> Self {
        number.to_bits() as Self
    }
}

/// Numbers of one scale.
pub(super) struct RoundRow<'a, L> {
    pub(super) row: &'a [f32],
    pub(super) levels: &'a mut [L],
    pub(super) scale: &'a mut f32,
    pub(super) limit: f32,
}

impl<L: Bits> Kernel for RoundRow<'_, L> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let (mut largest, mut spoilt) = ([0.0; LANES], [0.0; LANES]);
        let (groups, rest) = self.row.as_chunks::<LANES>();
        for group in groups {
            for lane in 0..LANES {
                larger(&mut largest[lane], &mut spoilt[lane], group[lane]);
            }
        }
        for (lane, number) in rest.iter().enumerate() {
            larger(&mut largest[lane], &mut spoilt[lane], *number);
        }
        let largest = std::hint::black_box(largest).into_iter().fold(0.0, f32::max);
        let spoilt: f32 = std::hint::black_box(spoilt).into_iter().sum();
        let (factor, scale) = factors(largest, self.limit);
        *self.scale = scale + spoilt;
        for (level, number) in self.levels.iter_mut().zip(self.row) {
            *level = L::of(number * factor + ROUNDER);
        }
    }
}

/// Columns that lie side by side, to columns one after the other.
pub(super) struct RoundColumns<'a> {
    pub(super) matrix: Matrix<'a, f32>,
    /// `[columns, stride]`.
    pub(super) levels: &'a mut [i8],
    pub(super) stride: usize,
    pub(super) scales: &'a mut [f32],
}

impl Kernel for RoundColumns<'_> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let Self { matrix, levels, stride, scales } = self;
        let n = scales.len();
        let (mut largest, mut spoilt, mut factor) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        for row in 0..matrix.rows {
            let sizes = largest.iter_mut().zip(&mut spoilt);
            for ((largest, spoilt), number) in sizes.zip(matrix.row(row)) {
                larger(largest, spoilt, *number);
            }
        }
        for (column, scale) in scales.iter_mut().enumerate() {
            (factor[column], *scale) = factors(largest[column], WEIGHT_LIMIT as f32);
            *scale += spoilt[column];
        }
        // Rows become columns: so many at a time that each line of the cache is written whole.
        let mut block = vec![0i8; GROUP * n];
        for first in (0..matrix.rows).step_by(GROUP) {
            let rows = GROUP.min(matrix.rows - first);
            for (row, block) in block.chunks_exact_mut(n).take(rows).enumerate() {
                let numbers = matrix.row(first + row).iter().zip(&factor);
                for (level, (number, factor)) in block.iter_mut().zip(numbers) {
                    *level = i8::of(number * factor + ROUNDER);
                }
            }
            for (column, levels) in levels.chunks_exact_mut(stride).enumerate() {
                let levels = &mut levels[first..first + rows];
                for (row, level) in levels.iter_mut().enumerate() {
                    *level = block[row * n + column];
                }
            }
        }
    }
}
