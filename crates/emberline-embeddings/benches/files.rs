//! Reading vectors from word2vec's binary, 400,000 of 50 numbers, against reading the bytes of the file. Prints one JSON object
//! a line.

use std::time::Instant;

use emberline_core::Stream;
use emberline_embeddings::{EmbeddingsError, Format, WordVectors, read_vectors, write_vectors};

const COUNT: usize = 400_000;
const WIDTH: usize = 50;
const ROUNDS: usize = 9;

fn main() -> Result<(), EmbeddingsError> {
    let folder = tempfile::tempdir().expect("a folder for a file");
    let path = folder.path().join("vectors.bin");
    let random = Stream::new(1);
    let rows: Vec<(String, Vec<f32>)> = (0..COUNT as u64)
        .map(|place| {
            let word = format!("word{}", random.bits(place) % 1_000_000 * 1_000_000 + place);
            (word, random.at(place).uniforms(WIDTH, -1.0, 1.0))
        })
        .collect();
    write_vectors(&path, &WordVectors::from_rows(&rows), Format::Binary)?;
    drop(rows);
    let bytes = || std::fs::read(&path).map(|bytes| bytes.len()).expect("the file");
    let vectors = || read_vectors(&path).map(|vectors| vectors.len());
    let (mut of_bytes, mut of_vectors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        assert!(bytes() > COUNT * WIDTH * size_of::<f32>());
        of_bytes.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        assert_eq!(vectors()?, COUNT);
        of_vectors.push(started.elapsed().as_secs_f64());
    }
    for (name, mut seconds) in [("bytes", of_bytes), ("vectors", of_vectors)] {
        seconds.sort_by(f64::total_cmp);
        println!("{{\"name\": \"{name}\", \"ms\": {:.1}}}", 1e3 * seconds[ROUNDS / 2]);
    }
    Ok(())
}
