//! What a model is trained on.

/// Batches as a pure function of the step, so that a resumed run needs no position in a file.
///
/// The [trainer](crate::Trainer) is generic over it.
pub trait Data {
    /// What one forward pass reads.
    type Batch;

    /// The micro-batches of one update, at least one, by the number of updates before it. Their
    /// gradients are added up.
    ///
    /// The micro-batch at an index goes on from what the one at the same index of the update before
    /// left behind.
    fn update(&self, step: u64) -> Vec<Self::Batch>;

    /// Whether this update starts its texts anew: what was carried is dropped before it.
    fn starts_afresh(&self, step: u64) -> bool;

    /// The validation batches in order, at least one, each going on from the one before.
    fn validation(&self) -> impl Iterator<Item = Self::Batch>;

    /// The number of updates in which every training batch is seen once; at least 1.
    fn updates_per_epoch(&self) -> u64;
}
