//! A model in the midst of decoding, whatever it decodes from.

use burn::tensor::{Device, Tensor};
use emberline_core::{Cache, EncoderDecoder, Incremental, TokenBatch, VocabularyHead};

/// Rows of text that grow a token at a time.
///
/// Generic over it: greedy decoding with sampling, and beam search. Implementors: [`Continuation`] of prompts,
/// [`Target`] of sources.
pub(crate) trait Decoder: Sized {
    /// The number of tokens that are scored.
    fn vocab_size(&self) -> usize;

    /// Reads the tokens that come next in each row, and scores those that may follow: `[rows, vocab_size]`. There are as
    /// many of them in every row, but for the first of rows that a model with
    /// [`READS_LEFT_PADDING`](Incremental::READS_LEFT_PADDING) continues.
    fn advance(self, tokens: &[&[u32]]) -> (Tensor<2>, Self);

    /// The same, with what the last position of each row attends to in its source, `[rows, source_length]`; `None` of a
    /// model without attention.
    fn advance_with_attention(self, tokens: &[&[u32]]) -> (Tensor<2>, Option<Vec<f32>>, Self) {
        let (scores, decoder) = self.advance(tokens);
        (scores, None, decoder)
    }

    /// Goes on with the given rows, in the given order.
    fn select_rows(self, rows: &[usize]) -> Self;

    /// Forgets all that was read: what is read next is the beginning of rows, which may differ in length.
    ///
    /// # Panics
    /// If rows are targets, which begin with what starts them.
    fn forget(self) -> Self;
}

/// What a causal model continues prompts with. The first tokens to read are the prompts.
pub(crate) struct Continuation<'a, M: Incremental> {
    model: &'a M,
    device: &'a Device,
    /// `None` before the prompts.
    cache: Option<M::Cache>,
}

impl<'a, M: Incremental> Continuation<'a, M> {
    pub(crate) fn new(model: &'a M, device: &'a Device) -> Self {
        Self { model, device, cache: None }
    }
}

impl<M: Incremental> Decoder for Continuation<'_, M> {
    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn advance(self, tokens: &[&[u32]]) -> (Tensor<2>, Self) {
        let batch = TokenBatch::left_padded(tokens, self.device);
        let (hidden, cache) = self.model.encode_from(&batch, self.cache);
        (last_scores(self.model, hidden), Self { cache: Some(cache), ..self })
    }

    fn select_rows(self, rows: &[usize]) -> Self {
        Self { cache: self.cache.map(|cache| cache.select_rows(rows)), ..self }
    }

    fn forget(self) -> Self {
        Self { cache: None, ..self }
    }
}

/// What an encoder-decoder writes for sources. The first tokens to read are those that start a target.
pub(crate) struct Target<'a, M: EncoderDecoder> {
    model: &'a M,
    device: &'a Device,
    cache: M::Cache,
}

impl<'a, M: EncoderDecoder> Target<'a, M> {
    /// Reads the sources, of any length above 0.
    pub(crate) fn new(model: &'a M, sources: &[&[u32]], device: &'a Device) -> Self {
        Self { model, device, cache: model.encode(&TokenBatch::padded(sources, device)) }
    }
}

impl<M: EncoderDecoder> Decoder for Target<'_, M> {
    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn advance(self, tokens: &[&[u32]]) -> (Tensor<2>, Self) {
        let batch = TokenBatch::from_rows(tokens, self.device);
        let (hidden, cache) = self.model.decode(&batch, self.cache);
        (last_scores(self.model, hidden), Self { cache, ..self })
    }

    /// The attention of the last layer, averaged over its heads.
    fn advance_with_attention(self, tokens: &[&[u32]]) -> (Tensor<2>, Option<Vec<f32>>, Self) {
        let batch = TokenBatch::from_rows(tokens, self.device);
        let (hidden, mut layers, cache) = self.model.decode_with_attention(&batch, self.cache);
        let attention = layers.pop().map(|weights| {
            let [_, _, target_length, _] = weights.dims();
            to_numbers(weights.narrow(2, target_length - 1, 1).mean_dim(1))
        });
        (last_scores(self.model, hidden), attention, Self { cache, ..self })
    }

    fn select_rows(self, rows: &[usize]) -> Self {
        Self { cache: self.cache.select_rows(rows), ..self }
    }

    fn forget(self) -> Self {
        unreachable!("a target has as many positions as it may get tokens")
    }
}

/// The scores that follow the last position, row after row: the head is the model's largest product,
/// and no other position needs it.
fn last_scores<M: VocabularyHead>(model: &M, hidden: Tensor<3>) -> Tensor<2> {
    let [batch_size, seq_length, d_model] = hidden.dims();
    let last = hidden.narrow(1, seq_length - 1, 1).reshape([batch_size, d_model]);
    let scores = model.head(last); // [batch_size, vocab_size]
    assert_eq!(
        scores.dims(),
        [batch_size, model.vocab_size()],
        "the head scores the whole vocabulary"
    );
    scores
}

pub(crate) fn to_numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().expect("converted to f32")
}
