//! What can be wrong with a text, a vocabulary, a tokenizer file, or the sizes asked of them.

use std::path::PathBuf;

/// Why a text could not be read, encoded, decoded, split or cut into windows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file that should hold text holds other bytes.
    #[error("{} is not UTF-8 text: byte {offset} does not belong to a character", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first byte that does not fit, from 0.
        offset: usize,
        /// What the decoder said.
        source: std::str::Utf8Error,
    },
    /// A text has no character.
    #[error("{name} is empty, but a text was expected")]
    Empty {
        /// The file, or what the text was meant for.
        name: String,
    },
    /// A line of a file of columns has too few or too many.
    #[error("{name}:{line}: expected {expected} columns, but found {found}")]
    Columns {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The columns of every line.
        expected: usize,
        /// The columns of this one.
        found: usize,
    },
    /// A column of a line has nothing in it.
    #[error("{name}:{line}: the {column} is empty")]
    EmptyColumn {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What the column holds.
        column: &'static str,
    },
    /// A label that no training example has.
    #[error("{name}:{line}: no training example has the label {label:?}; the labels are {known:?}")]
    UnknownLabel {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// The label.
        label: String,
        /// The labels of the training examples.
        known: Vec<String>,
    },
    /// There is nothing to learn from, or nothing to measure on.
    #[error("{name} has no example")]
    NoExample {
        /// The file, or the part of the data.
        name: String,
    },
    /// The parts of a split do not make up a whole.
    #[error(
        "a split into {train} for training and {validation} for validation is impossible: \
         both must be at least 0, training above 0, and their sum at most 1"
    )]
    Fractions {
        /// The fraction for training.
        train: f64,
        /// The fraction for validation.
        validation: f64,
    },
    /// A text does not fill what was asked of it.
    #[error(
        "the text has {tokens} tokens, but batch_size {batch_size} and seq_length {seq_length} \
         need at least {needed}"
    )]
    TooShort {
        /// The tokens there are.
        tokens: usize,
        /// The tokens that would do.
        needed: usize,
        /// The rows of a window.
        batch_size: usize,
        /// The tokens of a row.
        seq_length: usize,
    },
    /// A size is zero.
    #[error("{name} is 0, but must be at least 1")]
    ZeroSize {
        /// The size.
        name: &'static str,
    },
    /// A batch cannot be cut into micro-batches of one size.
    #[error("batch_size {batch_size} is not a multiple of the {n_micro_batches} micro-batches")]
    UnevenMicroBatches {
        /// The rows of a window.
        batch_size: usize,
        /// The micro-batches that were asked for.
        n_micro_batches: usize,
    },
    /// A character is not in the vocabulary.
    #[error("character {character:?} at line {line}, column {column} is not in the vocabulary")]
    UnknownCharacter {
        /// The character.
        character: char,
        /// The line, from 1.
        line: usize,
        /// The character in its line, from 1.
        column: usize,
    },
    /// A word of a text is not in the vocabulary, and no token stands for unknown words.
    #[error(
        "word {word:?} at line {line}, column {column} is not in the vocabulary, \
         which has no token for unknown words"
    )]
    UnknownWord {
        /// The word.
        word: String,
        /// The line, from 1.
        line: usize,
        /// The first character of the word in its line, from 1.
        column: usize,
    },
    /// A token is not in the vocabulary, and no token stands for unknown ones.
    #[error("token {token:?} is not in the vocabulary, which has no token for unknown ones")]
    UnknownToken {
        /// The token.
        token: String,
    },
    /// An id names no token.
    #[error("id {id} names no token of a vocabulary of {vocab_size}")]
    UnknownId {
        /// The id.
        id: u32,
        /// The ids that there are.
        vocab_size: usize,
    },
    /// A vocabulary holds a token twice.
    #[error("token {token:?} is in the vocabulary twice")]
    DuplicateToken {
        /// The token.
        token: String,
    },
    /// The token for unknown ones is not among the special tokens.
    #[error("the unknown token {token:?} is not among the special tokens {specials:?}")]
    UnknownIsNotSpecial {
        /// The token for unknown ones.
        token: String,
        /// The special tokens.
        specials: Vec<String>,
    },
    /// The vocabulary of a byte-level tokenizer cannot hold every byte.
    #[error("a vocabulary of {vocab_size} is too small for byte pairs: the single bytes are 256")]
    TooSmallForBytes {
        /// The size that was asked for.
        vocab_size: usize,
    },
    /// A saved vocabulary is not one.
    #[error("{name} is not a vocabulary of this library")]
    VocabularyFormat {
        /// The file, or where the bytes came from.
        name: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tokenizer file is not one, or its pipeline refuses.
    #[error("{name} is not a tokenizer that can be used")]
    TokenizerFormat {
        /// The file, or where the bytes came from.
        name: String,
        /// What the `tokenizers` crate said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The `tokenizers` crate failed on a text or on ids.
    #[error("the tokenizer could not {action}")]
    Pipeline {
        /// What it was asked to do.
        action: &'static str,
        /// What the `tokenizers` crate said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TextError {
    /// The unknown character at a byte offset of a text.
    pub(crate) fn unknown_character(text: &str, offset: usize) -> Self {
        let (line, column) = line_and_column(text, offset);
        let character = text[offset..].chars().next().expect("the offset is that of a character");
        Self::UnknownCharacter { character, line, column }
    }

    /// The unknown word at a byte range of a text.
    pub(crate) fn unknown_word(text: &str, range: std::ops::Range<usize>) -> Self {
        let (line, column) = line_and_column(text, range.start);
        Self::UnknownWord { word: text[range].to_string(), line, column }
    }
}

/// The line and the character in it at a byte offset, both from 1, as editors count.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        assert_eq!(line_and_column("a", 0), (1, 1));
        assert_eq!(line_and_column("é\nüb", "é\nü".len()), (2, 2));
        assert_eq!(line_and_column("a\n", 2), (2, 1));
    }
}
