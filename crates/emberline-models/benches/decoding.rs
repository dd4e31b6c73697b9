//! The decoding of GPT-2 of the smallest published size, with random weights: prompts of 128 tokens, 128 new ones.
//! Its twin in Python is `decoding_torch.py` beside this file. Prints one JSON object a line.

use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::Device;
use emberline_backend::memory;
use emberline_core::Stream;
use emberline_generation::{GenerationConfig, generate};
use emberline_models::gpt2::{Gpt2, Gpt2Config};

const PROMPT: usize = 128;
const NEW: usize = 128;

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().expect("the first pool");
    memory::keep_freed_memory();

    let device = Device::flex();
    let config = Gpt2Config::default();
    let model = config.init(Stream::new(0), &device);
    for rows in [1, 8] {
        report(&format!("decoding f32, {rows} at a time"), rows, &model, &config, &device);
    }
    let model = model.into_int8();
    for rows in [1, 8] {
        report(&format!("decoding int8, {rows} at a time"), rows, &model, &config, &device);
    }
}

/// Three generations after a short one: tokens a second, the reading of the prompts included.
fn report(name: &str, rows: usize, model: &Gpt2, config: &Gpt2Config, device: &Device) {
    let prompts: Vec<Vec<u32>> = (0..rows as u64)
        .map(|row| {
            let tokens = Stream::new(1).at(row);
            (0..PROMPT as u64).map(|i| tokens.below(i, config.vocab_size) as u32).collect()
        })
        .collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let run = |max_new_tokens: usize| {
        let config = GenerationConfig { max_new_tokens, ..GenerationConfig::default() };
        let (start, mut first) = (Instant::now(), None);
        let found = generate(model, &prompts, &config, device, |_, _| {
            first.get_or_insert_with(|| start.elapsed());
            ControlFlow::Continue(())
        });
        let n_tokens: usize = found.expect("finite scores").iter().map(Vec::len).sum();
        assert_eq!(n_tokens, rows * max_new_tokens);
        (start.elapsed().as_secs_f64(), first.expect("a token").as_secs_f64())
    };
    run(8);
    let mut times: Vec<(f64, f64)> = (0..3).map(|_| run(NEW)).collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rate = |(whole, _): (f64, f64)| (rows * NEW) as f64 / whole;
    // Without the first token, so without the prompt.
    let step = |(whole, first): (f64, f64)| (whole - first) / (NEW - 1) as f64 * 1e3;
    println!(
        "{{\"name\": \"{name}\", \"median_tokens_per_s\": {:.1}, \"max_tokens_per_s\": {:.1}, \"prompt_ms\": {:.1}, \
         \"step_ms\": {:.2}}}",
        rate(times[1]),
        rate(times[0]),
        times[1].1 * 1e3,
        step(times[1]),
    );
}
