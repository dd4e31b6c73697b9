//! What can be wrong with the model of a directory, and with texts for it.

use std::path::PathBuf;

use emberline_checkpoint::CheckpointError;
use emberline_models::bert::UnknownArchitecture;
use emberline_models::published::InvalidConfig;
use emberline_text::TextError;

use crate::auto::AutoConfig;

/// Why a directory holds no model of use, or a model made nothing of a text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files of a directory.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer, or what it made of a text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A config does not say what it is of.
    #[error("the config.json of {} names no `model_type`", directory.display())]
    NoModelType {
        /// The directory.
        directory: PathBuf,
    },
    /// A config is of a model that there is none of here.
    #[error(
        "the config.json of {} is of `{model_type}`: expected one of {}",
        directory.display(),
        AutoConfig::MODEL_TYPES.join(", ")
    )]
    UnknownModelType {
        /// The directory.
        directory: PathBuf,
        /// What it is of.
        model_type: String,
    },
    /// A config gives no model.
    #[error("the config.json of {} cannot be used", directory.display())]
    Config {
        /// The directory.
        directory: PathBuf,
        /// The field that is at fault.
        source: InvalidConfig,
    },
    /// A config names a class that there is none of here.
    #[error("the config.json of {} cannot be used", directory.display())]
    Architecture {
        /// The directory.
        directory: PathBuf,
        /// What it names.
        source: UnknownArchitecture,
    },
    /// A directory holds another model than a BERT.
    #[error("{} holds no BERT: its config.json is of `{model_type}`", directory.display())]
    NotBert {
        /// The directory.
        directory: PathBuf,
        /// What it is of.
        model_type: &'static str,
    },
    /// The weights have no head of the class.
    #[error(
        "{} is read as a {architecture}, but its weights have no {}: that head would be new, of random numbers",
        directory.display(),
        tensors.join(", ")
    )]
    NewHead {
        /// The directory.
        directory: PathBuf,
        /// The class of `transformers` that the head is of.
        architecture: &'static str,
        /// The tensors that are not there.
        tensors: Vec<String>,
    },
    /// The weights have a head of another class, whose tensors have the same names.
    #[error("{} is of a {found}, whose head is not that of a {expected}", directory.display())]
    OtherHead {
        /// The directory.
        directory: PathBuf,
        /// The class of `transformers` that its config names.
        found: &'static str,
        /// The class that was asked for.
        expected: &'static str,
    },
    /// The tokenizer has tokens that the model does not know.
    #[error(
        "{} has a vocabulary of {n_tokens} tokens, and its model one of {vocab_size}",
        directory.display()
    )]
    Vocabulary {
        /// The directory.
        directory: PathBuf,
        /// The tokens of its tokenizer.
        n_tokens: usize,
        /// Those of its model.
        vocab_size: usize,
    },
    /// A directory does not say how sentences become vectors.
    #[error(
        "{} has no modules.json, which says how its vectors become one: name a pooling",
        directory.display()
    )]
    NoModules {
        /// The directory.
        directory: PathBuf,
    },
    /// A model without a pooler is asked for what it gives.
    #[error("{} has no pooler", directory.display())]
    NoPooler {
        /// The directory.
        directory: PathBuf,
    },
    /// There is nothing to read.
    #[error("text {text} is empty: expected a word at least")]
    EmptyText {
        /// The index of the text.
        text: usize,
    },
    /// There is nothing to fill in.
    #[error("text {text} has no {mask} among the tokens that the model reads")]
    NoMask {
        /// The index of the text.
        text: usize,
        /// What stands for a word.
        mask: &'static str,
    },
    /// Rows of a text have no place for a part of it.
    #[error("text {text} cannot be read in parts")]
    NoRoom {
        /// The index of the text.
        text: usize,
        /// How long rows may be, and would have to be.
        source: TextError,
    },
    /// The scores of a text are not numbers.
    #[error("the scores of text {text} are not numbers: the weights may be damaged")]
    NotANumber {
        /// The index of the text.
        text: usize,
    },
}

impl Error {
    /// The index of the text that is at fault, if one is.
    pub fn text(&self) -> Option<usize> {
        match self {
            Self::EmptyText { text }
            | Self::NoMask { text, .. }
            | Self::NoRoom { text, .. }
            | Self::NotANumber { text } => Some(*text),
            _ => None,
        }
    }
}
