//! Models that end in the head of a task.

use burn::tensor::Tensor;

use crate::batch::TokenBatch;
use crate::model::TokenEncoder;

/// A model that gives scores to the rows of a batch, to groups of them, or to their tokens.
///
/// Generic over it: the objectives of fine-tuning, and prediction. A model says by its
/// [`Item`](Self::Item) which of them it fits, so that training a tagger on labels of whole texts does not
/// compile. Three items are enough for the known heads: a classifier of texts and of tokens scores classes,
/// a choice between several texts is one score each, in a group of them, the start and the end of an answer are two
/// scores a token.
///
/// The law is [`laws::padding_is_hidden`](crate::laws::padding_is_hidden).
pub trait TaskModel {
    /// What is scored: [`Row`], [`Group`] or [`Token`].
    type Item;

    /// The scores of every item, before the softmax.
    ///
    /// # Shapes
    /// - tokens of `batch`: `[batch_size, seq_length]`
    /// - output: `[batch_size, n_classes]` of rows; `[n_groups, n_classes]` of groups; `[n_tokens, n_classes]` of
    ///   tokens, as [`TokenBatch::valid`] orders them
    fn logits(&self, batch: &TokenBatch) -> Tensor<2>;

    /// The number of scores of an item.
    fn n_classes(&self) -> usize;
}

/// A model with the head of a task whose scores come from vectors of tokens, so that one pass through its layers serves
/// its head and another one.
///
/// Generic over it: the classification of GPT-1, which goes on predicting tokens while it learns a task. Implementors:
/// `Gpt1Task`, and the test double of that objective.
pub trait EncoderTaskModel: TaskModel + TokenEncoder {
    /// The scores of every item, as [`logits`](TaskModel::logits) gives them, from what the encoder made of the batch.
    ///
    /// # Shapes
    /// - tokens of `batch`: `[batch_size, seq_length]`
    /// - hidden: `[batch_size, seq_length, d_model]`
    /// - output: that of [`logits`](TaskModel::logits)
    fn logits_of(&self, batch: &TokenBatch, hidden: Tensor<3>) -> Tensor<2>;
}

/// One item a row.
#[derive(Clone, Copy, Debug)]
pub enum Row {}

/// One item a group of rows that follow each other: a row alone, a pair in both orders, a question with each answer.
#[derive(Clone, Copy, Debug)]
pub enum Group {}

/// One item a valid token, row after row.
#[derive(Clone, Copy, Debug)]
pub enum Token {}
