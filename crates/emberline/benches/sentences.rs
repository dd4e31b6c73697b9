//! Vectors of 1,000 lines of mixed lengths, from their text on, with random weights of the shape of MiniLM. Its twin in
//! Python is `sentences_torch.py` beside this file. Prints one JSON object a line.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use emberline::DeviceName;
use emberline::backend::memory;
use emberline::checkpoint::{save_weights, write_config};
use emberline::core::Stream;
use emberline::models::bert::{Bert, BertConfig};
use emberline::pipelines::{Pooling, SentenceEmbeddings};

const LINES: usize = 1000;
/// As `sentence-transformers` has it.
const BATCH_SIZE: usize = 32;

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    memory::keep_freed_memory();

    let device = DeviceName::Flex.open().expect("the CPU");
    let config =
        BertConfig { d_model: 384, n_layers: 6, n_heads: 12, d_ff: 1536, ..BertConfig::default() };
    let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path();
    let bert = config.init(Stream::new(0), &device);
    save_weights(&bert, path.join("model.safetensors"), &Bert::stored_name).expect("written");
    write_config(path, &config).expect("written");
    std::fs::copy(datasets.join("bert-vocab/vocab.txt"), path.join("vocab.txt")).expect("copied");
    let embeds = SentenceEmbeddings::open_with(path, Pooling::Mean, true, &device).expect("opened");

    let text = std::fs::read_to_string(datasets.join("austen/pride_and_prejudice.txt"));
    let lines = lines(&text.expect("a book"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    report("sentence embeddings of 1000 lines", 5, || {
        black_box(embeds.predict(&lines, BATCH_SIZE).expect("vectors"));
    });
}

/// The words of a book in lines of 2 to 61 of them.
fn lines(text: &str) -> Vec<String> {
    let mut words = text.split_whitespace();
    (0..LINES)
        .map(|line| words.by_ref().take(2 + line * 37 % 60).collect::<Vec<_>>().join(" "))
        .collect()
}

fn report(name: &str, runs: usize, mut run: impl FnMut()) {
    run();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (minimum, median) = (times[0], times[runs / 2]);
    println!("{{\"name\": \"{name}\", \"median_ms\": {median:.3}, \"min_ms\": {minimum:.3}}}");
}
