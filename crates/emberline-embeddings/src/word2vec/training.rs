//! The loop: epochs over the corpus, block by block, with a learning rate that falls on a line.

use std::ops::ControlFlow;
use std::sync::Arc;

use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::error::EmbeddingsError;

use super::Word2Vec;
use super::block::{Block, Position};
use super::config::Word2VecConfig;
use super::corpus::{Corpus, Place, Reader, Sentences};
use super::objective::Objective;
use super::sampling::keep_limits;

/// The share of the first learning rate that is left at the end.
const LAST_RATE: f64 = 1e-4;

/// How far training has come. With the model it is all that a resumed training needs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The words of the vocabulary in the corpus.
    pub corpus_words: u64,
    /// Epochs that are done.
    pub epoch: usize,
    /// Words read in this epoch.
    pub words: u64,
    /// Where in the corpus the next sentence begins.
    pub(super) place: Place,
    /// The loss of this epoch so far.
    pub loss: MeanLoss,
    /// The loss of the epoch before.
    pub last_loss: MeanLoss,
}

/// A sum with its count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanLoss {
    /// The sum of the losses of all predictions.
    pub sum: f64,
    /// How many there were.
    pub n_predictions: u64,
}

impl MeanLoss {
    pub(super) fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.n_predictions += other.n_predictions;
    }

    /// The mean, of one prediction at least.
    pub fn mean(&self) -> Option<f64> {
        (self.n_predictions > 0).then(|| self.sum / self.n_predictions as f64)
    }
}

impl Progress {
    /// Nothing is done, of epochs over a corpus that holds so many words of the vocabulary.
    pub fn start(corpus_words: u64) -> Self {
        let (loss, last_loss) = (MeanLoss::default(), MeanLoss::default());
        Self { corpus_words, epoch: 0, words: 0, place: Place::default(), loss, last_loss }
    }

    /// The share of the training that is done.
    pub fn share(&self, config: &Word2VecConfig) -> f64 {
        let done = self.epoch as u64 * self.corpus_words + self.words;
        done as f64 / (config.epochs as u64 * self.corpus_words).max(1) as f64
    }

    /// The learning rate of the next block.
    pub fn learning_rate(&self, config: &Word2VecConfig) -> f64 {
        config.learning_rate * (1.0 - self.share(config)).max(LAST_RATE)
    }
}

/// Trains on from `progress` to the end of the last epoch, or until `after_block` breaks: it sees the model as it is after
/// every block.
///
/// # Errors
/// [`Config`](EmbeddingsError::Config), [`Read`](EmbeddingsError::Read), and those of `after_block`.
pub fn train<E: From<EmbeddingsError>>(
    model: &mut Word2Vec,
    corpus: &Corpus,
    progress: &mut Progress,
    mut after_block: impl FnMut(&Word2Vec, &Progress) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let config = model.config.clone();
    config.validate()?;
    let vocabulary = Arc::clone(&model.vocabulary);
    let mut objective = Objective::new(&config, &vocabulary.counts);
    let mut filling = Filling::new(&config, &vocabulary.counts);
    while progress.epoch < config.epochs {
        objective.begin_epoch(progress.epoch);
        filling.begin_epoch(progress);
        let (words, limit) = (&vocabulary.words, config.max_sentence_words);
        let mut reader = Reader::open(corpus, words, limit, progress.place)?;
        while let Some((file, parts)) = reader.next()? {
            for (sentence, offset) in parts.iter().flat_map(Sentences::iter) {
                filling.push(sentence);
                if filling.n_words < config.block_words {
                    continue;
                }
                step(model, &mut filling, &objective, progress);
                progress.place = Place { file, offset };
                if after_block(model, progress)?.is_break() {
                    return Ok(());
                }
            }
        }
        step(model, &mut filling, &objective, progress);
        *progress = Progress {
            epoch: progress.epoch + 1,
            last_loss: progress.loss,
            ..Progress::start(progress.corpus_words)
        };
        if after_block(model, progress)?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// Learns from a block.
fn step(
    model: &mut Word2Vec,
    filling: &mut Filling,
    objective: &Objective,
    progress: &mut Progress,
) {
    let learning_rate = progress.learning_rate(&model.config) as f32;
    let (inputs, outputs) = (&mut model.inputs, &mut model.outputs);
    let loss = filling.block.step(inputs, outputs, objective, learning_rate);
    progress.loss.add(loss);
    progress.words += filling.n_words as u64;
    filling.block.clear();
    filling.n_words = 0;
}

/// A block in the making: which words are passed over, and how far the windows of the others reach.
struct Filling {
    block: Block,
    /// The words read for it, those passed over too.
    n_words: usize,
    sentence: Vec<Position>,
    keep_limits: Vec<u64>,
    window: u64,
    seed: Stream,
    random: Stream,
    /// The random numbers of the words of the corpus from `first_made` on.
    made: [[u64; 2]; Self::MADE],
    first_made: u64,
    /// The word of the corpus that comes next.
    index: u64,
}

impl Filling {
    /// Pairs of random numbers that are made together.
    const MADE: usize = 8;

    fn new(config: &Word2VecConfig, counts: &[u64]) -> Self {
        let seed = Stream::new(config.seed).named("subsampling and windows");
        Self {
            block: Block::default(),
            n_words: 0,
            sentence: Vec::new(),
            keep_limits: keep_limits(counts, config.subsampling),
            window: config.window as u64,
            seed,
            random: seed,
            made: [[0; 2]; Self::MADE],
            first_made: 0,
            index: 0,
        }
    }

    fn begin_epoch(&mut self, progress: &Progress) {
        self.random = self.seed.at(progress.epoch as u64);
        self.index = progress.words;
        self.make();
    }

    fn make(&mut self) {
        let pair = self.index / 2;
        self.made = self.random.bit_pairs(pair);
        self.first_made = 2 * pair;
    }

    fn bits(&mut self) -> u64 {
        if self.index - self.first_made == 2 * Self::MADE as u64 {
            self.make();
        }
        self.made.as_flattened()[(self.index - self.first_made) as usize]
    }

    fn push(&mut self, sentence: &[u32]) {
        self.sentence.clear();
        for word in sentence {
            let bits = self.bits();
            // The high half decides whether the word stays, the low one how far its window reaches.
            if bits >> 32 < self.keep_limits[*word as usize] {
                let reach = 1 + (((bits & u64::from(u32::MAX)) * self.window) >> 32) as u32;
                let (word, index) = (*word, self.index);
                self.sentence.push(Position { word, reach, index, sentence: [0; 2] });
            }
            self.index += 1;
        }
        self.n_words += sentence.len();
        self.block.push(&self.sentence);
    }
}
