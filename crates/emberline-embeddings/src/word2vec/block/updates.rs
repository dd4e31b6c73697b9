//! The second half of a step: every row is changed by one thread, in the order of the corpus.

use std::ops::Range;

use super::{AHEAD, Part, Position, Steps};
use crate::simd::{Kernel, Lanes, add_scaled, prefetch};
use crate::table::SharedRows;
use crate::word2vec::objective::Objective;

/// The changes of the rows of an owner.
pub(super) struct Updates<'a> {
    pub(super) owner: usize,
    pub(super) n_owners: usize,
    pub(super) positions: &'a [Position],
    pub(super) parts: &'a [Part],
    pub(super) hidden: &'a [Lanes],
    pub(super) changes: &'a [Lanes],
    pub(super) weights: &'a [f32],
    pub(super) inputs: &'a SharedRows<'a>,
    pub(super) outputs: &'a SharedRows<'a>,
    pub(super) objective: &'a Objective,
    /// The most changes that are made whole.
    pub(super) longest: f32,
    pub(super) steps: &'a mut Steps,
}

impl Kernel for Updates<'_> {
    type Output = ();

    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let stride = self.inputs.stride();
        let Steps { of_inputs, of_outputs } = self.steps;
        // Loops, for closures are not always compiled for the instruction set of the kernel.
        for part in self.parts {
            for update in &part.updates[self.owner] {
                of_outputs[update.row as usize / self.n_owners] += 1.0;
            }
        }
        for part in self.parts {
            let updates = &part.updates[self.owner];
            for (index, update) in updates.iter().enumerate() {
                if let Some(next) = updates.get(index + AHEAD) {
                    // SAFETY: a row whose number leaves this rest is only this owner's.
                    prefetch(unsafe { self.outputs.row(next.row as usize) });
                }
                // SAFETY: as above.
                let row = unsafe { self.outputs.row(update.row as usize) };
                let hidden = row_of(self.hidden, stride, update.position as usize);
                let n_changes = of_outputs[update.row as usize / self.n_owners];
                let share = (self.longest / n_changes).min(1.0);
                add_scaled::<FMA>(row, update.gradient * share, hidden);
            }
        }
        for part in self.parts {
            for update in &part.updates[self.owner] {
                of_outputs[update.row as usize / self.n_owners] = 0.0;
            }
        }
        for (position, here) in self.positions.iter().enumerate() {
            let word = here.word as usize;
            if word % self.n_owners == self.owner {
                for other in changing(self.positions, position, self.objective) {
                    if reaches(self.positions, other, position, self.objective) {
                        of_inputs[word / self.n_owners] += self.weights[other];
                    }
                }
            }
        }
        for (position, here) in self.positions.iter().enumerate() {
            let word = here.word as usize;
            if word % self.n_owners == self.owner {
                // SAFETY: as above.
                let row = unsafe { self.inputs.row(word) };
                let share = (self.longest / of_inputs[word / self.n_owners]).min(1.0);
                for other in changing(self.positions, position, self.objective) {
                    if reaches(self.positions, other, position, self.objective) {
                        add_scaled::<FMA>(row, share, row_of(self.changes, stride, other));
                    }
                }
            }
        }
        for here in self.positions {
            if here.word as usize % self.n_owners == self.owner {
                of_inputs[here.word as usize / self.n_owners] = 0.0;
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

#[inline(always)]
fn row_of(all: &[Lanes], stride: usize, row: usize) -> &[Lanes] {
    &all[row * stride..][..stride]
}
