//! The loop: epochs over the corpus, block by block, with a learning rate that falls on a line.

use std::ops::ControlFlow;
use std::sync::Arc;

use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::error::EmbeddingsError;

use super::Word2Vec;
use super::block::{Block, Position};
use super::config::Word2VecConfig;
use super::corpus::{Corpus, Place, Reader, SentenceStream};
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
    let mut block = Block::default();
    while progress.epoch < config.epochs {
        objective.begin_epoch(progress.epoch);
        let (words, limit) = (&vocabulary.words, config.max_sentence_words);
        let sentences = Reader::open(corpus, words, limit, progress.place)?.sentences();
        let mut filling = Filling::new(&config, &vocabulary.counts, progress, sentences);
        let mut filled = filling.next()?;
        while let Some(Filled { positions, n_words, place }) = filled {
            let learning_rate = progress.learning_rate(&config) as f32;
            let (inputs, outputs) = (&mut model.inputs, &mut model.outputs);
            // The next block is read meanwhile, so that no thread waits for one that reads.
            let (loss, next) = rayon::join(
                || block.step(&positions, inputs, outputs, &objective, learning_rate),
                || filling.next(),
            );
            progress.loss.add(loss);
            progress.words += n_words;
            progress.place = place;
            filled = next?;
            if filled.is_some() && after_block(model, progress)?.is_break() {
                return Ok(());
            }
        }
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

/// The sentences of a block after subsampling.
#[derive(Default)]
pub(super) struct Filled {
    pub(super) positions: Vec<Position>,
    /// The words read for it, those passed over too.
    n_words: u64,
    /// Where the next one begins.
    place: Place,
}

impl Filled {
    /// Adds a sentence; one of fewer than two words predicts nothing. `positions` are as yet of no sentence.
    pub(super) fn push(&mut self, positions: &[Position]) {
        if positions.len() > 1 {
            let start = self.positions.len();
            let sentence = [start as u32, (start + positions.len()) as u32];
            self.positions.extend(positions.iter().map(|p| Position { sentence, ..*p }));
        }
    }
}

/// Blocks in the making: which words are passed over, and how far the windows of the others reach.
struct Filling<'a> {
    sentences: SentenceStream<'a>,
    block_words: u64,
    sentence: Vec<Position>,
    keep_limits: Vec<u64>,
    window: u64,
    random: Stream,
    /// The random numbers of the words of the corpus from `first_made` on.
    made: [[u64; 2]; MADE],
    first_made: u64,
    /// The word of the corpus that comes next.
    index: u64,
}

/// Pairs of random numbers that are made together.
const MADE: usize = 8;

impl<'a> Filling<'a> {
    /// From the sentence on that comes next in an epoch.
    fn new(
        config: &Word2VecConfig,
        counts: &[u64],
        progress: &Progress,
        sentences: SentenceStream<'a>,
    ) -> Self {
        let random = Stream::new(config.seed).named("subsampling and windows");
        let random = random.at(progress.epoch as u64);
        let (made, first_made) = random_numbers(random, progress.words);
        Self {
            sentences,
            block_words: config.block_words as u64,
            sentence: Vec::new(),
            keep_limits: keep_limits(counts, config.subsampling),
            window: config.window as u64,
            random,
            made,
            first_made,
            index: progress.words,
        }
    }

    /// The next block, none at the end of the corpus.
    fn next(&mut self) -> Result<Option<Filled>, EmbeddingsError> {
        let mut filled = Filled::default();
        while filled.n_words < self.block_words {
            let Some((sentence, place)) = self.sentences.next()? else { break };
            self.sentence.clear();
            for word in sentence {
                if self.index - self.first_made == 2 * MADE as u64 {
                    (self.made, self.first_made) = random_numbers(self.random, self.index);
                }
                let bits = self.made.as_flattened()[(self.index - self.first_made) as usize];
                // The high half decides whether the word stays, the low one how far its window reaches.
                if bits >> 32 < self.keep_limits[*word as usize] {
                    let reach = 1 + (((bits & u64::from(u32::MAX)) * self.window) >> 32) as u32;
                    let (word, index) = (*word, self.index);
                    self.sentence.push(Position { word, reach, index, sentence: [0; 2] });
                }
                self.index += 1;
            }
            filled.n_words += sentence.len() as u64;
            filled.place = place;
            filled.push(&self.sentence);
        }
        Ok((filled.n_words > 0).then_some(filled))
    }
}

/// Some random numbers with that of a word, and the word of the first.
fn random_numbers(random: Stream, index: u64) -> ([[u64; 2]; MADE], u64) {
    (random.bit_pairs(index / 2), index / 2 * 2)
}
