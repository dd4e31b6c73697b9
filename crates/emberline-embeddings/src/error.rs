//! What can be wrong with corpora, files of vectors, and questions.

use std::io;
use std::path::{Path, PathBuf};

use emberline_checkpoint::CheckpointError;

/// Why vectors could not be trained, read, written or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddingsError {
    /// The operating system would not read a file or folder.
    #[error("cannot read {}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A folder holds no file.
    #[error("{} holds no file: expected at least one with text", path.display())]
    NoFile {
        /// The folder.
        path: PathBuf,
    },
    /// A corpus has no word.
    #[error("{} holds no word: expected text", path.display())]
    NoWord {
        /// The file or folder.
        path: PathBuf,
    },
    /// No word comes often enough.
    #[error("no word of {} comes {min_count} times (min_count): the most frequent comes {most} times", path.display())]
    AllRare {
        /// The file or folder.
        path: PathBuf,
        /// How often a word must come.
        min_count: u64,
        /// How often the most frequent one does.
        most: u64,
    },
    /// A value of a config cannot be used.
    #[error("{field} is {found}: expected {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// There is no vector of a word.
    #[error("there is no vector of the word {word:?}")]
    UnknownWord {
        /// The word.
        word: String,
    },
    /// A line of a file of questions is none.
    #[error("{}:{line}: expected a question of four words, or a section \": name\" before the first one", path.display())]
    Question {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A line of a file of pairs is none.
    #[error("{}:{line}: expected two words and a number, with tabs between them", path.display())]
    Pair {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A file holds no vectors.
    #[error("{} holds no vectors: expected a word and its numbers", path.display())]
    NoVectors {
        /// The file.
        path: PathBuf,
    },
    /// A file says that it holds another number of vectors than it does.
    #[error("{} is to hold {expected} vectors, and holds {found} or more", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What it says.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// A row of a text has more or fewer numbers than the others.
    #[error("{}:{line}: expected {expected} numbers, but found {found}", path.display())]
    RowWidth {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The numbers of every row.
        expected: usize,
        /// The numbers of this one.
        found: usize,
    },
    /// A field of a text is no number.
    #[error("{}:{line}: {found:?} is no number", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field.
        found: String,
    },
    /// A binary file ends within a vector.
    #[error("{} ends after {found} of {expected} vectors", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The vectors that it says it holds.
        expected: usize,
        /// Those that are whole.
        found: usize,
    },
    /// A vector holds what is no number.
    #[error("the vector of {word:?} in {} holds a number that is none, or infinite", path.display())]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The word.
        word: String,
    },
    /// A word has two vectors.
    #[error("{} has two vectors of {word:?}, number {first} and number {second}", path.display())]
    DuplicateWord {
        /// The file.
        path: PathBuf,
        /// The word.
        word: String,
        /// Which vector is the first, from 1.
        first: usize,
        /// Which is the second.
        second: usize,
    },
    /// A file is no model of fastText that can be read.
    #[error("{} is no fastText model that can be read: {reason}", path.display())]
    NotFastText {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A safetensors file lacks a tensor, or it has another shape.
    #[error("{} has no tensor {tensor:?} as word vectors have it", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: &'static str,
    },
    /// A word cannot be written in a format.
    #[error("{} cannot hold the word {word:?}: it is empty, or has white space", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The word.
        word: String,
    },
    /// Models of fastText are read, and not written.
    #[error("{} cannot be written: fastText's .bin is only read", path.display())]
    NoWriter {
        /// The file.
        path: PathBuf,
    },
    /// A directory of weights or state.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl EmbeddingsError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Read { path, source }
    }
}
