//! How probable texts are that are there already, each token after the true ones before it.
//!
//! What is summed comes with its count: a perplexity is of the sums of a corpus, and no mean of means.

use std::iter::Sum;
use std::ops::AddAssign;

use burn::tensor::{Device, Int, Tensor};
use emberline_backend::log_sum_exp;
use emberline_core::{Causal, EncoderDecoder, TokenBatch, VocabularyHead};
use serde::{Deserialize, Serialize};

use crate::batches::batches_by_length;
use crate::decoder::to_numbers;
use crate::error::GenerationError;
use crate::input;

/// How many scores are held at a time at most, whatever the vocabulary.
const MAX_SCORES: usize = 1 << 24;

/// The log-likelihood of tokens, which adds up over texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogLikelihood {
    /// `Σ log p`.
    pub sum: f64,
    /// The number of tokens in the sum.
    pub n_tokens: usize,
}

impl LogLikelihood {
    pub(crate) fn of(log_probabilities: &[f64]) -> Self {
        Self { sum: log_probabilities.iter().sum(), n_tokens: log_probabilities.len() }
    }
}

impl AddAssign for LogLikelihood {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.n_tokens += other.n_tokens;
    }
}

impl Sum for LogLikelihood {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, other| {
            sum += other;
            sum
        })
    }
}

/// How probable a continuation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// `log p` of every token.
    pub log_probabilities: Vec<f64>,
    /// Whether every token is the most probable at its place, the lowest of equals: what greedy decoding writes.
    pub is_greedy: bool,
}

impl Likelihood {
    /// That of all tokens together.
    pub fn total(&self) -> LogLikelihood {
        LogLikelihood::of(&self.log_probabilities)
    }
}

/// `log p` of every token of each continuation, after its prompt and the tokens before; the sum of a row is the
/// log-probability that [`beam_search`](crate::beam_search) gives a hypothesis that is not stopped.
///
/// `batch_size` is how many rows are encoded at a time at most; rows of similar length share a batch.
///
/// # Errors
/// [`EmptyPrompt`](GenerationError::EmptyPrompt), [`UnknownToken`](GenerationError::UnknownToken) and
/// [`Setting`](GenerationError::Setting) for batches of 0; [`NotANumber`](GenerationError::NotANumber) if the model's
/// scores are not.
///
/// # Panics
/// If there is not one continuation for each prompt.
pub fn log_probabilities<M: Causal>(
    model: &M,
    prompts: &[&[u32]],
    continuations: &[&[u32]],
    batch_size: usize,
    device: &Device,
) -> Result<Vec<Vec<f64>>, GenerationError> {
    let found = likelihoods(model, prompts, continuations, None, batch_size, device)?;
    Ok(found.into_iter().map(|found| found.log_probabilities).collect())
}

/// How probable each continuation is after its prompt.
///
/// The model reads at most `max_positions` tokens of a row, the last ones: the beginning of a prompt that is too long
/// does not count. `batch_size` is how many rows are encoded at a time at most; rows of similar length share a batch.
///
/// # Errors
/// Those of [`log_probabilities`]; [`TooLong`](GenerationError::TooLong) for a continuation of more than `max_positions`
/// tokens, the first of which would follow nothing.
///
/// # Panics
/// If there is not one continuation for each prompt.
pub fn likelihoods<M: Causal>(
    model: &M,
    prompts: &[&[u32]],
    continuations: &[&[u32]],
    max_positions: Option<usize>,
    batch_size: usize,
    device: &Device,
) -> Result<Vec<Likelihood>, GenerationError> {
    let texts = texts(prompts, continuations, max_positions, batch_size, model.vocab_size())?;
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let mut found = nothing_found(texts.len());
    for rows in batches_by_length(&texts, batch_size) {
        let batch: Vec<&[u32]> = rows.iter().map(|row| texts[*row]).collect();
        let hidden = model.encode(&TokenBatch::padded(&batch, device));
        let scored = rows.iter().map(|&row| Scored::last(row, texts[row], continuations[row]));
        score(model, hidden, scored.collect(), &mut found)?;
    }
    Ok(found)
}

/// What the model reads to score each continuation: its prompt, as much of it as there is room for, and all but the last
/// of its tokens, which is followed by none.
pub(crate) fn texts(
    prompts: &[&[u32]],
    continuations: &[&[u32]],
    max_positions: Option<usize>,
    batch_size: usize,
    vocab_size: usize,
) -> Result<Vec<Vec<u32>>, GenerationError> {
    assert_eq!(prompts.len(), continuations.len(), "one continuation for each prompt");
    input::check_at_least_1("batch_size", batch_size)?;
    input::check_prompts(prompts, vocab_size)?;
    check_targets(continuations, vocab_size)?;
    let mut texts = Vec::with_capacity(prompts.len());
    for (row, (prompt, continuation)) in prompts.iter().zip(continuations).enumerate() {
        let n_read = continuation.len().saturating_sub(1);
        let prompt = match max_positions {
            Some(max_positions) if n_read >= max_positions => {
                let n_tokens = continuation.len();
                return Err(GenerationError::TooLong { row, n_tokens, max_positions });
            }
            Some(max_positions) => &prompt[prompt.len().saturating_sub(max_positions - n_read)..],
            None => prompt,
        };
        texts.push([prompt, &continuation[..n_read]].concat());
    }
    Ok(texts)
}

/// What is known of continuations before any token is scored.
pub(crate) fn nothing_found(n_rows: usize) -> Vec<Likelihood> {
    vec![Likelihood { log_probabilities: Vec::new(), is_greedy: true }; n_rows]
}

/// `log p` of every token of each target, given its source, after `start_token` and the tokens before. A target that
/// ends with the stop token has it scored.
///
/// `batch_size` is how many rows are decoded at a time at most; sources of similar length share a batch.
///
/// # Errors
/// [`EmptySource`](GenerationError::EmptySource), [`UnknownToken`](GenerationError::UnknownToken) of a target and
/// [`Setting`](GenerationError::Setting) for batches of 0; [`NotANumber`](GenerationError::NotANumber) if the model's
/// scores are not.
///
/// # Panics
/// If there is not one target for each source.
pub fn target_log_probabilities<M: EncoderDecoder>(
    model: &M,
    sources: &[&[u32]],
    start_token: u32,
    targets: &[&[u32]],
    batch_size: usize,
    device: &Device,
) -> Result<Vec<Vec<f64>>, GenerationError> {
    assert_eq!(sources.len(), targets.len(), "one target for each source");
    input::check_at_least_1("batch_size", batch_size)?;
    input::check_sources(sources, start_token, model.vocab_size())?;
    check_targets(targets, model.vocab_size())?;
    let mut found = nothing_found(sources.len());
    for rows in batches_by_length(sources, batch_size) {
        let source: Vec<&[u32]> = rows.iter().map(|row| sources[*row]).collect();
        let inputs = rows.iter().map(|row| {
            let read = targets[*row].len().saturating_sub(1);
            [&[start_token], &targets[*row][..read]].concat()
        });
        let inputs: Vec<Vec<u32>> = inputs.collect();
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let cache = model.encode(&TokenBatch::padded(&source, device));
        let (hidden, _) = model.decode(&TokenBatch::padded(&inputs, device), cache);
        let scored = rows.iter().map(|&row| Scored { row, start: 0, tokens: targets[row] });
        score(model, hidden, scored.collect(), &mut found)?;
    }
    Ok(found.into_iter().map(|found| found.log_probabilities).collect())
}

fn check_targets(targets: &[&[u32]], vocab_size: usize) -> Result<(), GenerationError> {
    let check = |(row, tokens): (usize, &&[u32])| input::check_tokens(row, tokens, vocab_size);
    targets.iter().enumerate().try_for_each(check)
}

/// The tokens of a row that are scored.
pub(crate) struct Scored<'a> {
    /// The index of the row.
    row: usize,
    /// The position whose vector scores the first.
    start: usize,
    tokens: &'a [u32],
}

impl<'a> Scored<'a> {
    /// The tokens that the last vectors of a text score, which has all but the last of them.
    pub(crate) fn last(row: usize, text: &[u32], tokens: &'a [u32]) -> Self {
        Self { row, start: text.len() - tokens.len().max(1), tokens }
    }
}

/// Scores the tokens of each row of `hidden`, `[batch_size, seq_length, d_model]`, into `found`.
pub(crate) fn score<M: VocabularyHead>(
    model: &M,
    hidden: Tensor<3>,
    rows: Vec<Scored<'_>>,
    found: &mut [Likelihood],
) -> Result<(), GenerationError> {
    let [batch_size, seq_length, d_model] = hidden.dims();
    let vocab_size = model.vocab_size();
    let hidden = hidden.reshape([batch_size * seq_length, d_model]);
    let scored = rows.iter().enumerate().flat_map(|(place, Scored { row, start, tokens })| {
        let first = place * seq_length + start;
        tokens.iter().enumerate().map(move |(i, token)| (first + i, *row, i, *token as usize))
    });
    let scored: Vec<(usize, usize, usize, usize)> = scored.collect();
    for scored in scored.chunks((MAX_SCORES / vocab_size).max(1)) {
        let positions: Vec<i32> = scored.iter().map(|(place, ..)| *place as i32).collect();
        let positions = Tensor::<1, Int>::from_data(positions.as_slice(), &hidden.device().inner());
        let scores = model.head(hidden.clone().select(0, positions)); // [n_tokens, vocab_size]
        let totals = to_numbers(log_sum_exp(scores.clone()));
        let scores = to_numbers(scores);
        let scores = scores.chunks_exact(vocab_size).zip(totals);
        for (&(_, row, position, token), (scores, total)) in scored.iter().zip(scores) {
            if !total.is_finite() {
                return Err(GenerationError::NotANumber { row, position });
            }
            let found = &mut found[row];
            found.log_probabilities.push(f64::from(scores[token]) - f64::from(total));
            found.is_greedy = found.is_greedy && is_highest(token, scores);
        }
    }
    Ok(())
}

/// Whether a token has the highest score, and none below it the same.
fn is_highest(token: usize, scores: &[f32]) -> bool {
    let score = scores[token];
    let (before, after) = (&scores[..token], &scores[token + 1..]);
    before.iter().all(|other| *other < score) && after.iter().all(|other| *other <= score)
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;
    use crate::test_model::SumModel;

    /// After the sum 1 the tokens are as likely as 1 : 2 : 5, after the sum 2 as 1 : 1 : 2.
    fn model() -> SumModel {
        let logs = |odds: [f32; 3]| odds.map(f32::ln).to_vec();
        SumModel::new(vec![logs([1.0, 1.0, 1.0]), logs([1.0, 2.0, 5.0]), logs([1.0, 1.0, 2.0])])
    }

    fn assert_close(found: &[Vec<f64>], expected: &[&[f64]]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(*expected) {
                assert!((found - expected.ln()).abs() < 1e-6, "{found} is not log {expected}");
            }
        }
    }

    #[test]
    fn a_continuation_is_scored_after_its_prompt_and_its_own_tokens() {
        let (prompts, texts): ([&[u32]; 3], [&[u32]; 3]) =
            ([&[1], &[0, 0, 2], &[2, 2]], [&[1, 0], &[2], &[]]);
        let found = log_probabilities(&model(), &prompts, &texts, 2, &test_device()).unwrap();
        assert_close(&found, &[&[0.25, 0.25], &[0.5], &[]]);
    }

    #[test]
    fn a_target_is_scored_after_its_source_and_the_start_token() {
        let (sources, targets): ([&[u32]; 3], [&[u32]; 3]) =
            ([&[0], &[2, 2], &[1]], [&[2, 1, 0], &[0, 1], &[]]);
        let device = test_device();
        let found = target_log_probabilities(&model(), &sources, 1, &targets, 8, &device).unwrap();
        let third = 1.0 / 3.0;
        assert_close(&found, &[&[0.625, third, 0.125], &[0.25, 0.25], &[]]);
        let error = target_log_probabilities(&model(), &[&[1]], 1, &[&[1, 3]], 8, &device);
        assert_eq!(
            error.unwrap_err().to_string(),
            "row 0 has token 3, but the model knows only the tokens below 3"
        );
    }

    #[test]
    fn a_continuation_is_greedy_if_every_token_is_the_first_of_the_most_probable() {
        let (prompts, texts): ([&[u32]; 5], [&[u32]; 5]) =
            ([&[1], &[1], &[0], &[0], &[2]], [&[2, 0], &[1], &[0], &[1], &[]]);
        let found = likelihoods(&model(), &prompts, &texts, None, 2, &test_device()).unwrap();
        let is_greedy: Vec<bool> = found.iter().map(|found| found.is_greedy).collect();
        // After the sum 0, which 1 and 2 make too, all three are equal.
        assert_eq!(is_greedy, [true, false, true, false, true]);
        assert_eq!(found[4].total(), LogLikelihood::default());
        let total = found[0].total();
        assert!((total.sum - (5.0f64 / 8.0 / 3.0).ln()).abs() < 1e-6 && total.n_tokens == 2);
    }

    #[test]
    fn the_beginning_of_a_long_prompt_does_not_count() {
        let run = |prompt: &[u32], text: &[u32], max_positions| {
            let found = likelihoods(&model(), &[prompt], &[text], max_positions, 4, &test_device());
            let found = found.map(|mut found| found.remove(0).log_probabilities);
            found.map_err(|error| error.to_string())
        };
        let (prompt, text) = (&[2, 2, 1, 1][..], &[0, 1, 2][..]);
        assert_eq!(run(prompt, text, Some(9)), run(prompt, text, None));
        assert_eq!(run(prompt, text, Some(6)), run(prompt, text, None));
        assert_eq!(run(prompt, text, Some(5)), run(&[2, 1, 1], text, None));
        assert_eq!(run(prompt, text, Some(3)), run(&[1], text, None));
        assert_ne!(run(&[1], text, None), run(prompt, text, None));
        assert_eq!(run(prompt, &[], Some(1)).unwrap(), [0.0; 0]);
        let error = run(prompt, text, Some(2)).unwrap_err();
        assert_eq!(
            error,
            "continuation 0 has 3 tokens: expected at most 2, the positions of the model"
        );
    }
}
