//! The first pass of a step: what predicts at each position, and which rows of the outputs it is held against.

use super::{GROUPS, Position, Share, row_of};
use crate::simd::{Kernel, Lanes, add_scaled};
use crate::table::Table;
use crate::word2vec::objective::Objective;

/// What some positions in a row are held against.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// For each group of rows, in the order of the corpus.
    pub(super) targets: [Vec<Target>; GROUPS],
    pub(super) n_predictions: u64,
}

/// A row of the outputs against which a position is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) row: u32,
    pub(super) position: u32,
    /// 1 where the score shall rise, -1 where it shall fall.
    pub(super) sign: f32,
}

impl Target {
    /// What predicts there.
    #[inline(always)]
    pub(super) fn hidden<'a>(&self, all: &'a [Lanes], stride: usize) -> &'a [Lanes] {
        row_of(all, stride, self.position as usize)
    }
}

/// Where the targets of a position go.
pub(in crate::word2vec) struct Targets<'a> {
    part: &'a mut Part,
    position: u32,
    count: usize,
}

impl Targets<'_> {
    #[inline(always)]
    pub(in crate::word2vec) fn push(&mut self, row: u32, sign: f32) {
        let target = Target { row, position: self.position, sign };
        self.part.targets[row as usize % GROUPS].push(target);
        self.count += 1;
    }
}

/// What predicts at the positions of a part.
pub(super) struct Predictors<'a> {
    pub(super) positions: &'a [Position],
    pub(super) first: usize,
    pub(super) inputs: &'a Table,
    pub(super) objective: &'a Objective,
    pub(super) hidden: &'a mut [Lanes],
    pub(super) shares: &'a mut [Share],
    pub(super) part: &'a mut Part,
}

impl Kernel for Predictors<'_> {
    type Output = ();

    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let stride = self.inputs.stride();
        self.part.targets.iter_mut().for_each(Vec::clear);
        self.part.n_predictions = 0;
        let rooms = self.hidden.chunks_exact_mut(stride).zip(self.shares);
        for (position, (hidden, share)) in (self.first..).zip(rooms) {
            let count = collect(self.part, self.positions, position, self.objective);
            let (back, moves) =
                predictor::<FMA>(hidden, self.positions, position, self.objective, self.inputs);
            *share = Share { back, weight: count as f32 * moves };
        }
    }
}

/// The targets of all predictions at a position, and how many they are: with skip-gram its word predicts every word in whose
/// window it is, with CBOW its window predicts the word.
#[inline(always)]
fn collect(
    part: &mut Part,
    positions: &[Position],
    position: usize,
    objective: &Objective,
) -> usize {
    let here = positions[position];
    let mut draws = objective.draws(here.index);
    let mut n_predictions = 0;
    let mut targets = Targets { part, position: position as u32, count: 0 };
    if objective.is_cbow() {
        if here.around(position, here.reach as usize).len() > 1 {
            objective.collect(here.word, &mut draws, &mut targets);
            n_predictions += 1;
        }
    } else {
        for other in here.around(position, objective.window()) {
            let there = &positions[other];
            if other != position && other.abs_diff(position) <= there.reach as usize {
                objective.collect(there.word, &mut draws, &mut targets);
                n_predictions += 1;
            }
        }
    }
    let count = targets.count;
    part.n_predictions += n_predictions;
    count
}

/// Writes what predicts at a position. Gives how its change comes back to each of the vectors that it is made of, and by
/// how much it moves when they do.
#[inline(always)]
fn predictor<const FMA: bool>(
    hidden: &mut [Lanes],
    positions: &[Position],
    position: usize,
    objective: &Objective,
    inputs: &Table,
) -> (f32, f32) {
    let here = positions[position];
    if !objective.is_cbow() {
        hidden.copy_from_slice(inputs.lanes_of(here.word as usize));
        return (1.0, 1.0);
    }
    hidden.fill(Lanes::ZERO);
    let around = here.around(position, here.reach as usize);
    let count = around.len() - 1;
    let factor = objective.share(count);
    for other in around.filter(|other| *other != position) {
        add_scaled::<FMA>(hidden, factor, inputs.lanes_of(positions[other].word as usize));
    }
    let back = objective.back(count);
    (back, back * factor * count as f32)
}
