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
    /// A prompt leaves no position for what follows.
    #[error(
        "prompt {row} has {n_tokens} tokens, and the model {max_positions} positions: expected at least one for what \
         follows"
    )]
    PromptTooLong {
        /// The index of the prompt.
        row: usize,
        /// The number of its tokens.
        n_tokens: usize,
        /// How many tokens the model can read.
        max_positions: usize,
    },
    /// A continuation leaves no position for a token before it.
    #[error(
        "continuation {row} has {n_tokens} tokens: expected at most {max_positions}, the positions of the model"
    )]
    TooLong {
        /// The index of the continuation.
        row: usize,
        /// The number of its tokens.
        n_tokens: usize,
        /// How many tokens the model can read.
        max_positions: usize,
    },
    /// A bad word has no token, or one that the model does not know.
    #[error(
        "bad word {index} is {word:?}: expected at least one token, and only tokens below {vocab_size}"
    )]
    BadWord {
        /// The index of the bad word.
        index: usize,
        /// Its tokens.
        word: Vec<u32>,
        /// The size of the model's vocabulary.
        vocab_size: usize,
    },
    /// A stop string is in every text.
    #[error("a stop string is empty: expected at least one character")]
    EmptyStopString,
    /// Rows of tokens are to end with a text.
    #[error("stop strings end texts, but tokens without a tokenizer are none")]
    StopStringsOfTokens,
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
        /// The index of the row: of the prompt or source, where each has one.
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
