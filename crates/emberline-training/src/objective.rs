//! What a model is trained for.

use emberline_core::{Carry, Count, Loss, Stream};

/// What training makes small.
///
/// The [trainer](crate::Trainer) is generic over it; next token and masked token are two of its
/// implementors.
///
/// The counts come first, from the batch alone: the loop knows those of the whole update before it
/// differentiates any part of it, and divides each term of the loss by its own. So gradients that
/// are accumulated over the parts of a batch equal those of the batch.
pub trait Objective<M> {
    /// What one forward pass reads.
    type Batch;

    /// What goes on from one batch to the next; `()` where there is nothing.
    type Carry: Carry;

    /// How many items each term of the loss sums over in this batch.
    fn counts(&self, batch: &Self::Batch) -> Vec<Count>;

    /// The loss as sums, and what the next batch goes on from.
    ///
    /// `carry` is what this function returned for the batch before, detached, or `None` at the
    /// start of a text. `dropout` is the stream to draw from in training, and `None` in validation.
    fn loss(
        &self,
        model: &M,
        batch: &Self::Batch,
        carry: Option<Self::Carry>,
        dropout: Option<Stream>,
    ) -> (Loss, Self::Carry);

    /// How many tokens the model reads in this batch, for the metric `tokens_seen`.
    ///
    /// By default the count of the first term, which is right where every token is predicted.
    fn tokens(&self, batch: &Self::Batch) -> u64 {
        self.counts(batch).first().map_or(0, |count| count.count as u64)
    }
}

/// Adds the counts of another batch to those of an update, term by term.
pub(crate) fn add_counts(total: &mut Vec<Count>, batch: Vec<Count>) {
    for count in batch {
        match total.iter_mut().find(|known| known.term == count.term) {
            Some(known) => known.count += count.count,
            None => total.push(count),
        }
    }
}
