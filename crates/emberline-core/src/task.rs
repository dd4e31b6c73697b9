//! Models that end in the head of a task.

use burn::tensor::Tensor;

use crate::batch::TokenBatch;

/// A model that gives scores to the rows of a batch, or to their tokens.
///
/// Generic over it: the objectives of fine-tuning, and prediction. A model says by its
/// [`Item`](Self::Item) which of them it fits, so that training a tagger on labels of whole texts does not
/// compile. Two items are enough for the known heads: a classifier of texts and of tokens scores classes,
/// a choice between several texts is one score a row, the start and the end of an answer are two scores a
/// token.
///
/// The law is [`laws::padding_is_hidden`](crate::laws::padding_is_hidden).
pub trait TaskModel {
    /// What is scored: [`Row`] or [`Token`].
    type Item;

    /// The scores of every item, before the softmax.
    ///
    /// # Shapes
    /// - tokens of `batch`: `[batch_size, seq_length]`
    /// - output: `[batch_size, n_classes]` of rows; `[n_tokens, n_classes]` of tokens, as
    ///   [`TokenBatch::valid`] orders them
    fn logits(&self, batch: &TokenBatch) -> Tensor<2>;

    /// The number of scores of an item.
    fn n_classes(&self) -> usize;
}

/// One item a row.
#[derive(Clone, Copy, Debug)]
pub enum Row {}

/// One item a valid token, row after row.
#[derive(Clone, Copy, Debug)]
pub enum Token {}
