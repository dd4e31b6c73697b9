//! The pipelines against those of `transformers`, on the directories that `tests/fixtures/pipelines.py` writes.

mod directories;
mod pipelines;

use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}
