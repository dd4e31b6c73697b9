//! Pairs of sentences out of documents, as the code of BERT makes them: half of the time, and a little more, the second
//! does not follow the first.

use std::iter::repeat_n;
use std::ops::Range;

use emberline_core::Stream;
use emberline_text::{BertSpecialTokens, BertTokenizer, TextError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::draws::Draws;

/// How often a second part is drawn again because it came from the document of the first.
const MAX_DRAWS: usize = 10;

/// Documents as sentences of tokens. None is empty, and none of their sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents(Vec<Vec<Vec<u32>>>);

/// How pairs are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SentencePairsConfig {
    /// The most tokens of a pair, with `[CLS]` and two `[SEP]`; at least 5.
    pub max_seq_length: usize,
    /// The part of the documents from which shorter pairs are made, so that a model sees such in training.
    pub short_probability: f64,
    /// The probability that the second part is drawn from another document, where it need not be.
    pub random_probability: f64,
    /// How often the documents are gone through, each time to other pairs.
    pub n_duplicates: usize,
}

impl Default for SentencePairsConfig {
    /// Those of the published code.
    fn default() -> Self {
        Self {
            max_seq_length: 128,
            short_probability: 0.1,
            random_probability: 0.5,
            n_duplicates: 10,
        }
    }
}

/// Two parts of documents as BERT reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairRow {
    /// `[CLS] A [SEP] B [SEP]`.
    pub tokens: Vec<u32>,
    /// 0 for `[CLS]`, A and the `[SEP]` after it, 1 for the rest.
    pub segments: Vec<u32>,
    /// Whether B was drawn, and does not follow A.
    pub is_random: bool,
}

impl Documents {
    /// The documents, without empty ones and empty sentences.
    ///
    /// # Errors
    /// [`TextError::NoExample`] if nothing is left; `name` is what the error calls them.
    pub fn new(name: &str, documents: Vec<Vec<Vec<u32>>>) -> Result<Self, TextError> {
        let with_tokens = |mut document: Vec<Vec<u32>>| {
            document.retain(|sentence| !sentence.is_empty());
            (!document.is_empty()).then_some(document)
        };
        let documents: Vec<_> = documents.into_iter().filter_map(with_tokens).collect();
        if documents.is_empty() {
            return Err(TextError::NoExample { name: name.to_string() });
        }
        Ok(Self(documents))
    }

    /// The documents of sentences in the pieces of a tokenizer.
    ///
    /// # Errors
    /// [`TextError::NoExample`], [`TextError::Pipeline`].
    pub fn encode<S: AsRef<str>>(
        name: &str,
        documents: &[Vec<S>],
        tokenizer: &BertTokenizer,
    ) -> Result<Self, TextError> {
        let tokens = |document: &Vec<S>| {
            let sentences: Vec<&str> = document.iter().map(AsRef::as_ref).collect();
            let pieces = tokenizer.pieces_of_all(&sentences)?;
            let tokens = pieces.into_iter().map(|sentence| {
                sentence.into_iter().map(|piece| piece.token).collect::<Vec<u32>>()
            });
            Ok(tokens.collect())
        };
        Self::new(name, documents.iter().map(tokens).collect::<Result<_, TextError>>()?)
    }

    /// The sentences of each document.
    pub fn sentences(&self) -> &[Vec<Vec<u32>>] {
        &self.0
    }

    /// The pairs of the documents, in their order, once for each duplicate.
    ///
    /// Sentences are gathered until they fill a row, the first few of them are A, and the others B; or B is drawn: from a
    /// random place of another document on, and the others go into the next pair. Of a single sentence B is always
    /// drawn, so that random pairs are more than their probability. A random document may be the same where there is no
    /// other, or by a chance of one in as many documents to the tenth power. What is too long is cut, token by token, at
    /// a random end of the longer part.
    ///
    /// Each document has a random stream of its own: the pairs are the same with any number of threads.
    ///
    /// # Panics
    /// If `max_seq_length` is below 5.
    pub fn pairs(
        &self,
        config: &SentencePairsConfig,
        special: BertSpecialTokens,
        random: Stream,
    ) -> Vec<PairRow> {
        let max_seq_length = config.max_seq_length;
        assert!(max_seq_length >= 5, "a pair needs 5 tokens, and may have {max_seq_length}");
        let of_document = |index: usize| {
            let (duplicate, document) = (index / self.0.len(), index % self.0.len());
            let draws = Draws::new(random.at(duplicate as u64).at(document as u64));
            Pairing { documents: &self.0, document, config, special, draws }.pairs()
        };
        let n_passes = self.0.len() * config.n_duplicates;
        let pairs: Vec<Vec<PairRow>> = (0..n_passes).into_par_iter().map(of_document).collect();
        pairs.into_iter().flatten().collect()
    }
}

/// The making of pairs from one document.
struct Pairing<'a> {
    documents: &'a [Vec<Vec<u32>>],
    document: usize,
    config: &'a SentencePairsConfig,
    special: BertSpecialTokens,
    draws: Draws,
}

impl Pairing<'_> {
    fn pairs(mut self) -> Vec<PairRow> {
        let sentences = &self.documents[self.document];
        let room = self.config.max_seq_length - 3;
        let is_short = self.draws.uniform() < self.config.short_probability;
        let target = if is_short { self.draws.within(2..=room) } else { room };
        let mut pairs = Vec::new();
        let mut start = 0;
        while start < sentences.len() {
            let end = filling(sentences, start, target);
            let first_end = match end - start {
                1 => end,
                n_sentences => start + self.draws.within(1..=n_sentences - 1),
            };
            let first = sentences[start..first_end].concat();
            let is_random =
                first_end == end || self.draws.uniform() < self.config.random_probability;
            let second = if is_random {
                self.random_part(target.saturating_sub(first.len()))
            } else {
                sentences[first_end..end].concat()
            };
            pairs.push(self.pair(&first, &second, room, is_random));
            start = if is_random { first_end } else { end };
        }
        pairs
    }

    /// Sentences from a random place of another document on, until they are as long as they should be.
    fn random_part(&mut self, length: usize) -> Vec<u32> {
        let mut other = self.document;
        for _ in 0..MAX_DRAWS {
            other = self.draws.within(0..=self.documents.len() - 1);
            if other != self.document {
                break;
            }
        }
        let sentences = &self.documents[other];
        let start = self.draws.within(0..=sentences.len() - 1);
        sentences[start..filling(sentences, start, length)].concat()
    }

    fn pair(&mut self, first: &[u32], second: &[u32], room: usize, is_random: bool) -> PairRow {
        let [first_kept, second_kept] =
            kept([first.len(), second.len()], room, || self.draws.uniform() < 0.5);
        let BertSpecialTokens { class, separator, .. } = self.special;
        let (first, second) = (&first[first_kept], &second[second_kept]);
        let tokens = [&[class], first, &[separator], second, &[separator]].concat();
        let segments = repeat_n(0, first.len() + 2).chain(repeat_n(1, second.len() + 1)).collect();
        PairRow { tokens, segments, is_random }
    }
}

/// The end of the sentences from `start` on that together have `length` tokens; at least one sentence.
fn filling(sentences: &[Vec<u32>], start: usize, length: usize) -> usize {
    let mut tokens = 0;
    for (end, sentence) in (start + 1..).zip(&sentences[start..]) {
        tokens += sentence.len();
        if tokens >= length {
            return end;
        }
    }
    sentences.len()
}

/// What is kept of two parts that together may have `room` tokens: the longer one loses a token at one of its ends, the
/// second of two of one length, until they fit.
fn kept(
    lengths: [usize; 2],
    room: usize,
    mut at_the_front: impl FnMut() -> bool,
) -> [Range<usize>; 2] {
    let mut kept = lengths.map(|length| 0..length);
    while kept[0].len() + kept[1].len() > room {
        let longer = usize::from(kept[0].len() <= kept[1].len());
        if at_the_front() { kept[longer].start += 1 } else { kept[longer].end -= 1 }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: BertSpecialTokens =
        BertSpecialTokens { pad: 0, unknown: 1, class: 2, separator: 3, mask: 4 };

    /// Every token names its document and its place in it: `1000 (d + 1) + place`. Sentences have 1 to 9 tokens.
    fn documents(n_documents: usize, n_sentences: usize) -> Documents {
        let document = |document: usize| {
            let mut next = 1000 * (document as u32 + 1);
            let sentence = |sentence: usize| {
                let tokens: Vec<u32> = (next..next + 1 + (sentence * 5 % 9) as u32).collect();
                next += tokens.len() as u32;
                tokens
            };
            (0..n_sentences).map(sentence).collect()
        };
        Documents::new("test", (0..n_documents).map(document).collect()).unwrap()
    }

    fn pairs(documents: &Documents, config: &SentencePairsConfig, seed: u64) -> Vec<PairRow> {
        documents.pairs(config, SPECIAL, Stream::new(seed))
    }

    fn short() -> SentencePairsConfig {
        SentencePairsConfig { max_seq_length: 24, ..SentencePairsConfig::default() }
    }

    /// A and B of a pair.
    fn parts(pair: &PairRow) -> [Vec<u32>; 2] {
        let separators: Vec<usize> =
            (0..pair.tokens.len()).filter(|index| pair.tokens[*index] == 3).collect();
        let [first, second] = separators[..] else { panic!("{pair:?}") };
        assert_eq!((pair.tokens[0], second), (2, pair.tokens.len() - 1));
        [pair.tokens[1..first].to_vec(), pair.tokens[first + 1..second].to_vec()]
    }

    #[test]
    fn a_second_part_that_is_not_random_follows_the_first_and_a_random_one_is_of_another_document()
    {
        let documents = documents(5, 40);
        let (mut n_random, mut n_pairs) = (0, 0);
        for pair in pairs(&documents, &short(), 1) {
            let [first, second] = parts(&pair);
            for part in [&first, &second] {
                assert!(!part.is_empty() && part.windows(2).all(|two| two[0] + 1 == two[1]));
            }
            let [of_first, of_second] = [first[0] / 1000, second[0] / 1000];
            assert_eq!(of_first != of_second, pair.is_random, "{pair:?}");
            // Between two parts may be what was cut off.
            assert!(pair.is_random || second[0] > first[first.len() - 1]);
            assert!(pair.tokens.len() <= 24);
            let segments = [vec![0; first.len() + 2], vec![1; second.len() + 1]].concat();
            assert_eq!(pair.segments, segments);
            n_random += usize::from(pair.is_random);
            n_pairs += 1;
        }
        assert!(n_random * 2 > n_pairs && n_random < n_pairs, "{n_random} of {n_pairs}");
    }

    #[test]
    fn sentences_that_a_random_part_took_the_place_of_are_in_the_next_pair() {
        let config = SentencePairsConfig { n_duplicates: 1, ..short() };
        let documents = documents(3, 40);
        let mut seen: Vec<u32> = Vec::new();
        for pair in pairs(&documents, &config, 2) {
            let [first, second] = parts(&pair);
            seen.extend(first);
            if !pair.is_random {
                seen.extend(second);
            }
        }
        // Nothing is skipped or read twice, but for what is cut off.
        assert!(seen.windows(2).all(|two| two[0] < two[1]));
        let n_tokens: usize = documents.sentences().iter().flatten().map(Vec::len).sum();
        assert!(seen.len() * 10 > n_tokens * 8, "{} of {n_tokens}", seen.len());
    }

    #[test]
    fn always_random_pairs_start_with_each_sentence_in_turn() {
        let config = SentencePairsConfig {
            random_probability: 1.0,
            short_probability: 0.0,
            n_duplicates: 1,
            max_seq_length: 128,
        };
        let documents =
            Documents::new("test", vec![vec![vec![10], vec![11]], vec![vec![20; 4]]]).unwrap();
        let found: Vec<[Vec<u32>; 2]> = pairs(&documents, &config, 3).iter().map(parts).collect();
        let rest = vec![20; 4];
        assert_eq!(found[..2], [[vec![10], rest.clone()], [vec![11], rest.clone()]]);
        assert_eq!(found[2][0], rest);
        assert!(found[2][1].ends_with(&[11]));
    }

    #[test]
    fn a_book_of_one_chapter_pairs_with_itself() {
        let pairs = pairs(&documents(1, 30), &short(), 4);
        assert!(pairs.iter().any(|pair| pair.is_random));
        assert!(pairs.iter().all(|pair| parts(pair)[1][0] / 1000 == 1));
    }

    #[test]
    fn too_long_parts_lose_tokens_at_both_ends_and_the_second_of_two_of_one_length_first() {
        assert_eq!(kept([5, 5], 9, || true), [0..5, 1..5]);
        assert_eq!(kept([9, 2], 7, || false), [0..5, 0..2]);
        let mut turn = false;
        let alternately = || {
            turn = !turn;
            turn
        };
        assert_eq!(kept([9, 2], 7, alternately), [2..7, 0..2]);
    }

    #[test]
    fn empty_sentences_and_documents_are_left_out() {
        let documents = vec![vec![], vec![vec![], vec![7]], vec![vec![]]];
        assert_eq!(Documents::new("test", documents).unwrap().sentences(), [vec![vec![7]]]);
        let error = Documents::new("a.txt", vec![vec![vec![]]]).unwrap_err().to_string();
        assert_eq!(error, "a.txt has no example");
    }

    #[test]
    fn pairs_are_the_same_with_any_number_of_threads_and_others_in_each_duplicate() {
        let documents = documents(7, 30);
        let with = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| pairs(&documents, &short(), 5))
        };
        let expected = with(1);
        assert!([2, 3, 8].into_iter().all(|n_threads| with(n_threads) == expected));
        let once = SentencePairsConfig { n_duplicates: 1, ..short() };
        let first = pairs(&documents, &once, 5);
        assert_eq!(first[..], expected[..first.len()]);
        assert_ne!(first[..9], expected[first.len()..first.len() + 9]);
        assert_ne!(first, pairs(&documents, &once, 6));
    }

    /// Documents of a token and nine, which fill a row together: half of them give one pair, in which the second part
    /// follows, and the others two random ones, of the first sentence and of the second.
    ///
    /// A tenth aims at a shorter row, of 2 tokens on, and still takes both sentences. Only if it aims at 2, one of nine
    /// lengths, and draws the short sentence of two, is a random part after the first sentence of one token.
    #[test]
    fn random_and_short_pairs_are_as_many_as_they_should_be_in_a_million_at_four_sigma() {
        let document = |index: u32| vec![vec![10 + index; 1], vec![10 + index; 9]];
        let documents = Documents::new("test", (0..50_000).map(document).collect()).unwrap();
        let config = SentencePairsConfig { max_seq_length: 13, n_duplicates: 1, ..short() };
        let (mut n_pairs, mut n_following, mut n_shortest) = (0, 0, 0);
        for seed in 0..20 {
            for pair in pairs(&documents, &config, seed) {
                n_pairs += 1;
                n_following += usize::from(!pair.is_random);
                n_shortest += usize::from(pair.is_random && pair.tokens.len() == 5);
            }
        }
        let n_draws = 1_000_000;
        for (count, probability) in [(n_following, 0.5), (n_shortest, 0.5 * 0.1 / 9.0 * 0.5)] {
            let expected = n_draws as f64 * probability;
            let sigma = (expected * (1.0 - probability)).sqrt();
            assert!((count as f64 - expected).abs() < 4.0 * sigma, "{count}, not {expected}");
        }
        assert_eq!(n_pairs, 2 * n_draws - n_following);
    }
}
