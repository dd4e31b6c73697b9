//! Sequences of examples, each sequence of a task of its own that is drawn for it and never told.

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_core::Stream;
use emberline_training::Data;
use serde::{Deserialize, Serialize};

/// An example is two symbols and the answer to them.
pub const EXAMPLE: usize = 3;
/// The symbols that a task of associative recall asks for.
const N_KEYS: usize = 4;
/// One in so many linear functions is kept for the test.
const KEPT: usize = 5;

/// What tasks are drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequencesConfig {
    /// The number of symbols, a prime number: linear functions are taken modulo it.
    pub n_symbols: usize,
    /// The examples of a sequence, of which the last is a question after all others.
    pub n_examples: usize,
    /// The sequences of an update.
    pub batch_size: usize,
    /// The batches of new tasks that are tested on.
    pub validation_batches: usize,
}

/// A kind of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Some symbols have an answer each, at random: associative recall.
    Recall,
    /// `a x + b`, modulo the number of symbols.
    Linear,
    /// All symbols have a rank; of two the answer is the higher: sorting by example.
    Order,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Recall, Self::Linear, Self::Order];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Linear => "linear",
            Self::Order => "order",
        }
    }

    /// How often guessing is right.
    pub fn chance(self, n_symbols: usize) -> f64 {
        match self {
            Self::Recall | Self::Linear => 1.0 / n_symbols as f64,
            Self::Order => 0.5,
        }
    }
}

/// Which tasks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those to learn from.
    Training,
    /// Those that are kept.
    New,
}

impl SequencesConfig {
    /// The symbols, and one that stands before a question of one symbol: questions are of one length, and end in what is
    /// asked.
    pub fn vocab_size(&self) -> usize {
        self.n_symbols + 1
    }

    /// The tokens of a sequence, whose last answer is not read.
    pub fn seq_length(&self) -> usize {
        EXAMPLE * self.n_examples - 1
    }

    /// The tokens of a sequence with its last answer.
    pub fn sequence(&self, family: Family, part: Part, random: Stream) -> Vec<i32> {
        let n = self.n_symbols;
        let draw = random.named("task");
        let asked = random.named("examples");
        let example = |index: usize| {
            let asked = asked.at(index as u64);
            match family {
                Family::Recall => {
                    let keys = draw.permutation(n);
                    let key = keys[asked.below(0, N_KEYS.min(n))];
                    [n, key, draw.named("answers").below(key as u64, n)]
                }
                Family::Linear => {
                    let (a, b) = linear(n, part, draw);
                    let x = asked.below(0, n);
                    [n, x, (a * x + b) % n]
                }
                Family::Order => {
                    let ranks = draw.permutation(n);
                    let first = asked.below(0, n);
                    let second = (first + 1 + asked.below(1, n - 1)) % n;
                    let higher = if ranks[first] > ranks[second] { first } else { second };
                    [first, second, higher]
                }
            }
        };
        (0..self.n_examples).flat_map(example).map(|symbol| symbol as i32).collect()
    }
}

/// The factor, never 0, and what is added; one in [`KEPT`] of all pairs is new.
fn linear(n_symbols: usize, part: Part, random: Stream) -> (usize, usize) {
    let mut draws = 0u64..;
    loop {
        let pair = random.below(draws.next().unwrap_or_default(), n_symbols * (n_symbols - 1));
        let is_new = pair.is_multiple_of(KEPT);
        if is_new == (part == Part::New) {
            return (1 + pair / n_symbols, pair % n_symbols);
        }
    }
}

/// Sequences as a model reads them, and the answers to all their questions.
#[derive(Clone, Debug)]
pub struct SequenceBatch {
    /// `[batch_size, seq_length]`.
    pub tokens: Tensor<2, Int>,
    /// `[batch_size, n_examples]`.
    pub answers: Tensor<2, Int>,
}

/// Sequences of all families.
pub struct Sequences {
    pub config: SequencesConfig,
    random: Stream,
    device: Device,
}

impl Sequences {
    pub fn new(config: SequencesConfig, random: Stream, device: &Device) -> Self {
        Self { config, random, device: device.clone() }
    }

    fn batch(&self, family: impl Fn(usize) -> Family, part: Part, random: Stream) -> SequenceBatch {
        let SequencesConfig { n_examples, batch_size, .. } = self.config;
        let (mut tokens, mut answers) = (Vec::new(), Vec::new());
        for row in 0..batch_size {
            let sequence = self.config.sequence(family(row), part, random.at(row as u64));
            tokens.extend_from_slice(&sequence[..sequence.len() - 1]);
            answers.extend(sequence.chunks(EXAMPLE).map(|example| example[EXAMPLE - 1]));
        }
        let tensor =
            |symbols, shape| Tensor::from_data(TensorData::new(symbols, shape), &self.device);
        SequenceBatch {
            tokens: tensor(tokens, [batch_size, self.config.seq_length()]),
            answers: tensor(answers, [batch_size, n_examples]),
        }
    }

    /// New tasks of a family.
    pub fn new_tasks(&self, family: Family) -> impl Iterator<Item = SequenceBatch> + '_ {
        let random = self.random.named("test").named(family.name());
        (0..self.config.validation_batches as u64)
            .map(move |index| self.batch(|_| family, Part::New, random.at(index)))
    }
}

impl Data for Sequences {
    type Batch = SequenceBatch;

    fn update(&self, step: u64) -> Vec<SequenceBatch> {
        let random = self.random.named("training").at(step);
        vec![self.batch(|row| Family::ALL[row % 3], Part::Training, random)]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = SequenceBatch> {
        let random = self.random.named("validation");
        (0..self.config.validation_batches as u64)
            .map(move |index| self.batch(|row| Family::ALL[row % 3], Part::New, random.at(index)))
    }

    /// No sequence comes twice.
    fn updates_per_epoch(&self) -> u64 {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const CONFIG: SequencesConfig =
        SequencesConfig { n_symbols: 7, n_examples: 12, batch_size: 3, validation_batches: 1 };

    fn examples(family: Family, seed: u64) -> Vec<[i32; 3]> {
        let sequence = CONFIG.sequence(family, Part::Training, Stream::new(seed));
        sequence.chunks(EXAMPLE).map(|example| [example[0], example[1], example[2]]).collect()
    }

    #[test]
    fn the_same_question_has_the_same_answer_within_a_sequence() {
        for family in Family::ALL {
            for seed in 0..20 {
                let mut answers = HashMap::new();
                for [first, second, answer] in examples(family, seed) {
                    assert_eq!(*answers.entry([first, second]).or_insert(answer), answer);
                }
            }
        }
    }

    #[test]
    fn two_examples_tell_a_linear_function() {
        for seed in 0..20 {
            let all = examples(Family::Linear, seed);
            let is_fit = |a: i32, b: i32| all.iter().all(|[_, x, y]| (a * x + b) % 7 == *y);
            let fits =
                (1..7).flat_map(|a| (0..7).map(move |b| (a, b))).filter(|(a, b)| is_fit(*a, *b));
            assert_eq!(fits.count(), 1);
        }
    }

    #[test]
    fn an_order_is_one() {
        for seed in 0..20 {
            let beats: HashSet<(i32, i32)> = examples(Family::Order, seed)
                .into_iter()
                .map(|[first, second, answer]| (answer, first + second - answer))
                .collect();
            assert!(beats.iter().all(|(higher, lower)| !beats.contains(&(*lower, *higher))));
        }
    }

    #[test]
    fn functions_to_learn_from_are_never_those_of_the_test() {
        let drawn = |part| -> HashSet<(usize, usize)> {
            (0..500).map(|seed| linear(7, part, Stream::new(seed))).collect()
        };
        let (training, new) = (drawn(Part::Training), drawn(Part::New));
        assert!(training.is_disjoint(&new) && !new.is_empty());
        assert_eq!(training.len() + new.len(), 7 * 6);
    }
}
