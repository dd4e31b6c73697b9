//! The last pass of a step: the vectors of the words, each changed in the order of the corpus.

use std::ops::Range;

use super::{GROUPS, Position, Share, row_of};
use crate::simd::{Kernel, Lanes, add_scaled};
use crate::table::SharedRows;
use crate::word2vec::objective::Objective;

/// The vectors of a group of words.
pub(super) struct Inputs<'a> {
    pub(super) group: usize,
    pub(super) positions: &'a [Position],
    pub(super) changes: &'a [Lanes],
    pub(super) shares: &'a [Share],
    pub(super) rows: &'a SharedRows<'a>,
    pub(super) objective: &'a Objective,
    /// The most changes that are made whole.
    pub(super) longest: f32,
    pub(super) steps: &'a mut [f32],
}

impl Kernel for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let Self { group, positions, objective, steps, .. } = self;
        let stride = self.rows.stride();
        // Loops, for closures are not always compiled for the instruction set of the kernel.
        for (position, here) in positions.iter().enumerate() {
            let word = here.word as usize;
            if word % GROUPS == group {
                for other in changing(positions, position, objective) {
                    if reaches(positions, other, position, objective) {
                        steps[word / GROUPS] += self.shares[other].weight;
                    }
                }
            }
        }
        for (position, here) in positions.iter().enumerate() {
            let word = here.word as usize;
            if word % GROUPS == group {
                // SAFETY: the rows of a group are touched by nobody else.
                let row = unsafe { self.rows.row(word) };
                let share = (self.longest / steps[word / GROUPS]).min(1.0);
                for other in changing(positions, position, objective) {
                    if reaches(positions, other, position, objective) {
                        add_scaled::<FMA>(row, share, row_of(self.changes, stride, other));
                    }
                }
            }
        }
        for here in positions {
            if here.word as usize % GROUPS == group {
                steps[here.word as usize / GROUPS] = 0.0;
            }
        }
    }
}

/// The positions that the change of a word may come from: with skip-gram its own, with CBOW those around.
#[inline(always)]
fn changing(positions: &[Position], position: usize, objective: &Objective) -> Range<usize> {
    match objective.is_cbow() {
        true => positions[position].around(position, objective.window()),
        false => position..position + 1,
    }
}

/// Whether it does: with CBOW, whether the word is in their window.
#[inline(always)]
fn reaches(positions: &[Position], from: usize, position: usize, objective: &Objective) -> bool {
    let distance = from.abs_diff(position);
    !objective.is_cbow() || (distance > 0 && distance <= positions[from].reach as usize)
}
