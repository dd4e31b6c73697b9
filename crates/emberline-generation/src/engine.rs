//! Tokens one at a time, for every model that goes on from where it stopped: after a prompt, or for a source.

use std::ops::ControlFlow;
use std::slice;

use burn::tensor::Device;
use emberline_core::{EncoderDecoder, Incremental, Stream};
use serde::{Deserialize, Serialize};

use crate::batches::{batches_by_length, batches_of_one_length};
use crate::decoder::{Continuation, Decoder, Target, to_numbers};
use crate::error::GenerationError;
use crate::input;
use crate::sampling::Sampling;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationConfig {
    /// How the next token is picked.
    pub sampling: Sampling,
    /// How many tokens a row gets at most.
    pub max_new_tokens: usize,
    /// How many more for each token of its prompt or source.
    pub max_per_input_token: f64,
    /// Tokens that end a row; they are not part of what it gets.
    pub stop_tokens: Vec<u32>,
    /// How many rows are decoded at a time at most.
    pub batch_size: usize,
    /// The seed of all chance: a token depends on it, on the index of its prompt or source, on its place among
    /// the new tokens, and on the scores, but on no other row.
    pub seed: u64,
}

impl Default for GenerationConfig {
    /// Greedy, up to 100 tokens, 64 rows at a time.
    fn default() -> Self {
        Self {
            sampling: Sampling::Greedy,
            max_new_tokens: 100,
            max_per_input_token: 0.0,
            stop_tokens: Vec::new(),
            batch_size: 64,
            seed: 0,
        }
    }
}

impl GenerationConfig {
    fn validate(&self) -> Result<(), GenerationError> {
        self.sampling.validate()?;
        input::check_per_input_token(self.max_per_input_token)?;
        input::check_at_least_1("batch_size", self.batch_size)
    }

    fn limit(&self, input: &[u32]) -> usize {
        input::limit(self.max_new_tokens, self.max_per_input_token, input)
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
    config.validate()?;
    input::check_prompts(prompts, model.vocab_size())?;
    let mut generated = vec![Vec::new(); prompts.len()];
    for rows in batches_of_one_length(prompts, config.batch_size) {
        let limit = config.limit(prompts[rows[0]]);
        let first: Vec<&[u32]> = rows.iter().map(|row| prompts[*row]).collect();
        let rows = rows.into_iter().map(|index| Row { index, limit }).collect();
        if limit > 0 {
            let decoder = Continuation::new(model, device);
            write_rows(decoder, rows, first, config, &mut on_token, &mut generated)?;
        }
    }
    Ok(generated)
}

/// Writes a target for every source, after `start_token`, which is not part of it; `on_token` sees each token with the
/// index of its source as soon as it is picked, and may end that row with `Break`.
///
/// A source is read once. Sources of similar length share a batch.
///
/// # Errors
/// [`EmptySource`](GenerationError::EmptySource) and [`Setting`](GenerationError::Setting) before anything is
/// generated; [`NotANumber`](GenerationError::NotANumber) if the model's scores are not.
pub fn generate_target<M: EncoderDecoder>(
    model: &M,
    sources: &[&[u32]],
    start_token: u32,
    config: &GenerationConfig,
    device: &Device,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerationError> {
    config.validate()?;
    input::check_sources(sources, start_token, model.vocab_size())?;
    let mut generated = vec![Vec::new(); sources.len()];
    for mut rows in batches_by_length(sources, config.batch_size) {
        rows.retain(|row| config.limit(sources[*row]) > 0);
        if rows.is_empty() {
            continue;
        }
        let batch: Vec<&[u32]> = rows.iter().map(|row| sources[*row]).collect();
        let first = vec![slice::from_ref(&start_token); rows.len()];
        let rows = rows.into_iter().map(|index| Row { index, limit: config.limit(sources[index]) });
        let decoder = Target::new(model, &batch, device);
        write_rows(decoder, rows.collect(), first, config, &mut on_token, &mut generated)?;
    }
    Ok(generated)
}

/// A row of a batch.
#[derive(Clone, Copy)]
struct Row {
    /// The index of its prompt or source.
    index: usize,
    /// How many tokens it gets at most.
    limit: usize,
}

/// Writes the given rows, after what they are `first` to read, into `generated`.
fn write_rows<D: Decoder>(
    mut decoder: D,
    mut rows: Vec<Row>,
    first: Vec<&[u32]>,
    config: &GenerationConfig,
    on_token: &mut impl FnMut(usize, u32) -> ControlFlow<()>,
    generated: &mut [Vec<u32>],
) -> Result<(), GenerationError> {
    let chance = Stream::new(config.seed).named("sampling");
    let vocab_size = decoder.vocab_size();
    let mut scores;
    (scores, decoder) = decoder.advance(&first);
    for position in 0.. {
        // The places in the batch of the rows that go on.
        let mut going_on = Vec::with_capacity(rows.len());
        let numbers = to_numbers(scores);
        for (place, (row, scores)) in rows.iter().zip(numbers.chunks_exact(vocab_size)).enumerate()
        {
            let uniform = chance.at(row.index as u64).uniform(position as u64);
            let token = config
                .sampling
                .pick(scores, uniform)
                .ok_or(GenerationError::NotANumber { row: row.index, position })?;
            if config.stop_tokens.contains(&token) {
                continue;
            }
            generated[row.index].push(token);
            let more = on_token(row.index, token).is_continue() && position + 1 < row.limit;
            if more {
                going_on.push(place);
            }
        }
        if going_on.is_empty() {
            break;
        }
        if going_on.len() < rows.len() {
            decoder = decoder.select_rows(&going_on);
            rows = going_on.into_iter().map(|place| rows[place]).collect();
        }
        let next: Vec<&[u32]> = rows.iter().map(|row| &generated[row.index][position..]).collect();
        (scores, decoder) = decoder.advance(&next);
    }
    Ok(())
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
        assert_eq!(*model.calls.lock().unwrap(), [[3, 3], [3, 1], [2, 1], [1, 1]]);
    }

    #[test]
    fn the_last_token_is_not_encoded() {
        let model = uncertain();
        run(&model, &[&[1]], &config(Sampling::Greedy, 1)).unwrap();
        assert_eq!(*model.calls.lock().unwrap(), [[1, 1]]);
        assert_eq!(run(&model, &[&[1]], &config(Sampling::Greedy, 0)).unwrap(), [[0; 0]]);
        assert_eq!(model.calls.lock().unwrap().len(), 1);
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
            "row 1 has token 6, but the model knows only the tokens below 6"
        );
        let too_cold = Sampling::Random { temperature: 0.0, top_k: None, top_p: None };
        assert!(run(&model, &[&[1]], &config(too_cold, 3)).is_err());
        assert!(model.calls.lock().unwrap().is_empty());
    }

    #[test]
    fn a_target_follows_its_source_and_the_start_token_which_is_no_part_of_it() {
        // The sums are 3 + 2 + 1 = 6, which is 1 modulo 5, then 6 + 2 = 8, then 8 + 4 = 12.
        let model = SumModel::certain(5, |sum| (sum + 1) % 5);
        let go_on = |_, _| ControlFlow::Continue(());
        let config = config(Sampling::Greedy, 3);
        let tokens = generate_target(&model, &[&[3, 2]], 1, &config, &test_device(), go_on);
        assert_eq!(tokens.unwrap(), [[2, 4, 3]]);
    }

    #[test]
    fn sources_of_different_lengths_give_what_each_gives_alone() {
        let sources: [&[u32]; 4] = [&[1, 2, 3], &[4], &[0, 5], &[2]];
        let config = GenerationConfig {
            stop_tokens: vec![0],
            max_per_input_token: 2.0,
            batch_size: 3,
            ..config(Sampling::Greedy, 4)
        };
        let device = test_device();
        let run = |sources: &[&[u32]]| {
            let go_on = |_, _| ControlFlow::Continue(());
            generate_target(&uncertain(), sources, 1, &config, &device, go_on).unwrap()
        };
        for (source, together) in sources.iter().zip(run(&sources)) {
            assert_eq!(run(&[source]), [together]);
        }
    }

    #[test]
    fn a_row_gets_more_tokens_for_a_longer_input() {
        let model = SumModel::certain(5, |_| 1);
        let config = GenerationConfig { max_per_input_token: 0.5, ..config(Sampling::Greedy, 2) };
        let (inputs, go_on): ([&[u32]; 3], _) =
            ([&[1, 1, 1, 1], &[2], &[2, 2]], |_, _| ControlFlow::Continue(()));
        let lengths = |found: Vec<Vec<u32>>| -> Vec<usize> { found.iter().map(Vec::len).collect() };
        let targets = generate_target(&model, &inputs, 1, &config, &test_device(), go_on);
        assert_eq!(lengths(targets.unwrap()), [4, 2, 3]);
        assert_eq!(lengths(run(&model, &inputs, &config).unwrap()), [4, 2, 3]);
    }

    #[test]
    fn sources_that_cannot_be_read_are_refused_before_anything_is_generated() {
        let model = uncertain();
        let complaint = |sources: &[&[u32]], start_token, config: &GenerationConfig| {
            let go_on = |_, _| ControlFlow::Continue(());
            generate_target(&model, sources, start_token, config, &test_device(), go_on)
                .unwrap_err()
                .to_string()
        };
        let config = config(Sampling::Greedy, 2);
        let empty = complaint(&[&[1], &[]], 1, &config);
        assert_eq!(empty, "source 1 is empty: expected at least one token");
        let unknown = complaint(&[&[1]], 6, &config);
        assert_eq!(unknown, "start_token is 6: expected a token of the model's target");
        let none = complaint(&[&[1]], 1, &GenerationConfig { batch_size: 0, ..config });
        assert_eq!(none, "batch_size is 0: expected at least 1");
        assert!(model.calls.lock().unwrap().is_empty());
    }

    #[test]
    fn a_config_refuses_what_it_does_not_know() {
        let parse = |text: &str| serde_json::from_str::<GenerationConfig>(text);
        assert_eq!(parse("{}").unwrap(), GenerationConfig::default());
        let error = parse(r#"{"max_tokens": 3}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `max_tokens`"), "{error}");
    }
}
