//! Files of `torch.save`, read without Python: an archive of a pickle and of the storages that it names.
//!
//! The crate `pytorch-reader`, which `burn-store` uses, reads more kinds of file, and copies tensors where here they are
//! mapped; but it passes over what it does not know in a pickle, where a checkpoint that asks for anything but tensors
//! is to be refused.

mod pickle;
mod storage;

use std::collections::BTreeMap;
use std::ops::Range;

use rawzip::{CompressionMethod, ZipArchive};

use self::pickle::{Pickle, Value};
pub(crate) use self::storage::PyTorchTensor;

/// Enough for a hundred thousand tensors. Longer ones are not read, as values can take fifty times their place in a
/// pickle.
const LONGEST_PICKLE: usize = 1 << 24;
/// How an archive starts.
const ARCHIVE: &[u8] = b"PK\x03\x04";
/// How `torch.save` started before it wrote archives: with a number, in a pickle of its own.
const LEGACY: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It is not whole, or no file of PyTorch.
    Broken(String),
    /// It is of the format before PyTorch 1.6.
    Legacy,
    /// Its pickle asks Python for something else than tensors and plain values.
    Asks(String),
    /// It holds something else than tensors by name.
    NotTensors(String),
}

/// Whether the bytes of a file are those of PyTorch, of its old format too.
pub(crate) fn is_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(ARCHIVE) || is_legacy(bytes)
}

fn is_legacy(bytes: &[u8]) -> bool {
    // After the operation PROTO and its number.
    bytes.get(2..).is_some_and(|rest| rest.starts_with(LEGACY))
}

/// The tensors of a file by name: those of the dictionary that it holds, or of the entry `state_dict` of that.
pub(crate) fn read_tensors(file: &[u8]) -> Result<BTreeMap<String, PyTorchTensor>, Problem> {
    if is_legacy(file) {
        return Err(Problem::Legacy);
    }
    let entries = read_archive(file)?;
    let folder = folder_of_pickle(&entries)?;
    let entry = |name: &str| entries.get(format!("{folder}{name}").as_bytes()).cloned();
    if entry("byteorder").is_some_and(|order| &file[order] != b"little") {
        return Err(Problem::Broken("its numbers are not little-endian".into()));
    }
    let range = entry("data.pkl").expect("the folder is that of the pickle");
    if range.len() > LONGEST_PICKLE {
        return Err(Problem::Broken(format!("its pickle has {} bytes", range.len())));
    }
    let pickle = Pickle::read(&file[range])?;
    let mut tensors = BTreeMap::new();
    for (name, place) in named_tensors(&pickle)? {
        let view = pickle.view(place);
        let storage = view.storage.name;
        let range = entry(&format!("data/{storage}"));
        let missing =
            || Problem::Broken(format!("storage {storage:?} of tensor {name} is missing"));
        tensors.insert(name.to_string(), view.within(range.ok_or_else(missing)?)?);
    }
    Ok(tensors)
}

/// Where the entries of an archive lie, by name. None is packed, none is there twice.
fn read_archive(file: &[u8]) -> Result<BTreeMap<Vec<u8>, Range<usize>>, Problem> {
    let broken = |error: rawzip::Error| Problem::Broken(format!("as an archive, {error}"));
    let archive = ZipArchive::from_slice(file).map_err(broken)?;
    let mut ranges = BTreeMap::new();
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().map_err(broken)? {
        let path = entry.file_path();
        let name = || String::from_utf8_lossy(path.as_bytes()).into_owned();
        let content = archive.get_entry(entry.wayfinder()).map_err(broken)?;
        let is_packed = entry.compression_method() != CompressionMethod::STORE
            || entry.compressed_size_hint() != entry.uncompressed_size_hint();
        if is_packed {
            return Err(Problem::Broken(format!("its entry {} is compressed", name())));
        }
        let (start, end) = content.compressed_data_range();
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let range = range.map(|(start, end)| start..end).filter(|range| range.end <= file.len());
        let range = range.ok_or_else(|| Problem::Broken(format!("its entry {} is cut", name())))?;
        if ranges.insert(path.as_bytes().to_vec(), range).is_some() {
            return Err(Problem::Broken(format!("its entry {} is there twice", name())));
        }
    }
    Ok(ranges)
}

/// The folder of `data.pkl`, which is named as the file once was.
fn folder_of_pickle(entries: &BTreeMap<Vec<u8>, Range<usize>>) -> Result<String, Problem> {
    let folders = entries.keys().filter_map(|name| {
        let folder = std::str::from_utf8(name).ok()?.strip_suffix("data.pkl")?;
        folder.strip_suffix('/').filter(|folder| !folder.contains('/')).map(|_| folder)
    });
    match folders.collect::<Vec<_>>()[..] {
        [folder] => Ok(folder.to_string()),
        _ => Err(Problem::Broken("it is an archive without a pickle of tensors".into())),
    }
}

/// The places of the views, by name.
fn named_tensors<'p>(pickle: &'p Pickle<'_>) -> Result<BTreeMap<&'p str, usize>, Problem> {
    let Value::Dictionary(root) = pickle.root else {
        return Err(Problem::NotTensors(pickle.root.kind().into()));
    };
    // As in Python, the last of two entries of one name is the one.
    let entries = pickle.dictionary(root);
    let nested = entries.iter().rev().find_map(|entry| match entry {
        (Value::Text("state_dict"), Value::Dictionary(nested)) => Some(*nested),
        _ => None,
    });
    let entries = nested.map_or(entries, |nested| pickle.dictionary(nested));
    let mut tensors = BTreeMap::new();
    for (key, value) in entries {
        let Value::Text(name) = key else {
            return Err(Problem::NotTensors(format!("{} for the name of a tensor", key.kind())));
        };
        let Value::Tensor(place) = value else {
            return Err(Problem::NotTensors(format!("{} under the name {name:?}", value.kind())));
        };
        tensors.insert(*name, *place);
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::path::PathBuf;

    use burn::tensor::TensorData;
    use emberline_core::Stream;

    use super::*;
    use crate::error::CheckpointError;
    use crate::weights::Weights;

    const TENSORS: &[u8] = include_bytes!("../../tests/fixtures/tensors.pt");
    const NESTED: &[u8] = include_bytes!("../../tests/fixtures/nested.pt");

    fn fixture(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    fn message(name: &str) -> String {
        let error = Weights::open(fixture(name)).unwrap_err().to_string();
        error.split_once(name).unwrap().1.to_string()
    }

    /// Reads everything of a file, which must not panic; whether it was possible.
    fn read_all(file: &[u8]) -> bool {
        let Ok(tensors) = read_tensors(file) else { return false };
        for tensor in tensors.values() {
            assert!(tensor.bytes(file).len() <= file.len());
        }
        true
    }

    #[test]
    fn tensors_of_every_type_and_every_view_are_those_that_python_wrote_as_safetensors() {
        let expected = Weights::open(fixture("tensors.safetensors")).unwrap();
        for name in ["tensors.pt", "protocol4.pt"] {
            let weights = Weights::open(fixture(name)).unwrap();
            assert_eq!(weights.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>());
            for name in expected.names() {
                let (found, expected) = (weights.read(name).unwrap(), expected.read(name).unwrap());
                let (found, expected) = (found.unwrap(), expected.unwrap());
                assert_eq!(found.as_bytes(), expected.as_bytes(), "{name}");
                assert_eq!(found.dtype(), expected.dtype(), "{name}");
                assert_eq!(found.shape(), expected.shape(), "{name}");
            }
        }
    }

    #[test]
    fn a_view_in_order_is_not_copied() {
        let tensors = read_tensors(TENSORS).unwrap();
        let is_copied = |name: &str| matches!(tensors[name].bytes(TENSORS), Cow::Owned(_));
        for name in ["whole", "row", "bf16", "parameter"] {
            assert!(!is_copied(name), "{name}");
        }
        for name in ["transposed", "permuted", "column", "steps"] {
            assert!(is_copied(name), "{name}");
        }
    }

    #[test]
    fn a_state_dict_is_found_in_the_checkpoint_of_a_run() {
        let weights = Weights::open(fixture("nested.pt")).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["bias", "weight"]);
        assert_eq!(weights.read("weight").unwrap(), Some(TensorData::from([[1.0f32, 2.0]])));
    }

    #[test]
    fn what_is_no_tensor_is_refused_by_name() {
        let asked = ", where only tensors and plain values are read";
        assert_eq!(
            message("hostile.pt"),
            format!(" is refused: it asks Python for posix.system{asked}")
        );
        let module = "torch.nn.modules.linear.Linear";
        assert_eq!(
            message("object.pt"),
            format!(" is refused: it asks Python for {module}{asked}")
        );
    }

    #[test]
    fn the_format_before_1_6_is_refused_with_what_to_do() {
        let error = Weights::open(fixture("legacy.pt")).unwrap_err();
        assert!(matches!(error, CheckpointError::LegacyPyTorch { .. }), "{error}");
    }

    #[test]
    fn a_folder_gives_safetensors_before_files_of_pytorch_and_these_before_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        let shard =
            |name: &str| Weights::open(folder.path()).map(|weights| weights.shape(name).is_some());
        assert!(matches!(shard("bias"), Err(CheckpointError::NoWeights { .. })));
        write("one.bin", NESTED);
        write(
            "pytorch_model.bin.index.json",
            br#"{"weight_map": {"bias": "one.bin", "weight": "one.bin"}}"#,
        );
        assert!(shard("bias").unwrap());
        write("pytorch_model.bin", TENSORS);
        assert!(!shard("bias").unwrap() && shard("bf16").unwrap());
        let one = vec![("only".to_string(), TensorData::from([1.0f32]))];
        crate::tensors::save_tensors(folder.path().join("model.safetensors"), one).unwrap();
        assert!(!shard("bf16").unwrap() && shard("only").unwrap());
    }

    #[test]
    fn a_file_that_only_has_the_name_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pytorch_model.bin");
        for bytes in [&b""[..], b"PK\x03\x04", b"{}", b"The quick brown fox"] {
            std::fs::write(&path, bytes).unwrap();
            let error = Weights::open(folder.path()).unwrap_err();
            assert!(matches!(error, CheckpointError::NotPyTorch { .. }), "{error}");
            assert!(error.to_string().contains("pytorch_model.bin is not a whole file"), "{error}");
        }
    }

    #[test]
    fn a_truncated_file_is_an_error_at_every_length() {
        for file in [TENSORS, NESTED] {
            for length in 0..file.len() {
                assert!(!read_all(&file[..length]), "{length}");
            }
            assert!(read_all(file));
        }
    }

    #[test]
    fn a_file_with_any_byte_changed_gives_values_or_an_error() {
        for file in [TENSORS, NESTED] {
            let mut foreign = file.to_vec();
            for position in 0..file.len() {
                foreign[position] = Stream::new(1).below(position as u64, 256) as u8;
                read_all(&foreign);
                foreign[position] = file[position];
            }
        }
    }
}
