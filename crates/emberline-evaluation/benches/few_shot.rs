//! Scoring answers after prompts with examples. Prints one JSON object a line:
//!
//! - a GPT-2 of six layers with random weights, prompts whose first 80 % are the same: each read whole, and what they share
//!   read once;
//! - requests a second of GPT-2 of the smallest published size, on the model and the requests that
//!   `few_shot_lm_eval.py` beside this file has left in `target/few_shot`, with the largest difference to its scores.

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use emberline_backend::memory;
use emberline_checkpoint::{Weights, load_weights, read_config};
use emberline_core::Stream;
use emberline_evaluation::in_context::{Answer, AskConfig, Choice, Item, Task, evaluate_task};
use emberline_generation::{Likelihood, likelihoods, likelihoods_sharing_prefixes};
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_text::Tokenizer;
use serde::Deserialize;

const RUNS: usize = 3;
const BATCH_SIZE: usize = 8;

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    memory::keep_freed_memory();
    let device = Device::flex();
    shared_prefix(&device);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/few_shot");
    match folder.join("requests.json").exists() {
        true => requests_of_twin(&folder, &device),
        false => println!("skipped: few_shot_lm_eval.py has not left its requests"),
    }
}

fn shared_prefix(device: &Device) {
    const N_ROWS: usize = 32;
    const LENGTHS: [usize; 3] = [256, 60, 4];
    let config = Gpt2Config {
        vocab_size: 8192,
        d_model: 512,
        n_layers: 6,
        n_heads: 8,
        ..Gpt2Config::default()
    };
    let model = config.init(Stream::new(0), device);
    let draw = |row: u64, length: usize| -> Vec<u32> {
        let random = Stream::new(1).at(row);
        (0..length as u64).map(|place| random.below(place, config.vocab_size) as u32).collect()
    };
    let [n_shared, n_own, n_answer] = LENGTHS;
    let shared = draw(0, n_shared);
    let rows: Vec<[Vec<u32>; 2]> = (1..=N_ROWS as u64)
        .map(|row| {
            let own = draw(row, n_own + n_answer);
            let (own, answer) = own.split_at(n_own);
            [[&shared[..], own].concat(), answer.to_vec()]
        })
        .collect();
    let prompts: Vec<&[u32]> = rows.iter().map(|[prompt, _]| &prompt[..]).collect();
    let answers: Vec<&[u32]> = rows.iter().map(|[_, answer]| &answer[..]).collect();
    let most = Some(config.n_positions);
    let (whole, found) = timed(|| {
        likelihoods(&model, &prompts, &answers, most, BATCH_SIZE, device).expect("finite scores")
    });
    let (once, shared) = timed(|| {
        likelihoods_sharing_prefixes(&model, &prompts, &answers, most, BATCH_SIZE, device)
            .expect("finite scores")
    });
    let sum = |found: &Likelihood| found.total().sum;
    let difference = largest_difference(found.iter().map(sum), shared.iter().map(sum));
    for (name, times) in [("each prompt read whole", whole), ("what prompts share read once", once)]
    {
        let (median, minimum) = (times[RUNS / 2] * 1e3, times[0] * 1e3);
        println!("{{\"name\": \"{name}\", \"median_ms\": {median:.1}, \"min_ms\": {minimum:.1}}}");
    }
    println!(
        "{{\"name\": \"a shared prefix of 80 %\", \"times_as_fast\": {:.2}, \"largest_difference\": {difference:.1e}}}",
        whole[RUNS / 2] / once[RUNS / 2]
    );
}

/// What the twin has left.
#[derive(Deserialize)]
struct Requests {
    items: Vec<Asked>,
    /// Of the choices of each item.
    scores: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Asked {
    context: String,
    choices: Vec<String>,
}

fn requests_of_twin(folder: &Path, device: &Device) {
    let text = std::fs::read(folder.join("requests.json")).expect("the requests of the twin");
    let Requests { items, scores } = serde_json::from_slice(&text).expect("requests and scores");
    let config: Gpt2Config = read_config(folder).expect("a config");
    let weights = Weights::open_published(folder, &Gpt2::PUBLISHED_NAMES).expect("weights");
    let model = config.init(Stream::new(0), device);
    let model = load_weights(model, &weights, &Gpt2::stored_name).expect("the same model");
    let tokenizer = Tokenizer::from_directory(folder).expect("a tokenizer");
    let item = |Asked { context, choices }: Asked| {
        let choice = |text| Choice { text, grade: 1.0 };
        Item::Choice { context, choices: choices.into_iter().map(choice).collect() }
    };
    let task = Task::new("few shot", items.into_iter().map(item).collect());
    let config = AskConfig {
        max_positions: Some(config.n_positions),
        batch_size: BATCH_SIZE,
        n_resamples: 0,
        ..AskConfig::default()
    };
    let (times, report) = timed(|| {
        evaluate_task(&model, &tokenizer, &task, &config, device).expect("requests that fit")
    });
    let found = report.samples.iter().flat_map(|sample| match &sample.answer {
        Answer::Scored(choices) => choices.iter().map(|choice| choice.log_likelihood.sum),
        Answer::Written(_) => unreachable!("choices are scored"),
    });
    let n_requests = scores.iter().map(Vec::len).sum::<usize>() as f64;
    let difference = largest_difference(found, scores.into_iter().flatten());
    println!(
        "{{\"name\": \"few-shot requests of gpt2\", \"median_requests_per_s\": {:.2}, \"max_requests_per_s\": {:.2}, \
         \"largest_difference\": {difference:.1e}}}",
        n_requests / times[RUNS / 2],
        n_requests / times[0],
    );
}

/// The seconds of each run after a warm-up, the fewest first, and what it gives.
fn timed<T>(mut run: impl FnMut() -> T) -> ([f64; RUNS], T) {
    let mut found = run();
    let mut times = [0.0; RUNS];
    for time in &mut times {
        let start = Instant::now();
        found = run();
        *time = start.elapsed().as_secs_f64();
    }
    times.sort_by(f64::total_cmp);
    (times, found)
}

fn largest_difference(ours: impl Iterator<Item = f64>, others: impl Iterator<Item = f64>) -> f64 {
    ours.zip(others).map(|(ours, other)| (ours - other).abs()).fold(0.0, f64::max)
}
