//! Files of vectors: those of word2vec, GloVe and fastText, and safetensors. They are mapped into memory and read in place;
//! words are bytes, whether they are UTF-8 or not.

mod binary;
mod fasttext;
mod safetensors;
mod text;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use emberline_checkpoint::write_atomically_with;
use memmap2::Mmap;
use rayon::prelude::*;

use crate::error::EmbeddingsError;
use crate::table::Table;
use crate::vectors::WordVectors;
use crate::words::Words;

pub use fasttext::FastText;
pub(crate) use safetensors::{bytes_of, words_of};

/// How a file holds vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// word2vec's text, and fastText's `.vec`: a line with the number and the width of the vectors, then a line a word.
    Text,
    /// GloVe's text: the same without the first line.
    Glove,
    /// word2vec's binary: the same first line, then after each word its numbers as 4 bytes each.
    Binary,
    /// fastText's `.bin`, which can only be read.
    FastText,
    /// A safetensors file with `vectors`, and `words` as their bytes, each ending with a line feed.
    Safetensors,
}

impl Format {
    /// What a file seems to be.
    fn of(bytes: &[u8]) -> Self {
        if fasttext::is_fasttext(bytes) {
            return Self::FastText;
        }
        if bytes.len() > 8 && bytes[8] == b'{' {
            return Self::Safetensors;
        }
        let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
        match text::header(&bytes[..end]) {
            None => Self::Glove,
            // The first number of a text is digits up to white space; four bytes of a binary seldom are.
            Some((_, width)) => match text::is_row(&bytes[(end + 1).min(bytes.len())..], width) {
                true => Self::Text,
                false => Self::Binary,
            },
        }
    }
}

/// Reads vectors of whatever format a file has.
///
/// # Errors
/// [`Read`](EmbeddingsError::Read), and what is wrong with the file.
pub fn read_vectors(path: impl AsRef<Path>) -> Result<WordVectors, EmbeddingsError> {
    let path = path.as_ref();
    let bytes = map(path)?;
    match Format::of(&bytes) {
        Format::Text => text::read(path, &bytes, true),
        Format::Glove => text::read(path, &bytes, false),
        Format::Binary => binary::read(path, &bytes),
        Format::FastText => FastText::of(path, bytes)?.vectors(),
        Format::Safetensors => safetensors::read(path),
    }
}

/// Writes vectors into a file, whole or not at all.
///
/// # Errors
/// [`Unwritable`](EmbeddingsError::Unwritable) for a word that the format has no place for, such as one with a space;
/// [`NoWriter`](EmbeddingsError::NoWriter) for fastText; [`Checkpoint`](EmbeddingsError::Checkpoint).
pub fn write_vectors(
    path: impl AsRef<Path>,
    vectors: &WordVectors,
    format: Format,
) -> Result<(), EmbeddingsError> {
    let path = path.as_ref();
    let ends_word = |byte: &u8| match format {
        Format::Safetensors => *byte == b'\n',
        _ => byte.is_ascii_whitespace(),
    };
    let is_bad = |word: &[u8]| word.is_empty() || word.iter().any(ends_word);
    if let Some(word) = vectors.words().iter().find(|word| is_bad(word)) {
        let word = String::from_utf8_lossy(word).into_owned();
        return Err(EmbeddingsError::Unwritable { path: path.into(), word });
    }
    let through = |write: fn(&mut dyn Write, &WordVectors) -> io::Result<()>| {
        let written = write_atomically_with(path, |file| {
            let mut file = BufWriter::with_capacity(1 << 20, file);
            write(&mut file, vectors)?;
            file.flush()
        });
        Ok(written?)
    };
    match format {
        Format::Text => through(text::write_with_header),
        Format::Glove => through(text::write),
        Format::Binary => through(binary::write),
        Format::FastText => Err(EmbeddingsError::NoWriter { path: path.into() }),
        Format::Safetensors => safetensors::write(path, vectors),
    }
}

fn map(path: &Path) -> Result<Mmap, EmbeddingsError> {
    let file = File::open(path).map_err(EmbeddingsError::read(path))?;
    // SAFETY: the bytes are only looked at, and any will do. That nobody writes into the file meanwhile is the caller's.
    unsafe { Mmap::map(&file) }.map_err(EmbeddingsError::read(path))
}

/// Words and rows as vectors, if every word comes once and every number is one.
fn checked(path: &Path, words: Words, table: Table) -> Result<WordVectors, EmbeddingsError> {
    let is_bad = |row: &usize| table.row(*row).iter().any(|number| !number.is_finite());
    match (0..table.n_rows()).into_par_iter().find_first(is_bad) {
        Some(row) => {
            Err(EmbeddingsError::NotANumber { path: path.into(), word: words.text(row).into() })
        }
        None => Ok(WordVectors::new(words, table)),
    }
}

/// Puts the next word of a file behind the others.
fn push(path: &Path, words: &mut Words, word: &[u8]) -> Result<(), EmbeddingsError> {
    match words.insert(word) {
        (_, true) => Ok(()),
        (place, false) => Err(EmbeddingsError::DuplicateWord {
            path: path.into(),
            word: String::from_utf8_lossy(word).into(),
            first: place + 1,
            second: words.len() + 1,
        }),
    }
}
