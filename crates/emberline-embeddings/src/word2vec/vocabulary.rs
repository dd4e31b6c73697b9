//! The words of a corpus with their counts.

use std::path::PathBuf;

use crate::error::EmbeddingsError;
use crate::words::Words;

use super::corpus::{Corpus, words_of};

/// Words by falling count, equal counts as first seen: the same corpus always gives the same places.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The words.
    pub words: Words,
    /// How often each comes, at least `min_count` times.
    pub counts: Vec<u64>,
}

impl Vocabulary {
    /// Counts the words of a corpus, and leaves out those that come fewer than `min_count` times.
    ///
    /// # Errors
    /// [`Read`](EmbeddingsError::Read); [`NoWord`](EmbeddingsError::NoWord) for a corpus without words;
    /// [`AllRare`](EmbeddingsError::AllRare).
    pub fn count(corpus: &Corpus, min_count: u64) -> Result<Self, EmbeddingsError> {
        let (mut words, mut counts) = (Words::default(), Vec::new());
        corpus.for_each_chunk(|chunk| {
            for word in words_of(chunk) {
                let (place, is_new) = words.insert(word);
                if is_new {
                    counts.push(0);
                }
                counts[place] += 1;
            }
        })?;
        let Some(most) = counts.iter().max().copied() else {
            return Err(EmbeddingsError::NoWord { path: PathBuf::from(corpus.path()) });
        };
        let mut order: Vec<usize> = (0..words.len()).filter(|p| counts[*p] >= min_count).collect();
        if order.is_empty() {
            let path = PathBuf::from(corpus.path());
            return Err(EmbeddingsError::AllRare { path, min_count, most });
        }
        order.sort_by_key(|place| std::cmp::Reverse(counts[*place]));
        Ok(Self {
            words: order.iter().map(|place| words.get(*place)).collect(),
            counts: order.iter().map(|place| counts[*place]).collect(),
        })
    }

    /// How often any of them comes in a corpus, which need not be the one that they are from.
    pub(super) fn count_known(&self, corpus: &Corpus) -> Result<u64, EmbeddingsError> {
        let mut known = 0;
        corpus.for_each_chunk(|chunk| {
            known += words_of(chunk).filter(|word| self.words.place(word).is_some()).count() as u64;
        })?;
        Ok(known)
    }

    /// How often any of them comes.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(text: &[u8]) -> (tempfile::NamedTempFile, Corpus) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let corpus = Corpus::open(file.path()).unwrap();
        (file, corpus)
    }

    #[test]
    fn words_come_by_falling_count_and_then_as_first_seen() {
        let (_file, corpus) = corpus(b"b a\xff c\nc a\xff\td e\nc\n");
        let vocabulary = Vocabulary::count(&corpus, 1).unwrap();
        let words: Vec<&[u8]> = vocabulary.words.iter().collect();
        assert_eq!(words, [&b"c"[..], b"a\xff", b"b", b"d", b"e"]);
        assert_eq!((vocabulary.counts.clone(), vocabulary.total()), (vec![3, 2, 1, 1, 1], 8));
        assert_eq!(Vocabulary::count(&corpus, 2).unwrap().counts, [3, 2]);
        assert_eq!(Vocabulary::count(&corpus, 3).unwrap().count_known(&corpus).unwrap(), 3);
    }

    #[test]
    fn a_corpus_without_frequent_words_is_an_error_that_tells_how_frequent_they_are() {
        let (_file, rare) = corpus(b"a b a");
        let error = Vocabulary::count(&rare, 5).unwrap_err().to_string();
        assert!(
            error.ends_with("comes 5 times (min_count): the most frequent comes 2 times"),
            "{error}"
        );
        let (_file, empty) = corpus(b" \n\n");
        let error = Vocabulary::count(&empty, 1).unwrap_err();
        assert!(matches!(error, EmbeddingsError::NoWord { .. }), "{error:?}");
    }
}
