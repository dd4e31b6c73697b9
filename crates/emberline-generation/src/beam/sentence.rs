//! The beams of one row, and what became of them.

use std::mem;

use super::candidates::{Candidate, Candidates};
use super::config::{BeamConfig, EarlyStopping};
use crate::error::GenerationError;

/// A complete hypothesis.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The new tokens, without a stop token.
    pub tokens: Vec<u32>,
    /// Σ log p of the tokens, and of the stop token if there is one; with a repetition penalty, of what it makes of them.
    pub log_probability: f64,
    /// What [`BeamScoring`](crate::BeamScoring) makes of it.
    pub score: f64,
    /// Whether a stop token ended it, not the maximum length.
    pub is_stopped: bool,
}

/// A hypothesis that goes on.
#[derive(Clone)]
pub(super) struct Beam {
    /// The prompt or start token, and all tokens since.
    pub tokens: Vec<u32>,
    log_probability: f64,
    /// What all positions together attend to each token of the source; empty if nobody asks.
    coverage: Vec<f32>,
}

/// One row of the input. Its beams are neighbours in the batch.
pub(super) struct Sentence {
    /// The index of the row.
    pub index: usize,
    /// The beams that go on; none as soon as the row is done.
    pub beams: Vec<Beam>,
    /// The best complete hypotheses, best first, as many as there may be beams.
    complete: Vec<Hypothesis>,
    n_first: usize,
    source_length: usize,
    limit: usize,
}

impl Sentence {
    /// A row that begins with the tokens `first`, for a source of some length (of no matter which without one), and
    /// may get `limit` new ones.
    pub fn new(index: usize, first: &[u32], source_length: usize, limit: usize) -> Self {
        let beam = Beam { tokens: first.to_vec(), log_probability: 0.0, coverage: Vec::new() };
        let (beams, complete) = (vec![beam], Vec::new());
        Self { index, beams, complete, n_first: first.len(), source_length, limit }
    }

    /// The complete hypotheses, best first.
    pub fn into_best(mut self, n_best: usize) -> Vec<Hypothesis> {
        self.complete.truncate(n_best);
        self.complete
    }

    /// Finds the best continuations of the beams, of which `scores` are `[n_beams, vocab_size]`, and `totals` the
    /// logarithms of the sums of their exponentials, `[n_beams]`.
    pub fn consider(
        &self,
        scores: &mut [f32],
        totals: &[f32],
        config: &BeamConfig,
        candidates: &mut Candidates,
    ) -> Result<(), GenerationError> {
        candidates.clear();
        let position = self.beams[0].tokens.len() - self.n_first;
        let vocab_size = scores.len() / self.beams.len();
        for (place, scores) in scores.chunks_exact_mut(vocab_size).enumerate() {
            let (beam, total) = (&self.beams[place], totals[place]);
            if !total.is_finite() {
                return Err(GenerationError::NotANumber { row: self.index, position });
            }
            // After the softmax: what is ruled out gives its probability to no other.
            config.restrictions().apply(scores, total, &beam.tokens, position);
            candidates.consider(place, beam.log_probability - f64::from(total), scores);
        }
        Ok(())
    }

    /// Follows the best of the candidates, and gives for each new beam the place of the one it continues, in
    /// ascending order. `attention` is that of the beams, `[n_beams, source_length]` with padding.
    ///
    /// Of the best `beam_size` those that stop are complete. The best `beam_size` that do not stop go on, for which there
    /// are enough candidates: a beam never narrows.
    pub fn follow(
        &mut self,
        candidates: &[Candidate],
        attention: Option<&[f32]>,
        config: &BeamConfig,
    ) -> Vec<usize> {
        let beams = mem::take(&mut self.beams);
        if candidates.is_empty() {
            // All is ruled out: what there is is all there can be.
            beams.iter().for_each(|beam| self.complete(beam, false, config));
            return Vec::new();
        }
        let length = beams[0].tokens.len() - self.n_first + 1;
        let mut going_on = Vec::with_capacity(config.beam_size.min(candidates.len()));
        for (rank, candidate) in candidates.iter().enumerate() {
            let is_stopped = config.stop_tokens.contains(&candidate.token);
            let is_complete = is_stopped || length == self.limit;
            if is_complete && rank < config.beam_size {
                let beam = self.extended(&beams, candidate, attention, is_stopped);
                self.complete(&beam, is_stopped, config);
            } else if !is_complete && going_on.len() < config.beam_size {
                going_on.push(candidate);
            }
        }
        let Some(best) = going_on.first() else { return Vec::new() };
        if self.is_done(best.log_probability, length, config) {
            return Vec::new();
        }
        // In the order of the beams they continue, a cache moves the fewest rows.
        going_on.sort_by_key(|candidate| candidate.beam);
        let extended = |candidate: &&Candidate| self.extended(&beams, candidate, attention, false);
        self.beams = going_on.iter().map(extended).collect();
        going_on.into_iter().map(|candidate| candidate.beam).collect()
    }

    fn extended(
        &self,
        beams: &[Beam],
        candidate: &Candidate,
        attention: Option<&[f32]>,
        is_stopped: bool,
    ) -> Beam {
        let mut beam =
            Beam { log_probability: candidate.log_probability, ..beams[candidate.beam].clone() };
        if !is_stopped {
            beam.tokens.push(candidate.token);
        }
        if let Some(attention) = attention {
            let width = attention.len() / beams.len();
            let attention = &attention[candidate.beam * width..][..self.source_length];
            beam.coverage.resize(self.source_length, 0.0);
            beam.coverage.iter_mut().zip(attention).for_each(|(sum, weight)| *sum += weight);
        }
        beam
    }

    /// Keeps a complete hypothesis if it is among the best.
    fn complete(&mut self, beam: &Beam, is_stopped: bool, config: &BeamConfig) {
        let tokens = beam.tokens[self.n_first..].to_vec();
        let length = tokens.len() + usize::from(is_stopped);
        let score = config.scoring.length_normalized(beam.log_probability, length)
            + config.scoring.coverage(&beam.coverage);
        let place = self.complete.partition_point(|other| other.score >= score);
        let log_probability = beam.log_probability;
        self.complete.insert(place, Hypothesis { tokens, log_probability, score, is_stopped });
        self.complete.truncate(config.beam_size);
    }

    /// Whether the row is done, given the best of the hypotheses that would go on, of `length` tokens.
    fn is_done(&self, log_probability: f64, length: usize, config: &BeamConfig) -> bool {
        let is_full = self.complete.len() >= config.beam_size;
        let score = |length| config.scoring.length_normalized(log_probability, length);
        match config.early_stopping {
            EarlyStopping::BeamSize => is_full,
            EarlyStopping::Heuristic => {
                is_full && self.complete.last().is_some_and(|worst| score(length) <= worst.score)
            }
            EarlyStopping::Exact => {
                // No token makes a hypothesis more probable, no coverage is above 0, and a penalty for the length rises
                // or falls all the way: the best it can become it is at one of the ends.
                let best_possible = score(length + 1).max(score(self.limit));
                let last_of_best = self.complete.get(config.n_best - 1);
                last_of_best.is_some_and(|last| best_possible <= last.score)
            }
        }
    }
}
