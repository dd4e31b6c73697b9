//! Picking one token from the scores of all, on the host.

use serde::{Deserialize, Serialize};

use crate::error::GenerationError;
use crate::input::check;

/// How the next token is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Sampling {
    /// The token of the highest score; the lower id where two are equal.
    #[default]
    Greedy,
    /// By chance, with the probabilities that the restrictions leave, in this order.
    Random {
        /// Scores are divided by it: below 1 sharpens, above 1 flattens.
        #[serde(default = "unchanged")]
        temperature: f64,
        /// Keeps the tokens whose score is not below the `top_k`-th highest, so all of those that tie.
        #[serde(default)]
        top_k: Option<usize>,
        /// Keeps the most probable tokens that have a probability together.
        #[serde(default)]
        top_p: Option<TopP>,
    },
}

/// Which of the most probable tokens have a probability together: the token that crosses it is kept, or not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopP {
    /// The fewest tokens that reach it: the nucleus of Holtzman et al. 2020, and of Hugging Face's `transformers`.
    Reaching(f64),
    /// As many as stay within it, but one at least, and all that tie with the last: what OpenAI's code for GPT-2 keeps.
    Within(f64),
}

fn unchanged() -> f64 {
    1.0
}

impl Sampling {
    /// Checks the ranges of all settings.
    ///
    /// # Errors
    /// [`GenerationError::Setting`].
    pub fn validate(&self) -> Result<(), GenerationError> {
        let Self::Random { temperature, top_k, top_p } = *self else { return Ok(()) };
        let finite_above_0 = temperature > 0.0 && temperature.is_finite();
        check(finite_above_0, "temperature", temperature, "a number above 0")?;
        check(top_k != Some(0), "top_k", 0.0, "at least 1")?;
        let Some(TopP::Reaching(p) | TopP::Within(p)) = top_p else { return Ok(()) };
        check(p > 0.0 && p <= 1.0, "top_p", p, "above 0 and at most 1")
    }

    /// The token for a number in `[0, 1)`; `None` if a score is not a number or infinite, or all
    /// tokens are ruled out by a score of -∞.
    pub(crate) fn pick(&self, scores: &[f32], uniform: f64) -> Option<u32> {
        match self {
            Self::Greedy => highest(scores).map(|(best, _)| best),
            Self::Random { .. } => draw(&self.candidates(scores)?, uniform),
        }
    }

    /// The tokens that may be picked with their weights, of which the highest is 1; `None` if a score is not a number or
    /// infinite, or all tokens are ruled out.
    pub(crate) fn candidates(&self, scores: &[f32]) -> Option<Vec<(u32, f64)>> {
        let (_, highest) = highest(scores)?;
        let (temperature, top_k, top_p) = match *self {
            Self::Greedy => (1.0, None, None),
            Self::Random { temperature, top_k, top_p } => (temperature, top_k, top_p),
        };
        let weight = |score: f32| ((f64::from(score) - f64::from(highest)) / temperature).exp();
        let least = kth_highest(scores, top_k);
        let kept = (0..).zip(scores).filter(|(_, score)| **score >= least);
        let candidates = kept.map(|(token, score)| (token, weight(*score))).collect();
        Some(match top_p {
            Some(top_p) => most_probable(candidates, top_p),
            None => candidates,
        })
    }
}

/// The first of the highest scores; `None` if a score is no number or +∞, or all are -∞.
pub(crate) fn highest(scores: &[f32]) -> Option<(u32, f32)> {
    if scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let better = |best: (u32, f32), other: (u32, f32)| if other.1 > best.1 { other } else { best };
    (0..).zip(scores.iter().copied()).reduce(better).filter(|(_, score)| score.is_finite())
}

/// The `k`-th highest score, below which `top_k` rules tokens out.
fn kth_highest(scores: &[f32], k: Option<usize>) -> f32 {
    match k {
        Some(k) if k < scores.len() => {
            let mut scores = scores.to_vec();
            *scores.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
        }
        _ => f32::NEG_INFINITY,
    }
}

/// The most probable of the candidates, best first.
fn most_probable(mut candidates: Vec<(u32, f64)>, top_p: TopP) -> Vec<(u32, f64)> {
    let whole = total(&candidates);
    let is_kept = |before: f64, weight: f64| match top_p {
        TopP::Reaching(p) => before < p * whole,
        TopP::Within(p) => before + weight <= p * whole,
    };
    let by_weight = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let (mut n_kept, mut before) = (0, 0.0);
    // A few are enough as a rule: the order of the others does not matter.
    let mut n_sorted = 0;
    while n_kept == n_sorted && n_sorted < candidates.len() {
        let rest = &mut candidates[n_sorted..];
        let n_more = rest.len().min(64.max(7 * n_sorted));
        if n_more < rest.len() {
            rest.select_nth_unstable_by(n_more, by_weight);
        }
        let next = &mut rest[..n_more];
        next.sort_unstable_by(by_weight);
        n_sorted += n_more;
        n_kept += next
            .iter()
            .take_while(|(_, weight)| {
                let is_kept = is_kept(before, *weight);
                before += weight;
                is_kept
            })
            .count();
    }
    let others = candidates.split_off(n_kept.max(1));
    if let (TopP::Within(_), Some(&(_, last))) = (top_p, candidates.last()) {
        candidates.extend(others.into_iter().filter(|(_, weight)| *weight == last));
    }
    candidates
}

/// The candidate in whose part of the whole the number lies.
fn draw(candidates: &[(u32, f64)], uniform: f64) -> Option<u32> {
    let aim = uniform * total(candidates);
    let mut end = 0.0;
    let mut possible = candidates.iter().filter(|(_, weight)| *weight > 0.0);
    let hit = possible.find(|(_, weight)| {
        end += weight;
        aim < end
    });
    // The sum may round to just below the aim; the last possible one is then meant.
    hit.or(candidates.iter().rfind(|(_, weight)| *weight > 0.0)).map(|(token, _)| *token)
}

pub(crate) fn total(candidates: &[(u32, f64)]) -> f64 {
    candidates.iter().map(|(_, weight)| weight).sum()
}

#[cfg(test)]
mod tests {
    use emberline_core::Stream;

    use super::*;

    const RANDOM: Sampling = Sampling::Random { temperature: 1.0, top_k: None, top_p: None };

    fn top_k(k: usize) -> Sampling {
        Sampling::Random { temperature: 1.0, top_k: Some(k), top_p: None }
    }

    fn top_p(p: f64) -> Sampling {
        Sampling::Random { temperature: 1.0, top_k: None, top_p: Some(TopP::Reaching(p)) }
    }

    fn scores(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    /// How often each token is drawn.
    fn counts(sampling: Sampling, scores: &[f32], draws: u64) -> Vec<u32> {
        let mut counts = vec![0; scores.len()];
        for index in 0..draws {
            let token = sampling.pick(scores, Stream::new(11).uniform(index)).unwrap();
            counts[token as usize] += 1;
        }
        counts
    }

    /// The tokens that are ever drawn.
    fn support(sampling: Sampling, probabilities: &[f32]) -> Vec<usize> {
        let counts = counts(sampling, &scores(probabilities), 2000);
        (0..counts.len()).filter(|token| counts[*token] > 0).collect()
    }

    fn assert_frequencies(counts: &[u32], probabilities: &[f64], draws: u64) {
        let draws = draws as f64;
        for (count, p) in counts.iter().zip(probabilities) {
            let sigma = (draws * p * (1.0 - p)).sqrt();
            assert!(
                (f64::from(*count) - draws * p).abs() <= 4.0 * sigma,
                "{counts:?} for {probabilities:?}"
            );
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_highest() {
        assert_eq!(Sampling::Greedy.pick(&[1.0, 3.0, 3.0, f32::NEG_INFINITY], 0.9), Some(1));
    }

    #[test]
    fn tokens_come_as_often_as_they_are_probable() {
        let draws = 40_000;
        let found = counts(RANDOM, &scores(&[0.5, 0.0, 0.2, 0.3]), draws);
        assert_frequencies(&found, &[0.5, 0.0, 0.2, 0.3], draws);
    }

    #[test]
    fn temperature_two_takes_the_root_of_the_odds_and_zero_is_greedy() {
        let (draws, odds_4_to_1) = (40_000, scores(&[0.8, 0.2]));
        let flat = Sampling::Random { temperature: 2.0, top_k: None, top_p: None };
        assert_frequencies(&counts(flat, &odds_4_to_1, draws), &[2.0 / 3.0, 1.0 / 3.0], draws);
        for temperature in [1e-3, 1e-30, f64::MIN_POSITIVE] {
            let cold = Sampling::Random { temperature, top_k: None, top_p: None };
            assert_eq!(counts(cold, &odds_4_to_1, 1000), [1000, 0]);
        }
    }

    #[test]
    fn top_one_is_greedy_and_a_large_k_keeps_all() {
        let probabilities = [0.1, 0.2, 0.4, 0.3];
        assert_eq!(support(top_k(1), &probabilities), [2]);
        assert_eq!(support(top_k(2), &probabilities), [2, 3]);
        assert_eq!(support(top_k(4), &probabilities), [0, 1, 2, 3]);
        assert_eq!(support(top_k(100), &probabilities), [0, 1, 2, 3]);
    }

    #[test]
    fn top_k_keeps_all_that_tie_with_the_kth() {
        assert_eq!(support(top_k(2), &[0.2, 0.2, 0.4, 0.2]), [0, 1, 2, 3]);
    }

    #[test]
    fn top_p_keeps_the_fewest_that_reach_it() {
        // Powers of two, so that sums are exact: half the probability is reached by the first alone.
        let probabilities = [0.125, 0.5, 0.25, 0.125];
        assert_eq!(support(top_p(1e-9), &probabilities), [1]);
        assert_eq!(support(top_p(0.499), &probabilities), [1]);
        assert_eq!(support(top_p(0.501), &probabilities), [1, 2]);
        assert_eq!(support(top_p(0.76), &probabilities), [0, 1, 2]);
        assert_eq!(support(top_p(1.0), &probabilities), [0, 1, 2, 3]);
        assert_eq!(support(top_p(0.5), &[0.5, 0.5]), [0]);
    }

    #[test]
    fn the_top_p_of_openai_leaves_out_the_token_that_crosses_it_but_none_that_ties() {
        let within = |p, probabilities: &[f32]| {
            let top_p = Some(TopP::Within(p));
            support(Sampling::Random { temperature: 1.0, top_k: None, top_p }, probabilities)
        };
        let probabilities = [0.125, 0.5, 0.25, 0.125];
        assert_eq!(within(1e-9, &probabilities), [1]);
        assert_eq!(within(0.74, &probabilities), [1]);
        assert_eq!(within(0.76, &probabilities), [1, 2]);
        assert_eq!(within(0.88, &probabilities), [0, 1, 2, 3]);
        assert_eq!(within(0.3, &[0.25; 4]), [0, 1, 2, 3]);
    }

    #[test]
    fn the_most_probable_of_a_large_vocabulary_are_those_of_sorting_it() {
        let weights: Vec<f64> = (0..5000).map(|index| Stream::new(4).uniform(index)).collect();
        let candidates: Vec<(u32, f64)> = (0..).zip(weights).collect();
        let mut sorted = candidates.clone();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
        for p in [0.001, 0.02, 0.2, 0.6, 0.999] {
            let found = most_probable(candidates.clone(), TopP::Reaching(p));
            assert_eq!(found, sorted[..found.len()]);
            let (reached, last) = (total(&found), found[found.len() - 1].1);
            assert!(reached >= p * total(&candidates) && reached - last < p * total(&candidates));
            let within = most_probable(candidates.clone(), TopP::Within(p));
            assert_eq!(within, sorted[..found.len() - 1]);
        }
    }

    #[test]
    fn top_p_counts_what_top_k_left() {
        // The first has 0.4 of the whole, but 4/7 of the two that are kept.
        let probabilities = [0.4, 0.3, 0.2, 0.1];
        let top_p_of_two = Some(TopP::Reaching(0.55));
        let both = Sampling::Random { temperature: 1.0, top_k: Some(2), top_p: top_p_of_two };
        assert_eq!(support(top_p(0.55), &probabilities), [0, 1]);
        assert_eq!(support(both, &probabilities), [0]);
    }

    #[test]
    fn every_number_below_one_picks_a_possible_token() {
        let scores = scores(&[0.0, 0.1, 0.2, 0.7, 0.0]);
        assert_eq!(RANDOM.pick(&scores, 0.0), Some(1));
        assert_eq!(RANDOM.pick(&scores, 1.0 - f64::EPSILON / 2.0), Some(3));
    }

    #[test]
    fn scores_that_are_no_numbers_pick_nothing() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        for scores in [&[0.0, nan][..], &[nan, nan], &[infinity, 0.0], &[-infinity, -infinity], &[]]
        {
            for sampling in [Sampling::Greedy, RANDOM, top_k(1), top_p(0.5)] {
                assert_eq!(sampling.pick(scores, 0.5), None, "{scores:?} {sampling:?}");
            }
        }
    }

    #[test]
    fn settings_outside_of_their_range_are_named() {
        let complaint = |temperature, top_k, top_p: Option<f64>| {
            let top_p = top_p.map(TopP::Reaching);
            Sampling::Random { temperature, top_k, top_p }.validate().unwrap_err().to_string()
        };
        assert_eq!(complaint(0.0, None, None), "temperature is 0: expected a number above 0");
        assert_eq!(
            complaint(f64::NAN, None, None),
            "temperature is NaN: expected a number above 0"
        );
        assert_eq!(complaint(1.0, Some(0), None), "top_k is 0: expected at least 1");
        assert_eq!(complaint(1.0, None, Some(1.5)), "top_p is 1.5: expected above 0 and at most 1");
        assert_eq!(complaint(1.0, None, Some(0.0)), "top_p is 0: expected above 0 and at most 1");
        top_p(1.0).validate().unwrap();
        Sampling::Greedy.validate().unwrap();
    }

    #[test]
    fn a_config_has_defaults_and_refuses_what_it_does_not_know() {
        let parse = |text: &str| serde_json::from_str::<Sampling>(text);
        assert_eq!(parse(r#""greedy""#).unwrap(), Sampling::Greedy);
        assert_eq!(parse(r#"{"random": {"top_k": 3}}"#).unwrap(), top_k(3));
        assert!(
            parse(r#"{"random": {"topk": 3}}"#)
                .unwrap_err()
                .to_string()
                .contains("unknown field `topk`")
        );
        assert!(parse(r#""greed""#).is_err());
    }
}
