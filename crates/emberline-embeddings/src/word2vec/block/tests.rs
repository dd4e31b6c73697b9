use emberline_core::Stream;

use super::logistic::{exp, gradients, ln_1p};
use super::*;
use crate::simd::LANES;
use crate::word2vec::config::{Architecture, Context, Word2VecConfig};
use crate::word2vec::training::Filled;

const COUNTS: [u64; 9] = [40, 30, 20, 10, 8, 6, 5, 4, 3];

/// Two sentences with words that come more than once.
fn sentences() -> Vec<Position> {
    let mut filled = Filled::default();
    for (sentence, words) in [&[0u32, 3, 0, 5, 1, 8][..], &[2], &[7, 0, 4, 6, 2]].iter().enumerate()
    {
        let position = |(place, word): (usize, &u32)| Position {
            word: *word,
            reach: 1 + (place % 3) as u32,
            index: (sentence * 10 + place) as u64,
            sentence: [0; 2],
        };
        let positions: Vec<Position> = words.iter().enumerate().map(position).collect();
        filled.push(&positions);
    }
    filled.positions
}

fn tables(config: &Word2VecConfig) -> [Table; 2] {
    let n_outputs = Objective::n_outputs(config, COUNTS.len());
    [COUNTS.len(), n_outputs].map(|n_rows| {
        let width = config.d_embedding;
        Table::of(&Stream::new(n_rows as u64).normals(n_rows * width, 0.5), width)
    })
}

fn kinds() -> Vec<Word2VecConfig> {
    let base = Word2VecConfig { d_embedding: 5, window: 3, ..Word2VecConfig::skip_gram() };
    let cbow = Word2VecConfig { architecture: Architecture::Cbow, ..base.clone() };
    vec![
        Word2VecConfig { hierarchical_softmax: true, negative: 0, ..base.clone() },
        Word2VecConfig { hierarchical_softmax: true, ..cbow.clone() },
        Word2VecConfig { context: Context::Sum, ..cbow.clone() },
        cbow,
        base,
    ]
}

#[test]
fn a_step_is_the_learning_rate_times_the_gradient_of_the_loss() {
    for config in kinds() {
        let objective = Objective::new(&config, &COUNTS);
        let loss = |tables: &[Table; 2]| {
            let [mut inputs, mut outputs] = tables.clone();
            Block::default().step(&sentences(), &mut inputs, &mut outputs, &objective, 0.0).sum
        };
        let before = tables(&config);
        let [mut inputs, mut outputs] = before.clone();
        // Small enough that no step is cut short.
        let learning_rate = 1e-3;
        Block::default().step(&sentences(), &mut inputs, &mut outputs, &objective, learning_rate);
        let after = [inputs, outputs];
        for table in 0..2 {
            for (row, number) in
                (0..before[table].n_rows()).flat_map(|r| (0..5).map(move |n| (r, n)))
            {
                let moved = |by: f32| {
                    let mut tables = before.clone();
                    tables[table].row_mut(row)[number] += by;
                    loss(&tables)
                };
                let difference = (moved(0.01) - moved(-0.01)) / 0.02;
                let change = after[table].row(row)[number] - before[table].row(row)[number];
                let faster = match (table, config.architecture, config.context) {
                    (0, Architecture::Cbow, Context::Mean) => (config.window + 1) as f32,
                    _ => 1.0,
                };
                let gradient = -f64::from(change / (faster * learning_rate));
                assert!(
                    (difference - gradient).abs() < 2e-3 * (1.0 + gradient.abs()),
                    "{difference} and {gradient} in table {table}, {config:?}"
                );
            }
        }
    }
}

#[test]
fn the_probabilities_of_a_tree_add_up_to_1() {
    // The loss of a word is minus the logarithm of its probability, so that e to minus each, together, is 1.
    let config = kinds().swap_remove(0);
    let objective = Objective::new(&config, &COUNTS);
    let probability = |word: u32| {
        let mut block = Block::default();
        let position = |word, reach| Position { word, reach, index: 0, sentence: [0; 2] };
        // With skip-gram the first word predicts the second, in whose window it is, and the other way round.
        let mut filled = Filled::default();
        filled.push(&[position(0, 1), position(word, 1)]);
        let [mut inputs, mut outputs] = tables(&config);
        let both = block.step(&filled.positions, &mut inputs, &mut outputs, &objective, 0.0).sum;
        let mut filled = Filled::default();
        filled.push(&[position(word, 0), position(0, 1)]);
        let back = block.step(&filled.positions, &mut inputs, &mut outputs, &objective, 0.0).sum;
        (-(both - back)).exp()
    };
    let sum: f64 = (0..COUNTS.len() as u32).map(probability).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn exponential_and_logarithm_are_right_to_some_units_in_the_last_place() {
    for step in 0..=20_000 {
        let x = -(step as f32) / 20_000.0 * 80.0;
        let expected = f64::from(x).exp();
        assert!((f64::from(exp::<false>(x)) - expected).abs() <= 4e-7 * expected, "{x}");
        let x = step as f32 / 20_000.0;
        let expected = f64::from(x).ln_1p();
        assert!((f64::from(ln_1p::<false>(x)) - expected).abs() <= 4e-7 * expected, "{x}");
    }
}

#[test]
fn a_score_of_any_size_has_a_loss_and_a_gradient() {
    let mut scores = [0.0; LANES];
    scores[..4].copy_from_slice(&[1000.0, -1000.0, 0.0, 3.0]);
    let mut signs = [0.0; LANES];
    signs[..4].copy_from_slice(&[1.0, 1.0, -1.0, -1.0]);
    let loss = gradients::<false>(&mut scores, &signs, 1.0);
    let expected = 1000.0 + 2f32.ln() + 3f32.exp().ln_1p();
    assert!((loss - expected).abs() < 1e-3, "{loss}");
    let expected = [0.0, 1.0, -0.5, -1.0 / (1.0 + (-3f32).exp())];
    assert!(scores.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
    assert!(scores[4..].iter().all(|gradient| *gradient == 0.0));
}
