//! A block of a corpus: what is computed with the tables as they are before it, and how they change after it.
//!
//! The gradients of all its words are taken at the same tables, in parts that several threads share; then every row
//! is changed by one thread, in the order of the corpus. So the vectors do not depend on the number of threads, and the
//! loss is that of one model and no mixture.

mod logistic;
mod updates;

use std::ops::Range;

use rayon::prelude::*;

use crate::simd::{self, Kernel, LANES, Lanes, add_scaled, prefetch, products};
use crate::table::Table;

use super::objective::Objective;
use super::training::MeanLoss;
use logistic::gradients;
use updates::Updates;

/// Positions whose gradients one thread takes at once.
const PART: usize = 32;

/// Shares of the rows of a table for each thread. What a row becomes does not depend on whose it is.
const SHARES: usize = 2;

/// What the learning rates of all changes of a row in a block add up to, at most. Beyond, a row that is in many predictions, as
/// the root of a tree or any of a small vocabulary is, would step over what it steps towards, further each time.
const LONGEST_STEP: f32 = 2.0;

/// How many changes ahead a row is asked for.
const AHEAD: usize = 6;

/// Sentences after subsampling, with the room for their gradients.
#[derive(Debug, Default)]
pub(super) struct Block {
    positions: Vec<Position>,
    /// What predicts at each position, `[positions, width]`: the vector of its word, or of its context.
    hidden: Vec<Lanes>,
    /// The change of that, `[positions, width]`.
    changes: Vec<Lanes>,
    /// Of how many changes each of them is the sum, times how it comes back to a vector.
    weights: Vec<f32>,
    parts: Vec<Part>,
    /// For each owner.
    steps: Vec<Steps>,
}

/// How far the rows of an owner may go: by how many changes, and how much of each.
#[derive(Debug, Default)]
struct Steps {
    of_inputs: Vec<f32>,
    of_outputs: Vec<f32>,
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

/// What the positions of a part want of the rows of the outputs.
#[derive(Debug, Default)]
struct Part {
    /// For each owner of rows, in the order of the corpus.
    updates: Vec<Vec<Update>>,
    loss: MeanLoss,
    now: Targets,
    next: Targets,
}

/// `outputs[row] += gradient · hidden[position]`.
#[derive(Clone, Copy, Debug)]
struct Update {
    row: u32,
    position: u32,
    gradient: f32,
}

/// Rows of the outputs against which a position is held.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    rows: Vec<u32>,
    /// 1 where the score shall rise, -1 where it shall fall.
    signs: Vec<f32>,
    products: Vec<Lanes>,
    scores: Vec<f32>,
    n_predictions: u64,
}

impl Block {
    /// Forgets the sentences.
    pub(super) fn clear(&mut self) {
        self.positions.clear();
    }

    /// Adds a sentence; one of fewer than two words predicts nothing. `positions` are as yet of no sentence.
    pub(super) fn push(&mut self, positions: &[Position]) {
        if positions.len() > 1 {
            let start = self.positions.len();
            let sentence = [start as u32, (start + positions.len()) as u32];
            self.positions.extend(positions.iter().map(|p| Position { sentence, ..*p }));
        }
    }

    /// Takes the gradients of all predictions at the same tables, then a step against them.
    pub(super) fn step(
        &mut self,
        inputs: &mut Table,
        outputs: &mut Table,
        objective: &Objective,
        learning_rate: f32,
    ) -> MeanLoss {
        let stride = inputs.stride();
        let length = self.positions.len() * stride;
        self.hidden.resize(length, Lanes::ZERO);
        self.changes.resize(length, Lanes::ZERO);
        self.weights.resize(self.positions.len(), 0.0);
        self.parts.resize_with(self.positions.len().div_ceil(PART), Part::default);
        let n_owners = match rayon::current_num_threads() {
            1 => 1,
            n_threads => SHARES * n_threads,
        };
        self.steps.resize_with(n_owners, Steps::default);
        for steps in &mut self.steps {
            steps.of_inputs.resize(inputs.n_rows().div_ceil(n_owners), 0.0);
            steps.of_outputs.resize(outputs.n_rows().div_ceil(n_owners), 0.0);
        }
        let positions = &self.positions[..];
        let rooms = self.hidden.par_chunks_mut(PART * stride);
        let rooms = rooms.zip(self.changes.par_chunks_mut(PART * stride));
        let rooms = rooms.zip(self.weights.par_chunks_mut(PART));
        self.parts.par_iter_mut().zip(rooms).enumerate().for_each(|(index, (part, room))| {
            let ((hidden, changes), weights) = room;
            let first = index * PART;
            part.updates.resize_with(n_owners, Vec::new);
            simd::run(Gradients {
                positions,
                first,
                inputs,
                outputs,
                objective,
                learning_rate,
                hidden,
                changes,
                weights,
                part,
            });
        });
        let (inputs, outputs) = (inputs.shared(), outputs.shared());
        let (hidden, changes, parts) = (&self.hidden[..], &self.changes[..], &self.parts[..]);
        let weights = &self.weights[..];
        self.steps.par_iter_mut().enumerate().for_each(|(owner, steps)| {
            simd::run(Updates {
                owner,
                n_owners,
                positions,
                parts,
                hidden,
                changes,
                weights,
                inputs: &inputs,
                outputs: &outputs,
                objective,
                longest: LONGEST_STEP / learning_rate,
                steps,
            });
        });
        let mut loss = MeanLoss::default();
        self.parts.iter().for_each(|part| loss.add(part.loss));
        loss
    }
}

impl Targets {
    #[inline(always)]
    pub(super) fn push(&mut self, row: u32, sign: f32) {
        self.rows.push(row);
        self.signs.push(sign);
    }
}

/// The gradients of the positions of a part.
struct Gradients<'a> {
    positions: &'a [Position],
    first: usize,
    inputs: &'a Table,
    outputs: &'a Table,
    objective: &'a Objective,
    learning_rate: f32,
    hidden: &'a mut [Lanes],
    changes: &'a mut [Lanes],
    weights: &'a mut [f32],
    part: &'a mut Part,
}

impl Kernel for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let stride = self.inputs.stride();
        let Part { updates, loss, now, next } = self.part;
        let n_owners = updates.len();
        updates.iter_mut().for_each(Vec::clear);
        *loss = MeanLoss::default();
        let last = self.first + self.hidden.len() / stride;
        let rooms = self.hidden.chunks_exact_mut(stride).zip(self.changes.chunks_exact_mut(stride));
        let rooms = rooms.zip(self.weights);
        collect_targets(next, self.positions, self.first, self.objective, self.outputs);
        for (position, ((hidden, change), weight)) in (self.first..).zip(rooms) {
            std::mem::swap(now, next);
            if position + 1 < last {
                collect_targets(next, self.positions, position + 1, self.objective, self.outputs);
            }
            let Share { factor, count } =
                predictor::<FMA>(hidden, self.positions, position, self.objective, self.inputs);
            let n_targets = now.rows.len();
            // All vectors of a context move, and what predicts by the sum of it.
            *weight = n_targets as f32 * factor * factor * count as f32;
            now.scores.clear();
            now.scores.resize(n_targets.next_multiple_of(LANES), 0.0);
            now.signs.resize(n_targets.next_multiple_of(LANES), 0.0);
            now.products.clear();
            now.products.resize(n_targets, Lanes::ZERO);
            for (sums, row) in now.products.iter_mut().zip(&now.rows) {
                *sums = products::<FMA>(hidden, self.outputs.lanes_of(*row as usize));
            }
            for (score, sums) in now.scores.iter_mut().zip(&now.products) {
                *score = sums.sum();
            }
            let sum = gradients::<FMA>(&mut now.scores, &now.signs, self.learning_rate);
            loss.add(MeanLoss { sum: f64::from(sum), n_predictions: now.n_predictions });
            change.fill(Lanes::ZERO);
            for (gradient, row) in now.scores.iter().zip(&now.rows) {
                let (row, gradient) = (*row, *gradient);
                add_scaled::<FMA>(change, gradient, self.outputs.lanes_of(row as usize));
                let update = Update { row, position: position as u32, gradient };
                updates[row as usize % n_owners].push(update);
            }
            change.iter_mut().flat_map(|lanes| &mut lanes.0).for_each(|number| *number *= factor);
        }
    }
}

/// The targets of all predictions at a position: with skip-gram its word predicts every word in whose window it is, with CBOW
/// its window predicts the word.
#[inline(always)]
fn collect_targets(
    targets: &mut Targets,
    positions: &[Position],
    position: usize,
    objective: &Objective,
    outputs: &Table,
) {
    targets.rows.clear();
    targets.signs.clear();
    targets.n_predictions = 0;
    let here = positions[position];
    let mut draws = objective.draws(here.index);
    if objective.is_cbow() {
        if here.around(position, here.reach as usize).len() > 1 {
            objective.collect(here.word, &mut draws, targets);
            targets.n_predictions = 1;
        }
    } else {
        for other in here.around(position, objective.window()) {
            let there = &positions[other];
            if other != position && other.abs_diff(position) <= there.reach as usize {
                objective.collect(there.word, &mut draws, targets);
                targets.n_predictions += 1;
            }
        }
    }
    for row in &targets.rows {
        prefetch(outputs.lanes_of(*row as usize));
    }
}

/// What a vector has of what predicts.
struct Share {
    factor: f32,
    /// How many vectors have as much.
    count: usize,
}

/// Writes what predicts at a position, and gives how its change comes back to each of the vectors that it is made of.
#[inline(always)]
fn predictor<const FMA: bool>(
    hidden: &mut [Lanes],
    positions: &[Position],
    position: usize,
    objective: &Objective,
    inputs: &Table,
) -> Share {
    let here = positions[position];
    if !objective.is_cbow() {
        hidden.copy_from_slice(inputs.lanes_of(here.word as usize));
        return Share { factor: 1.0, count: 1 };
    }
    hidden.fill(Lanes::ZERO);
    let around = here.around(position, here.reach as usize);
    let count = around.len() - 1;
    let factor = objective.share(count);
    for other in around.filter(|other| *other != position) {
        add_scaled::<FMA>(hidden, factor, inputs.lanes_of(positions[other].word as usize));
    }
    Share { factor, count }
}

#[cfg(test)]
mod tests;
