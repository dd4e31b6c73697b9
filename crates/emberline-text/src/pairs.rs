//! Texts with their translations as ids, and the batches of about equal length that they are trained in.

use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::bad_lines::{BadLines, Sieve};
use crate::error::TextError;
use crate::examples::length_batches;
use crate::parallel::{Pair, ParallelCorpus};
use crate::translation_tokenizer::TranslationTokenizer;

/// A source and its target as ids, each with the token for its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPair {
    /// What is read, at least one id.
    pub source: Vec<u32>,
    /// What is written, at least one id.
    pub target: Vec<u32>,
}

impl TokenPair {
    /// The tokens of the source and of the target.
    pub fn lengths(&self) -> [usize; 2] {
        [self.source.len(), self.target.len()]
    }
}

/// The pairs of a corpus as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPairs {
    /// The pairs, in the order of the corpus.
    pub pairs: Vec<TokenPair>,
    /// The place of each in the corpus, from 0.
    pub places: Vec<usize>,
    /// What was wrong with each that was left out.
    pub skipped: Vec<String>,
}

impl ParallelCorpus {
    /// The pairs as ids, each side with the token for its end. A side of more than `max_tokens`, that token included,
    /// is a bad line.
    ///
    /// # Errors
    /// [`TextError::TooLong`], and [`TextError::EmptyColumn`] where a side has no token, with the line;
    /// [`TextError::NoExample`] if every line was skipped; those of [`TranslationTokenizer::encode`].
    pub fn encode(
        &self,
        source: &TranslationTokenizer,
        target: &TranslationTokenizer,
        max_tokens: Option<usize>,
        bad_lines: BadLines,
    ) -> Result<EncodedPairs, TextError> {
        let mut sieve = Sieve::new(bad_lines);
        for (place, Pair { source: text, target: translation, line }) in
            self.pairs().iter().enumerate()
        {
            let side = |tokenizer: &TranslationTokenizer, text, column| {
                self.encode_side(tokenizer, text, column, *line, max_tokens)
            };
            let pair = side(source, text, "source").and_then(|source| {
                Ok((place, TokenPair { source, target: side(target, translation, "target")? }))
            });
            sieve.add(pair)?;
        }
        if sieve.kept.is_empty() {
            return Err(TextError::NoExample { name: self.name().to_string() });
        }
        let (places, pairs) = sieve.kept.into_iter().unzip();
        Ok(EncodedPairs { pairs, places, skipped: sieve.skipped })
    }

    fn encode_side(
        &self,
        tokenizer: &TranslationTokenizer,
        text: &str,
        column: &'static str,
        line: usize,
        max_tokens: Option<usize>,
    ) -> Result<Vec<u32>, TextError> {
        let name = || self.name().to_string();
        let ids = tokenizer.encode(text).map_err(|error| match error {
            TextError::NoToken { .. } => TextError::EmptyColumn { name: name(), line, column },
            other => other,
        })?;
        match max_tokens {
            Some(max_tokens) if ids.len() > max_tokens => {
                let tokens = ids.len();
                Err(TextError::TooLong { name: name(), line, column, tokens, max_tokens })
            }
            _ => Ok(ids),
        }
    }
}

/// How large a batch of pairs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchSize {
    /// So many pairs.
    Sentences(usize),
    /// As many pairs as have, padded, at most so many tokens on either side.
    Tokens(usize),
}

impl BatchSize {
    /// Pairs of the given lengths, by their index, in batches for one pass: every pair once, in an order that is a
    /// function of `random` alone, and pairs of about one length together, so that little is padded.
    ///
    /// The number of batches is a function of the lengths alone, so every pass has as many. By sentences, every
    /// batch has as many pairs but one, which has the rest. By tokens, the pairs are put in order of their length,
    /// those of one length are shuffled, and each batch takes as many as fit: which pairs of one length meet
    /// changes from pass to pass, as does the order of the batches.
    ///
    /// # Errors
    /// [`TextError::ZeroSize`]; [`TextError::PairTooLong`] if a pair alone is more than a batch may hold.
    pub fn batches(
        self,
        lengths: &[[usize; 2]],
        random: Stream,
    ) -> Result<Vec<Vec<usize>>, TextError> {
        match self {
            Self::Sentences(0) => Err(TextError::ZeroSize { name: "the sentences of a batch" }),
            Self::Tokens(0) => Err(TextError::ZeroSize { name: "the tokens of a batch" }),
            Self::Sentences(sentences) => {
                let sums: Vec<usize> = lengths.iter().map(|pair| pair.iter().sum()).collect();
                Ok(length_batches(&sums, sentences, random))
            }
            Self::Tokens(tokens) => token_batches(lengths, tokens, random),
        }
    }
}

fn token_batches(
    lengths: &[[usize; 2]],
    max_tokens: usize,
    random: Stream,
) -> Result<Vec<Vec<usize>>, TextError> {
    if let Some([source_tokens, target_tokens]) =
        lengths.iter().copied().find(|pair| pair.iter().any(|tokens| *tokens > max_tokens))
    {
        return Err(TextError::PairTooLong { source_tokens, target_tokens, max_tokens });
    }
    let mut rows = random.named("rows").permutation(lengths.len());
    // A stable sort: pairs of equal lengths stay shuffled.
    rows.sort_by_key(|row| {
        let [source, target] = lengths[*row];
        [source.max(target), source, target]
    });
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for row in rows {
        longest = lengths[row].into_iter().fold(longest, usize::max);
        match batches.last_mut() {
            Some(batch) if longest * (batch.len() + 1) <= max_tokens => batch.push(row),
            _ => {
                longest = lengths[row].into_iter().fold(0, usize::max);
                batches.push(vec![row]);
            }
        }
    }
    let order = random.named("batches").permutation(batches.len());
    Ok(order.into_iter().map(|batch| std::mem::take(&mut batches[batch])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translation_tokenizer::TranslationTokens;

    /// The lengths of 1000 pairs: sources between 1 and 40, targets within 5 of them.
    fn lengths() -> Vec<[usize; 2]> {
        let length = |row| {
            let source = 1 + Stream::new(1).below(row, 40);
            [source, source + Stream::new(2).below(row, 5)]
        };
        (0..1000).map(length).collect()
    }

    fn batches(size: BatchSize, seed: u64) -> Vec<Vec<usize>> {
        size.batches(&lengths(), Stream::new(seed)).unwrap()
    }

    fn padded(batch: &[usize], lengths: &[[usize; 2]]) -> [usize; 2] {
        [0, 1].map(|side| batch.iter().map(|row| lengths[*row][side]).max().unwrap() * batch.len())
    }

    #[test]
    fn every_pair_comes_once_and_every_pass_has_as_many_batches() {
        for size in [BatchSize::Sentences(16), BatchSize::Tokens(400)] {
            let passes = [1, 2, 3].map(|seed| batches(size, seed));
            assert_ne!(passes[0], passes[1]);
            assert_eq!(passes[0], batches(size, 1));
            for pass in &passes {
                let mut rows = pass.concat();
                rows.sort_unstable();
                assert_eq!(rows, (0..1000).collect::<Vec<_>>());
                assert_eq!(pass.len(), passes[0].len());
            }
        }
    }

    #[test]
    fn a_batch_of_tokens_is_full_but_never_more_than_full() {
        let lengths = lengths();
        let batches = batches(BatchSize::Tokens(400), 1);
        assert!(batches.iter().all(|batch| padded(batch, &lengths).into_iter().all(|n| n <= 400)));
        let mean =
            batches.iter().map(|batch| padded(batch, &lengths)[1]).sum::<usize>() / batches.len();
        assert!(mean > 350, "{mean} of 400 tokens");
    }

    #[test]
    fn little_of_a_batch_of_tokens_is_padding() {
        let lengths = lengths();
        let valid: usize = lengths.iter().flatten().sum();
        let all: usize = batches(BatchSize::Tokens(400), 1)
            .iter()
            .flat_map(|batch| padded(batch, &lengths))
            .sum();
        let share = 1.0 - valid as f64 / all as f64;
        assert!(share < 0.1, "{share}");
    }

    #[test]
    fn pairs_of_one_length_trade_places_from_pass_to_pass() {
        let lengths = vec![[3, 3]; 100];
        let pass = |seed| BatchSize::Tokens(30).batches(&lengths, Stream::new(seed)).unwrap();
        let sorted = |mut batch: Vec<usize>| {
            batch.sort_unstable();
            batch
        };
        let first: Vec<Vec<usize>> = pass(1).into_iter().map(sorted).collect();
        assert!(first.iter().all(|batch| batch.len() == 10));
        assert!(pass(2).into_iter().map(sorted).all(|batch| !first.contains(&batch)));
    }

    #[test]
    fn the_longest_batches_do_not_come_last() {
        let lengths = lengths();
        let is_long = |seed: &u64| lengths[batches(BatchSize::Tokens(400), *seed)[0][0]][0] > 25;
        assert!((3..27).contains(&(0..30).filter(is_long).count()));
    }

    #[test]
    fn batches_of_nothing_and_a_pair_that_fits_into_none_are_errors() {
        let error = |size: BatchSize| {
            size.batches(&[[3, 2], [4, 7]], Stream::new(0)).unwrap_err().to_string()
        };
        let expected = "the sentences of a batch is 0, but must be at least 1";
        assert_eq!(error(BatchSize::Sentences(0)), expected);
        assert_eq!(
            error(BatchSize::Tokens(0)),
            "the tokens of a batch is 0, but must be at least 1"
        );
        let expected = "a pair of 4 and 7 tokens does not fit into a batch of 6";
        assert_eq!(error(BatchSize::Tokens(6)), expected);
        let one = BatchSize::Tokens(7).batches(&[[3, 2], [4, 7]], Stream::new(0)).unwrap();
        assert_eq!(one.len(), 2);
        assert!(BatchSize::Tokens(7).batches(&[], Stream::new(0)).unwrap().is_empty());
    }

    #[test]
    fn a_sentence_longer_than_allowed_is_an_error_at_its_line_or_is_skipped() {
        let lines = (1..).zip([("a b", "b"), ("a b c", "b"), ("a", "b b b")]);
        let pair = |(line, (source, target)): (usize, (&str, &str))| Pair {
            source: source.into(),
            target: target.into(),
            line,
        };
        let corpus = ParallelCorpus::new("a.tsv", lines.map(pair).collect()).unwrap();
        let tokenizer =
            TranslationTokenizer::learn(&TranslationTokens::Symbols, corpus.sources()).unwrap();
        let encode =
            |max_tokens, bad_lines| corpus.encode(&tokenizer, &tokenizer, max_tokens, bad_lines);
        let error = encode(Some(3), BadLines::Refuse).unwrap_err().to_string();
        let expected = "a.tsv:2: the source has 4 tokens, but there is room for 3";
        assert_eq!(error, expected);
        let encoded = encode(Some(3), BadLines::Skip).unwrap();
        assert_eq!(encoded.pairs, [TokenPair { source: vec![3, 4, 1], target: vec![4, 1] }]);
        assert_eq!(encoded.places, [0]);
        assert_eq!(encoded.skipped.len(), 2);
        assert!(encoded.skipped[1].contains("a.tsv:3: the target has 4 tokens"));
        assert_eq!(encode(Some(4), BadLines::Refuse).unwrap().pairs.len(), 3);
        assert_eq!(encode(None, BadLines::Refuse).unwrap().pairs.len(), 3);
        let error = encode(Some(1), BadLines::Skip).unwrap_err().to_string();
        assert_eq!(error, "a.tsv has no example");
    }
}
