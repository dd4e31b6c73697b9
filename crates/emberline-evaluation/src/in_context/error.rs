//! Why a task could not be read or asked.

use emberline_generation::GenerationError;

/// Why a file is no task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The text is not of the format.
    #[error("{name}: {message}")]
    Format {
        /// The file.
        name: String,
        /// What is wrong, and where.
        message: String,
    },
    /// An item lacks something, or has something that cannot be used.
    #[error("{name}: item {item}: `{field}` {complaint}")]
    Item {
        /// The file or task.
        name: String,
        /// The index of the item, from 0.
        item: usize,
        /// What of the item.
        field: &'static str,
        /// What is wrong with it, and what was expected.
        complaint: String,
    },
    /// There is nothing to ask.
    #[error("{name} has no items: expected at least one")]
    Empty {
        /// The file or task.
        name: String,
    },
}

/// Why a task could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InContextError {
    /// The model or the tokenizer refused.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// There are fewer examples than a prompt is to have.
    #[error(
        "{task} has {n_examples} examples beside an item: expected at least the {n_shots} of a prompt"
    )]
    TooFewExamples {
        /// The task.
        task: String,
        /// How many there are.
        n_examples: usize,
        /// How many are asked for.
        n_shots: usize,
    },
    /// A prompt does not fit, and nothing may be left out of it.
    #[error(
        "item {item} of {task}: its prompt of {n_tokens} tokens, answer included, does not fit the {max_positions} \
         positions of the model"
    )]
    PromptTooLong {
        /// The task.
        task: String,
        /// The index of the item.
        item: usize,
        /// What the prompt and the longest answer take.
        n_tokens: usize,
        /// What the model has.
        max_positions: usize,
    },
    /// Nothing stands before an answer, and no token was given that may.
    #[error("item {item} of {task} has an empty prompt: expected a start token for it to follow")]
    NothingBefore {
        /// The task.
        task: String,
        /// The index of the item.
        item: usize,
    },
}
