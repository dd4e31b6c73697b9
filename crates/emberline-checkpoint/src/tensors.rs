//! Writing safetensors, and named tensors without a module: an optimizer's moments, a carry.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::tensor::{DType, TensorData};
use safetensors::tensor::{Metadata, TensorInfo};

use crate::atomic::write_atomically_with;
use crate::elements;
use crate::error::CheckpointError;
use crate::mapped::MappedFile;

/// Writes named tensors into one safetensors file, atomically; equal tensors give equal bytes.
///
/// The order of the file is that of `tensors`, with wider elements before narrower ones.
///
/// # Errors
/// [`Write`](CheckpointError::Write), and [`ElementType`](CheckpointError::ElementType) for quantized tensors.
///
/// # Panics
/// If two tensors have one name.
pub fn save_tensors(
    path: impl AsRef<Path>,
    tensors: Vec<(String, TensorData)>,
) -> Result<(), CheckpointError> {
    let entry = |(name, data): (String, TensorData)| Entry {
        name,
        dtype: data.dtype(),
        shape: data.shape().to_vec(),
        data: Box::new(|| data),
    };
    write_entries(path.as_ref(), tensors.into_iter().map(entry).collect())
}

/// Reads every tensor of one safetensors file, in the order of the file.
///
/// # Errors
/// [`Read`](CheckpointError::Read), [`NotSafetensors`](CheckpointError::NotSafetensors),
/// [`ElementType`](CheckpointError::ElementType).
pub fn load_tensors(path: impl AsRef<Path>) -> Result<Vec<(String, TensorData)>, CheckpointError> {
    let file = MappedFile::open(path.as_ref())?;
    let names = file.names().into_iter();
    names
        .map(|name| {
            let data =
                file.tensor(&name).expect("the header has every name it lists").read(&name)?;
            Ok((name, data))
        })
        .collect()
}

/// A tensor to be written, fetched from its device only when its turn has come.
pub(crate) struct Entry {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub data: Box<dyn FnOnce() -> TensorData>,
}

pub(crate) fn write_entries(path: &Path, mut entries: Vec<Entry>) -> Result<(), CheckpointError> {
    // Readers that use a mapped file in place need every element at a multiple of its size.
    entries.sort_by_key(|entry| Reverse(entry.dtype.size()));
    let header = header(path, &entries)?;
    write_atomically_with(path, |file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for entry in entries {
            file.write_all((entry.data)().as_bytes())?;
        }
        file.flush()
    })
}

fn header(path: &Path, entries: &[Entry]) -> Result<Vec<u8>, CheckpointError> {
    let mut infos = Vec::with_capacity(entries.len());
    let mut end = 0;
    for entry in entries {
        let dtype = elements::to_file(entry.dtype).ok_or_else(|| CheckpointError::ElementType {
            path: path.to_path_buf(),
            tensor: entry.name.clone(),
            found: format!("{:?}", entry.dtype),
        })?;
        let start = end;
        end += entry.shape.iter().product::<usize>() * entry.dtype.size();
        infos.push((
            entry.name.clone(),
            TensorInfo { dtype, shape: entry.shape.clone(), data_offsets: (start, end) },
        ));
    }
    // Python's loaders refuse a file that does not say of which framework its layouts are.
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    let metadata = Metadata::new(Some(format), infos).expect("the offsets follow one another");
    let distinct = metadata.tensors().len();
    assert_eq!(distinct, entries.len(), "tensors of {} share a name", path.display());
    let mut header = serde_json::to_vec(&metadata).expect("names and numbers have a JSON form");
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_tensors() -> Vec<(String, TensorData)> {
        vec![
            ("steps".into(), TensorData::from([3i64, -1])),
            ("flags".into(), TensorData::from([true, false, true])),
            ("exact".into(), TensorData::from([[0.1f64, f64::NAN, -0.0]])),
            ("moment".into(), TensorData::from([1.5f32])),
            ("none".into(), TensorData::new(Vec::<f32>::new(), [0, 4])),
        ]
    }

    #[test]
    fn tensors_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        save_tensors(&path, some_tensors()).unwrap();
        let found = load_tensors(&path).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, ["steps", "exact", "moment", "none", "flags"]);
        for (name, expected) in some_tensors() {
            let (_, data) = found.iter().find(|(other, _)| *other == name).unwrap();
            assert_eq!(data.as_bytes(), expected.as_bytes());
            assert_eq!((data.shape(), data.dtype()), (expected.shape(), expected.dtype()));
        }
    }

    #[test]
    fn equal_tensors_give_equal_files_that_the_reference_reads() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        save_tensors(&a, some_tensors()).unwrap();
        save_tensors(&b, some_tensors()).unwrap();
        let bytes = std::fs::read(&a).unwrap();
        assert_eq!(bytes, std::fs::read(&b).unwrap());
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("moment").unwrap().data(), 1.5f32.to_le_bytes());
    }

    #[test]
    fn a_truncated_file_is_an_error_at_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        save_tensors(&path, some_tensors()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = load_tensors(&path).unwrap_err();
            assert!(matches!(error, CheckpointError::NotSafetensors { .. }), "{length}: {error:?}");
        }
    }

    #[test]
    fn a_file_with_any_byte_of_its_header_changed_gives_a_value_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        save_tensors(&path, some_tensors()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for position in 0..whole.len() - 60 {
            for byte in [b'9', 0xff] {
                let mut foreign = whole.clone();
                foreign[position] = byte;
                std::fs::write(&path, &foreign).unwrap();
                let _ = load_tensors(&path);
            }
        }
    }

    #[test]
    #[should_panic = "share a name"]
    fn two_tensors_of_one_name_are_refused() {
        let one = || ("a".to_string(), TensorData::from([1.0f32]));
        let _ = save_tensors("never-written", vec![one(), one()]);
    }
}
