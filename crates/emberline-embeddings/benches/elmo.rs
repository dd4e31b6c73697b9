//! The forward pass of the medium ELMo against its twin in PyTorch, `elmo_torch.py` beside this file. Prints one JSON
//! object a line.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::Device;
use emberline_backend::memory;
use emberline_core::{CharacterEncoder, Stream};
use emberline_embeddings::elmo::ElmoConfig;
use emberline_text::Lexicon;

const SENTENCES: usize = 8;
const WORDS: usize = 32;

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    memory::keep_freed_memory();

    let device = Device::flex();
    let elmo = ElmoConfig::medium().init(Stream::new(0), &device);
    // A text says some words often; of the others no two are alike, and of the last none leaves room for padding.
    for (name, lengths, n_different) in [
        ("elmo medium forward 8x32, half of the words different", 1..13, SENTENCES * WORDS / 2),
        ("elmo medium forward 8x32, all words different", 1..13, SENTENCES * WORDS),
        ("elmo medium forward 8x32, words of 48 letters", 48..49, SENTENCES * WORDS),
    ] {
        let words: Vec<String> = (0..n_different as u64)
            .map(|index| {
                let random = Stream::new(1).at(index);
                let length = lengths.start + random.below(0, lengths.len());
                // The first letters are its number, so that no word is another.
                let letters = (0..length as u64).map(|place| match place {
                    0 => (b'0' + (index % 16) as u8) as char,
                    1 => (b'0' + (index / 16) as u8) as char,
                    _ => (b'a' + random.below(place, 26) as u8) as char,
                });
                letters.collect()
            })
            .collect();
        let mut words = words.iter().cycle();
        let sentences: Vec<Vec<&String>> =
            (0..SENTENCES).map(|_| words.by_ref().take(WORDS - 2).collect()).collect();
        let batch = Lexicon::sentences(&sentences, &device);
        report(name, 20, || {
            black_box(elmo.layers(&batch));
        });
    }
}

fn report(name: &str, runs: usize, mut run: impl FnMut()) {
    (0..runs / 5).for_each(|_| run());
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
