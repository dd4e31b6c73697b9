//! What an autoregressive model is: `p(x) = Π_t p(x_t | x_<t)`, which is a probability.

use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_core::{Causal, Stream};
use emberline_generation::log_probabilities;
use emberline_models::gpt1::Gpt1Config;
use emberline_models::gpt2::Gpt2Config;
use emberline_models::gpt3::Gpt3Config;
use emberline_models::rnn_language_model::RnnLanguageModelConfig;
use serde_json::json;

const N_TOKENS: u32 = 3;
const LENGTH: u32 = 3;

/// All texts of three tokens of which there are three.
fn texts() -> Vec<Vec<u32>> {
    let token = |text: u32, place: u32| text / N_TOKENS.pow(place) % N_TOKENS;
    (0..N_TOKENS.pow(LENGTH)).map(|text| (0..LENGTH).map(|t| token(text, t)).collect()).collect()
}

fn device() -> Device {
    DeviceName::Flex.open().unwrap()
}

/// `p(x)` of every text, after token 0, which starts each.
fn probabilities<M: Causal>(model: &M, texts: &[Vec<u32>]) -> Vec<f64> {
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let starts = vec![&[0][..]; texts.len()];
    let found = log_probabilities(model, &starts, &texts, 8, &device()).unwrap();
    found.iter().map(|tokens| tokens.iter().sum::<f64>().exp()).collect()
}

fn gpt2(seed: u64) -> emberline_models::gpt2::Gpt2 {
    let config = Gpt2Config {
        vocab_size: N_TOKENS as usize,
        n_positions: 4,
        d_model: 6,
        n_layers: 2,
        n_heads: 3,
        deviation: 0.5,
        ..Gpt2Config::default()
    };
    config.init(Stream::new(seed), &device())
}

fn sums_to_one<M: Causal>(model: &M) {
    let found = probabilities(model, &texts());
    let sum: f64 = found.iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    let uniform = 1.0 / found.len() as f64;
    assert!(found.iter().any(|p| (p - uniform).abs() > 1e-4 * uniform), "the model says nothing");
}

#[test]
fn the_probabilities_of_all_texts_sum_to_one() {
    sums_to_one(&gpt2(1));
    let sizes = json!({
        "vocab_size": N_TOKENS, "n_positions": 4, "n_embd": 6, "n_layer": 2, "n_head": 3,
        "initializer_range": 0.5,
    });
    let gpt1: Gpt1Config = serde_json::from_value(sizes).unwrap();
    sums_to_one(&gpt1.init(Stream::new(2), &device()));
    let (_, small) = Gpt3Config::presets()[0].clone();
    let gpt3 = Gpt3Config {
        vocab_size: N_TOKENS as usize,
        n_positions: 4,
        d_model: 6,
        n_layers: 2,
        n_heads: 3,
        d_head: 2,
        band: Some(2),
        ..small
    };
    sums_to_one(&gpt3.init(Stream::new(3), &device()));
    let rnn = json!({
        "model_type": "rnn_language_model", "vocab_size": N_TOKENS, "cell": "lstm", "d_embedding": 4,
        "d_hidden": 5, "n_layers": 1, "dropout": 0.0,
    });
    let rnn: RnnLanguageModelConfig = serde_json::from_value(rnn).unwrap();
    sums_to_one(&rnn.init(Stream::new(4), &device()));
}

/// ELMo has a model of each direction: both are autoregressive, and the two together are not.
#[test]
fn two_directions_are_two_models_and_no_joint_one() {
    let texts = texts();
    let reversed: Vec<Vec<u32>> =
        texts.iter().map(|text| text.iter().rev().copied().collect()).collect();
    let forward = probabilities(&gpt2(1), &texts);
    let backward = probabilities(&gpt2(2), &reversed);
    let sum = |p: &[f64]| p.iter().sum::<f64>();
    assert!((sum(&forward) - 1.0).abs() < 1e-6 && (sum(&backward) - 1.0).abs() < 1e-6);
    let product: f64 = forward.iter().zip(&backward).map(|(a, b)| a * b).sum();
    assert!(product < 0.5, "{product}");
    // Nor do they agree on a text.
    let ratio = |(a, b): (&f64, &f64)| (a / b).ln().abs();
    assert!(forward.iter().zip(&backward).map(ratio).fold(0.0, f64::max) > 0.1);
}

/// BERT guesses the masked tokens of a text apart from each other: `Π_t p(x_t | what is not masked)`.
#[test]
fn what_is_guessed_apart_gives_weight_to_what_never_goes_together() {
    // Of all texts there are "New York" and "Los Angeles", as often.
    let joint = [[0.5, 0.0], [0.0, 0.5]];
    let first: Vec<f64> = joint.iter().map(|row| row.iter().sum()).collect();
    let second: Vec<f64> = (0..2).map(|word| joint[0][word] + joint[1][word]).collect();
    let each = |p: &dyn Fn(usize, usize) -> f64| [0, 1].map(|a| [0, 1].map(|b| p(a, b)));
    let chained = each(&|a, b| first[a] * (joint[a][b] / first[a]));
    let apart = each(&|a, b| first[a] * second[b]);
    assert_eq!(chained, joint);
    assert_eq!(apart, [[0.25; 2]; 2]);
}
