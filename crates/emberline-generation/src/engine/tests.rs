//! Greedy decoding and sampling as a whole: what is picked, when rows end, what is encoded.

use emberline_backend::test_device;

use super::*;
use crate::sampling::Sampling;
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
fn prompts_of_different_lengths_share_a_batch_of_a_model_that_reads_left_padding() {
    let model = uncertain();
    let prompts: [&[u32]; 3] = [&[1, 2, 3], &[4], &[0, 5]];
    let together = run(&model, &prompts, &config(random(), 8)).unwrap();
    assert_eq!(model.calls.lock().unwrap()[..2], [[3, 3], [3, 1]]);
    let one_by_one = GenerationConfig { batch_size: 1, ..config(random(), 8) };
    assert_eq!(run(&model, &prompts, &one_by_one).unwrap(), together);
}

#[test]
fn a_text_that_gets_too_long_goes_on_from_the_last_half_of_what_the_model_reads() {
    let model = uncertain();
    let prompts: [&[u32]; 3] = [&[1, 2], &[4, 3, 2, 1, 0], &[0, 5, 1, 4, 2, 2, 3]];
    let sliding = |context_limit| GenerationConfig { context_limit, ..config(random(), 11) };
    let found = run(&model, &prompts, &sliding(ContextLimit::Slides(5))).unwrap();
    for (index, (prompt, found)) in prompts.into_iter().zip(&found).enumerate() {
        let (mut tokens, mut start) = (prompt.to_vec(), prompt.len().saturating_sub(5));
        for position in 0..11 {
            if tokens.len() - start > 5 {
                start = tokens.len() - 2;
            }
            let sum: u32 = tokens[start..].iter().sum();
            let uniform = config(random(), 11).chance(index).uniform(position);
            tokens.push(random().pick(model.scores(sum as usize), uniform).unwrap());
        }
        assert_eq!(tokens[prompt.len()..], found[..], "{prompt:?}");
    }
    let unlimited = run(&model, &prompts, &config(random(), 11)).unwrap();
    assert_eq!(run(&model, &prompts, &sliding(ContextLimit::Slides(99))).unwrap(), unlimited);
}

#[test]
fn a_text_ends_with_the_positions_of_the_model_where_it_does_not_slide() {
    let model = uncertain();
    let ending = |context_limit| GenerationConfig { context_limit, ..config(Sampling::Greedy, 4) };
    let tokens = run(&model, &[&[1, 2, 3], &[4]], &ending(ContextLimit::Ends(5))).unwrap();
    assert_eq!(tokens.iter().map(Vec::len).collect::<Vec<_>>(), [2, 4]);
    let error = run(&model, &[&[1], &[1, 2, 3]], &ending(ContextLimit::Ends(3))).unwrap_err();
    let expected =
        "prompt 1 has 3 tokens, and the model 3 positions: expected at least one for what follows";
    assert_eq!(error.to_string(), expected);
    let error = run(&model, &[&[1]], &ending(ContextLimit::Slides(0))).unwrap_err().to_string();
    assert_eq!(error, "context_limit is 0: expected at least 1");
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
    let tokens =
        generate(&uncertain(), &[&[1], &[2]], &config(random(), 5), &test_device(), |row, _| {
            if row == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
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
    assert_eq!(error.to_string(), "prompt 1 is empty: expected at least one token to go on from");
    let error = run(&model, &[&[1], &[2, 6]], &config(random(), 3)).unwrap_err();
    assert_eq!(error.to_string(), "row 1 has token 6, but the model knows only the tokens below 6");
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
fn the_sequences_of_a_prompt_have_chances_of_their_own_whoever_else_is_there() {
    let with = |n_sequences, batch_size, prompts: &[&[u32]]| {
        let stop_tokens = vec![5];
        let config =
            GenerationConfig { n_sequences, batch_size, stop_tokens, ..config(random(), 12) };
        run(&uncertain(), prompts, &config).unwrap()
    };
    let three = with(3, 64, &[&[1], &[2, 2], &[1]]);
    assert_eq!(three.len(), 9);
    for (n_sequences, batch_size) in [(1, 64), (2, 64), (3, 1), (3, 2), (5, 4)] {
        let rows = with(n_sequences, batch_size, &[&[1], &[2, 2], &[1]]);
        for (prompt, sequence) in (0..3).flat_map(|p| (0..n_sequences.min(3)).map(move |s| (p, s)))
        {
            assert_eq!(rows[prompt * n_sequences + sequence], three[prompt * 3 + sequence]);
        }
    }
    let mut distinct = three;
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 9, "{distinct:?}");
}

#[test]
fn a_prompt_is_encoded_once_for_all_its_sequences() {
    let model = uncertain();
    let config = GenerationConfig { n_sequences: 3, batch_size: 4, ..config(random(), 2) };
    run(&model, &[&[1, 2], &[3, 4]], &config).unwrap();
    assert_eq!(*model.calls.lock().unwrap(), [[2, 2], [4, 1], [1, 2], [2, 1]]);
    assert_eq!(model.selections.lock().unwrap()[0], [0, 0, 0, 1]);
    let sources: [&[u32]; 2] = [&[1, 2], &[3]];
    let go_on = |_, _| ControlFlow::Continue(());
    let targets = generate_target(&model, &sources, 1, &config, &test_device(), go_on).unwrap();
    let alone = generate_target(&model, &sources[..1], 1, &config, &test_device(), go_on);
    assert_eq!((targets.len(), &targets[..3]), (6, &alone.unwrap()[..]));
}

#[test]
fn no_ngram_and_no_bad_word_comes_and_stop_tokens_wait() {
    let bad_words = vec![vec![2, 3], vec![4], vec![1, 1, 5], vec![0]];
    let prompts: [&[u32]; 3] = [&[1, 2], &[5, 3, 5], &[2]];
    for (sampling, seed) in [(Sampling::Greedy, 0), (random(), 1), (random(), 2)] {
        for size in [None, Some(2), Some(3)] {
            let config = GenerationConfig {
                no_repeat_ngram_size: size,
                bad_words: bad_words.clone(),
                min_new_tokens: 4,
                stop_tokens: vec![0],
                seed,
                ..config(sampling, 12)
            };
            for (prompt, new) in prompts.iter().zip(run(&uncertain(), &prompts, &config).unwrap()) {
                let text = [prompt, &new[..]].concat();
                let comes = |word: &[u32]| {
                    let places = text.windows(word.len()).enumerate();
                    places
                        .filter(|(at, found)| *found == word && at + word.len() > prompt.len())
                        .count()
                };
                assert!(bad_words[..3].iter().all(|word| comes(word) == 0), "{text:?}");
                assert!(new.len() >= 4 || size.is_some(), "{text:?}");
                if let Some(size) = size {
                    assert!(text.windows(size).all(|ngram| comes(ngram) <= 1), "{text:?}");
                }
            }
        }
    }
}

#[test]
fn a_penalty_keeps_a_model_from_repeating_itself() {
    // After every sum token 1 is best by a little, and 2 next.
    let model = SumModel::new(vec![vec![0.1, 1.1, 1.0, 0.9]; 4]);
    let with = |repetition_penalty| {
        let config = GenerationConfig { repetition_penalty, ..config(Sampling::Greedy, 4) };
        run(&model, &[&[0]], &config).unwrap().remove(0)
    };
    assert_eq!(with(1.0), [1, 1, 1, 1]);
    assert_eq!(with(2.0), [1, 2, 3, 1]);
}

#[test]
fn a_row_after_which_all_is_ruled_out_ends_as_it_is() {
    let config = GenerationConfig { no_repeat_ngram_size: Some(1), ..config(random(), 9) };
    let mut tokens = run(&uncertain(), &[&[3, 1]], &config).unwrap().remove(0);
    tokens.sort();
    assert_eq!(tokens, [0, 2, 4, 5]);
}

#[test]
fn what_is_no_number_is_an_error_even_where_it_is_ruled_out() {
    let mut model = SumModel::certain(3, |_| 1);
    model.table[2][0] = f32::NAN;
    let config = GenerationConfig { bad_words: vec![vec![0]], ..config(random(), 3) };
    let error = run(&model, &[&[2]], &config).unwrap_err();
    assert!(matches!(error, GenerationError::NotANumber { row: 0, position: 0 }), "{error:?}");
}

#[test]
fn the_scores_of_picks_are_those_of_the_model() {
    let prompts: [&[u32]; 2] = [&[1, 2], &[4, 0]];
    let stop_tokens = vec![3];
    let sampling = Sampling::Random { temperature: 0.7, top_k: Some(3), top_p: None };
    let config = GenerationConfig { stop_tokens, seed: 5, ..config(sampling, 30) };
    let (model, device) = (uncertain(), test_device());
    let (mut tokens, mut scores) = (vec![vec![]; 2], vec![vec![]; 2]);
    let generated = generate_with_scores(&model, &prompts, &config, &device, |row, pick| {
        tokens[row].push(pick.token);
        scores[row].push(pick.log_probability());
        assert!(pick.processed_log_probability() > pick.log_probability() - 1.0);
        assert_eq!(pick.is_stop, pick.token == 3);
        ControlFlow::Continue(())
    });
    let generated = generated.unwrap();
    assert!(tokens.iter().zip(&generated).all(|(tokens, row)| tokens.starts_with(row)));
    assert!(tokens.iter().any(|tokens| tokens.last() == Some(&3)), "{tokens:?}");
    let rows: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    let expected = crate::log_probabilities(&model, &prompts, &rows, 2, &device).unwrap();
    for (found, expected) in scores.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let complaint = |change: &dyn Fn(&mut GenerationConfig)| {
        let mut config = config(random(), 9);
        change(&mut config);
        run(&uncertain(), &[&[1]], &config).unwrap_err().to_string()
    };
    assert_eq!(complaint(&|c| c.n_sequences = 0), "n_sequences is 0: expected at least 1");
    assert_eq!(
        complaint(&|c| (c.n_sequences, c.sampling) = (2, Sampling::Greedy)),
        "n_sequences is 2: expected 1 where nothing is left to chance"
    );
    assert_eq!(
        complaint(&|c| c.repetition_penalty = 0.0),
        "repetition_penalty is 0: expected a number above 0"
    );
    assert_eq!(
        complaint(&|c| c.no_repeat_ngram_size = Some(0)),
        "no_repeat_ngram_size is 0: expected at least 1"
    );
    assert_eq!(
        complaint(&|c| c.min_new_tokens = 10),
        "min_new_tokens is 10: expected at most max_new_tokens"
    );
    for word in [vec![], vec![1, 6]] {
        let bad_words = vec![vec![1], word.clone()];
        assert_eq!(
            complaint(&|c| c.bad_words = bad_words.clone()),
            format!("bad word 1 is {word:?}: expected at least one token, and only tokens below 6")
        );
    }
    assert_eq!(
        complaint(&|c| c.stop_strings = vec!["a".into()]),
        "stop strings end texts, but tokens without a tokenizer are none"
    );
}
