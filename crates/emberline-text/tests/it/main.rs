//! The crate on the committed texts.

mod bert;
mod datasets;
mod labelled;
mod one_hot;
mod parallel;
mod published;
mod tokenizers;

use std::path::PathBuf;

use emberline_text::Corpus;

/// The folder of the committed data sets.
fn datasets() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../datasets")
}

fn shakespeare() -> Corpus {
    Corpus::from_file(datasets().join("shakespeare/shakespeare.txt")).unwrap()
}

fn austen() -> Corpus {
    Corpus::from_file(datasets().join("austen/pride_and_prejudice.txt")).unwrap()
}
