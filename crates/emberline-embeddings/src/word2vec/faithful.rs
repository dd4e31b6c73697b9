//! The C program, step by step (code 0.1c, commit d83ccfb of tmikolov/word2vec), on one thread: its vectors to the last
//! bit, where it is built without `-ffast-math` and no two words come equally often. Later commits of the program stop
//! after the first epoch on one thread, for they never forget that they have seen the end of the file.
//!
//! What it does otherwise than the paper, and than [`train`](super::train): the sigmoid is read from a table, at a place
//! that is a little off; CBOW gives each word of a context the whole gradient of their mean; every prediction sees the
//! changes of the one before; an end of line is a word, `</s>`, but not a trained one; and a last line without its
//! end is not read.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::error::EmbeddingsError;
use crate::table::Table;
use crate::vectors::WordVectors;
use crate::words::Words;

use super::config::{Architecture, Word2VecConfig};
use super::huffman::Huffman;

const MAX_EXP: f32 = 6.0;
const EXP_TABLE_SIZE: usize = 1000;
/// Cells of the table of the sigmoid for 1: a whole number, by the division of two.
const CELLS: f32 = (EXP_TABLE_SIZE / 6 / 2) as f32;
const MAX_SENTENCE_LENGTH: usize = 1000;
const MAX_WORD_LENGTH: usize = 98;
const UNIGRAM_TABLE_SIZE: u64 = 100_000_000;
const END: &[u8] = b"</s>";

/// Trains on a file. Of the config it takes the architecture, width, window, negative samples, tree, subsampling, minimal
/// count, epochs and first learning rate; the rest is as the program has it.
///
/// # Errors
/// [`Config`](EmbeddingsError::Config), [`Read`](EmbeddingsError::Read), [`AllRare`](EmbeddingsError::AllRare).
pub fn train(path: &Path, config: &Word2VecConfig) -> Result<WordVectors, EmbeddingsError> {
    config.validate()?;
    let file = File::open(path).map_err(EmbeddingsError::read(path))?;
    // SAFETY: the bytes are only looked at, and any will do. That nobody writes into the file meanwhile is the caller's.
    let text = unsafe { Mmap::map(&file) }.map_err(EmbeddingsError::read(path))?;
    let (words, counts) = vocabulary(&text, config.min_count);
    if words.len() < 2 {
        let (path, min_count) = (path.to_path_buf(), config.min_count);
        let mut tokens = Tokens { text: &text, at: 0 };
        return Err(match std::iter::from_fn(|| tokens.next()).any(|token| token != END) {
            true => {
                let most = vocabulary(&text, 0).1.into_iter().skip(1).max().unwrap_or(0);
                EmbeddingsError::AllRare { path, min_count, most }
            }
            false => EmbeddingsError::NoWord { path },
        });
    }
    let mut program = Program::new(config, &words, &counts);
    program.train(&text);
    let vectors = program.syn0;
    Ok(WordVectors::new(words, vectors))
}

/// The words of a text as the program reads them, an end of line as one of them.
struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl Tokens<'_> {
    /// The next word; none at the end of the file, also if it breaks a word off.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut word = Vec::new();
        loop {
            let byte = *self.text.get(self.at)?;
            self.at += 1;
            match byte {
                b'\r' => {}
                b'\n' if word.is_empty() => return Some(END.to_vec()),
                b'\n' => {
                    self.at -= 1;
                    break;
                }
                b' ' | b'\t' if word.is_empty() => {}
                b' ' | b'\t' => break,
                _ => word.push(byte),
            }
        }
        word.truncate(MAX_WORD_LENGTH);
        Some(word)
    }
}

/// The words with their counts: the end of line, then the others by falling count.
fn vocabulary(text: &[u8], min_count: u64) -> (Words, Vec<u64>) {
    let (mut words, mut counts) = (Words::default(), vec![0]);
    words.insert(END);
    let mut tokens = Tokens { text, at: 0 };
    while let Some(word) = tokens.next() {
        let (place, is_new) = words.insert(&word);
        if is_new {
            counts.push(0);
        }
        counts[place] += 1;
    }
    let mut order: Vec<usize> = (1..words.len()).filter(|p| counts[*p] >= min_count).collect();
    order.sort_by_key(|place| std::cmp::Reverse(counts[*place]));
    order.insert(0, 0);
    let kept = order.iter().map(|place| words.get(*place)).collect();
    (kept, order.iter().map(|place| counts[*place]).collect())
}

/// The variables of the program, by its names.
struct Program<'a> {
    config: &'a Word2VecConfig,
    words: &'a Words,
    counts: &'a [u64],
    train_words: u64,
    exp_table: Vec<f32>,
    tree: Huffman,
    unigram_ends: Vec<u64>,
    syn0: Table,
    syn1: Table,
    syn1neg: Table,
    starting_alpha: f32,
    alpha: f32,
    next_random: u64,
    word_count: u64,
    last_word_count: u64,
    word_count_actual: u64,
    neu1: Vec<f32>,
    neu1e: Vec<f32>,
}

impl<'a> Program<'a> {
    fn new(config: &'a Word2VecConfig, words: &'a Words, counts: &'a [u64]) -> Self {
        let (vocab_size, width) = (words.len(), config.d_embedding);
        let rows = |is_there: bool| if is_there { vocab_size } else { 0 };
        let mut syn0 = Table::zeros(vocab_size, width);
        let mut next_random = 1;
        for word in 0..vocab_size {
            for number in syn0.row_mut(word) {
                let uniform = f64::from((random(&mut next_random) & 0xffff) as f32 / 65536.0);
                *number = ((uniform - 0.5) / width as f64) as f32;
            }
        }
        let exp_table = (0..EXP_TABLE_SIZE).map(|cell| {
            let x = (cell as f32 / EXP_TABLE_SIZE as f32 * 2.0 - 1.0) * MAX_EXP;
            let exp = f64::from(x).exp() as f32;
            exp / (exp + 1.0)
        });
        Self {
            config,
            words,
            counts,
            train_words: counts.iter().sum(),
            exp_table: exp_table.collect(),
            tree: Huffman::new(counts),
            unigram_ends: unigram_ends(counts),
            syn0,
            syn1: Table::zeros(rows(config.hierarchical_softmax), width),
            syn1neg: Table::zeros(rows(config.negative > 0), width),
            starting_alpha: config.learning_rate as f32,
            alpha: config.learning_rate as f32,
            // The number of the first thread.
            next_random: 0,
            word_count: 0,
            last_word_count: 0,
            word_count_actual: 0,
            neu1: vec![0.0; width],
            neu1e: vec![0.0; width],
        }
    }

    fn train(&mut self, text: &[u8]) {
        let mut sentence = Vec::new();
        for _ in 0..self.config.epochs {
            let mut tokens = Tokens { text, at: 0 };
            (self.word_count, self.last_word_count) = (0, 0);
            loop {
                self.look_after_alpha();
                let is_whole = self.read_sentence(&mut tokens, &mut sentence);
                if !is_whole || self.word_count > self.train_words {
                    break;
                }
                if sentence.is_empty() {
                    // The program then draws a window for a word of an earlier sentence, and does nothing with it.
                    random(&mut self.next_random);
                }
                for position in 0..sentence.len() {
                    if position > 0 {
                        self.look_after_alpha();
                    }
                    self.train_position(&sentence, position);
                }
            }
            self.word_count_actual += self.word_count - self.last_word_count;
        }
    }

    fn look_after_alpha(&mut self) {
        if self.word_count - self.last_word_count > 10000 {
            self.word_count_actual += self.word_count - self.last_word_count;
            self.last_word_count = self.word_count;
            let all_words = (self.config.epochs as u64 * self.train_words + 1) as f32;
            self.alpha = self.starting_alpha * (1.0 - self.word_count_actual as f32 / all_words);
            let least = f64::from(self.starting_alpha) * 0.0001;
            if f64::from(self.alpha) < least {
                self.alpha = least as f32;
            }
        }
    }

    /// Reads a sentence without what subsampling passes over; whether the file went on to its end.
    fn read_sentence(&mut self, tokens: &mut Tokens, sentence: &mut Vec<usize>) -> bool {
        sentence.clear();
        let sample = self.config.subsampling as f32;
        while sentence.len() < MAX_SENTENCE_LENGTH {
            let Some(token) = tokens.next() else { return false };
            let Some(word) = self.words.place(&token) else { continue };
            self.word_count += 1;
            if word == 0 {
                break;
            }
            if sample > 0.0 {
                let count = self.counts[word];
                let expected = sample * self.train_words as f32;
                let root = f64::from(count as f32 / expected).sqrt();
                let ran = ((root + 1.0) * f64::from(expected) / count as f64) as f32;
                if ran < (random(&mut self.next_random) & 0xffff) as f32 / 65536.0 {
                    continue;
                }
            }
            sentence.push(word);
        }
        true
    }

    fn train_position(&mut self, sentence: &[usize], position: usize) {
        let window = self.config.window;
        let reach = window - (random(&mut self.next_random) % window as u64) as usize;
        let around = position.saturating_sub(reach)..(position + reach + 1).min(sentence.len());
        let context = around.filter(|other| *other != position).map(|other| sentence[other]);
        match self.config.architecture {
            Architecture::Cbow => self.train_cbow(context, sentence[position]),
            Architecture::SkipGram => {
                for last_word in context {
                    self.neu1.copy_from_slice(self.syn0.row(last_word));
                    self.neu1e.fill(0.0);
                    self.predict(sentence[position]);
                    add(self.syn0.row_mut(last_word), &self.neu1e);
                }
            }
        }
    }

    fn train_cbow(&mut self, context: impl Iterator<Item = usize> + Clone, word: usize) {
        let cw = context.clone().count();
        if cw == 0 {
            return;
        }
        self.neu1.fill(0.0);
        self.neu1e.fill(0.0);
        context.clone().for_each(|last_word| add(&mut self.neu1, self.syn0.row(last_word)));
        self.neu1.iter_mut().for_each(|number| *number /= cw as f32);
        self.predict(word);
        context.for_each(|last_word| add(self.syn0.row_mut(last_word), &self.neu1e));
    }

    /// Learns to predict a word from `neu1`, and adds what that wants of it to `neu1e`.
    fn predict(&mut self, word: usize) {
        let Self { neu1, neu1e, alpha, exp_table, .. } = self;
        let sigmoid = |f: f32| exp_table[((f + MAX_EXP) * CELLS) as usize];
        if self.config.hierarchical_softmax {
            for step in self.tree.path(word) {
                let row = self.syn1.row_mut(step.node as usize);
                let f = dot(neu1, row);
                if f > -MAX_EXP && f < MAX_EXP {
                    let label = if step.bit { 0.0 } else { 1.0 };
                    learn(neu1, neu1e, row, (label - sigmoid(f)) * *alpha);
                }
            }
        }
        if self.config.negative == 0 {
            return;
        }
        for d in 0..=self.config.negative {
            let (mut target, label) = (word, if d == 0 { 1.0 } else { 0.0 });
            if d > 0 {
                let bits = random(&mut self.next_random);
                let cell = (bits >> 16) % UNIGRAM_TABLE_SIZE;
                target = self.unigram_ends.partition_point(|end| *end < cell);
                if target == 0 {
                    target = (bits % (self.words.len() as u64 - 1)) as usize + 1;
                }
                if target == word {
                    continue;
                }
            }
            let row = self.syn1neg.row_mut(target);
            let f = dot(neu1, row);
            let g = match f {
                f if f > MAX_EXP => (label - 1.0) * *alpha,
                f if f < -MAX_EXP => label * *alpha,
                f => (label - sigmoid(f)) * *alpha,
            };
            learn(neu1, neu1e, row, g);
        }
    }
}

/// The generator of the program.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(25_214_903_917).wrapping_add(11);
    *state
}

/// The last cell of each word in the table of the program, which is not held here.
fn unigram_ends(counts: &[u64]) -> Vec<u64> {
    let size = UNIGRAM_TABLE_SIZE as f64;
    let powers = counts.iter().map(|count| (*count as f64).powf(0.75));
    let total: f64 = powers.clone().sum();
    let mut sum = 0.0;
    let mut next = 0;
    let ends = powers.map(|power| {
        sum += power / total;
        // The first cell beyond the sum is the word's last; every word has one.
        let mut cell = ((sum * size) as u64).saturating_sub(2).max(next);
        while cell + 1 < UNIGRAM_TABLE_SIZE && cell as f64 / size <= sum {
            cell += 1;
        }
        next = cell + 1;
        cell
    });
    let mut ends: Vec<u64> = ends.collect();
    // What rounding leaves is the last word's.
    ends.pop();
    ends
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

fn add(sum: &mut [f32], added: &[f32]) {
    sum.iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
}

/// What the hidden layer is to change by sees the row before its own change.
fn learn(neu1: &[f32], neu1e: &mut [f32], row: &mut [f32], g: f32) {
    for ((number, hidden), error) in row.iter_mut().zip(neu1).zip(neu1e) {
        *error += g * *number;
        *number += g * hidden;
    }
}
