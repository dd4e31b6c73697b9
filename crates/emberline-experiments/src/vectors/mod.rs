//! `emberline vectors`: vectors of words, trained, asked, scored, converted and drawn.

mod arguments;
mod ask;
mod maps;
mod plot;
mod score;
mod train;

use std::path::Path;

use anyhow::{Context, Result};
use emberline_embeddings::{Format, WordVectors, read_vectors, write_vectors};

use crate::failure::{Failure, Outcome};
use crate::terminal;

pub use arguments::VectorsVerb;

use arguments::ConvertArguments;

/// Does what is asked.
pub fn run(verb: VectorsVerb) -> Outcome {
    match verb {
        VectorsVerb::Train(arguments) => train::run(&arguments),
        VectorsVerb::Nearest(arguments) => ask::nearest(&arguments),
        VectorsVerb::Analogy(arguments) => ask::analogy(&arguments),
        VectorsVerb::Evaluate(arguments) => score::run(&arguments),
        VectorsVerb::Convert(arguments) => convert(&arguments),
        VectorsVerb::Plot(arguments) => plot::run(&arguments),
    }
}

fn convert(arguments: &ConvertArguments) -> Outcome {
    let format = format_of(&arguments.output)?;
    let vectors = open(&arguments.vectors)?;
    write_vectors(&arguments.output, &vectors, format)?;
    note_written(&vectors, &arguments.output);
    Ok(())
}

fn open(path: &Path) -> Result<WordVectors> {
    read_vectors(path).with_context(|| format!("cannot use {}", path.display()))
}

/// The format that the ending of a file's name stands for.
fn format_of(path: &Path) -> Result<Format, Failure> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("bin") => Ok(Format::Binary),
        Some("vec" | "txt") => Ok(Format::Text),
        Some("glove") => Ok(Format::Glove),
        Some("safetensors") => Ok(Format::Safetensors),
        _ => Err(Failure::usage(format!(
            "{} tells no format: expected a name that ends in .bin (word2vec's binary), .vec or .txt (its text), .glove or \
             .safetensors",
            path.display()
        ))),
    }
}

fn note_written(vectors: &WordVectors, path: &Path) {
    terminal::note(format_args!(
        "{} vectors of {} numbers in {}",
        vectors.len(),
        vectors.width(),
        path.display()
    ));
}

/// The places of words.
fn places(vectors: &WordVectors, words: &[String]) -> Result<Vec<usize>> {
    Ok(words.iter().map(|word| vectors.place(word)).collect::<Result<_, _>>()?)
}
