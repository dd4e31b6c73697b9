//! A token that was picked, and how probable it was: computed only where it is asked for.

use std::cmp::Ordering;

use crate::sampling::{Sampling, total};

/// A token that was picked.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// The token.
    pub token: u32,
    /// Whether it is a stop token, which ends its row and is no part of it.
    pub is_stop: bool,
    pub(crate) sampling: &'a Sampling,
    /// The scores of the model.
    pub(crate) scores: &'a [f32],
    /// The same after penalties, and without what may not come.
    pub(crate) processed: &'a [f32],
}

impl Pick<'_> {
    /// `log p` of the token by the model alone: what [`log_probabilities`](crate::log_probabilities) gives, and in
    /// `transformers` a log-softmax of `logits`.
    pub fn log_probability(&self) -> f64 {
        log_softmax(self.scores, self.token)
    }

    /// `log p` with which the token was picked, after penalties and all that is ruled out, and where chance picks after
    /// temperature, top-k and top-p too: in `transformers` a log-softmax of `scores`.
    pub fn processed_log_probability(&self) -> f64 {
        let candidates = self.sampling.candidates(self.processed).unwrap_or_default();
        let picked = candidates.iter().find(|(token, _)| *token == self.token);
        picked.map_or(f64::NEG_INFINITY, |(_, weight)| (weight / total(&candidates)).ln())
    }

    /// The `n` most probable tokens by the model alone and their `log p`, best first; the lower token first where two
    /// are equal.
    pub fn most_probable(&self, n: usize) -> Vec<(u32, f64)> {
        let score = |token: u32| self.scores[token as usize];
        let better = |a: &u32, b: &u32| match score(*b).total_cmp(&score(*a)) {
            Ordering::Equal => a.cmp(b),
            unequal => unequal,
        };
        let mut tokens: Vec<u32> = (0..self.scores.len() as u32).collect();
        if n < tokens.len() {
            tokens.select_nth_unstable_by(n, better);
            tokens.truncate(n);
        }
        tokens.sort_unstable_by(better);
        let normalizer = log_sum_exp(self.scores);
        tokens.into_iter().map(|token| (token, f64::from(score(token)) - normalizer)).collect()
    }
}

fn log_softmax(scores: &[f32], token: u32) -> f64 {
    f64::from(scores[token as usize]) - log_sum_exp(scores)
}

/// In f64, of one row on the host.
fn log_sum_exp(scores: &[f32]) -> f64 {
    let highest = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    highest + scores.iter().map(|score| (f64::from(*score) - highest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick<'a>(sampling: &'a Sampling, scores: &'a [f32], processed: &'a [f32]) -> Pick<'a> {
        Pick { token: 1, is_stop: false, sampling, scores, processed }
    }

    fn assert_close(found: f64, probability: f64) {
        assert!((found - probability.ln()).abs() < 1e-6, "{found} is not log {probability}");
    }

    #[test]
    fn a_pick_has_the_probability_of_the_model_and_the_one_it_was_picked_with() {
        let logs = |odds: [f32; 3]| odds.map(f32::ln);
        let (scores, processed) = (logs([2.0, 1.0, 5.0]), logs([2.0, 1.0, 0.0]));
        let greedy = pick(&Sampling::Greedy, &scores, &processed);
        assert_close(greedy.log_probability(), 1.0 / 8.0);
        assert_close(greedy.processed_log_probability(), 1.0 / 3.0);
        // Half the temperature squares the odds.
        let cold = Sampling::Random { temperature: 0.5, top_k: None, top_p: None };
        let cold = pick(&cold, &scores, &processed);
        assert_close(cold.log_probability(), 1.0 / 8.0);
        assert_close(cold.processed_log_probability(), 1.0 / 5.0);
    }

    #[test]
    fn the_most_probable_come_in_order_and_the_lower_of_equals_first() {
        let scores = [1.0f32, 2.0, 2.0, 1.0].map(f32::ln);
        let pick = pick(&Sampling::Greedy, &scores, &scores);
        let tokens = |n| pick.most_probable(n).iter().map(|(token, _)| *token).collect::<Vec<_>>();
        assert_eq!((tokens(0), tokens(3), tokens(9)), (vec![], vec![1, 2, 0], vec![1, 2, 0, 3]));
        assert_close(pick.most_probable(1)[0].1, 1.0 / 3.0);
    }
}
