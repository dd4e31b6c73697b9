//! The native body on Flex.

use rayon::prelude::*;

use crate::flex::Real;
use crate::flex::simd::{self, Kernel};

/// The numbers that a kernel handles at once.
const LANES: usize = 16;
/// The rows of a block: a constant, so that sums do not depend on the number of threads.
const ROWS: usize = 64;

/// The loss, summed over the rows.
pub(super) fn forward<T: Real>(logits: &[T], targets: &[usize], classes: usize) -> T {
    let blocks: Vec<T> = logits
        .par_chunks(ROWS * classes)
        .zip(targets.par_chunks(ROWS))
        .map(|(logits, targets)| {
            let mut sum = T::ZERO;
            for (row, target) in logits.chunks_exact(classes).zip(targets) {
                sum += log_sum_exp(row) - row[*target];
            }
            sum
        })
        .collect();
    blocks.into_iter().fold(T::ZERO, |sum, block| sum + block)
}

/// The gradient with respect to the logits, given that of the loss.
pub(super) fn backward<T: Real>(
    logits: &[T],
    targets: &[usize],
    classes: usize,
    gradient: T,
) -> Vec<T> {
    let mut gradients = logits.to_vec();
    gradients.par_chunks_mut(ROWS * classes).zip(targets.par_chunks(ROWS)).for_each(
        |(rows, targets)| {
            for (row, target) in rows.chunks_exact_mut(classes).zip(targets) {
                let mut normaliser = Normaliser::default();
                simd::run(LogSumExp { row, normaliser: &mut normaliser });
                let Normaliser { largest, sum } = normaliser;
                simd::run(Probabilities { row, largest, factor: gradient / sum });
                row[*target] = row[*target] - gradient;
            }
        },
    );
    gradients
}

/// `log Σ exp(score)` of a row.
pub(crate) fn log_sum_exp<T: Real>(row: &[T]) -> T {
    let mut normaliser = Normaliser::default();
    simd::run(LogSumExp { row, normaliser: &mut normaliser });
    normaliser.sum.ln() + normaliser.largest
}

/// The largest score of a row, and the sum of `exp(score - largest)`.
#[derive(Clone, Copy, Default)]
struct Normaliser<T> {
    largest: T,
    sum: T,
}

struct LogSumExp<'a, T> {
    row: &'a [T],
    normaliser: &'a mut Normaliser<T>,
}

impl<T: Real> Kernel for LogSumExp<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let mut largest = [self.row[0]; LANES];
        let (chunks, rest) = self.row.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                // A NaN fails the comparison; it comes back in the sum below.
                largest[lane] =
                    if chunk[lane] > largest[lane] { chunk[lane] } else { largest[lane] };
            }
        }
        let mut most = largest[0];
        for value in largest.iter().chain(rest) {
            most = if *value > most { *value } else { most };
        }
        let mut sums = [T::ZERO; LANES];
        for chunk in chunks {
            for lane in 0..LANES {
                sums[lane] += (chunk[lane] - most).exp::<FMA>();
            }
        }
        let mut sum = T::ZERO;
        for lane in sums {
            sum += lane;
        }
        for value in rest {
            sum += (*value - most).exp::<FMA>();
        }
        *self.normaliser = Normaliser { largest: most, sum };
    }
}

/// `row = factor · exp(row - largest)`.
struct Probabilities<'a, T> {
    row: &'a mut [T],
    largest: T,
    factor: T,
}

impl<T: Real> Kernel for Probabilities<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        for value in self.row {
            *value = self.factor * (*value - self.largest).exp::<FMA>();
        }
    }
}
