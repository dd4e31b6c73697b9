//! fastText's `.bin`: vectors of words and of the pieces of words, so that a word that was never seen has a vector too.
//!
//! Bojanowski, Grave, Joulin, Mikolov, "Enriching Word Vectors with Subword Information", 2017.

use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::EmbeddingsError;
use crate::table::Table;
use crate::vectors::WordVectors;
use crate::words::Words;

const MAGIC: i32 = 793_712_314;
/// The end of a line.
const END: &[u8] = b"</s>";

/// Whether bytes begin as fastText's do; those of before 2017 begin with small numbers, which no other format does.
pub(super) fn is_fasttext(bytes: &[u8]) -> bool {
    let number =
        |index: usize| bytes.get(4 * index..)?.first_chunk().map(|b| i32::from_le_bytes(*b));
    let is_small = |index| number(index).is_some_and(|number| (0..1 << 20).contains(&number));
    number(0) == Some(MAGIC) || (0..6).all(is_small)
}

/// A model of fastText, read from its file as it is asked.
#[derive(Debug)]
pub struct FastText {
    words: Words,
    file: Mmap,
    /// Where the first row of the inputs begins in the file: a row a word, then a row a bucket of pieces.
    start: usize,
    n_rows: usize,
    width: usize,
    n_buckets: usize,
    /// The characters of the shortest and of the longest piece.
    piece: [usize; 2],
    /// Whether the end of a line has pieces as any word, as it had at first.
    end_has_pieces: bool,
    path: PathBuf,
}

/// A file read number by number.
struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl FastText {
    /// Opens a model.
    ///
    /// # Errors
    /// [`Read`](EmbeddingsError::Read); [`NotFastText`](EmbeddingsError::NotFastText), also for one that is quantized;
    /// [`DuplicateWord`](EmbeddingsError::DuplicateWord).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EmbeddingsError> {
        let path = path.as_ref();
        Self::of(path, super::map(path)?)
    }

    pub(super) fn of(path: &Path, file: Mmap) -> Result<Self, EmbeddingsError> {
        let mut cursor = Cursor { path, bytes: &file, at: 0 };
        let is_new = cursor.int()? == i64::from(MAGIC);
        if is_new {
            // The version, and then what an old file begins with.
            cursor.int()?;
        } else {
            cursor.at = 0;
        }
        let width = cursor.size()?;
        let [.., n_buckets, shortest, longest] = cursor.ints::<10>()?;
        cursor.int()?;
        cursor.take(size_of::<f64>())?;
        let n_all = cursor.size()?;
        let n_words = cursor.size()?;
        let _labels = cursor.int()?;
        cursor.take(size_of::<i64>())?;
        let n_pruned = if is_new { cursor.long()? } else { 0 };
        let mut words = Words::default();
        for index in 0..n_all {
            let word = cursor.word()?;
            cursor.take(size_of::<i64>() + 1)?;
            if index < n_words {
                super::push(path, &mut words, word)?;
            }
        }
        if n_pruned > 0 || (is_new && cursor.take(1)?[0] != 0) {
            return Err(cursor.problem("it is quantized, and only whole vectors are read"));
        }
        let [n_rows, row_width] = [cursor.long()?, cursor.long()?].map(|n| n.max(0) as usize);
        let piece = [shortest, longest].map(|length| length.max(0) as usize);
        let n_buckets = if piece[1] > 0 { n_buckets.max(0) as usize } else { 0 };
        if row_width != width || n_rows < n_words + n_buckets || n_words == 0 || width == 0 {
            return Err(cursor.problem("its vectors are not those of its words and pieces"));
        }
        let start = cursor.at;
        let n_bytes = n_rows.checked_mul(width).and_then(|n| n.checked_mul(size_of::<f32>()));
        cursor.take(n_bytes.unwrap_or(usize::MAX))?;
        let path = path.to_path_buf();
        Ok(Self {
            words,
            start,
            n_rows,
            width,
            n_buckets,
            piece,
            end_has_pieces: !is_new,
            path,
            file,
        })
    }

    /// The words that it was trained on.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// The numbers of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The vector of any word: the mean of the vectors of its pieces, and of its own if it has one. None for a word that
    /// has neither.
    pub fn vector(&self, word: impl AsRef<[u8]>) -> Option<Vec<f32>> {
        let word = word.as_ref();
        let mut rows: Vec<usize> = self.words.place(word).into_iter().collect();
        if word != END || self.end_has_pieces {
            rows.extend(self.pieces(word));
        }
        let mut sum = vec![0.0; self.width];
        for row in &rows {
            let bytes = &self.file[self.start + row * self.width * size_of::<f32>()..];
            for (sum, bytes) in sum.iter_mut().zip(bytes.chunks_exact(size_of::<f32>())) {
                *sum += f32::from_le_bytes(bytes.try_into().expect("four bytes"));
            }
        }
        sum.iter_mut().for_each(|number| *number /= rows.len() as f32);
        (!rows.is_empty()).then_some(sum)
    }

    /// The vectors of all words that it was trained on.
    ///
    /// # Errors
    /// [`NotANumber`](EmbeddingsError::NotANumber).
    pub fn vectors(&self) -> Result<WordVectors, EmbeddingsError> {
        let mut table = Table::zeros(self.words.len(), self.width);
        for place in 0..self.words.len() {
            let vector = self.vector(self.words.get(place)).expect("a word of the model");
            table.row_mut(place).copy_from_slice(&vector);
        }
        super::checked(&self.path, self.words.clone(), table)
    }

    /// The rows of the pieces of a word, which is written as `<word>`.
    fn pieces(&self, word: &[u8]) -> Vec<usize> {
        let [shortest, longest] = self.piece;
        if self.n_buckets == 0 {
            return Vec::new();
        }
        let written = [b"<", word, b">"].concat();
        // Where a character begins: any byte but the later ones of UTF-8.
        let starts: Vec<usize> =
            (0..written.len()).filter(|index| written[*index] & 0xc0 != 0x80).collect();
        let end_of = |character: usize| starts.get(character).copied().unwrap_or(written.len());
        let mut rows = Vec::new();
        for (first, start) in starts.iter().enumerate() {
            for length in shortest.max(1)..=longest.min(starts.len() - first) {
                let is_mark = length == 1 && (first == 0 || first + 1 == starts.len());
                if !is_mark {
                    let bucket = hash(&written[*start..end_of(first + length)]) % self.n_buckets;
                    rows.push(self.n_rows - self.n_buckets + bucket);
                }
            }
        }
        rows
    }
}

/// FNV-1a with bytes as signed numbers.
fn hash(piece: &[u8]) -> usize {
    let step = |hash: u32, byte: &u8| (hash ^ *byte as i8 as u32).wrapping_mul(16_777_619);
    piece.iter().fold(2_166_136_261, step) as usize
}

impl<'a> Cursor<'a> {
    fn problem(&self, reason: &'static str) -> EmbeddingsError {
        EmbeddingsError::NotFastText { path: self.path.into(), reason }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], EmbeddingsError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.problem("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i64, EmbeddingsError> {
        let bytes = self.take(size_of::<i32>())?.try_into().expect("four bytes");
        Ok(i64::from(i32::from_le_bytes(bytes)))
    }

    fn ints<const N: usize>(&mut self) -> Result<[i64; N], EmbeddingsError> {
        let mut ints = [0; N];
        for int in &mut ints {
            *int = self.int()?;
        }
        Ok(ints)
    }

    fn long(&mut self) -> Result<i64, EmbeddingsError> {
        Ok(i64::from_le_bytes(self.take(size_of::<i64>())?.try_into().expect("eight bytes")))
    }

    /// A number that counts something, so that a file can be as long.
    fn size(&mut self) -> Result<usize, EmbeddingsError> {
        let size = usize::try_from(self.int()?).ok().filter(|size| *size <= self.bytes.len());
        size.ok_or_else(|| self.problem("its sizes are none"))
    }

    /// A word up to its zero.
    fn word(&mut self) -> Result<&'a [u8], EmbeddingsError> {
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr(0, rest).ok_or_else(|| self.problem("it ends too early"))?;
        self.at += length + 1;
        Ok(&rest[..length])
    }
}
