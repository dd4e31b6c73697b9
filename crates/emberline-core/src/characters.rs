//! Words as the characters they are made of, for encoders that read no vocabulary.

use burn::tensor::{Int, Tensor};

use crate::random::Stream;

/// The different words of a batch, each once: what a word is made of does not depend on where it stands, so it is read
/// once however often it stands there.
#[derive(Clone, Debug)]
pub struct WordTable {
    /// Character ids, `[n_words, word_length]`: the characters of a word, then padding.
    pub characters: Tensor<2, Int>,
    /// The number of characters before the padding, of the longest word.
    pub longest: usize,
}

/// Rows of words, padded on the right to one length.
///
/// What a padding holds changes nothing; the law is
/// [`laws::padding_is_hidden_from_words`](crate::laws::padding_is_hidden_from_words).
#[derive(Clone, Debug)]
pub struct CharacterBatch {
    /// The words.
    pub table: WordTable,
    /// Which of them stands where, `[batch_size, seq_length]`.
    pub words: Tensor<2, Int>,
    /// The number of words of each row; `None` where every row is full.
    pub lengths: Option<Vec<usize>>,
    /// The stream that dropout draws from; `None` outside training, where nothing is dropped.
    pub dropout: Option<Stream>,
}

/// Texts for two readers of opposite directions, in windows that go on from batch to batch.
///
/// The second reader's text is turned around already: both read from the first place to the last, and what each keeps
/// of a window is what it needs for the next. Turning one window around would not do, as its last word has no past.
#[derive(Clone, Debug)]
pub struct BothWays {
    /// The words of both.
    pub table: WordTable,
    /// Which of them stands where in the texts as they are, `[batch_size, seq_length]`.
    pub forward: Tensor<2, Int>,
    /// The same in the texts that are turned around, `[batch_size, seq_length]`.
    pub reverse: Tensor<2, Int>,
    /// The stream that dropout draws from; `None` outside training, where nothing is dropped.
    pub dropout: Option<Stream>,
}
