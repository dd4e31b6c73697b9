//! The gradients of an update, which may be that of several batches.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use emberline_core::{Carry, Count, Stream};

use crate::objective::{Objective, add_counts};
use crate::sums::Sums;

/// How many items each term of the loss sums over in all batches of an update.
pub(crate) fn count<M, O: Objective<M>>(objective: &O, batches: &[O::Batch]) -> Vec<Count> {
    let mut counts = Vec::new();
    for batch in batches {
        add_counts(&mut counts, objective.counts(batch));
    }
    counts
}

/// The gradients of the loss of an update, and the sums of its terms. Each batch goes on from the carry at its place,
/// and leaves its own there.
pub(crate) fn differentiate<M: Module, O: Objective<M>>(
    model: &M,
    objective: &O,
    batches: &[O::Batch],
    counts: &[Count],
    carries: &mut Vec<Option<O::Carry>>,
    dropout: Stream,
) -> (GradientsParams, Sums) {
    carries.resize_with(batches.len(), || None);
    let (mut accumulator, mut sums) = (GradientsAccumulator::new(), Sums::default());
    for (index, (batch, carry)) in batches.iter().zip(carries).enumerate() {
        let dropout = dropout.at(index as u64);
        let (loss, next) = objective.loss(model, batch, carry.take(), Some(dropout));
        *carry = Some(next.detach());
        sums.add(&loss);
        let gradients = loss.total(counts).backward();
        accumulator.accumulate(model, GradientsParams::from_grads(gradients, model));
    }
    (accumulator.grads(), sums)
}
