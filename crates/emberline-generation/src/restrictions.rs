//! What may not come, and what is less likely for having come before: all that changes scores before a token is picked.
//!
//! In the order of Hugging Face's `transformers`, and to its numbers (`tests/fixtures/processors.py`): the penalty of
//! repetition (CTRL: Keskar et al. 2019), repeated n-grams, bad words, stop tokens before the minimum.

use crate::error::GenerationError;
use crate::input::{check, check_at_least_1};
use crate::ngrams;

/// The settings of a [`GenerationConfig`](crate::GenerationConfig) or [`BeamConfig`](crate::BeamConfig) that say so.
#[derive(Clone, Copy)]
pub(crate) struct Restrictions<'a> {
    pub repetition_penalty: f64,
    pub no_repeat_ngram_size: Option<usize>,
    pub bad_words: &'a [Vec<u32>],
    pub min_new_tokens: usize,
    pub stop_tokens: &'a [u32],
}

impl Restrictions<'_> {
    /// Checks the ranges of all settings.
    pub fn validate(&self, max_new_tokens: usize) -> Result<(), GenerationError> {
        let penalty = self.repetition_penalty;
        let holds = penalty > 0.0 && penalty.is_finite();
        check(holds, "repetition_penalty", penalty, "a number above 0")?;
        check_at_least_1("no_repeat_ngram_size", self.no_repeat_ngram_size.unwrap_or(1))?;
        let min = self.min_new_tokens as f64;
        check(
            self.min_new_tokens <= max_new_tokens,
            "min_new_tokens",
            min,
            "at most max_new_tokens",
        )
    }

    /// Checks that the model knows the bad words.
    pub fn check_bad_words(&self, vocab_size: usize) -> Result<(), GenerationError> {
        let is_unknown = |word: &Vec<u32>| {
            word.is_empty() || word.iter().any(|token| *token as usize >= vocab_size)
        };
        match self.bad_words.iter().position(is_unknown) {
            Some(index) => Err(GenerationError::BadWord {
                index,
                word: self.bad_words[index].clone(),
                vocab_size,
            }),
            None => Ok(()),
        }
    }

    /// Whether there is none, after any text.
    pub fn are_none(&self) -> bool {
        self.repetition_penalty == 1.0
            && self.no_repeat_ngram_size.is_none()
            && self.bad_words.is_empty()
            && self.min_new_tokens == 0
    }

    /// Restricts the scores of what follows `tokens`, the last `n_new` of which are new.
    ///
    /// `zero` is the score from which the penalty drives away a token that has been: 0 for the scores of a model, the
    /// logarithm of the sum of their exponentials for the log-probabilities that scores are in beam search, of which
    /// none is above.
    pub fn apply(&self, scores: &mut [f32], zero: f32, tokens: &[u32], n_new: usize) {
        if self.repetition_penalty != 1.0 {
            penalise(scores, self.repetition_penalty as f32, zero, tokens);
        }
        let mut rule_out = |token: u32| {
            if let Some(score) = scores.get_mut(token as usize) {
                *score = f32::NEG_INFINITY;
            }
        };
        if let Some(size) = self.no_repeat_ngram_size {
            ngrams::repeating(tokens, size).for_each(&mut rule_out);
        }
        for word in self.bad_words {
            // As in `transformers`, a stop token alone is no bad word: a text could not end.
            let (last, before) = word.split_last().expect("a bad word has a token");
            let is_stop = before.is_empty() && self.stop_tokens.contains(last);
            if !is_stop && tokens.ends_with(before) {
                rule_out(*last);
            }
        }
        if n_new < self.min_new_tokens {
            self.stop_tokens.iter().for_each(|token| rule_out(*token));
        }
    }
}

/// Divides the scores above `zero` of the tokens that have been by the penalty, and multiplies those below.
fn penalise(scores: &mut [f32], penalty: f32, zero: f32, tokens: &[u32]) {
    // Once each, however often they have been.
    let mut seen = tokens.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for token in seen {
        if let Some(score) = scores.get_mut(token as usize) {
            let above = *score - zero;
            *score = zero + if above < 0.0 { above * penalty } else { above / penalty };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::sampling::{Sampling, TopP};

    const NONE: Restrictions<'_> = Restrictions {
        repetition_penalty: 1.0,
        no_repeat_ngram_size: None,
        bad_words: &[],
        min_new_tokens: 0,
        stop_tokens: &[],
    };
    const OUT: f32 = f32::NEG_INFINITY;

    fn after(
        tokens: &[u32],
        n_new: usize,
        restrictions: Restrictions<'_>,
        scores: [f32; 4],
    ) -> [f32; 4] {
        let mut scores = scores;
        restrictions.apply(&mut scores, 0.0, tokens, n_new);
        scores
    }

    #[test]
    fn what_has_been_is_penalised_once_and_away_from_zero() {
        let penalised = Restrictions { repetition_penalty: 2.0, ..NONE };
        let scores = after(&[0, 1, 1, 9, 2, 0], 1, penalised, [3.0, -3.0, OUT, 5.0]);
        assert_eq!(scores, [1.5, -6.0, OUT, 5.0]);
        let rewarded = Restrictions { repetition_penalty: 0.5, ..NONE };
        assert_eq!(after(&[0, 1], 0, rewarded, [3.0, -3.0, 1.0, 1.0]), [6.0, -1.5, 1.0, 1.0]);
        // Log-probabilities lie below the total of their scores.
        let mut scores = [3.0, 4.0, 1.0];
        penalised.apply(&mut scores, 5.0, &[1, 2], 0);
        assert_eq!(scores, [3.0, 3.0, -3.0]);
    }

    #[test]
    fn a_bad_word_cannot_be_completed_but_begun() {
        let bad_words = [vec![3], vec![1, 2], vec![0, 1, 0]];
        let restrictions = Restrictions { bad_words: &bad_words, ..NONE };
        let after = |tokens: &[u32]| after(tokens, 0, restrictions, [0.0; 4]);
        assert_eq!(after(&[2]), [0.0, 0.0, 0.0, OUT]);
        assert_eq!(after(&[1]), [0.0, 0.0, OUT, OUT]);
        assert_eq!(after(&[0, 1]), [OUT, 0.0, OUT, OUT]);
        assert_eq!(after(&[1, 1, 0]), [0.0, 0.0, 0.0, OUT]);
    }

    #[test]
    fn a_stop_token_is_no_bad_word_and_waits_for_the_minimum() {
        let bad_words = [vec![3], vec![2]];
        let restrictions =
            Restrictions { bad_words: &bad_words, min_new_tokens: 2, stop_tokens: &[3, 1], ..NONE };
        assert_eq!(after(&[0, 0, 0], 1, restrictions, [0.0; 4]), [0.0, OUT, OUT, OUT]);
        assert_eq!(after(&[0, 0, 0], 2, restrictions, [0.0; 4]), [0.0, 0.0, OUT, 0.0]);
    }

    #[test]
    fn no_restriction_changes_no_score() {
        assert!(NONE.are_none());
        let scores = [1.0, -0.0, OUT, f32::MIN_POSITIVE];
        assert_eq!(after(&[0, 1, 2, 3, 0, 1], 4, NONE, scores), scores);
    }

    #[test]
    fn scores_become_those_of_transformers() {
        #[derive(Deserialize)]
        struct Fixture {
            stop_tokens: Vec<u32>,
            cases: Vec<Case>,
        }
        #[derive(Debug, Deserialize)]
        struct Case {
            repetition_penalty: f64,
            no_repeat_ngram_size: Option<usize>,
            bad_words: Vec<Vec<u32>>,
            min_new_tokens: usize,
            temperature: f64,
            top_k: Option<usize>,
            top_p: Option<TopP>,
            is_random: bool,
            tokens: Vec<u32>,
            n_new: usize,
            /// `None` is -∞.
            scores: Vec<Option<f32>>,
            processed: Vec<Option<f32>>,
        }
        let fixture = include_str!("../tests/fixtures/processors.json");
        let Fixture { stop_tokens, cases } = serde_json::from_str(fixture).unwrap();
        for case in cases {
            let Case { temperature, top_k, top_p, .. } = case;
            let mut scores: Vec<f32> =
                case.scores.iter().map(|score| score.unwrap_or(OUT)).collect();
            let restrictions = Restrictions {
                repetition_penalty: case.repetition_penalty,
                no_repeat_ngram_size: case.no_repeat_ngram_size,
                bad_words: &case.bad_words,
                min_new_tokens: case.min_new_tokens,
                stop_tokens: &stop_tokens,
            };
            restrictions.apply(&mut scores, 0.0, &case.tokens, case.n_new);
            if !case.is_random {
                let expected = case.processed.iter().map(|score| score.unwrap_or(OUT));
                assert_eq!(scores, expected.collect::<Vec<_>>(), "{case:?}");
                continue;
            }
            let sampling = Sampling::Random { temperature, top_k, top_p };
            let mut found = vec![None; scores.len()];
            for (token, weight) in sampling.candidates(&scores).unwrap() {
                // A score of -∞ has no weight.
                found[token as usize] = Some(weight.ln()).filter(|score| score.is_finite());
            }
            // Weights are relative to the highest.
            let highest = case.processed.iter().flatten().copied().fold(OUT, f32::max);
            for (found, expected) in found.iter().zip(&case.processed) {
                match (found, expected) {
                    (Some(found), Some(expected)) => {
                        let expected = f64::from(*expected) - f64::from(highest);
                        assert!((found - expected).abs() < 1e-5, "{found} {expected} {case:?}");
                    }
                    _ => assert_eq!(found.is_some(), expected.is_some(), "{case:?}"),
                }
            }
        }
    }
}
