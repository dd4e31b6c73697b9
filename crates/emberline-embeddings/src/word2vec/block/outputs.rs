//! The passes of a step over the rows of the outputs: they learn from their predictions, and say what the positions are to
//! change by.

use super::logistic::gradients;
use super::predictors::{Part, Target};
use super::{LONGEST_STEP, Share, row_of};
use crate::simd::{Kernel, Lanes, add_scaled, prefetch, products};
use crate::table::SharedRows;

/// How many predictions ahead a row is asked for.
const AHEAD: usize = 16;

/// Predictions of a group whose gradients are taken at the same rows.
const RUN: usize = 64;

/// What the rows of a group want of the positions.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The change of what predicts at each position, `[positions, width]`, as far as these rows have a part in it.
    changes: Vec<Lanes>,
    /// Whether they have.
    is_changed: Vec<bool>,
    pub(super) loss: f64,
}

impl Group {
    pub(super) fn begin(&mut self, n_positions: usize, stride: usize) {
        self.changes.resize(n_positions * stride, Lanes::ZERO);
        self.is_changed.clear();
        self.is_changed.resize(n_positions, false);
        self.loss = 0.0;
    }
}

/// The rows of a group, and their predictions.
pub(super) struct Outputs<'a> {
    pub(super) index: usize,
    pub(super) parts: &'a [Part],
    pub(super) hidden: &'a [Lanes],
    pub(super) rows: &'a SharedRows<'a>,
    pub(super) learning_rate: f32,
    pub(super) group: &'a mut Group,
}

impl Kernel for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let Self { parts, hidden, rows, learning_rate, .. } = self;
        let stride = rows.stride();
        let Group { changes, is_changed, loss } = self.group;
        let (mut sums, mut scores) = ([Lanes::ZERO; RUN], [0.0; RUN]);
        for part in parts {
            let targets = &part.targets[self.index][..];
            for first in (0..targets.len()).step_by(RUN) {
                let run = &targets[first..targets.len().min(first + RUN)];
                let mut signs = [0.0; RUN];
                for (index, target) in run.iter().enumerate() {
                    if let Some(next) = targets.get(first + index + AHEAD) {
                        // SAFETY: the rows of a group are of one thread.
                        prefetch(unsafe { rows.row(next.row as usize) });
                    }
                    // SAFETY: as above.
                    let row = unsafe { rows.row(target.row as usize) };
                    sums[index] = products::<FMA>(target.hidden(hidden, stride), row);
                    signs[index] = target.sign;
                }
                for (score, sums) in scores.iter_mut().zip(&sums) {
                    *score = sums.sum();
                }
                *loss += f64::from(gradients::<FMA>(&mut scores, &signs, learning_rate));
                for (gradient, target) in scores.iter().zip(run) {
                    let position = target.position as usize;
                    let change = &mut changes[position * stride..][..stride];
                    if !is_changed[position] {
                        is_changed[position] = true;
                        change.fill(Lanes::ZERO);
                    }
                    // SAFETY: as above.
                    let row = unsafe { rows.row(target.row as usize) };
                    add_scaled::<FMA>(change, *gradient, row);
                }
                if learning_rate * run.len() as f32 > LONGEST_STEP {
                    shorten(&mut scores, run, LONGEST_STEP / learning_rate);
                }
                for (gradient, target) in scores.iter().zip(run) {
                    // SAFETY: as above.
                    let row = unsafe { rows.row(target.row as usize) };
                    add_scaled::<FMA>(row, *gradient, target.hidden(hidden, stride));
                }
            }
        }
    }
}

/// Shortens the changes of rows that have more than `most` of them in a run.
#[inline(always)]
fn shorten(gradients: &mut [f32; RUN], run: &[Target], most: f32) {
    let mut rows = [u32::MAX; RUN];
    for (row, target) in rows.iter_mut().zip(run) {
        *row = target.row;
    }
    for (gradient, target) in gradients.iter_mut().zip(run) {
        let mut count = 0;
        for row in rows {
            count += u32::from(row == target.row);
        }
        *gradient *= (most / count as f32).min(1.0);
    }
}

/// The changes of all groups together, at the positions of a part.
pub(super) struct Sums<'a> {
    pub(super) groups: &'a [Group],
    pub(super) first: usize,
    pub(super) changes: &'a mut [Lanes],
    pub(super) shares: &'a [Share],
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let stride = self.changes.len() / self.shares.len();
        let rooms = self.changes.chunks_exact_mut(stride).zip(self.shares);
        for (position, (change, share)) in (self.first..).zip(rooms) {
            change.fill(Lanes::ZERO);
            for group in self.groups {
                if group.is_changed[position] {
                    add_scaled::<FMA>(change, share.back, row_of(&group.changes, stride, position));
                }
            }
        }
    }
}
