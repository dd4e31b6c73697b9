//! The terms of a loss added up over batches.

use burn::tensor::Tensor;
use emberline_core::{Count, Loss};

/// The sums of the terms of a loss.
#[derive(Default)]
pub(crate) struct Sums {
    terms: Vec<TermSum>,
}

struct TermSum {
    name: &'static str,
    weight: f64,
    /// What has been read from the device.
    read: f64,
    /// What has not.
    unread: Option<Tensor<1>>,
}

impl Sums {
    /// Adds the loss of a batch, without waiting for its value.
    pub fn add(&mut self, loss: &Loss) {
        for term in &loss.terms {
            let sum = term.sum.clone().inner();
            match self.terms.iter_mut().find(|known| known.name == term.name) {
                Some(known) => {
                    known.unread = Some(match known.unread.take() {
                        Some(unread) => unread + sum,
                        None => sum,
                    });
                }
                None => self.terms.push(TermSum {
                    name: term.name,
                    weight: term.weight,
                    read: 0.0,
                    unread: Some(sum),
                }),
            }
        }
    }

    /// Reads what was added.
    pub fn read(&mut self) {
        for term in &mut self.terms {
            if let Some(unread) = term.unread.take() {
                term.read += unread.into_scalar::<f64>();
            }
        }
    }

    /// The mean of each term over the items that were read.
    pub fn means(&self, counts: &[Count]) -> Vec<(&'static str, f64)> {
        let mean = |term: &TermSum| {
            let count = counts.iter().find(|count| count.term == term.name);
            (term.name, term.read / count.map_or(1.0, Count::divisor))
        };
        self.terms.iter().map(mean).collect()
    }

    /// The weighted sum of means of the terms.
    pub fn loss(&self, means: &[(&'static str, f64)]) -> f64 {
        self.terms.iter().zip(means).map(|(term, (_, mean))| term.weight * mean).sum()
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    #[test]
    fn the_means_add_up_to_the_total_of_the_loss() {
        let device = test_device();
        for (sum, count) in [(2.0, 0.25), (6.0, 3.0), (0.0, 0.0)] {
            let counts = [Count { term: "next_token", count }];
            let loss = Loss::single("next_token", Tensor::from_data([sum], &device));
            let mut sums = Sums::default();
            sums.add(&loss);
            sums.read();
            let total = loss.total(&counts).into_scalar::<f64>();
            assert_eq!(sums.loss(&sums.means(&counts)), total);
        }
    }
}
