//! A corpus on disk, read as a stream: a file, or the files of a folder, one after the other. A line is a sentence.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::EmbeddingsError;
use crate::words::Words;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 18;

/// Parts of a chunk that are turned into numbers at the same time.
const PARTS: usize = 8;

/// A file, or a folder with files in the order of their names.
#[derive(Clone, Debug)]
pub struct Corpus {
    path: PathBuf,
    files: Vec<PathBuf>,
}

impl Corpus {
    /// The corpus at a path. Nothing is read yet.
    ///
    /// # Errors
    /// [`Read`](EmbeddingsError::Read); [`NoFile`](EmbeddingsError::NoFile) for an empty folder.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, EmbeddingsError> {
        let path = path.into();
        let list = || -> std::io::Result<Vec<PathBuf>> {
            if !std::fs::metadata(&path)?.is_dir() {
                return Ok(vec![path.clone()]);
            }
            let mut files = Vec::new();
            for entry in std::fs::read_dir(&path)? {
                let entry = entry?.path();
                if entry.is_file() {
                    files.push(entry);
                }
            }
            files.sort();
            Ok(files)
        };
        let files = list().map_err(EmbeddingsError::read(&path))?;
        match files.is_empty() {
            true => Err(EmbeddingsError::NoFile { path }),
            false => Ok(Self { path, files }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives every byte to `use_chunk`, in order and in chunks that split no word.
    pub(super) fn for_each_chunk(
        &self,
        mut use_chunk: impl FnMut(&[u8]),
    ) -> Result<(), EmbeddingsError> {
        for path in &self.files {
            let mut chunks = Chunks::open(path, 0)?;
            while chunks.fill()? {
                use_chunk(chunks.whole_words());
                chunks.consume(chunks.whole_words().len());
            }
        }
        Ok(())
    }
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

/// The words of some bytes: what stands between ASCII white space.
pub(super) fn words_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| is_space(*byte)).filter(|word| !word.is_empty())
}

/// A file of which a part is in memory.
struct Chunks {
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    /// Where in the file they begin.
    offset: u64,
    is_at_end: bool,
}

impl Chunks {
    fn open(path: &Path, offset: u64) -> Result<Self, EmbeddingsError> {
        let open = || -> std::io::Result<File> {
            let mut file = File::open(path)?;
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset))?;
            Ok(file)
        };
        let file = open().map_err(EmbeddingsError::read(path))?;
        Ok(Self { path: path.into(), file, bytes: Vec::new(), offset, is_at_end: false })
    }

    /// Reads another chunk behind what is there; whether there is anything then.
    fn fill(&mut self) -> Result<bool, EmbeddingsError> {
        if !self.is_at_end {
            let mut chunk = (&self.file).take(CHUNK as u64);
            let read = chunk.read_to_end(&mut self.bytes);
            self.is_at_end = read.map_err(EmbeddingsError::read(&self.path))? < CHUNK;
        }
        Ok(!self.bytes.is_empty())
    }

    /// What is there, without a word of which more may come.
    fn whole_words(&self) -> &[u8] {
        let end = match self.is_at_end {
            true => self.bytes.len(),
            false => self.bytes.iter().rposition(|b| is_space(*b)).map_or(0, |place| place + 1),
        };
        &self.bytes[..end]
    }

    /// Forgets the first bytes.
    fn consume(&mut self, length: usize) {
        self.bytes.drain(..length);
        self.offset += length as u64;
    }
}

/// A place in a corpus, at which a sentence begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Place {
    /// The file, counted from 0.
    pub(super) file: usize,
    /// The byte in it.
    pub(super) offset: u64,
}

/// Sentences as numbers, in order.
#[derive(Debug, Default)]
struct Sentences {
    /// The places of their words in the vocabulary; words that are not there are left out.
    words: Vec<u32>,
    /// For each sentence, where it ends in `words`, and where the next one begins in the file.
    ends: Vec<(usize, u64)>,
}

impl Sentences {
    /// Goes on with the sentences of `bytes`, which begin at `offset`. A line of more words than `limit` is several
    /// sentences; the last one is left out unless it is whole.
    fn extend(&mut self, bytes: &[u8], offset: u64, words: &Words, limit: usize, is_last: bool) {
        let mut start = 0;
        while start < bytes.len() {
            let newline = memchr::memchr(b'\n', &bytes[start..]);
            let end = newline.map_or(bytes.len(), |length| start + length + 1);
            let mut first = self.words.len();
            for word in words_of(&bytes[start..end]) {
                let Some(place) = words.place(word) else { continue };
                self.words.push(place as u32);
                if self.words.len() - first == limit {
                    first = self.words.len();
                    let read = word.as_ptr().addr() + word.len() - bytes.as_ptr().addr();
                    self.ends.push((first, offset + read as u64));
                }
            }
            if newline.is_none() && !is_last {
                self.words.truncate(first);
                return;
            }
            if self.words.len() > first {
                self.ends.push((self.words.len(), offset + end as u64));
            }
            start = end;
        }
    }
}

/// A corpus read once, from a place on.
pub(super) struct Reader<'a> {
    corpus: &'a Corpus,
    words: &'a Words,
    /// The most words of a sentence.
    limit: usize,
    chunks: Option<Chunks>,
    file: usize,
}

impl<'a> Reader<'a> {
    /// Reads on from a place.
    pub(super) fn open(
        corpus: &'a Corpus,
        words: &'a Words,
        limit: usize,
        from: Place,
    ) -> Result<Self, EmbeddingsError> {
        let path = corpus.files.get(from.file);
        let chunks = path.map(|path| Chunks::open(path, from.offset)).transpose()?;
        Ok(Self { corpus, words, limit, chunks, file: from.file })
    }

    /// Its sentences one by one.
    pub(super) fn sentences(self) -> SentenceStream<'a> {
        SentenceStream { reader: self, file: 0, parts: Vec::new(), part: 0, sentence: 0 }
    }

    /// The next sentences, all of one file; none at the end.
    fn next(&mut self) -> Result<Option<(usize, Vec<Sentences>)>, EmbeddingsError> {
        let (words, limit) = (self.words, self.limit);
        while let Some(chunks) = &mut self.chunks {
            if !chunks.fill()? {
                self.file += 1;
                let path = self.corpus.files.get(self.file);
                self.chunks = path.map(|path| Chunks::open(path, 0)).transpose()?;
                continue;
            }
            let is_last = chunks.is_at_end;
            let parts: Vec<Sentences> = parts(chunks.whole_words())
                .into_par_iter()
                .map(|(start, bytes)| {
                    let mut sentences = Sentences::default();
                    sentences.extend(bytes, chunks.offset + start as u64, words, limit, is_last);
                    sentences
                })
                .collect();
            let read = parts.iter().rev().find_map(|part| part.ends.last());
            let length = match read {
                _ if is_last => chunks.bytes.len(),
                Some((_, end)) => (end - chunks.offset) as usize,
                None => 0,
            };
            chunks.consume(length);
            if read.is_some() {
                return Ok(Some((self.file, parts)));
            }
        }
        Ok(None)
    }
}

/// The sentences of a corpus, one by one.
pub(super) struct SentenceStream<'a> {
    reader: Reader<'a>,
    file: usize,
    parts: Vec<Sentences>,
    part: usize,
    sentence: usize,
}

impl SentenceStream<'_> {
    /// The next sentence, and where the one after it begins; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(&[u32], Place)>, EmbeddingsError> {
        while self.parts.get(self.part).is_none_or(|part| self.sentence == part.ends.len()) {
            (self.part, self.sentence) = (self.part + 1, 0);
            if self.part >= self.parts.len() {
                let Some((file, parts)) = self.reader.next()? else { return Ok(None) };
                (self.file, self.parts, self.part) = (file, parts, 0);
            }
        }
        let Sentences { words, ends } = &self.parts[self.part];
        let start = self.sentence.checked_sub(1).map_or(0, |before| ends[before].0);
        let (end, offset) = ends[self.sentence];
        self.sentence += 1;
        Ok(Some((&words[start..end], Place { file: self.file, offset })))
    }
}

/// Bytes in parts of whole lines, each with its start.
fn parts(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut parts = Vec::with_capacity(PARTS);
    let mut start = 0;
    for part in 1..=PARTS {
        let after = (bytes.len() * part / PARTS).max(start);
        let end = match memchr::memchr(b'\n', &bytes[after..]) {
            Some(length) if part < PARTS => after + length + 1,
            _ => bytes.len(),
        };
        if start < end {
            parts.push((start, &bytes[start..end]));
        }
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(texts: &[&[u8]]) -> (tempfile::TempDir, Corpus) {
        let folder = tempfile::tempdir().unwrap();
        for (index, text) in texts.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{index}.txt")), text).unwrap();
        }
        let corpus = Corpus::open(folder.path()).unwrap();
        (folder, corpus)
    }

    /// Every sentence with the place behind it.
    fn sentences(
        corpus: &Corpus,
        words: &Words,
        limit: usize,
        from: Place,
    ) -> Vec<(String, Place)> {
        let mut stream = Reader::open(corpus, words, limit, from).unwrap().sentences();
        let mut all = Vec::new();
        while let Some((sentence, place)) = stream.next().unwrap() {
            let text: Vec<_> = sentence.iter().map(|word| words.text(*word as usize)).collect();
            all.push((text.join(" "), place));
        }
        all
    }

    #[test]
    fn lines_of_all_files_are_sentences_of_known_words() {
        let (_folder, corpus) = corpus(&[b"a b\tx\r\n\n b  c\n\nx\na", b"", b"c"]);
        let words: Words = ["a", "b", "c"].into_iter().collect();
        let found = sentences(&corpus, &words, 9, Place::default());
        let texts: Vec<&str> = found.iter().map(|(text, _)| &text[..]).collect();
        assert_eq!(texts, ["a b", "b c", "a", "c"]);
    }

    #[test]
    fn a_long_line_is_several_sentences() {
        let (_folder, corpus) = corpus(&[b"a b x c a\nb c\n"]);
        let words: Words = ["a", "b", "c"].into_iter().collect();
        let found = sentences(&corpus, &words, 2, Place::default());
        let texts: Vec<&str> = found.iter().map(|(text, _)| &text[..]).collect();
        assert_eq!(texts, ["a b", "c a", "b c"]);
    }

    #[test]
    fn reading_goes_on_at_any_sentence() {
        let long = "b a ".repeat(CHUNK / 3) + "\n" + &"a b c\nc\n".repeat(CHUNK / 8);
        let (_folder, corpus) = corpus(&[long.as_bytes(), b"a b\n\nb c"]);
        let words: Words = ["a", "b", "c"].into_iter().collect();
        let all = sentences(&corpus, &words, 100, Place::default());
        assert!(all[0].0.len() == 199 && all.last().unwrap().0 == "b c");
        for index in [0, 1, 5000, all.len() - 3, all.len() - 2, all.len() - 1] {
            assert_eq!(sentences(&corpus, &words, 100, all[index].1), all[index + 1..]);
        }
    }

    #[test]
    fn chunks_split_no_word() {
        let text = "abc ".repeat(CHUNK / 2);
        let (_folder, corpus) = corpus(&[text.as_bytes()]);
        let mut count = 0;
        corpus
            .for_each_chunk(|chunk| {
                count += words_of(chunk).inspect(|word| assert_eq!(*word, b"abc")).count();
            })
            .unwrap();
        assert_eq!(count, CHUNK / 2);
    }

    #[test]
    fn an_empty_folder_is_an_error_and_so_is_a_path_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let error = Corpus::open(folder.path()).unwrap_err();
        assert!(matches!(error, EmbeddingsError::NoFile { .. }), "{error:?}");
        let error = Corpus::open(folder.path().join("absent")).unwrap_err();
        assert!(matches!(error, EmbeddingsError::Read { .. }), "{error:?}");
    }
}
