//! The kernels over a tile of scores.

use crate::flex::Real;
use crate::flex::lanes::{LANES, across, largest_of, load, store};
use crate::flex::simd::Kernel;

/// What the classes of a tile add to the statistics of a row.
#[derive(Clone, Copy, Default)]
pub(super) struct Partial<T> {
    /// The largest score.
    pub(super) largest: T,
    /// The sum of `exp(score - largest)`.
    pub(super) sum: T,
    /// The sum of the scores of classes that share the floor; zero where there is none.
    pub(super) total: T,
    /// The score of the target, if it is in the tile.
    pub(super) of_target: T,
}

/// Adds the bias to a tile of scores, and looks at each row.
pub(super) struct Statistics<'a, T> {
    /// `[rows, width]`, of which the first classes count.
    pub(super) scores: &'a mut [T],
    pub(super) width: usize,
    pub(super) n_classes: usize,
    pub(super) bias: Option<&'a [T]>,
    pub(super) sums_scores: bool,
    /// The place of padding, which shares no floor.
    pub(super) padding: Option<usize>,
    pub(super) partials: &'a mut [Partial<T>],
}

impl<T: Real> Kernel for Statistics<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let rows = self.scores.chunks_exact_mut(self.width);
        for (scores, partial) in rows.zip(self.partials) {
            let scores = &mut scores[..self.n_classes];
            if let Some(bias) = self.bias {
                scores.iter_mut().zip(bias).for_each(|(score, bias)| *score += *bias);
            }
            partial.largest = largest(scores);
            partial.sum = sum_of_exponentials::<T, FMA>(scores, partial.largest);
            if self.sums_scores {
                // What is left out is not subtracted: it may be infinite.
                partial.total = match self.padding {
                    Some(place) => sum(&scores[..place]) + sum(&scores[place + 1..]),
                    None => sum(scores),
                };
            }
        }
    }
}

/// The largest of some numbers, and no less than what is far below every score: differences from it are numbers even
/// where all scores are infinitely low.
#[inline(always)]
fn largest<T: Real>(scores: &[T]) -> T {
    let (largest, lowest) = (largest_of(scores), T::from_f64(-1e30));
    // A NaN fails the comparison; it comes back in the sum.
    if largest > lowest { largest } else { lowest }
}

#[inline(always)]
fn sum_of_exponentials<T: Real, const FMA: bool>(scores: &[T], largest: T) -> T {
    let mut sums = [T::ZERO; LANES];
    for first in (0..scores.len()).step_by(LANES) {
        let lanes = LANES.min(scores.len() - first);
        let mut group = load(&scores[first..], lanes);
        for score in &mut group {
            *score = (*score - largest).exp::<FMA>();
        }
        for score in &mut group[lanes..] {
            *score = T::ZERO;
        }
        for lane in 0..LANES {
            sums[lane] += group[lane];
        }
    }
    across(sums)
}

#[inline(always)]
fn sum<T: Real>(scores: &[T]) -> T {
    let mut sums = [T::ZERO; LANES];
    for first in (0..scores.len()).step_by(LANES) {
        let group = load(&scores[first..], LANES.min(scores.len() - first));
        for lane in 0..LANES {
            sums[lane] += group[lane];
        }
    }
    across(sums)
}

/// `scores = inverse · exp(scores - largest) - floor`.
pub(super) struct Differential<'a, T> {
    pub(super) scores: &'a mut [T],
    pub(super) largest: T,
    pub(super) inverse: T,
    pub(super) floor: T,
}

impl<T: Real> Kernel for Differential<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        for first in (0..self.scores.len()).step_by(LANES) {
            let lanes = LANES.min(self.scores.len() - first);
            let mut group = load(&self.scores[first..], lanes);
            for score in &mut group {
                *score = self.inverse * (*score - self.largest).exp::<FMA>() - self.floor;
            }
            store(&mut self.scores[first..], &group, lanes);
        }
    }
}
