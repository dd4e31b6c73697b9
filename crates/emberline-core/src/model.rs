//! The traits that training, generation and evaluation are written against. None of those crates
//! names a model: a new one that implements these traits is trained and sampled without a change.

use burn::tensor::{Device, Tensor, TensorData};

use crate::batch::TokenBatch;

/// Tokens in, a vector per token out.
///
/// Generic over it: the heads of a language model, and any classifier on an encoder.
pub trait TokenEncoder {
    /// Encodes a batch.
    ///
    /// # Shapes
    /// - tokens of `batch`: `[batch_size, seq_length]`
    /// - output: `[batch_size, seq_length, d_model]`
    fn encode(&self, batch: &TokenBatch) -> Tensor<3>;

    /// The width of the output.
    fn d_model(&self) -> usize;
}

/// An encoder with a separate head over the vocabulary.
///
/// The head is apart because it is the largest product of many models and seldom needed everywhere:
/// generation scores only the last position, masked language models only the masked ones.
pub trait LanguageModel: TokenEncoder {
    /// Scores over the vocabulary, before the softmax.
    ///
    /// # Shapes
    /// - hidden: `[n, d_model]`
    /// - output: `[n, vocab_size]`
    fn head(&self, hidden: Tensor<2>) -> Tensor<2>;

    /// The number of rows of the head.
    fn vocab_size(&self) -> usize;
}

/// A model whose output at a position does not depend on any later token.
///
/// The law is [`laws::causal`](crate::laws::causal). Generating from a model without it does not compile.
pub trait Causal: LanguageModel {}

/// A causal model that goes on from where it stopped, given what it keeps of the past: the state of a
/// recurrent layer, keys and values, the memory of a decoder.
///
/// Generation advances a cache by one token at a time; truncated back-propagation by one window.
/// The law is [`laws::incremental`](crate::laws::incremental).
pub trait Incremental: Causal {
    /// What the model keeps of the tokens before.
    type Cache: Cache;

    /// Encodes the tokens that follow those that made `cache`; `None` is the start of a text.
    ///
    /// # Shapes
    /// - tokens of `batch`: `[batch_size, seq_length]`, of the new tokens only
    /// - output: `[batch_size, seq_length, d_model]`
    fn encode_from(
        &self,
        batch: &TokenBatch,
        cache: Option<Self::Cache>,
    ) -> (Tensor<3>, Self::Cache);
}

/// What training carries from one batch to the next, and a checkpoint keeps. `()` where there is nothing.
pub trait Carry: Clone + Sized {
    /// The same values without their history: gradients stop here.
    fn detach(self) -> Self;

    /// The values, in a fixed order.
    fn to_data(&self) -> Vec<TensorData>;

    /// The carry of which `data` are the values; `None` if their number or shapes cannot be.
    fn from_data(data: Vec<TensorData>, device: &Device) -> Option<Self>;
}

impl Carry for () {
    fn detach(self) -> Self {}

    fn to_data(&self) -> Vec<TensorData> {
        Vec::new()
    }

    fn from_data(data: Vec<TensorData>, _device: &Device) -> Option<Self> {
        data.is_empty().then_some(())
    }
}

/// A carry with rows that generation picks from: beams, finished rows.
pub trait Cache: Carry {
    /// The cache of the given rows, in the given order; a row may be taken more than once.
    fn select_rows(self, rows: &[usize]) -> Self;
}
