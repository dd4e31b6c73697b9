//! Vectors as a safetensors file, which needs no parser of its own.

use std::path::Path;

use burn::tensor::{DType, TensorData};
use emberline_checkpoint::{load_tensors, save_tensors};

use crate::error::EmbeddingsError;
use crate::table::Table;
use crate::vectors::WordVectors;
use crate::words::Words;

const VECTORS: &str = "vectors";
const WORDS: &str = "words";

pub(super) fn read(path: &Path) -> Result<WordVectors, EmbeddingsError> {
    let mut tensors = load_tensors(path)?;
    let mut take = |name: &'static str| {
        let index = tensors.iter().position(|(other, _)| other == name);
        let missing = || EmbeddingsError::Tensor { path: path.into(), tensor: name };
        index.map(|index| tensors.swap_remove(index).1).ok_or_else(missing)
    };
    let (vectors, words) = (take(VECTORS)?, take(WORDS)?);
    let [n_rows, width] = vectors.shape()[..] else {
        return Err(EmbeddingsError::Tensor { path: path.into(), tensor: VECTORS });
    };
    if n_rows * width == 0 {
        return Err(EmbeddingsError::NoVectors { path: path.into() });
    }
    let words = words_of(path, words.as_bytes())?;
    if words.len() != n_rows {
        let (expected, found) = (words.len(), n_rows);
        return Err(EmbeddingsError::Header { path: path.into(), expected, found });
    }
    super::checked(path, words, Table::of(&vectors.iter::<f32>().collect::<Vec<_>>(), width))
}

pub(super) fn write(path: &Path, vectors: &WordVectors) -> Result<(), EmbeddingsError> {
    let shape = [vectors.len(), vectors.width()];
    let numbers = TensorData::new(vectors.numbers(), shape);
    let words = bytes_of(vectors.words());
    Ok(save_tensors(path, vec![(VECTORS.into(), numbers), (WORDS.into(), words)])?)
}

/// Words as bytes, each ending with a line feed.
pub(crate) fn bytes_of(words: &Words) -> TensorData {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.iter().chain(b"\n")).copied().collect();
    let length = bytes.len();
    TensorData::from_bytes_vec(bytes, [length], DType::U8)
}

/// The words of such bytes.
pub(crate) fn words_of(path: &Path, bytes: &[u8]) -> Result<Words, EmbeddingsError> {
    let mut words = Words::default();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for word in bytes.split(|byte| *byte == b'\n') {
        super::push(path, &mut words, word)?;
    }
    Ok(words)
}
