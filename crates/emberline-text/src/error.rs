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
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file, or the folder of several.
        path: PathBuf,
        /// What the operating system said.
        source: Box<dyn std::error::Error + Send + Sync>,
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
    /// A file of columns with commas cannot be read as one.
    #[error("{name} cannot be read as columns with commas between them")]
    NotCsv {
        /// The file.
        name: String,
        /// What the reader said.
        source: csv::Error,
    },
    /// A file is not of the format of SQuAD.
    #[error("{name} does not hold questions as SQuAD does")]
    NotQuestions {
        /// The file.
        name: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// An answer does not stand where its file says.
    #[error(
        "{name}: the answer {answer:?} of question {id} is not at character {start} of its passage"
    )]
    Misplaced {
        /// The file.
        name: String,
        /// The question.
        id: String,
        /// The answer.
        answer: String,
        /// Where it should start.
        start: usize,
    },
    /// A question asks nothing, or nothing answers it.
    #[error("{name}: question {id} has no words or no answer")]
    Unanswerable {
        /// The file.
        name: String,
        /// The question.
        id: String,
    },
    /// Two files whose lines belong together have not as many.
    #[error(
        "{source_name} has {source_lines} lines, but {target_name} has {target_lines}: \
         line {} of {} has no partner",
        source_lines.min(target_lines) + 1,
        if source_lines > target_lines { source_name } else { target_name }
    )]
    UnequalLines {
        /// The file of the sources.
        source_name: String,
        /// Its lines.
        source_lines: usize,
        /// The file of the targets.
        target_name: String,
        /// Its lines.
        target_lines: usize,
    },
    /// A file has not the column that was asked for.
    #[error("{name} has no column {column}: its columns are {known}")]
    UnknownColumn {
        /// The file.
        name: String,
        /// The number or the name of the column.
        column: String,
        /// Those that there are.
        known: String,
    },
    /// A text has more tokens than a model has places for.
    #[error("{name}:{line}: the {column} has {tokens} tokens, but there is room for {max_tokens}")]
    TooLong {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// Which text of the line.
        column: &'static str,
        /// The tokens of the text.
        tokens: usize,
        /// The tokens it may have.
        max_tokens: usize,
    },
    /// A text has nothing that a model could read.
    #[error("the text {text:?} has no token")]
    NoToken {
        /// The text.
        text: String,
    },
    /// A pair alone is more than a batch may hold.
    #[error(
        "a pair of {source_tokens} and {target_tokens} tokens does not fit into a batch of {max_tokens}"
    )]
    PairTooLong {
        /// The tokens of its source.
        source_tokens: usize,
        /// The tokens of its target.
        target_tokens: usize,
        /// What a batch may hold of each.
        max_tokens: usize,
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
    #[error(
        "a vocabulary of {vocab_size} is too small for byte pairs: \
         the single bytes and the special tokens are {needed}"
    )]
    TooSmallForBytes {
        /// The size that was asked for.
        vocab_size: usize,
        /// The smallest size that will do.
        needed: usize,
    },
    /// A tokenizer has not the special tokens of a translation.
    #[error("{name} is no tokenizer for translations: it has no token {token:?}")]
    NoSpecialToken {
        /// The file, or where the bytes came from.
        name: String,
        /// The token that is missing.
        token: &'static str,
    },
    /// There are not as many different sequences as were asked for.
    #[error(
        "sequences of {min_length} to {max_length} of {n_symbols} symbols are too few: \
         only {found} of {count} were found"
    )]
    TooFewSequences {
        /// The symbols.
        n_symbols: usize,
        /// The shortest sequence.
        min_length: usize,
        /// The longest sequence.
        max_length: usize,
        /// The sequences that were asked for.
        count: usize,
        /// Those that were found.
        found: usize,
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
    /// The folder of a model holds no tokenizer.
    #[error(
        "{} holds no tokenizer: expected tokenizer.json, or vocab.json with merges.txt, encoder.json with vocab.bpe, \
         encoder_bpe_40000.json with vocab_40000.bpe, or vocab.txt",
        directory.display()
    )]
    NoTokenizer {
        /// The folder.
        directory: PathBuf,
    },
    /// A tokenizer is another model's than GPT-1's.
    #[error("the tokenizer of {} is not that of GPT-1, whose tokens end words with </w>", directory.display())]
    NotGpt1 {
        /// The folder.
        directory: PathBuf,
    },
    /// A tokenizer has not the special tokens of BERT.
    #[error("{name} is no tokenizer of BERT: it has no token {token:?}")]
    NotBert {
        /// The folder, or where the tokenizer came from.
        name: String,
        /// The token that is missing.
        token: &'static str,
    },
    /// A row has no place for a text beside what else it must hold.
    #[error("rows of {max_length} tokens are too short: here they need {needed} at least")]
    NoRoom {
        /// The tokens that a row may have.
        max_length: usize,
        /// Those that it must have for one of the text.
        needed: usize,
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
