//! Why nothing could be generated.

use emberline_text::TextError;

/// Why generation was refused, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// A prompt has no token to go on from.
    #[error("prompt {row} is empty: expected at least one token to go on from")]
    EmptyPrompt {
        /// The index of the prompt.
        row: usize,
    },
    /// A source has no token to read.
    #[error("source {row} is empty: expected at least one token")]
    EmptySource {
        /// The index of the source.
        row: usize,
    },
    /// A prompt or target has a token that the model does not know.
    #[error("row {row} has token {token}, but the model knows only the tokens below {vocab_size}")]
    UnknownToken {
        /// The index of the prompt or target.
        row: usize,
        /// The token.
        token: u32,
        /// The size of the model's vocabulary.
        vocab_size: usize,
    },
    /// A setting is outside of its range.
    #[error("{setting} is {value}: expected {expected}")]
    Setting {
        /// The name of the setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// The range.
        expected: &'static str,
    },
    /// The model gave scores from which no token can be picked.
    #[error(
        "the scores for token {position} of row {row} are not numbers: the weights may be damaged"
    )]
    NotANumber {
        /// The index of the prompt or source.
        row: usize,
        /// The index of the token among the new ones.
        position: usize,
    },
    /// The coverage of a source is to be scored with a model that attends to none.
    #[error("the coverage penalty needs attention to the source, but the model has none")]
    NoAttention,
    /// The tokenizer cannot encode the prompt, or decode what the model gave.
    #[error(transparent)]
    Text(#[from] TextError),
}
