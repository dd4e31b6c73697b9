//! Ten megabytes of books in the word pieces of BERT, all lines at a time. Its twin is `word_pieces_tokenizers.py` beside
//! this file. Prints one JSON object a line.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use emberline_text::BertTokenizer;

const BYTES: usize = 10_000_000;
const RUNS: usize = 5;

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().expect("the first pool");
    let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    let tokenizer =
        BertTokenizer::from_directory(datasets.join("bert-vocab")).expect("a vocabulary");
    let book = std::fs::read_to_string(datasets.join("austen/pride_and_prejudice.txt"));
    let lines = lines(&book.expect("a book"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let n_bytes: usize = lines.iter().map(|line| line.len()).sum();

    let run = || tokenizer.pieces_of_all(&lines).expect("pieces");
    let n_pieces: usize = run().iter().map(Vec::len).sum();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (minimum, median) = (times[0], times[RUNS / 2]);
    println!(
        "{{\"name\": \"word pieces of 10 MB\", \"median_ms\": {median:.3}, \"min_ms\": {minimum:.3}, \
         \"mb_per_s\": {:.2}, \"pieces\": {n_pieces}}}",
        n_bytes as f64 / median / 1e3
    );
}

/// The lines of a book with words, again and again until there are so many bytes.
fn lines(book: &str) -> Vec<String> {
    let mut n_bytes = 0;
    let lines = book.lines().filter(|line| !line.trim().is_empty()).cycle();
    let until_full = lines.take_while(|line| {
        n_bytes += line.len();
        n_bytes <= BYTES
    });
    until_full.map(str::to_string).collect()
}
