//! Vectors as text: word2vec's, fastText's `.vec`, and GloVe's, which has no first line.

use std::io::{self, Write};
use std::path::Path;

use rayon::prelude::*;

use crate::error::EmbeddingsError;
use crate::table::Table;
use crate::vectors::WordVectors;
use crate::words::Words;

/// Lines that one thread reads at a time.
const LINES: usize = 1 << 10;

/// The number and the width of the vectors, if a line tells them.
pub(super) fn header(line: &[u8]) -> Option<(usize, usize)> {
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let numbers = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(numbers)
}

/// Whether bytes begin with a word and a number, as the rows of a text do.
pub(super) fn is_row(bytes: &[u8], width: usize) -> bool {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let mut fields = bytes[..end].split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let is_number = |field: &[u8]| number(field).is_some();
    bytes.is_empty()
        || (fields.next().is_some() && (width == 0 || fields.next().is_some_and(is_number)))
}

pub(super) fn read(
    path: &Path,
    bytes: &[u8],
    has_header: bool,
) -> Result<WordVectors, EmbeddingsError> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // What comes after the last line feed is a line only if it is something.
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let first_line = usize::from(has_header);
    let told = has_header.then(|| header(lines[0])).flatten();
    let rows = &lines[first_line..];
    let width = match (told, rows.first()) {
        (Some((_, width)), _) => width,
        (None, Some(row)) => fields(row).count().saturating_sub(1),
        (None, None) => 0,
    };
    if rows.is_empty() || width == 0 {
        return Err(EmbeddingsError::NoVectors { path: path.into() });
    }
    if let Some((expected, _)) = told.filter(|(expected, _)| *expected != rows.len()) {
        return Err(EmbeddingsError::Header { path: path.into(), expected, found: rows.len() });
    }
    let parsed: Vec<(Vec<&[u8]>, Vec<f32>)> = rows
        .par_chunks(LINES)
        .enumerate()
        .map(|(chunk, rows)| {
            let first = first_line + chunk * LINES + 1;
            let (mut words, mut numbers) = (Vec::new(), Vec::with_capacity(rows.len() * width));
            for (line, row) in (first..).zip(rows) {
                words.push(read_row(path, line, row, width, &mut numbers)?);
            }
            Ok((words, numbers))
        })
        .collect::<Result<_, EmbeddingsError>>()?;
    let (mut words, mut table) = (Words::default(), Table::zeros(rows.len(), width));
    for (chunk, numbers) in parsed {
        for (word, row) in chunk.iter().zip(numbers.chunks_exact(width)) {
            table.row_mut(words.len()).copy_from_slice(row);
            super::push(path, &mut words, word)?;
        }
    }
    super::checked(path, words, table)
}

/// Adds the numbers of a row, and gives its word: what stands before the last `width` fields, which may have spaces.
fn read_row<'a>(
    path: &Path,
    line: usize,
    row: &'a [u8],
    width: usize,
    numbers: &mut Vec<f32>,
) -> Result<&'a [u8], EmbeddingsError> {
    let bad_width =
        |found| EmbeddingsError::RowWidth { path: path.into(), line, expected: width, found };
    let found = fields(row).count();
    if found < width + 1 {
        return Err(bad_width(found.saturating_sub(1)));
    }
    let word_fields = found - width;
    if word_fields > 1
        && fields(row).nth(word_fields - 1).is_some_and(|field| number(field).is_some())
    {
        return Err(bad_width(found - 1));
    }
    for field in fields(row).skip(word_fields) {
        let number = number(field).ok_or_else(|| EmbeddingsError::Field {
            path: path.into(),
            line,
            found: String::from_utf8_lossy(field).into(),
        })?;
        numbers.push(number);
    }
    let last = fields(row).nth(word_fields - 1).expect("a field of the word");
    let end = last.as_ptr().addr() - row.as_ptr().addr() + last.len();
    let start = row.iter().position(|byte| !is_blank(*byte)).unwrap_or(0);
    Ok(&row[start..end])
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn fields(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.split(|byte| is_blank(*byte)).filter(|field| !field.is_empty())
}

fn number(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

pub(super) fn write_with_header(file: &mut dyn Write, vectors: &WordVectors) -> io::Result<()> {
    writeln!(file, "{} {}", vectors.len(), vectors.width())?;
    write(file, vectors)
}

/// Every number in the fewest digits that are read back as it.
pub(super) fn write(file: &mut dyn Write, vectors: &WordVectors) -> io::Result<()> {
    for (place, word) in vectors.words().iter().enumerate() {
        file.write_all(word)?;
        for number in vectors.vector(place) {
            write!(file, " {number}")?;
        }
        file.write_all(b"\n")?;
    }
    Ok(())
}
