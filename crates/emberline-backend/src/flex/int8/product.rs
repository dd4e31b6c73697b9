//! Tiles of sums of products of whole numbers.

use std::ops::Range;

use super::Int8Matrix;
use crate::flex::columns::Columns;
use crate::flex::lanes::LANES;
use crate::flex::simd::{Kernel, Level};

/// Rows as levels, `[m, stride]`, and the scale of each.
#[derive(Clone, Copy)]
pub(super) struct Rounded<'a> {
    pub(super) levels: &'a [i16],
    pub(super) scales: &'a [f32],
    pub(super) stride: usize,
}

/// Some columns of a product.
pub(super) struct Products<'a> {
    pub(super) left: Rounded<'a>,
    pub(super) right: &'a Int8Matrix,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) rectifies: bool,
    pub(super) columns: Range<usize>,
    pub(super) out: &'a Columns<f32>,
}

impl Kernel for Products<'_> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        match Level::detect() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx2 => self.run::<avx2::Sum>(),
            _ => self.run::<PortableSum>(),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn run<S: Sum>(&self) {
        let m = self.left.scales.len();
        let mut row = 0;
        while m - row >= 4 {
            self.rows::<S, 4, 2>(row);
            row += 4;
        }
        while m - row >= 2 {
            self.rows::<S, 2, 4>(row);
            row += 2;
        }
        if row < m {
            self.rows::<S, 1, 4>(row);
        }
    }

    /// All columns of `ROWS` rows, `COLUMNS` at once: as many sums as hide the latency of an addition.
    #[inline(always)]
    fn rows<S: Sum, const ROWS: usize, const COLUMNS: usize>(&self, row: usize) {
        let mut column = self.columns.start;
        while self.columns.end - column >= COLUMNS {
            self.tile::<S, ROWS, COLUMNS>(row, column);
            column += COLUMNS;
        }
        for column in column..self.columns.end {
            self.tile::<S, ROWS, 1>(row, column);
        }
    }

    #[inline(always)]
    fn tile<S: Sum, const ROWS: usize, const COLUMNS: usize>(&self, row: usize, column: usize) {
        let Self { left, right, .. } = self;
        let stride = left.stride;
        let rows = &left.levels[row * stride..][..ROWS * stride];
        let columns = &right.levels[column * stride..][..COLUMNS * stride];
        let mut sums = [[S::zero(); COLUMNS]; ROWS];
        // Loops over arrays, of which none is made by a closure: those are not compiled for the instruction set. And
        // pointers, for more time would go into checks of slices than into products.
        for place in (0..stride).step_by(LANES) {
            let mut weights = [S::no_lanes(); COLUMNS];
            for (c, weights) in weights.iter_mut().enumerate() {
                // SAFETY: the stride is a multiple of the lanes, and `columns` has so many columns of it.
                *weights = unsafe { S::weights(columns.as_ptr().add(c * stride + place)) };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above, for rows.
                let numbers = unsafe { S::numbers(rows.as_ptr().add(r * stride + place)) };
                for (sum, weights) in sums.iter_mut().zip(&weights) {
                    *sum = sum.add_products(numbers, *weights);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                let column = column + c;
                let scale = left.scales[row + r] * right.scales[column];
                let mut number = sum.total() as f32 * scale;
                if let Some(bias) = self.bias {
                    number += bias[column];
                }
                if self.rectifies && number < 0.0 {
                    number = 0.0;
                }
                // SAFETY: these columns are only here.
                unsafe { self.out.write(row + r, column, &[number]) };
            }
        }
    }
}

/// Sums of products of [`LANES`] numbers at a time, in several parts.
///
/// Generic over it: the tile of a product. Implementors: `avx2::Sum` and [`PortableSum`], which give the same total.
trait Sum: Copy {
    type Lanes: Copy;

    fn zero() -> Self;

    fn no_lanes() -> Self::Lanes;

    /// The numbers of a row.
    ///
    /// # Safety
    /// They are there.
    unsafe fn numbers(from: *const i16) -> Self::Lanes;

    /// The numbers of a column, widened.
    ///
    /// # Safety
    /// They are there.
    unsafe fn weights(from: *const i8) -> Self::Lanes;

    fn add_products(self, a: Self::Lanes, b: Self::Lanes) -> Self;

    fn total(self) -> i32;
}

#[derive(Clone, Copy)]
struct PortableSum(i32);

impl Sum for PortableSum {
    type Lanes = [i16; LANES];

    #[inline(always)]
    fn zero() -> Self {
        Self(0)
    }

    #[inline(always)]
    fn no_lanes() -> [i16; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn numbers(from: *const i16) -> [i16; LANES] {
        // SAFETY: as the trait says; an array may be read from where its numbers are.
        unsafe { from.cast::<[i16; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [i16; LANES] {
        // SAFETY: as the trait says; an array may be read from where its numbers are.
        unsafe { from.cast::<[i8; LANES]>().read() }.map(i16::from)
    }

    #[inline(always)]
    fn add_products(self, a: [i16; LANES], b: [i16; LANES]) -> Self {
        let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(b));
        Self(self.0 + products.sum::<i32>())
    }

    #[inline(always)]
    fn total(self) -> i32 {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_shuffle_epi32,
        _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_extracti128_si256,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_setzero_si256,
    };

    /// Eight sums. To be used only where AVX2 is.
    #[derive(Clone, Copy)]
    pub(super) struct Sum(__m256i);

    impl super::Sum for Sum {
        type Lanes = __m256i;

        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: AVX2 is there.
            Self(unsafe { _mm256_setzero_si256() })
        }

        #[inline(always)]
        fn no_lanes() -> __m256i {
            // SAFETY: AVX2 is there.
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn numbers(from: *const i16) -> __m256i {
            // SAFETY: AVX2 is there, and the numbers.
            unsafe { _mm256_loadu_si256(from.cast::<__m256i>()) }
        }

        #[inline(always)]
        unsafe fn weights(from: *const i8) -> __m256i {
            // SAFETY: AVX2 is there, and the numbers.
            unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast::<__m128i>())) }
        }

        #[inline(always)]
        fn add_products(self, a: __m256i, b: __m256i) -> Self {
            // SAFETY: AVX2 is there.
            Self(unsafe { _mm256_add_epi32(self.0, _mm256_madd_epi16(a, b)) })
        }

        #[inline(always)]
        fn total(self) -> i32 {
            // SAFETY: AVX2 is there.
            unsafe {
                let (low, high) =
                    (_mm256_castsi256_si128(self.0), _mm256_extracti128_si256::<1>(self.0));
                let four = _mm_add_epi32(low, high);
                let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
                let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
                _mm_cvtsi128_si32(one)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_every_instruction_set_are_the_same() {
        #[cfg(target_arch = "x86_64")]
        if Level::detect() != Level::Baseline {
            let row: Vec<i16> = (0..LANES).map(|i| (i * 4099) as i16).collect();
            let column: Vec<i8> = (0..LANES).map(|i| (i * 83) as i8).collect();
            fn total<S: Sum>(row: &[i16], column: &[i8]) -> i32 {
                // SAFETY: both have a whole group.
                let (numbers, weights) =
                    unsafe { (S::numbers(row.as_ptr()), S::weights(column.as_ptr())) };
                S::zero().add_products(numbers, weights).total()
            }
            assert_eq!(total::<avx2::Sum>(&row, &column), total::<PortableSum>(&row, &column));
        }
    }
}
