//! The search as a whole: against greedy decoding, against all there is, and against `transformers`.

use std::ops::ControlFlow;

use emberline_backend::test_device;
use serde::Deserialize;

use super::*;
use crate::likelihood::{log_probabilities, target_log_probabilities};
use crate::test_model::{Reencoding, SumModel};
use crate::{GenerationConfig, generate, generate_target};

const STOP: u32 = 0;
const START: u32 = 1;

const SCORINGS: [BeamScoring; 6] = [
    BeamScoring::LogProbability,
    BeamScoring::Normalized { length_penalty: 1.5 },
    BeamScoring::Normalized { length_penalty: -0.5 },
    BeamScoring::Gnmt { length_penalty: 0.6, coverage_penalty: 0.0 },
    BeamScoring::Gnmt { length_penalty: 0.0, coverage_penalty: 2.0 },
    BeamScoring::Gnmt { length_penalty: 1.0, coverage_penalty: 0.2 },
];

/// Up to six tokens, of which [`STOP`] ends a hypothesis.
fn config(beam_size: usize) -> BeamConfig {
    BeamConfig {
        beam_size,
        scoring: BeamScoring::LogProbability,
        max_new_tokens: 6,
        max_per_input_token: 0.0,
        stop_tokens: vec![STOP],
        ..BeamConfig::default()
    }
}

fn search_target(
    model: &SumModel,
    sources: &[&[u32]],
    config: &BeamConfig,
) -> Vec<Vec<Hypothesis>> {
    beam_search_target(model, sources, START, config, &test_device()).unwrap()
}

fn sum(tokens: &[u32]) -> usize {
    tokens.iter().sum::<u32>() as usize
}

/// Every hypothesis that a config admits, best first, found by trying all.
fn exhaustive(model: &SumModel, source: &[u32], config: &BeamConfig) -> Vec<Hypothesis> {
    let mut complete = Vec::new();
    let coverage = vec![0.0; source.len()];
    try_all(model, source, config, &mut vec![START], 0.0, coverage, &mut complete);
    complete.sort_by(|a, b| b.score.total_cmp(&a.score));
    complete
}

fn try_all(
    model: &SumModel,
    source: &[u32],
    config: &BeamConfig,
    tokens: &mut Vec<u32>,
    log_probability: f64,
    mut coverage: Vec<f32>,
    complete: &mut Vec<Hypothesis>,
) {
    let (n_new, so_far) = (tokens.len() - 1, sum(source) + sum(tokens));
    let scores = model.scores(so_far);
    let attention = SumModel::attention(so_far, source.len());
    coverage.iter_mut().zip(attention).for_each(|(sum, weight)| *sum += weight);
    let total = scores.iter().map(|score| f64::from(*score).exp()).sum::<f64>().ln();
    for token in 0..scores.len() as u32 {
        let log_probability = log_probability + f64::from(scores[token as usize]) - total;
        tokens.push(token);
        let is_stopped = token == STOP;
        if is_stopped && n_new < config.min_new_tokens || repeats(tokens, config) {
            // Ruled out.
        } else if is_stopped || n_new + 1 == config.max_new_tokens {
            let length = (n_new + 1) as f64;
            let score = match config.scoring {
                BeamScoring::LogProbability => log_probability,
                BeamScoring::Normalized { length_penalty } => {
                    log_probability / length.powf(length_penalty)
                }
                BeamScoring::Gnmt { length_penalty, coverage_penalty } => {
                    let covered: f64 =
                        coverage.iter().map(|sum| f64::from(*sum).min(1.0).ln()).sum();
                    log_probability / ((5.0 + length) / 6.0).powf(length_penalty)
                        + coverage_penalty * covered
                }
            };
            let n_tokens = n_new + usize::from(!is_stopped);
            let tokens = tokens[1..=n_tokens].to_vec();
            complete.push(Hypothesis { tokens, log_probability, score, is_stopped });
        } else {
            let coverage = coverage.clone();
            try_all(model, source, config, tokens, log_probability, coverage, complete);
        }
        tokens.pop();
    }
}

/// Whether an n-gram comes twice.
fn repeats(tokens: &[u32], config: &BeamConfig) -> bool {
    let Some(size) = config.no_repeat_ngram_size else { return false };
    let mut ngrams: Vec<&[u32]> = tokens.windows(size).collect();
    let n_ngrams = ngrams.len();
    ngrams.sort();
    ngrams.dedup();
    ngrams.len() < n_ngrams
}

/// Within 1e-4 in the numbers, equal in all else.
fn assert_same(found: &[Hypothesis], expected: &[Hypothesis], case: &str) {
    let is_close = |a: f64, b: f64| a == b || (a - b).abs() < 1e-4;
    assert_eq!(found.len(), expected.len(), "{case}");
    for (found, expected) in found.iter().zip(expected) {
        let same = found.tokens == expected.tokens
            && found.is_stopped == expected.is_stopped
            && is_close(found.log_probability, expected.log_probability)
            && is_close(found.score, expected.score);
        assert!(same, "{case}: {found:?} is not {expected:?}");
    }
}

#[test]
fn one_beam_is_greedy() {
    let (prompts, device): ([&[u32]; 3], _) = ([&[1], &[2, 3], &[4]], test_device());
    let greedy = GenerationConfig {
        max_new_tokens: 6,
        stop_tokens: vec![STOP],
        ..GenerationConfig::default()
    };
    for seed in 0..10 {
        let model = SumModel::random(seed, 11, 5);
        let go_on = |_, _| ControlFlow::Continue(());
        let tokens = |found: Vec<Vec<Hypothesis>>| -> Vec<Vec<u32>> {
            found.into_iter().map(|mut row| row.remove(0).tokens).collect()
        };
        let found = beam_search(&model, &prompts, &config(1), &device).unwrap();
        assert_eq!(tokens(found), generate(&model, &prompts, &greedy, &device, go_on).unwrap());
        let expected = generate_target(&model, &prompts, START, &greedy, &device, go_on).unwrap();
        for scoring in SCORINGS {
            let early_stopping = EarlyStopping::BeamSize;
            let config = BeamConfig { scoring, early_stopping, ..config(1) };
            assert_eq!(tokens(search_target(&model, &prompts, &config)), expected);
        }
    }
}

#[test]
fn a_beam_as_wide_as_the_space_finds_all_there_is() {
    let source = [3, 1, 2];
    for seed in 0..3 {
        let model = SumModel::random(seed, 13, 3);
        for scoring in SCORINGS {
            for (min_new_tokens, no_repeat_ngram_size) in [(0, None), (2, None), (1, Some(2))] {
                // The search for one of them stops early.
                for n_best in [1, 81] {
                    let config = BeamConfig {
                        n_best,
                        scoring,
                        min_new_tokens,
                        max_new_tokens: 4,
                        no_repeat_ngram_size,
                        ..config(81)
                    };
                    let mut expected = exhaustive(&model, &source, &config);
                    expected.truncate(n_best);
                    let found = search_target(&model, &[&source], &config).remove(0);
                    assert_same(&found, &expected, &format!("{config:?}"));
                }
            }
        }
    }
}

#[test]
fn stopping_early_is_exact() {
    let sources: [&[u32]; 3] = [&[2], &[3, 1], &[4, 4, 4]];
    let mut n_calls = [0; 2];
    for seed in 0..10 {
        let model = SumModel::random(seed, 11, 5);
        for scoring in SCORINGS {
            let best_of = |n_best| {
                let config = BeamConfig { n_best, scoring, max_new_tokens: 12, ..config(4) };
                let found = search_target(&model, &sources, &config);
                (found, std::mem::take(&mut *model.calls.lock().unwrap()).len())
            };
            // The fourth best is harder to be sure of than the best, so that search goes on for longer.
            let (best, n_best_calls) = best_of(1);
            let (all, n_all_calls) = best_of(4);
            for (best, all) in best.iter().zip(&all) {
                assert_eq!(best[0], all[0], "{scoring:?}");
            }
            n_calls[0] += n_best_calls;
            n_calls[1] += n_all_calls;
        }
    }
    assert!(n_calls[0] < n_calls[1], "{n_calls:?}");
}

#[test]
fn a_cached_search_is_that_of_encoding_everything_at_every_step() {
    let prompts: [&[u32]; 4] = [&[1], &[2, 3], &[4], &[3, 3]];
    for seed in 0..5 {
        let model = SumModel::random(seed, 17, 6);
        let config = BeamConfig { n_best: 4, ..config(4) };
        let cached = beam_search(&model, &prompts, &config, &test_device()).unwrap();
        let full = beam_search(&Reencoding(&model), &prompts, &config, &test_device()).unwrap();
        assert_eq!(cached, full);
    }
}

#[test]
fn the_log_probability_of_a_hypothesis_is_that_of_its_tokens() {
    let inputs: [&[u32]; 3] = [&[2], &[3, 1, 1], &[5, 4]];
    let model = SumModel::random(8, 17, 6);
    let device = test_device();
    let config = BeamConfig { n_best: 3, max_new_tokens: 9, ..config(3) };
    let continued = beam_search(&model, &inputs, &config, &device).unwrap();
    let translated = search_target(&model, &inputs, &config);
    let with_stop = |hypothesis: &Hypothesis| {
        let stop = if hypothesis.is_stopped { &[STOP][..] } else { &[] };
        [&hypothesis.tokens, stop].concat()
    };
    for rank in 0..3 {
        let texts = [&continued, &translated].map(|found| -> Vec<Vec<u32>> {
            found.iter().map(|row| with_stop(&row[rank])).collect()
        });
        let [continuations, targets] = texts
            .each_ref()
            .map(|rows| -> Vec<&[u32]> { rows.iter().map(Vec::as_slice).collect() });
        let continuations = log_probabilities(&model, &inputs, &continuations, 2, &device).unwrap();
        let targets =
            target_log_probabilities(&model, &inputs, START, &targets, 2, &device).unwrap();
        for (found, scored) in [(&continued, continuations), (&translated, targets)] {
            for (row, scored) in found.iter().zip(scored) {
                let total: f64 = scored.iter().sum();
                assert!((row[rank].log_probability - total).abs() < 1e-4, "{row:?}: {total}");
            }
        }
    }
}

#[test]
fn a_batch_gives_what_each_source_gives_alone() {
    let sources: [&[u32]; 7] =
        [&[3, 1, 2], &[4], &[2, 2], &[1, 1, 1, 1, 5], &[5], &[2, 3, 4], &[1, 2]];
    let model = SumModel::random(3, 17, 6);
    for scoring in SCORINGS {
        for early_stopping in
            [EarlyStopping::Exact, EarlyStopping::Heuristic, EarlyStopping::BeamSize]
        {
            let (n_best, batch_size, max_per_input_token) = (3, 3, 0.5);
            let config = BeamConfig {
                n_best,
                batch_size,
                scoring,
                early_stopping,
                max_per_input_token,
                ..config(4)
            };
            let together = search_target(&model, &sources, &config);
            for (source, together) in sources.iter().zip(together) {
                let alone = search_target(&model, &[source], &config).remove(0);
                assert_same(&together, &alone, &format!("{config:?}"));
            }
        }
    }
}

#[test]
fn no_ngram_comes_twice() {
    for size in 1..4 {
        let config = BeamConfig {
            n_best: 4,
            no_repeat_ngram_size: Some(size),
            max_new_tokens: 30,
            stop_tokens: Vec::new(),
            ..config(4)
        };
        let model = SumModel::random(size as u64, 5, 5);
        for hypothesis in &search_target(&model, &[&[2, 3]], &config)[0] {
            let tokens = [&[START], &hypothesis.tokens[..]].concat();
            assert!(!repeats(&tokens, &config), "{tokens:?}");
        }
    }
}

#[test]
fn a_hypothesis_after_which_all_is_ruled_out_is_complete_as_it_is() {
    // Of three tokens the first is the start: two others are left.
    let config = BeamConfig { no_repeat_ngram_size: Some(1), stop_tokens: Vec::new(), ..config(2) };
    let best = &search_target(&SumModel::random(1, 5, 3), &[&[2]], &config)[0][0];
    assert_eq!((best.tokens.len(), best.is_stopped), (2, false));
}

#[test]
fn lengths_are_between_the_least_and_that_of_the_source() {
    let eager = SumModel::new(vec![vec![9.0, 0.0, 0.0]; 3]);
    let config = BeamConfig { min_new_tokens: 3, n_best: 4, ..config(4) };
    let found = search_target(&eager, &[&[2]], &config).remove(0);
    assert!(found.iter().all(|hypothesis| hypothesis.tokens.len() >= 3), "{found:?}");
    assert!(found[0].tokens.len() == 3 && found[0].is_stopped, "{found:?}");

    let endless = SumModel::new(vec![vec![-9.0, 0.0, 0.0]; 3]);
    let config = BeamConfig { max_per_input_token: 1.5, min_new_tokens: 0, ..config };
    let found = search_target(&endless, &[&[2], &[1, 2, 1]], &config);
    let lengths = found.iter().map(|row| (row[0].tokens.len(), row[0].is_stopped));
    assert_eq!(lengths.collect::<Vec<_>>(), [(7, false), (10, false)]);
}

#[test]
fn finished_rows_leave_the_batch_and_an_unchanged_order_is_not_selected() {
    // The sum of source, start and target grows by 1 until it is 6, and then surely stops.
    let model = SumModel::certain(7, |sum| usize::from(sum != 6));
    let found = search_target(&model, &[&[2], &[4], &[3]], &config(1));
    let lengths: Vec<usize> = found.iter().map(|row| row[0].tokens.len()).collect();
    assert_eq!(lengths, [3, 1, 2]);
    assert_eq!(*model.calls.lock().unwrap(), [[3, 1], [3, 1], [2, 1], [1, 1]]);
    assert_eq!(*model.selections.lock().unwrap(), [vec![0, 2], vec![0]]);
}

#[test]
fn the_beams_of_a_row_stay_together() {
    let model = SumModel::random(4, 11, 5);
    let config = BeamConfig { stop_tokens: Vec::new(), ..config(3) };
    search_target(&model, &[&[2], &[4]], &config);
    let selections = model.selections.lock().unwrap();
    assert_eq!(selections[0], [0, 0, 0, 1, 1, 1]);
    for rows in &selections[1..] {
        assert!(rows.is_sorted() && rows[2] < 3 && rows[3] >= 3, "{rows:?}");
    }
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let model = SumModel::random(1, 5, 5);
    let device = test_device();
    let complaint = |sources: &[&[u32]], start, config: &BeamConfig| {
        beam_search_target(&model, sources, start, config, &device).unwrap_err().to_string()
    };
    assert_eq!(
        complaint(&[&[1], &[]], START, &config(2)),
        "source 1 is empty: expected at least one token"
    );
    assert_eq!(
        complaint(&[&[1]], 5, &config(2)),
        "start_token is 5: expected a token of the model's target"
    );
    assert_eq!(complaint(&[&[1]], START, &config(0)), "beam_size is 0: expected at least 1");
    let coverage = BeamConfig { scoring: SCORINGS[4], ..config(2) };
    let error = beam_search(&model, &[&[1]], &coverage, &device).unwrap_err();
    assert!(matches!(error, GenerationError::NoAttention), "{error:?}");
    assert!(search_target(&model, &[], &config(2)).is_empty());
}

#[test]
fn scores_that_are_not_numbers_are_an_error_with_their_place() {
    let mut model = SumModel::certain(5, |_| 1);
    model.table[4][2] = f32::NAN;
    let error =
        beam_search_target(&model, &[&[3], &[2]], START, &config(1), &test_device()).unwrap_err();
    assert!(matches!(error, GenerationError::NotANumber { row: 0, position: 0 }), "{error:?}");
    let error = beam_search_target(&model, &[&[2]], START, &config(1), &test_device()).unwrap_err();
    assert!(matches!(error, GenerationError::NotANumber { row: 0, position: 1 }), "{error:?}");
}

#[test]
fn the_hypotheses_are_those_of_transformers() {
    #[derive(Deserialize)]
    struct Fixture {
        table: Vec<Vec<f32>>,
        prompts: Vec<Vec<u32>>,
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        early_stopping: String,
        length_penalty: f64,
        no_repeat_ngram_size: usize,
        min_new_tokens: usize,
        max_new_tokens: usize,
        repetition_penalty: f64,
        bad_words: Vec<Vec<u32>>,
        found: Vec<Vec<Found>>,
    }
    #[derive(Deserialize)]
    struct Found {
        tokens: Vec<u32>,
        score: f64,
    }
    let fixture = include_str!("../../tests/fixtures/beam_search.json");
    let Fixture { table, prompts, cases } = serde_json::from_str(fixture).unwrap();
    let model = SumModel::new(table);
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    for case in cases {
        let Case { length_penalty, min_new_tokens, max_new_tokens, .. } = case;
        let early_stopping = match &case.early_stopping[..] {
            "true" => EarlyStopping::BeamSize,
            "false" => EarlyStopping::Heuristic,
            _ => EarlyStopping::Exact,
        };
        let ngram_size = case.no_repeat_ngram_size;
        let config = BeamConfig {
            n_best: 4,
            scoring: BeamScoring::Normalized { length_penalty },
            early_stopping,
            min_new_tokens,
            max_new_tokens,
            no_repeat_ngram_size: (ngram_size > 0).then_some(ngram_size),
            repetition_penalty: case.repetition_penalty,
            bad_words: case.bad_words,
            ..config(4)
        };
        let found = beam_search(&model, &prompts, &config, &test_device()).unwrap();
        for (found, expected) in found.iter().zip(&case.found) {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let stop = if found.is_stopped { &[STOP][..] } else { &[] };
                assert_eq!([&found.tokens, stop].concat(), expected.tokens, "{config:?}");
                let difference = (found.score - expected.score).abs();
                assert!(difference < 1e-5, "{found:?} scores {} in {config:?}", expected.score);
            }
        }
    }
}
