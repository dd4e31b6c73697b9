//! Random sequences with what is to be made of them: the tasks on which a model that reads one sequence and writes
//! another can be exactly right, also about sequences that it has never seen.

use std::collections::HashSet;

use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::error::TextError;
use crate::parallel::{Pair, ParallelCorpus};

/// What is to be made of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceTask {
    /// The same again.
    Copy,
    /// The same, smaller numbers first.
    Sort,
    /// The same from its end to its start.
    Reverse,
}

impl SequenceTask {
    /// What is to be written after reading `source`.
    pub fn target(self, source: &[usize]) -> Vec<usize> {
        let mut target = source.to_vec();
        match self {
            Self::Copy => {}
            Self::Sort => target.sort_unstable(),
            Self::Reverse => target.reverse(),
        }
        target
    }
}

/// The random sequences of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceTaskConfig {
    /// What is to be made of a sequence.
    pub task: SequenceTask,
    /// The symbols, the numbers from 0.
    pub n_symbols: usize,
    /// The symbols of the shortest sequence.
    pub min_length: usize,
    /// The symbols of the longest sequence.
    pub max_length: usize,
}

/// How often in a row a sequence that was drawn before may be drawn.
const ATTEMPTS: u64 = 10_000;

impl SequenceTaskConfig {
    /// A corpus of each of the given sizes, of numbers with a blank between them; no sequence occurs twice, be it in
    /// one corpus or in two. A length is drawn first, each as often, and then the symbols.
    ///
    /// # Errors
    /// [`TextError::ZeroSize`]; [`TextError::TooFewSequences`] if there are not as many different ones, or hardly.
    pub fn corpora<const N: usize>(
        &self,
        sizes: [usize; N],
        random: Stream,
    ) -> Result<[ParallelCorpus; N], TextError> {
        let zero = |(_, size): &(&str, usize)| *size == 0;
        let own = [("n_symbols", self.n_symbols), ("min_length", self.min_length)];
        let asked = sizes.map(|size| ("the size of a corpus", size));
        if let Some((name, _)) = own.into_iter().chain(asked).find(zero) {
            return Err(TextError::ZeroSize { name });
        }
        let sequences = self.sequences(sizes.iter().sum(), random.named("sequences"))?;
        // Short sequences, of which there are few, are drawn early; they belong into every corpus.
        let order = random.named("order").permutation(sequences.len());
        let mut pairs = order.into_iter().map(|index| &sequences[index]);
        let text = |symbols: &[usize]| {
            let symbols: Vec<String> = symbols.iter().map(usize::to_string).collect();
            symbols.join(" ")
        };
        Ok(sizes.map(|size| {
            let pair = |(line, source): (usize, &Vec<usize>)| Pair {
                source: text(source),
                target: text(&self.task.target(source)),
                line,
            };
            let pairs = (1..).zip(pairs.by_ref().take(size)).map(pair).collect();
            ParallelCorpus::new("the random sequences", pairs).expect("no size is 0")
        }))
    }

    /// So many different sequences.
    fn sequences(&self, count: usize, random: Stream) -> Result<Vec<Vec<usize>>, TextError> {
        let Self { n_symbols, min_length, max_length, .. } = *self;
        let too_few =
            |found| TextError::TooFewSequences { n_symbols, min_length, max_length, count, found };
        let n_lengths = (max_length + 1).checked_sub(min_length).filter(|lengths| *lengths > 0);
        let n_lengths = n_lengths.ok_or_else(|| too_few(0))?;
        let mut known = HashSet::new();
        let mut sequences = Vec::with_capacity(count);
        for index in 0..count {
            let attempt = |attempt| {
                let random = random.at(index as u64).at(attempt);
                let length = min_length + random.below(0, n_lengths);
                (1..=length as u64).map(|i| random.below(i, n_symbols)).collect::<Vec<usize>>()
            };
            let new = (0..ATTEMPTS).map(attempt).find(|sequence| !known.contains(sequence));
            let new = new.ok_or_else(|| too_few(index))?;
            known.insert(new.clone());
            sequences.push(new);
        }
        Ok(sequences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(task: SequenceTask) -> SequenceTaskConfig {
        SequenceTaskConfig { task, n_symbols: 12, min_length: 1, max_length: 6 }
    }

    fn corpora(task: SequenceTask) -> [ParallelCorpus; 2] {
        config(task).corpora([900, 100], Stream::new(1)).unwrap()
    }

    fn numbers(text: &str) -> Vec<usize> {
        text.split(' ').map(|number| number.parse().unwrap()).collect()
    }

    #[test]
    fn a_target_is_a_copy_in_the_same_the_sorted_or_the_reverse_order() {
        let source = [2, 10, 1, 10];
        assert_eq!(SequenceTask::Copy.target(&source), [2, 10, 1, 10]);
        assert_eq!(SequenceTask::Sort.target(&source), [1, 2, 10, 10]);
        assert_eq!(SequenceTask::Reverse.target(&source), [10, 1, 10, 2]);
        for pair in corpora(SequenceTask::Sort)[0].pairs() {
            assert!(numbers(&pair.target).is_sorted());
            assert_eq!(SequenceTask::Sort.target(&numbers(&pair.source)), numbers(&pair.target));
        }
    }

    #[test]
    fn no_sequence_is_in_two_corpora_or_twice_in_one() {
        let [training, test] = corpora(SequenceTask::Copy);
        assert_eq!((training.pairs().len(), test.pairs().len()), (900, 100));
        let distinct: HashSet<&str> = training.sources().chain(test.sources()).collect();
        assert_eq!(distinct.len(), 1000);
    }

    #[test]
    fn every_corpus_has_every_length_and_symbol_and_is_a_function_of_the_stream() {
        for corpus in corpora(SequenceTask::Reverse) {
            let sources: Vec<Vec<usize>> = corpus.sources().map(numbers).collect();
            assert!((1..=6).all(|length| sources.iter().any(|source| source.len() == length)));
            assert!((0..12).all(|symbol| sources.iter().any(|source| source.contains(&symbol))));
        }
        assert_eq!(corpora(SequenceTask::Reverse), corpora(SequenceTask::Reverse));
        let other = config(SequenceTask::Reverse).corpora([900, 100], Stream::new(2)).unwrap();
        assert_ne!(corpora(SequenceTask::Reverse), other);
    }

    #[test]
    fn more_sequences_than_there_are_and_sizes_of_zero_are_errors() {
        let few = SequenceTaskConfig { n_symbols: 2, max_length: 2, ..config(SequenceTask::Copy) };
        assert!(few.corpora([5, 1], Stream::new(1)).is_ok());
        let error = few.corpora([5, 2], Stream::new(1)).unwrap_err().to_string();
        let expected = "sequences of 1 to 2 of 2 symbols are too few: only 6 of 7 were found";
        assert_eq!(error, expected);
        let none = SequenceTaskConfig { min_length: 3, max_length: 2, ..few };
        let error = none.corpora([1], Stream::new(1)).unwrap_err();
        assert!(matches!(error, TextError::TooFewSequences { found: 0, .. }), "{error}");
        let zero = SequenceTaskConfig { n_symbols: 0, ..few };
        let error = zero.corpora([1], Stream::new(1)).unwrap_err().to_string();
        assert_eq!(error, "n_symbols is 0, but must be at least 1");
        assert!(few.corpora([1, 0], Stream::new(1)).is_err());
    }
}
