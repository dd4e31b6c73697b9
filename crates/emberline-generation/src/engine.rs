//! The decoding engine: prompts in, tokens out, for every model that goes on from where it stopped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use emberline_core::{Cache, Incremental, Stream, TokenBatch};
use serde::{Deserialize, Serialize};

use crate::error::GenerationError;
use crate::sampling::Sampling;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationConfig {
    /// How the next token is picked.
    pub sampling: Sampling,
    /// How many tokens a row gets at most.
    pub max_new_tokens: usize,
    /// Tokens that end a row; they are not part of what it gets.
    pub stop_tokens: Vec<u32>,
    /// The seed of all chance: a token depends on it, on the index of its prompt, on its place among
    /// the new tokens, and on the scores, but on no other row.
    pub seed: u64,
}

impl Default for GenerationConfig {
    /// Greedy, up to 100 tokens.
    fn default() -> Self {
        Self { sampling: Sampling::Greedy, max_new_tokens: 100, stop_tokens: Vec::new(), seed: 0 }
    }
}

/// Continues every prompt; `on_token` sees each new token with the index of its prompt as soon as it is
/// picked, and may end that row with `Break`.
///
/// A prompt is encoded once, and then each new token alone: the work for a token does not grow with the
/// text where the model's cache does not. Prompts of one length share a batch, and the lengths come one
/// after the other.
///
/// # Errors
/// [`EmptyPrompt`](GenerationError::EmptyPrompt), [`UnknownToken`](GenerationError::UnknownToken) and
/// [`Setting`](GenerationError::Setting) before anything is generated;
/// [`NotANumber`](GenerationError::NotANumber) if the model's scores are not.
pub fn generate<M: Incremental>(
    model: &M,
    prompts: &[&[u32]],
    config: &GenerationConfig,
    device: &Device,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerationError> {
    config.sampling.validate()?;
    let mut rows_of_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, prompt) in prompts.iter().enumerate() {
        check_prompt(row, prompt, model.vocab_size())?;
        rows_of_length.entry(prompt.len()).or_default().push(row);
    }
    let mut generated = vec![Vec::new(); prompts.len()];
    if config.max_new_tokens > 0 {
        for rows in rows_of_length.into_values() {
            continue_batch(model, prompts, rows, config, device, &mut on_token, &mut generated)?;
        }
    }
    Ok(generated)
}

fn check_prompt(row: usize, prompt: &[u32], vocab_size: usize) -> Result<(), GenerationError> {
    if prompt.is_empty() {
        return Err(GenerationError::EmptyPrompt { row });
    }
    match prompt.iter().find(|token| **token as usize >= vocab_size) {
        Some(token) => Err(GenerationError::UnknownToken { row, token: *token, vocab_size }),
        None => Ok(()),
    }
}

/// Continues the prompts of the given rows, which are of one length, into `generated`.
fn continue_batch<M: Incremental>(
    model: &M,
    prompts: &[&[u32]],
    mut rows: Vec<usize>,
    config: &GenerationConfig,
    device: &Device,
    on_token: &mut impl FnMut(usize, u32) -> ControlFlow<()>,
    generated: &mut [Vec<u32>],
) -> Result<(), GenerationError> {
    let chance = Stream::new(config.seed).named("sampling");
    let first: Vec<&[u32]> = rows.iter().map(|row| prompts[*row]).collect();
    let (mut hidden, mut cache) = model.encode_from(&TokenBatch::from_rows(&first, device), None);
    for position in 0.. {
        let scores = last_scores(model, hidden);
        // The places in the batch of the rows that go on.
        let mut going_on = Vec::with_capacity(rows.len());
        for (place, (&row, scores)) in
            rows.iter().zip(scores.chunks_exact(model.vocab_size())).enumerate()
        {
            let uniform = chance.at(row as u64).uniform(position as u64);
            let token = config
                .sampling
                .pick(scores, uniform)
                .ok_or(GenerationError::NotANumber { row, position })?;
            if config.stop_tokens.contains(&token) {
                continue;
            }
            generated[row].push(token);
            let more = on_token(row, token).is_continue() && position + 1 < config.max_new_tokens;
            if more {
                going_on.push(place);
            }
        }
        if going_on.is_empty() {
            break;
        }
        if going_on.len() < rows.len() {
            cache = cache.select_rows(&going_on);
            rows = going_on.into_iter().map(|place| rows[place]).collect();
        }
        let next: Vec<&[u32]> = rows.iter().map(|row| &generated[*row][position..]).collect();
        (hidden, cache) = model.encode_from(&TokenBatch::from_rows(&next, device), Some(cache));
    }
    Ok(())
}

/// The scores that follow the last position, row after row: the head is the model's largest product,
/// and no other position needs it.
fn last_scores<M: Incremental>(model: &M, hidden: Tensor<3>) -> Vec<f32> {
    let [batch_size, seq_length, d_model] = hidden.dims();
    let last = hidden.narrow(1, seq_length - 1, 1).reshape([batch_size, d_model]);
    let scores = model.head(last); // [batch_size, vocab_size]
    assert_eq!(
        scores.dims(),
        [batch_size, model.vocab_size()],
        "the head scores the whole vocabulary"
    );
    scores.into_data().convert::<f32>().try_into_vec().expect("converted to f32")
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;
    use crate::test_model::SumModel;

    fn random() -> Sampling {
        Sampling::Random { temperature: 1.0, top_k: None, top_p: None }
    }

    fn config(sampling: Sampling, max_new_tokens: usize) -> GenerationConfig {
        GenerationConfig { sampling, max_new_tokens, ..GenerationConfig::default() }
    }

    /// A model of six tokens that leaves chance much to choose.
    fn uncertain() -> SumModel {
        SumModel::new((0..6).map(|sum| Stream::new(2).at(sum).uniforms(6, -1.0, 1.0)).collect())
    }

    fn run(
        model: &SumModel,
        prompts: &[&[u32]],
        config: &GenerationConfig,
    ) -> Result<Vec<Vec<u32>>, GenerationError> {
        generate(model, prompts, config, &test_device(), |_, _| ControlFlow::Continue(()))
    }

    #[test]
    fn greedy_follows_the_highest_score() {
        // The sums are 1, then 1 + 2 = 3, then 3 + 4 = 7, which is 2 modulo 5, then 2 + 3 = 5, which is 0.
        let model = SumModel::certain(5, |sum| (sum + 1) % 5);
        let tokens = run(&model, &[&[0, 1]], &config(Sampling::Greedy, 4)).unwrap();
        assert_eq!(tokens, [[2, 4, 3, 1]]);
    }

    #[test]
    fn a_low_temperature_and_the_top_one_are_greedy() {
        let prompts: [&[u32]; 2] = [&[1], &[2]];
        let greedy = run(&uncertain(), &prompts, &config(Sampling::Greedy, 20)).unwrap();
        for (temperature, top_k) in [(1e-6, None), (1.0, Some(1))] {
            let sampling = Sampling::Random { temperature, top_k, top_p: None };
            assert_eq!(run(&uncertain(), &prompts, &config(sampling, 20)).unwrap(), greedy);
        }
    }

    #[test]
    fn the_prompt_is_encoded_once_then_one_token_at_a_time_and_ended_rows_leave() {
        // A row goes on with 1 until its sum is 5, and then wants to stop with 0.
        let model = SumModel::certain(6, |sum| usize::from(sum != 5));
        let config = GenerationConfig { stop_tokens: vec![0], ..config(Sampling::Greedy, 9) };
        let prompts: [&[u32]; 3] = [&[0, 0, 4], &[1, 0, 1], &[0, 3, 0]];
        let tokens = run(&model, &prompts, &config).unwrap();
        assert_eq!(tokens, [vec![1], vec![1, 1, 1], vec![1, 1]]);
        assert_eq!(*model.calls.borrow(), [[3, 3], [3, 1], [2, 1], [1, 1]]);
    }

    #[test]
    fn the_last_token_is_not_encoded() {
        let model = uncertain();
        run(&model, &[&[1]], &config(Sampling::Greedy, 1)).unwrap();
        assert_eq!(*model.calls.borrow(), [[1, 1]]);
        assert_eq!(run(&model, &[&[1]], &config(Sampling::Greedy, 0)).unwrap(), [[0; 0]]);
        assert_eq!(model.calls.borrow().len(), 1);
    }

    #[test]
    fn one_seed_gives_the_same_tokens_and_another_others() {
        let with_seed = |seed| {
            let config = GenerationConfig { seed, ..config(random(), 30) };
            run(&uncertain(), &[&[3]], &config).unwrap()
        };
        assert_eq!(with_seed(1), with_seed(1));
        assert_ne!(with_seed(1), with_seed(2));
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let config = GenerationConfig { stop_tokens: vec![5], ..config(random(), 30) };
        let row_one = |others: &[u32]| {
            let prompts: [&[u32]; 3] = [others, &[1, 2], others];
            run(&uncertain(), &prompts, &config).unwrap().swap_remove(1)
        };
        let expected = row_one(&[0, 0]);
        for others in [&[4, 1][..], &[3, 3], &[2], &[1, 1, 1]] {
            assert_eq!(row_one(others), expected);
        }
        let equal_prompts = run(&uncertain(), &[&[1, 2], &[1, 2]], &config).unwrap();
        assert_ne!(equal_prompts[0], equal_prompts[1], "each row has chances of its own");
    }

    #[test]
    fn prompts_of_different_lengths_give_what_each_gives_alone() {
        let prompts: [&[u32]; 3] = [&[1, 2, 3], &[4], &[0, 5]];
        let config = config(Sampling::Greedy, 8);
        let together = run(&uncertain(), &prompts, &config).unwrap();
        for (prompt, tokens) in prompts.iter().zip(together) {
            assert_eq!(run(&uncertain(), &[prompt], &config).unwrap(), [tokens]);
        }
    }

    #[test]
    fn streamed_tokens_are_the_returned_ones() {
        let mut streamed = vec![Vec::new(); 2];
        let returned = generate(
            &uncertain(),
            &[&[1], &[2]],
            &config(random(), 12),
            &test_device(),
            |row, token| {
                streamed[row].push(token);
                ControlFlow::Continue(())
            },
        );
        assert_eq!(returned.unwrap(), streamed);
    }

    #[test]
    fn breaking_ends_one_row_only() {
        let tokens = generate(
            &uncertain(),
            &[&[1], &[2]],
            &config(random(), 5),
            &test_device(),
            |row, _| {
                if row == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        let lengths: Vec<usize> = tokens.unwrap().iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 5]);
    }

    #[test]
    fn pairs_come_as_often_as_the_table_says() {
        let (draws, p) = (2000, 0.3f64);
        let model = SumModel::new(vec![vec![(1.0 - p as f32).ln(), (p as f32).ln()]; 2]);
        let prompts = vec![&[0u32][..]; draws];
        let rows = run(&model, &prompts, &config(random(), 2)).unwrap();
        let ones = rows.iter().flatten().filter(|token| **token == 1).count() as f64;
        let (count, sigma) = (2.0 * draws as f64, (2.0 * draws as f64 * p * (1.0 - p)).sqrt());
        assert!((ones - count * p).abs() < 4.0 * sigma, "{ones} of {count}");
    }

    #[test]
    fn scores_that_are_not_numbers_are_an_error_with_their_place() {
        let mut model = SumModel::certain(3, |_| 1);
        model.table[2][0] = f32::NAN;
        let error = run(&model, &[&[0], &[2], &[1]], &config(Sampling::Greedy, 3)).unwrap_err();
        assert!(matches!(error, GenerationError::NotANumber { row: 1, position: 0 }), "{error:?}");
        let error = run(&model, &[&[0]], &config(Sampling::Greedy, 3)).unwrap_err();
        assert!(matches!(error, GenerationError::NotANumber { row: 0, position: 2 }), "{error:?}");
    }

    #[test]
    fn prompts_that_cannot_be_continued_are_refused_before_anything_is_generated() {
        let model = uncertain();
        let error = run(&model, &[&[1], &[]], &config(random(), 3)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "prompt 1 is empty: expected at least one token to go on from"
        );
        let error = run(&model, &[&[1], &[2, 6]], &config(random(), 3)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "prompt 1 has token 6, but the model knows only the tokens below 6"
        );
        let too_cold = Sampling::Random { temperature: 0.0, top_k: None, top_p: None };
        assert!(run(&model, &[&[1]], &config(too_cold, 3)).is_err());
        assert!(model.calls.borrow().is_empty());
    }

    #[test]
    fn a_config_refuses_what_it_does_not_know() {
        let parse = |text: &str| serde_json::from_str::<GenerationConfig>(text);
        assert_eq!(parse("{}").unwrap(), GenerationConfig::default());
        let error = parse(r#"{"max_tokens": 3}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `max_tokens`"), "{error}");
    }
}
