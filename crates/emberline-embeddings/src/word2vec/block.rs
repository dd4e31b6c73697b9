//! A block of a corpus: what predicts in it is made of the vectors as they are before it, and they change after it.
//!
//! A step has passes that several threads share: what predicts at each position, by position; the rows of the outputs and
//! their predictions, by group of rows, run by run in the order of the corpus; the vectors of the words, by group again. All
//! gradients of a run are taken at the same rows, then these change, and a row is of one thread in the whole pass: what goes
//! from one to the other costs more than the arithmetic. Who does what changes no number, so that the vectors do not depend on
//! how many threads there are.

mod inputs;
mod logistic;
mod outputs;
mod predictors;

use std::ops::Range;

use rayon::prelude::*;

use crate::simd::{self, Lanes};
use crate::table::Table;

use super::objective::Objective;
use super::training::MeanLoss;
use inputs::Inputs;
use outputs::{Group, Outputs, Sums};
use predictors::{Part, Predictors};

pub(super) use predictors::Targets;

/// Positions that a thread takes at once.
const PART: usize = 32;

/// Groups of rows, by the rest of their number: so many threads share a pass over rows at most. What a position is changed by
/// is added up by group.
const GROUPS: usize = 4;

/// What the learning rates of all changes of a row at the same point add up to, at most. Beyond, a row that is in many
/// predictions, as the root of a tree or any of a small vocabulary is, would step over what it steps towards, further each
/// time.
const LONGEST_STEP: f32 = 2.0;

/// The room for the gradients of a block.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// What predicts at each position, `[positions, width]`: the vector of its word, or of its context. Then its change.
    hidden: Vec<Lanes>,
    /// How the change at a position comes back to each of the vectors that predict there.
    shares: Vec<Share>,
    parts: Vec<Part>,
    groups: Vec<Group>,
    /// For each group, the learning rates that its words have in the block.
    steps: Vec<Vec<f32>>,
}

/// A word in its sentence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The word.
    pub(super) word: u32,
    /// How far its window reaches to both sides.
    pub(super) reach: u32,
    /// Which word of the corpus it is: where its random numbers are.
    pub(super) index: u64,
    /// The positions of its sentence.
    pub(super) sentence: [u32; 2],
}

impl Position {
    /// The positions up to `reach` away, with this one.
    #[inline(always)]
    fn around(&self, position: usize, reach: usize) -> Range<usize> {
        let [start, end] = self.sentence.map(|bound| bound as usize);
        position.saturating_sub(reach).max(start)..(position + reach + 1).min(end)
    }
}

/// What a vector has of a prediction.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Its change, of the change of what predicts.
    back: f32,
    /// How much of a step it is, against that of a single prediction.
    weight: f32,
}

impl Block {
    /// Learns from all predictions among the words of some sentences.
    pub(super) fn step(
        &mut self,
        positions: &[Position],
        inputs: &mut Table,
        outputs: &mut Table,
        objective: &Objective,
        learning_rate: f32,
    ) -> MeanLoss {
        let stride = inputs.stride();
        let n_positions = positions.len();
        self.hidden.resize(n_positions * stride, Lanes::ZERO);
        self.shares.resize(n_positions, Share::default());
        self.parts.resize_with(n_positions.div_ceil(PART), Part::default);
        self.groups.resize_with(GROUPS, Group::default);
        self.steps.resize_with(GROUPS, || vec![0.0; inputs.n_rows().div_ceil(GROUPS)]);

        let rooms = self.hidden.par_chunks_mut(PART * stride).zip(self.shares.par_chunks_mut(PART));
        self.parts.par_iter_mut().zip(rooms).enumerate().for_each(
            |(index, (part, (hidden, shares)))| {
                let first = index * PART;
                simd::run(Predictors { positions, first, inputs, objective, hidden, shares, part });
            },
        );
        let (hidden, parts, rows) = (&self.hidden[..], &self.parts[..], outputs.shared());
        self.groups.par_iter_mut().enumerate().for_each(|(index, group)| {
            group.begin(n_positions, stride);
            simd::run(Outputs { index, parts, hidden, rows: &rows, learning_rate, group });
        });
        let groups = &self.groups[..];
        let rooms = self.hidden.par_chunks_mut(PART * stride).zip(self.shares.par_chunks(PART));
        rooms.enumerate().for_each(|(index, (changes, shares))| {
            simd::run(Sums { groups, first: index * PART, changes, shares });
        });
        let (changes, shares, rows) = (&self.hidden[..], &self.shares[..], inputs.shared());
        let longest = LONGEST_STEP / learning_rate;
        self.steps.par_iter_mut().enumerate().for_each(|(group, steps)| {
            simd::run(Inputs {
                group,
                positions,
                changes,
                shares,
                rows: &rows,
                objective,
                longest,
                steps,
            });
        });
        let n_predictions = self.parts.iter().map(|part| part.n_predictions).sum();
        let sum = self.groups.iter().map(|group| group.loss).sum();
        MeanLoss { sum, n_predictions }
    }
}

#[inline(always)]
fn row_of(all: &[Lanes], stride: usize, row: usize) -> &[Lanes] {
    &all[row * stride..][..stride]
}

#[cfg(test)]
mod tests;
