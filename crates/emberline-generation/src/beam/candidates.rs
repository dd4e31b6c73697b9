//! The best continuations of a row's beams, found without sorting the vocabulary.

/// A beam with one token more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// The place of the beam among those of its row.
    pub beam: usize,
    pub token: u32,
    /// Of all tokens together.
    pub log_probability: f64,
}

/// The best so far, best first; the earlier beam and then the lower token where two are equal.
pub(super) struct Candidates {
    best: Vec<Candidate>,
    capacity: usize,
}

impl Candidates {
    pub fn new(capacity: usize) -> Self {
        Self { best: Vec::new(), capacity }
    }

    pub fn clear(&mut self) {
        self.best.clear();
    }

    pub fn best(&self) -> &[Candidate] {
        &self.best
    }

    /// Considers every token after a beam, but for those of a score of -∞. `base` is added to each score.
    pub fn consider(&mut self, beam: usize, base: f64, scores: &[f32]) {
        // What a score must be above: the only thing that most tokens are asked.
        let mut floor = self.floor(base);
        for (token, &score) in (0..).zip(scores) {
            if f64::from(score) > floor {
                self.insert(Candidate { beam, token, log_probability: base + f64::from(score) });
                floor = self.floor(base);
            }
        }
    }

    fn floor(&self, base: f64) -> f64 {
        match self.best.last() {
            Some(worst) if self.best.len() == self.capacity => worst.log_probability - base,
            _ => f64::NEG_INFINITY,
        }
    }

    fn insert(&mut self, candidate: Candidate) {
        let is_better = |other: &Candidate| other.log_probability >= candidate.log_probability;
        let place = self.best.partition_point(is_better);
        // The floor is rounded: a candidate may be no better than the worst after all.
        if place < self.capacity {
            self.best.truncate(self.capacity - 1);
            self.best.insert(place, candidate);
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_core::Stream;

    use super::*;

    #[test]
    fn the_best_of_all_beams_are_found_in_order() {
        let rows: Vec<Vec<f32>> =
            (0..3).map(|beam| Stream::new(5).at(beam).uniforms(40, -9.0, 0.0)).collect();
        let bases = [-1.0, -3.0, 0.5];
        let mut candidates = Candidates::new(7);
        let mut all = Vec::new();
        for (beam, scores) in rows.iter().enumerate() {
            candidates.consider(beam, bases[beam], scores);
            all.extend((0..).zip(scores).map(|(token, score)| Candidate {
                beam,
                token,
                log_probability: bases[beam] + f64::from(*score),
            }));
        }
        all.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
        assert_eq!(candidates.best(), &all[..7]);
    }

    #[test]
    fn of_equals_the_first_is_kept_and_the_impossible_never() {
        let mut candidates = Candidates::new(2);
        candidates.consider(0, 0.0, &[f32::NEG_INFINITY, -1.0]);
        candidates.consider(1, 0.0, &[-1.0, -1.0]);
        let found: Vec<_> =
            candidates.best().iter().map(|found| (found.beam, found.token)).collect();
        assert_eq!(found, [(0, 1), (1, 0)]);
    }
}
