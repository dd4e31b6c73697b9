//! The traits that training, generation and evaluation are written against. None of those crates
//! names a model: a new one that implements these traits is trained and sampled without a change.

use burn::tensor::kind::Basic;
use burn::tensor::{Device, Tensor, TensorData};

use crate::batch::TokenBatch;
use crate::characters::{BothWays, CharacterBatch};
use crate::head::HeadWeights;

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

/// An encoder that shows what is between its layers.
///
/// Generic over it: whoever compares a model with the same one elsewhere, layer by layer. The law is
/// [`laws::hidden_states_end_in_the_encoding`](crate::laws::hidden_states_end_in_the_encoding).
pub trait HiddenStates: TokenEncoder {
    /// The vectors after the embeddings, and after every layer, as `transformers` counts them: a norm after the last
    /// layer is part of the last.
    ///
    /// # Shapes
    /// - tokens of `batch`: `[batch_size, seq_length]`
    /// - output: one more than there are layers, `[batch_size, seq_length, d_model]` each
    fn hidden_states(&self, batch: &TokenBatch) -> Vec<Tensor<3>>;
}

/// Words as characters in, the vectors of every layer for each word out.
///
/// Generic over it: what mixes the layers of a frozen encoder into the vectors of a task. The law is
/// [`laws::padding_is_hidden_from_words`](crate::laws::padding_is_hidden_from_words).
pub trait CharacterEncoder {
    /// The vectors of the words alone, and after every layer that reads them in their place.
    ///
    /// # Shapes
    /// - words of `batch`: `[batch_size, seq_length]`
    /// - output: one more than there are layers, `[batch_size, seq_length, d_model]` each
    fn layers(&self, batch: &CharacterBatch) -> Vec<Tensor<3>>;

    /// The width of each layer.
    fn d_model(&self) -> usize;

    /// The number of character ids.
    fn n_characters(&self) -> usize;
}

/// Two language models of opposite directions that share their words and their head.
///
/// Generic over it: the objective that trains both. The law is
/// [`laws::bidirectional`](crate::laws::bidirectional).
pub trait BidirectionalLanguageModel: VocabularyHead {
    /// What both keep of the windows before.
    type Cache: Carry;

    /// The vectors from which each direction scores the next word that it reads, the forward one's first.
    ///
    /// # Shapes
    /// - words of `batch`: `[batch_size, seq_length]` in both directions
    /// - output: `[batch_size, seq_length, d_model]` each
    fn encode_both(
        &self,
        batch: &BothWays,
        cache: Option<Self::Cache>,
    ) -> ([Tensor<3>; 2], Self::Cache);

    /// The number of character ids.
    fn n_characters(&self) -> usize;
}

/// Scores over a vocabulary from the vectors of a model.
///
/// The head is apart from what makes the vectors because it is the largest product of many models and seldom
/// needed everywhere: generation scores only the last position, masked language models only the masked ones, and
/// training never holds all scores at once.
pub trait VocabularyHead {
    /// The weights, for operations that fuse the head with what follows; they take [`head_input`](Self::head_input).
    fn head_weights(&self) -> HeadWeights;

    /// What the weights are multiplied with: the vectors of the model, unless its head has a layer of its own before
    /// them, as BERT's has.
    ///
    /// # Shapes
    /// - hidden, output: `[n, d_model]`
    fn head_input(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden
    }

    /// Scores over the vocabulary, before the softmax.
    ///
    /// # Shapes
    /// - hidden: `[n, d_model]`
    /// - output: `[n, vocab_size]`
    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head_weights().forward(self.head_input(hidden))
    }

    /// The number of tokens that are scored.
    fn vocab_size(&self) -> usize {
        self.head_weights().vocab_size()
    }
}

/// An encoder with a head over the vocabulary.
pub trait LanguageModel: TokenEncoder + VocabularyHead {}

impl<M: TokenEncoder + VocabularyHead> LanguageModel for M {}

/// An encoder with a head that tells whether the second of two sentences follows the first.
///
/// The head is apart from the encoding so that an objective encodes a pair once for this and for its masked tokens.
/// Generic over it: the objective of next sentences, and prediction.
pub trait SentencePair: TokenEncoder {
    /// The scores of each row, before the softmax: first that the second sentence follows, then that it is a random
    /// one.
    ///
    /// # Shapes
    /// - hidden: `[batch_size, seq_length, d_model]`, what [`encode`](TokenEncoder::encode) gave
    /// - output: `[batch_size, 2]`
    fn pair_logits(&self, hidden: Tensor<3>) -> Tensor<2>;
}

/// A model whose output at a position does not depend on any later token.
///
/// The law is [`laws::causal`](crate::laws::causal). Generating from a model without it does not compile.
pub trait Causal: LanguageModel {}

/// A causal model that goes on from where it stopped, given what it keeps of the past: the state of a
/// recurrent layer, keys and values, the memory of a decoder.
///
/// Generation advances a cache by one token at a time; truncated back-propagation, where the cache is a
/// [`Carry`], by one window. The law is [`laws::incremental`](crate::laws::incremental).
pub trait Incremental: Causal {
    /// What the model keeps of the tokens before.
    type Cache: Cache;

    /// Whether rows that are padded on the left go on together, as
    /// [`laws::left_padding_changes_nothing`](crate::laws::left_padding_changes_nothing) has it. Rows of different
    /// lengths do not share a batch of other models.
    const READS_LEFT_PADDING: bool = false;

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

/// A model that reads a source and writes a target: `p(y | x) = Π_t p(y_t | y_<t, x)`.
///
/// Training decodes a whole target at once (teacher forcing), generation one token at a time from the cache.
/// The law is [`laws::encoder_decoder`](crate::laws::encoder_decoder): both are the same, no position depends on a
/// later token, and no bit depends on what stands in a padding.
pub trait EncoderDecoder: VocabularyHead {
    /// What decoding goes on from: the memory of the source, and what the decoder keeps of the target so far.
    type Cache: Cache;

    /// Reads the source.
    ///
    /// # Shapes
    /// - tokens of `source`: `[batch_size, source_length]`
    fn encode(&self, source: &TokenBatch) -> Self::Cache;

    /// The vectors of the target's tokens, of which each scores the token after it.
    ///
    /// # Shapes
    /// - tokens of `target`: `[batch_size, target_length]`, of those that follow what `cache` has seen
    /// - output: `[batch_size, target_length, d_model]`
    fn decode(&self, target: &TokenBatch, cache: Self::Cache) -> (Tensor<3>, Self::Cache);

    /// The same, with the attention that each position of the target pays to the source; nothing for a model
    /// without attention.
    ///
    /// # Shapes
    /// - attention: one a layer, `[batch_size, n_heads, target_length, source_length]`, with rows that sum to 1 and
    ///   zeros on the padding of the source
    fn decode_with_attention(
        &self,
        target: &TokenBatch,
        cache: Self::Cache,
    ) -> (Tensor<3>, Vec<Tensor<4>>, Self::Cache) {
        let (hidden, cache) = self.decode(target, cache);
        (hidden, Vec::new(), cache)
    }
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

/// What decoding keeps of the past, with rows that generation picks from: beams, finished rows.
pub trait Cache: Clone + Sized {
    /// The cache of the given rows, in the given order; a row may be taken more than once.
    fn select_rows(self, rows: &[usize]) -> Self;
}

/// Rows are the first axis. Rows that stay as they are cost nothing.
impl<const D: usize, K: Basic> Cache for Tensor<D, K> {
    fn select_rows(self, rows: &[usize]) -> Self {
        if rows.iter().copied().eq(0..self.dims()[0]) {
            return self;
        }
        let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let rows = Tensor::from_data(rows.as_slice(), &self.device().inner());
        self.select(0, rows)
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    #[test]
    fn rows_of_a_tensor_are_picked_in_order_and_more_than_once() {
        let rows = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &test_device());
        let expected = TensorData::from([[5.0f32, 6.0], [1.0, 2.0], [5.0, 6.0]]);
        assert_eq!(rows.select_rows(&[2, 0, 2]).into_data(), expected);
    }
}
