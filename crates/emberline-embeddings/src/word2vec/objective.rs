//! What is predicted: a word against negative samples, or the decisions on its way through a tree, or both.

use emberline_core::Stream;

use super::block::Targets;
use super::config::{Architecture, Context, Word2VecConfig};
use super::huffman::Huffman;
use super::sampling::NegativeTable;

/// Pairs of random numbers that are made together.
const PAIRS: usize = 4;

/// The objective for a vocabulary, in one epoch.
#[derive(Debug)]
pub(super) struct Objective {
    config: Word2VecConfig,
    negatives: Option<NegativeTable>,
    tree: Option<Huffman>,
    /// Where in the outputs the rows of the tree begin.
    first_node: u32,
    random: Stream,
    /// Pairs of random numbers that a position may want.
    n_pairs: u64,
}

/// The random numbers of a position.
pub(super) struct Draws {
    random: Stream,
    next_pair: u64,
    made: [[u64; 2]; PAIRS],
    used: usize,
}

impl Objective {
    /// The objective for words with these counts.
    pub(super) fn new(config: &Word2VecConfig, counts: &[u64]) -> Self {
        let negatives =
            (config.negative > 0).then(|| NegativeTable::new(counts, config.negative_power));
        let n_predictions = match config.architecture {
            Architecture::Cbow => 1,
            Architecture::SkipGram => 2 * config.window,
        };
        let n_draws = n_predictions * config.negative;
        Self {
            first_node: if negatives.is_some() { counts.len() as u32 } else { 0 },
            negatives,
            tree: config.hierarchical_softmax.then(|| Huffman::new(counts)),
            random: Stream::new(config.seed),
            n_pairs: n_draws.div_ceil(2).next_multiple_of(PAIRS) as u64,
            config: config.clone(),
        }
    }

    /// The rows that the outputs have.
    pub(super) fn n_outputs(config: &Word2VecConfig, vocab_size: usize) -> usize {
        let of_words = if config.negative > 0 { vocab_size } else { 0 };
        let of_nodes = if config.hierarchical_softmax { vocab_size - 1 } else { 0 };
        of_words + of_nodes
    }

    /// Another epoch has other negative samples.
    pub(super) fn begin_epoch(&mut self, epoch: usize) {
        self.random = Stream::new(self.config.seed).named("negative samples").at(epoch as u64);
    }

    #[inline(always)]
    pub(super) fn is_cbow(&self) -> bool {
        self.config.architecture == Architecture::Cbow
    }

    #[inline(always)]
    pub(super) fn window(&self) -> usize {
        self.config.window
    }

    /// The weight of each of `n` vectors in what predicts.
    #[inline(always)]
    pub(super) fn share(&self, n: usize) -> f32 {
        match self.config.context {
            Context::Mean => 1.0 / n.max(1) as f32,
            Context::Sum => 1.0,
        }
    }

    /// The change of each of them, of the change that what predicts is to have. It goes with their weight; and vectors of
    /// which the mean predicts learn faster by as many as a whole context has on average, so that the mean moves as far as
    /// the one vector of skip-gram does.
    #[inline(always)]
    pub(super) fn back(&self, n: usize) -> f32 {
        match self.config.context {
            Context::Mean => self.share(n) * (self.config.window + 1) as f32,
            Context::Sum => 1.0,
        }
    }

    /// The random numbers of the word of the corpus with that index.
    #[inline(always)]
    pub(super) fn draws(&self, index: u64) -> Draws {
        let next_pair = index * self.n_pairs;
        Draws { random: self.random, next_pair, made: [[0; 2]; PAIRS], used: 2 * PAIRS }
    }

    /// Adds the targets of the prediction of a word.
    #[inline(always)]
    pub(super) fn collect(&self, word: u32, draws: &mut Draws, targets: &mut Targets<'_>) {
        if let Some(negatives) = &self.negatives {
            targets.push(word, 1.0);
            for _ in 0..self.config.negative {
                let negative = negatives.draw(draws.next());
                // As in the C program, the word itself is no negative sample, and not drawn again.
                if negative != word {
                    targets.push(negative, -1.0);
                }
            }
        }
        if let Some(tree) = &self.tree {
            for step in tree.path(word as usize) {
                targets.push(self.first_node + step.node, if step.bit { -1.0 } else { 1.0 });
            }
        }
    }
}

impl Draws {
    #[inline(always)]
    fn next(&mut self) -> u64 {
        if self.used == 2 * PAIRS {
            self.made = self.random.bit_pairs(self.next_pair);
            self.next_pair += PAIRS as u64;
            self.used = 0;
        }
        self.used += 1;
        self.made.as_flattened()[self.used - 1]
    }
}
