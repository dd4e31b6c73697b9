//! How long a pass takes.

use std::time::Instant;

use anyhow::Result;
use burn::tensor::{Device, Int, Tensor};
use emberline_backend::cross_entropy;

use super::learner::Learner;
use crate::result::median;
use crate::tasks::recall::{Recaller, first_symbols};

/// The median of some runs of a pass over these symbols, in milliseconds, after one that is not counted: of a learner
/// with gradients forward and back, of one without forward alone.
///
/// # Errors
/// If the device fails.
pub fn milliseconds(
    learner: &Learner,
    symbols: Tensor<2, Int>,
    pass: impl Fn(&Learner, Tensor<2, Int>),
    runs: usize,
    device: &Device,
) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..=runs {
        let start = Instant::now();
        pass(learner, symbols.clone());
        device.sync()?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(median(times.split_off(1)))
}

/// The scores.
pub fn forward(learner: &Learner, symbols: Tensor<2, Int>) {
    learner.scores(symbols);
}

/// The gradients of the loss. The update itself is left out: its time does not depend on the length.
pub fn forward_and_back(learner: &Learner, symbols: Tensor<2, Int>) {
    let answers = first_symbols(symbols.clone());
    cross_entropy(learner.scores(symbols), answers).backward();
}
