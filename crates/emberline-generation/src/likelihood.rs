//! How probable texts are that are there already, each token after the true ones before it.

use burn::tensor::{Device, Int, Tensor};
use emberline_backend::log_sum_exp;
use emberline_core::{Causal, EncoderDecoder, TokenBatch, VocabularyHead};

use crate::batches::batches_by_length;
use crate::decoder::to_numbers;
use crate::error::GenerationError;
use crate::input;

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
    assert_eq!(prompts.len(), continuations.len(), "one continuation for each prompt");
    input::check_at_least_1("batch_size", batch_size)?;
    input::check_prompts(prompts, model.vocab_size())?;
    check_targets(continuations, model.vocab_size())?;
    let texts = prompts.iter().zip(continuations).map(|(prompt, continuation)| {
        let read = continuation.len().saturating_sub(1);
        [prompt, &continuation[..read]].concat()
    });
    let texts: Vec<Vec<u32>> = texts.collect();
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let mut found = vec![Vec::new(); prompts.len()];
    for rows in batches_by_length(&texts, batch_size) {
        let batch: Vec<&[u32]> = rows.iter().map(|row| texts[*row]).collect();
        let hidden = model.encode(&TokenBatch::padded(&batch, device));
        let scored = rows.iter().map(|&row| Scored {
            row,
            start: prompts[row].len() - 1,
            tokens: continuations[row],
        });
        score(model, hidden, scored.collect(), &mut found)?;
    }
    Ok(found)
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
    let mut found = vec![Vec::new(); sources.len()];
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
    Ok(found)
}

fn check_targets(targets: &[&[u32]], vocab_size: usize) -> Result<(), GenerationError> {
    let check = |(row, tokens): (usize, &&[u32])| input::check_tokens(row, tokens, vocab_size);
    targets.iter().enumerate().try_for_each(check)
}

/// The tokens of a row that are scored.
struct Scored<'a> {
    /// The index of the row.
    row: usize,
    /// The position whose vector scores the first.
    start: usize,
    tokens: &'a [u32],
}

/// Scores the tokens of each row of `hidden`, `[batch_size, seq_length, d_model]`, into `found`.
fn score<M: VocabularyHead>(
    model: &M,
    hidden: Tensor<3>,
    rows: Vec<Scored<'_>>,
    found: &mut [Vec<f64>],
) -> Result<(), GenerationError> {
    let [batch_size, seq_length, d_model] = hidden.dims();
    let mut positions = Vec::new();
    for (place, Scored { start, tokens, .. }) in rows.iter().enumerate() {
        let first = place * seq_length + start;
        positions.extend((first..first + tokens.len()).map(|position| position as i32));
    }
    if positions.is_empty() {
        return Ok(());
    }
    let positions = Tensor::<1, Int>::from_data(positions.as_slice(), &hidden.device().inner());
    let hidden = hidden.reshape([batch_size * seq_length, d_model]).select(0, positions);
    let scores = model.head(hidden); // [n_tokens, vocab_size]
    let totals = to_numbers(log_sum_exp(scores.clone()));
    let scores = to_numbers(scores);
    let mut scored = scores.chunks_exact(model.vocab_size()).zip(totals);
    for Scored { row, tokens, .. } in rows {
        for (position, (token, (scores, total))) in tokens.iter().zip(&mut scored).enumerate() {
            if !total.is_finite() {
                return Err(GenerationError::NotANumber { row, position });
            }
            found[row].push(f64::from(scores[*token as usize]) - f64::from(total));
        }
    }
    Ok(())
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
}
