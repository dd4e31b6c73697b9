//! The learning-rate range test (Smith: "Cyclical learning rates for training neural networks", 2017): some updates at
//! rates that grow by a constant factor show from which rate on a model learns, and from which on no more.

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use emberline_core::Stream;

use crate::data::Data;
use crate::gradients::{count, differentiate};
use crate::objective::Objective;

/// The range of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateFinder {
    /// The rate of the first update.
    pub first: f64,
    /// The rate of the last update, unless the loss has burst before.
    pub last: f64,
    /// The number of updates.
    pub steps: u64,
    /// The seed of dropout.
    pub seed: u64,
}

/// What a test found, as the data of a plot over a logarithmic axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RateCurve {
    /// The rates, in increasing order.
    pub rates: Vec<f64>,
    /// The training loss before the update at each rate.
    pub losses: Vec<f64>,
    /// The same, each with the ones before it in a mean that forgets.
    pub smoothed: Vec<f64>,
}

/// What of its past the smoothed loss keeps from one update to the next.
const KEPT: f64 = 0.9;
/// How many times above its lowest the smoothed loss ends a test.
const BURST: f64 = 4.0;

impl Default for RateFinder {
    fn default() -> Self {
        Self { first: 1e-7, last: 1.0, steps: 100, seed: 0 }
    }
}

impl RateFinder {
    /// Runs the test on a model of its own, which is given up. It ends before its last update once the loss is four
    /// times its lowest, or no number any more.
    ///
    /// # Panics
    /// If the rates are not above 0 and in increasing order, or there are fewer than two updates.
    pub fn run<M, O, D>(
        &self,
        mut model: M,
        objective: &O,
        data: &D,
        mut optimizer: ModuleOptimizer,
    ) -> RateCurve
    where
        M: Module,
        O: Objective<M>,
        D: Data<Batch = O::Batch>,
    {
        let Self { first, last, steps, seed } = *self;
        assert!(0.0 < first && first < last && steps > 1, "a range of rates: {self:?}");
        let mut curve = RateCurve::default();
        let mut carries: Vec<Option<O::Carry>> = Vec::new();
        for step in 0..steps {
            let batches = data.update(step);
            let counts = count(objective, &batches);
            if data.starts_afresh(step) {
                carries.clear();
            }
            let dropout = Stream::new(seed).named("dropout").at(step);
            let (gradients, mut sums) =
                differentiate(&model, objective, &batches, &counts, &mut carries, dropout);
            sums.read();
            let loss = sums.loss(&sums.means(&counts));
            let rate = first * (last / first).powf(step as f64 / (steps - 1) as f64);
            if !curve.add(rate, loss) {
                break;
            }
            model = optimizer.step(rate, model, gradients);
        }
        curve
    }
}

impl RateCurve {
    /// Adds a point, and tells whether the loss has not burst.
    fn add(&mut self, rate: f64, loss: f64) -> bool {
        if !loss.is_finite() {
            return false;
        }
        let smoothed = match self.smoothed.last() {
            Some(before) => KEPT * before + (1.0 - KEPT) * loss,
            None => loss,
        };
        self.rates.push(rate);
        self.losses.push(loss);
        self.smoothed.push(smoothed);
        let lowest = self.smoothed.iter().copied().fold(f64::INFINITY, f64::min);
        smoothed <= BURST * lowest
    }

    /// The rate at which the smoothed loss fell most steeply over the logarithm of the rate, a rate to train with;
    /// nothing where it never fell.
    pub fn steepest(&self) -> Option<f64> {
        let falls = self.smoothed.windows(2).map(|pair| pair[0] - pair[1]);
        let (index, fall) = falls.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        (fall > 0.0).then(|| self.rates[index + 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: impl Fn(f64) -> f64) -> RateCurve {
        let mut curve = RateCurve::default();
        for step in 0..60 {
            let rate = 1e-6 * 10f64.powf(f64::from(step) / 10.0);
            if !curve.add(rate, losses(rate)) {
                break;
            }
        }
        curve
    }

    #[test]
    fn the_steepest_fall_is_where_the_loss_drops() {
        // A step down at 1e-3, and a burst at 1e-1.
        let curve = curve(|rate| match rate {
            rate if rate < 1e-3 => 4.0,
            rate if rate < 1e-1 => 1.0,
            _ => 1e6,
        });
        let steepest = curve.steepest().unwrap();
        assert!((steepest / 1e-3 - 1.0).abs() < 1e-6, "{steepest}");
        assert!(curve.rates.len() < 60, "a burst ends the test");
        assert_eq!(curve.rates.len(), curve.smoothed.len());
    }

    #[test]
    fn a_loss_that_never_falls_has_no_steepest_fall_and_nan_ends_the_test() {
        assert_eq!(curve(|_| 1.0).steepest(), None);
        assert_eq!(curve(|_| f64::NAN), RateCurve::default());
        assert_eq!(RateCurve::default().steepest(), None);
    }
}
