//! word2vec's binary file.

use std::io::{self, Write};
use std::path::Path;

use rayon::prelude::*;

use crate::error::EmbeddingsError;
use crate::table::Table;
use crate::vectors::WordVectors;
use crate::words::Words;

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<WordVectors, EmbeddingsError> {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let (n_rows, width) = super::text::header(&bytes[..end]).unwrap_or_default();
    if n_rows == 0 || width == 0 {
        return Err(EmbeddingsError::NoVectors { path: path.into() });
    }
    let truncated =
        |found| EmbeddingsError::Truncated { path: path.into(), expected: n_rows, found };
    let row_bytes = width.checked_mul(size_of::<f32>()).ok_or_else(|| truncated(0))?;
    // A header may promise more than there is memory for: every row takes its numbers and a space.
    if bytes.len() / (row_bytes + 1) < n_rows {
        return Err(truncated(bytes.len().saturating_sub(end) / (row_bytes + 2)));
    }
    let mut rows = Vec::with_capacity(n_rows);
    let mut at = end + 1;
    for row in 0..n_rows {
        // Some writers end a row with a line feed, and some do not.
        while bytes.get(at) == Some(&b'\n') {
            at += 1;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let length = memchr::memchr(b' ', rest).ok_or_else(|| truncated(row))?;
        let numbers = rest.get(length + 1..).and_then(|rest| rest.get(..row_bytes));
        rows.push((&rest[..length], numbers.ok_or_else(|| truncated(row))?));
        at += length + 1 + row_bytes;
    }
    let rest = bytes[at..].iter().filter(|byte| !byte.is_ascii_whitespace()).count();
    if rest > 0 {
        return Err(EmbeddingsError::Header {
            path: path.into(),
            expected: n_rows,
            found: n_rows + 1,
        });
    }
    let (words, table) = rayon::join(
        || {
            let mut words = Words::with_capacity(n_rows);
            rows.iter().try_for_each(|(word, _)| super::push(path, &mut words, word))?;
            Ok::<_, EmbeddingsError>(words)
        },
        || {
            let mut table = Table::zeros(n_rows, width);
            table.par_rows_mut().zip(&rows).for_each(|(row, (_, numbers))| {
                let numbers = numbers.chunks_exact(size_of::<f32>());
                for (number, bytes) in row.iter_mut().zip(numbers) {
                    *number = f32::from_le_bytes(bytes.try_into().expect("four bytes"));
                }
            });
            table
        },
    );
    super::checked(path, words?, table)
}

pub(super) fn write(file: &mut dyn Write, vectors: &WordVectors) -> io::Result<()> {
    writeln!(file, "{} {}", vectors.len(), vectors.width())?;
    for (place, word) in vectors.words().iter().enumerate() {
        file.write_all(word)?;
        file.write_all(b" ")?;
        for number in vectors.vector(place) {
            file.write_all(&number.to_le_bytes())?;
        }
        file.write_all(b"\n")?;
    }
    Ok(())
}
