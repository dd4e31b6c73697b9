//! Reading weights: one file, or a folder with one file or with shards.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use serde::Deserialize;

use crate::error::CheckpointError;
use crate::mapped::{MappedFile, MappedTensor};

/// The file of a model that is not sharded.
pub(crate) const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The file that PyTorch itself writes, where there is none in safetensors.
const PYTORCH_WEIGHTS: &str = "pytorch_model.bin";
const PYTORCH_INDEX: &str = "pytorch_model.bin.index.json";

/// The tensors of a checkpoint, mapped into memory and read only when asked for.
///
/// The files must not be truncated while this lives: the operating system then ends the process at
/// the next read. Files written by this crate never are, as they are replaced by renaming.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<MappedFile>,
    /// The place of each tensor, by the name that it goes by.
    places: BTreeMap<String, Place>,
}

/// A tensor in a file.
#[derive(Clone, Debug)]
struct Place {
    file: usize,
    /// The name there.
    name: String,
}

impl Weights {
    /// Opens a file, safetensors or one of `torch.save`, or a folder with the first of `model.safetensors`,
    /// `model.safetensors.index.json` with its shards, `pytorch_model.bin`, and `pytorch_model.bin.index.json` with its
    /// shards; without any of these, a folder with one file in safetensors, such as `model.fp16.safetensors`. Only the
    /// headers are read.
    ///
    /// A file of `torch.save` holds a dictionary of tensors, or one of these under `state_dict`. Views of other tensors
    /// are copied when they are read, the others are mapped too.
    ///
    /// # Errors
    /// [`Read`](CheckpointError::Read), [`NoWeights`](CheckpointError::NoWeights),
    /// [`NotSafetensors`](CheckpointError::NotSafetensors) where a file is truncated or foreign, for one of PyTorch
    /// [`NotPyTorch`](CheckpointError::NotPyTorch), [`LegacyPyTorch`](CheckpointError::LegacyPyTorch),
    /// [`NotOnlyTensors`](CheckpointError::NotOnlyTensors), [`NotAStateDict`](CheckpointError::NotAStateDict), and
    /// for an index [`NotAnIndex`](CheckpointError::NotAnIndex), [`NotInShard`](CheckpointError::NotInShard).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Ok(Self::of_files(path, vec![MappedFile::open(path)?]));
        }
        for (single, index) in [(WEIGHTS, INDEX), (PYTORCH_WEIGHTS, PYTORCH_INDEX)] {
            let (single, index) = (path.join(single), path.join(index));
            if single.exists() {
                return Ok(Self::of_files(path, vec![MappedFile::open(&single)?]));
            } else if index.exists() {
                return Self::open_shards(path, &index);
            }
        }
        let only = only_safetensors(path).map_err(CheckpointError::read(path))?;
        let only = only.ok_or_else(|| CheckpointError::NoWeights { folder: path.to_path_buf() })?;
        Ok(Self::of_files(path, vec![MappedFile::open(&only)?]))
    }

    fn open_shards(folder: &Path, index: &Path) -> Result<Self, CheckpointError> {
        let text = std::fs::read(index).map_err(CheckpointError::read(index))?;
        let Index { weight_map } = serde_json::from_slice(&text)
            .map_err(|source| CheckpointError::NotAnIndex { path: index.to_path_buf(), source })?;
        let mut shards: Vec<&String> = weight_map.values().collect();
        shards.sort();
        shards.dedup();
        let missing = |tensor: &str, shard: &str| CheckpointError::NotInShard {
            path: index.to_path_buf(),
            tensor: tensor.to_string(),
            shard: shard.to_string(),
        };
        if let Some((tensor, shard)) = weight_map.iter().find(|(_, shard)| !is_file_name(shard)) {
            return Err(missing(tensor, shard));
        }
        let files = shards.iter().map(|shard| MappedFile::open(&folder.join(shard)));
        let mut weights = Self::of_files(folder, files.collect::<Result<_, _>>()?);
        for (tensor, shard) in &weight_map {
            let file =
                shards.binary_search(&shard).expect("every shard of the map is among the shards");
            if weights.files[file].tensor(tensor).is_none() {
                return Err(missing(tensor, shard));
            }
            weights.places.insert(tensor.clone(), Place { file, name: tensor.clone() });
        }
        Ok(weights)
    }

    fn of_files(path: &Path, files: Vec<MappedFile>) -> Self {
        let names = |(file, mapped): (usize, &MappedFile)| {
            mapped.names().into_iter().map(move |name| (name.clone(), Place { file, name }))
        };
        let places = files.iter().enumerate().flat_map(names).collect();
        Self { path: path.to_path_buf(), files, places }
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The shape of a tensor; `None` if there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensor(name).map(|tensor| tensor.shape)
    }

    /// The values of a tensor with the element type of the file; `None` if there is no such tensor.
    ///
    /// # Errors
    /// [`CheckpointError::ElementType`].
    pub fn read(&self, name: &str) -> Result<Option<TensorData>, CheckpointError> {
        self.tensor(name).map(|tensor| tensor.read(name)).transpose()
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<MappedTensor<'_>> {
        let Place { file, name } = self.places.get(name)?;
        self.files[*file].tensor(name)
    }

    /// Forgets the tensors of other names.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.places.retain(|name, _| is_kept(name));
    }

    /// Lets the tensors go by other names, which must differ from each other.
    pub(crate) fn rename(&mut self, renamed: impl Fn(&str) -> String) {
        let places = std::mem::take(&mut self.places);
        self.places = places.into_iter().map(|(name, place)| (renamed(&name), place)).collect();
    }
}

/// The file of a folder that has one in safetensors.
fn only_safetensors(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            found.push(path);
        }
    }
    Ok(found.pop().filter(|_| found.is_empty()))
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether a shard is beside the index; an index from elsewhere must not open other files.
fn is_file_name(shard: &str) -> bool {
    Path::new(shard).file_name().is_some_and(|name| name == shard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::save_tensors;

    /// Two shards of a tensor each, with an index that says so.
    fn sharded(index: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, name, value) in [("one.safetensors", "a", 1.0f32), ("two.safetensors", "b", 2.0)]
        {
            save_tensors(folder.path().join(file), vec![(name.into(), TensorData::from([value]))])
                .unwrap();
        }
        std::fs::write(folder.path().join(INDEX), index).unwrap();
        folder
    }

    #[test]
    fn the_tensors_of_all_shards_are_found() {
        let folder = sharded(
            r#"{"metadata": {}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#,
        );
        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(weights.read("b").unwrap(), Some(TensorData::from([2.0f32])));
        assert_eq!(weights.shape("a"), Some(&[1][..]));
        assert_eq!((weights.read("c").unwrap(), weights.shape("c")), (None, None));
    }

    #[test]
    fn a_file_of_another_name_is_opened_where_it_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str| {
            let tensor = ("a".to_string(), TensorData::from([1.0f32]));
            save_tensors(folder.path().join(name), vec![tensor]).unwrap();
        };
        save("model.fp16.safetensors");
        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a"]);
        save("values.safetensors");
        let error = Weights::open(folder.path()).unwrap_err();
        assert!(matches!(error, CheckpointError::NoWeights { .. }), "{error:?}");
    }

    #[test]
    fn an_index_that_does_not_fit_its_shards_is_an_error_that_names_the_tensor() {
        for shard in ["two.safetensors", "../one.safetensors", "/one.safetensors", "..", ""] {
            let folder = sharded(&format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#));
            let error = Weights::open(folder.path()).unwrap_err().to_string();
            assert!(
                error.ends_with(&format!("says that tensor a is in {shard:?}, where it is not")),
                "{error}"
            );
        }
        for index in ["", "{}", r#"{"weight_map": {"a": 1}}"#] {
            let error = Weights::open(sharded(index).path()).unwrap_err();
            assert!(matches!(error, CheckpointError::NotAnIndex { .. }), "{error:?}");
        }
        let error = Weights::open(sharded(r#"{"weight_map": {"a": "three.safetensors"}}"#).path())
            .unwrap_err();
        assert!(matches!(error, CheckpointError::Read { .. }), "{error:?}");
    }

    #[test]
    fn what_is_not_there_or_not_safetensors_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = Weights::open(folder.path()).unwrap_err();
        assert!(matches!(error, CheckpointError::NoWeights { .. }), "{error:?}");
        let error = Weights::open(folder.path().join("absent")).unwrap_err();
        assert!(error.to_string().ends_with("absent"), "{error}");
        let path = folder.path().join(WEIGHTS);
        std::fs::write(&path, "The quick brown fox jumps over the lazy dog.").unwrap();
        let error = Weights::open(folder.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} is not a whole safetensors file", path.display())
        );
    }
}
