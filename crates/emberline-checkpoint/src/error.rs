//! What can be wrong with a checkpoint.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::pytorch::Problem;

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system would not read a file or folder.
    #[error("cannot read {path}")]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The operating system would not write a file or folder; what was there before still is.
    #[error("cannot write {path}")]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A folder holds no weights.
    #[error(
        "{folder} holds no weights: expected model.safetensors, pytorch_model.bin, or one of these with .index.json"
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// A file is truncated, or not safetensors at all.
    #[error("{path} is not a whole safetensors file")]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// A file of PyTorch is truncated, or not one at all.
    #[error("{path} is not a whole file of PyTorch: {reason}")]
    NotPyTorch {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of PyTorch is older than PyTorch 1.6.
    #[error(
        "{path} is of the format before PyTorch 1.6: save it again with a later PyTorch, or as safetensors"
    )]
    LegacyPyTorch {
        /// The file.
        path: PathBuf,
    },
    /// A file of PyTorch wants Python to do more than build tensors, which may be anything.
    #[error(
        "{path} is refused: it asks Python for {asked}, where only tensors and plain values are read"
    )]
    NotOnlyTensors {
        /// The file.
        path: PathBuf,
        /// The name that Python would look up.
        asked: String,
    },
    /// A file of PyTorch holds something else than a dictionary of tensors.
    #[error(
        "{path} holds {found}: expected a dictionary of tensors by name, or one under \"state_dict\""
    )]
    NotAStateDict {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// The index of a sharded model cannot be understood.
    #[error(
        "{path} is not an index of shards: expected a \"weight_map\" from tensors to files beside it"
    )]
    NotAnIndex {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The index names a shard that is not a plain file name, or lacks the tensor.
    #[error("{path} says that tensor {tensor} is in {shard:?}, where it is not")]
    NotInShard {
        /// The index.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The file that the index names.
        shard: String,
    },
    /// The tensors of a file are not those of the model.
    #[error(transparent)]
    Mismatch(#[from] Box<Mismatch>),
    /// A file is truncated, or no vector of `f32` as NumPy writes it.
    #[error("{path} is not a whole NumPy vector of f32")]
    NotNumpy {
        /// The file.
        path: PathBuf,
    },
    /// A file of shapes cannot be understood.
    #[error("{path} is not a list of shapes")]
    NotShapes {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Shapes have more or less room than there are numbers.
    #[error("{path} has room for {expected} numbers, and there are {found}")]
    Numbers {
        /// The file of the shapes.
        path: PathBuf,
        /// The numbers that the shapes have room for.
        expected: usize,
        /// The numbers that there are.
        found: usize,
    },
    /// A tensor that has two names in a file has two values.
    #[error("{path}: {tensor} is not the {other} that it is tied to")]
    NotTied {
        /// The file or folder of the weights.
        path: PathBuf,
        /// The second name.
        tensor: String,
        /// The first.
        other: String,
    },
    /// A tensor's element type has no place in the file, or none here.
    #[error(
        "tensor {tensor} of {path} has elements of type {found}: expected floats, integers or booleans of 8 to 64 bits"
    )]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
    },
    /// A config has an unknown field, lacks one, or one is of a wrong type.
    #[error("{path} is not the config expected here, at {field}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The path of the field in the file, or `the top level`.
        field: String,
        /// What was found, and what was expected.
        source: serde_json::Error,
    },
    /// A model directory asks for a part that there is none of here.
    #[error("{path} asks for {asked}: expected {expected}")]
    NotSupported {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        asked: String,
        /// What there is here.
        expected: &'static str,
    },
    /// A file of a committed directory is not what was written, or was not written with it.
    #[error("{path} is damaged: expected the file whose SHA-256 is in DONE beside it")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The place of a new directory is taken.
    #[error("{path} exists already: expected a new or empty directory")]
    Exists {
        /// The place.
        path: PathBuf,
    },
}

impl CheckpointError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn pytorch(path: &Path) -> impl FnOnce(Problem) -> Self {
        let path = path.to_path_buf();
        move |problem| match problem {
            Problem::Broken(reason) => Self::NotPyTorch { path, reason },
            Problem::Legacy => Self::LegacyPyTorch { path },
            Problem::Asks(asked) => Self::NotOnlyTensors { path, asked },
            Problem::NotTensors(found) => Self::NotAStateDict { path, found },
        }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Write { path, source }
    }
}

/// Every difference between the tensors of a file and those that a module wants, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// The file or folder of the weights.
    pub path: PathBuf,
    /// Tensors that the module wants and the file lacks.
    pub missing: Vec<String>,
    /// Tensors of the file that the module does not know.
    pub unexpected: Vec<String>,
    /// Tensors of another shape than the module's.
    pub misshapen: Vec<Misshapen>,
    /// Tensors that are not of floats, each with its element type.
    pub not_float: Vec<(String, String)>,
}

/// A tensor of another shape than expected; both shapes are as in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// The name in the file.
    pub tensor: String,
    /// The shape that the module wants.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
}

impl Mismatch {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.misshapen.is_empty()
            && self.not_float.is_empty()
    }
}

impl std::error::Error for Mismatch {}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let misshapen: Vec<String> = self
            .misshapen
            .iter()
            .map(|m| format!("{} is {:?}, expected {:?}", m.tensor, m.found, m.expected))
            .collect();
        let not_float: Vec<String> =
            self.not_float.iter().map(|(tensor, found)| format!("{tensor} is {found}")).collect();
        let parts: Vec<String> = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &misshapen),
            ("not of floats", &not_float),
        ]
        .into_iter()
        .filter(|(_, tensors)| !tensors.is_empty())
        .map(|(what, tensors)| format!("{} {what}: {}", tensors.len(), listing(tensors)))
        .collect();
        write!(
            f,
            "the tensors of {} do not fit the model: {}",
            self.path.display(),
            parts.join("; ")
        )
    }
}

/// The first few, for a model of another kind differs in hundreds.
fn listing(tensors: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = tensors[..tensors.len().min(SHOWN)].join(", ");
    if tensors.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_lists_every_kind_and_counts_what_it_does_not_show() {
        let mismatch = Mismatch {
            path: "model.safetensors".into(),
            missing: (0..10).map(|i| format!("m{i}")).collect(),
            unexpected: vec!["u".into()],
            misshapen: vec![Misshapen {
                tensor: "s".into(),
                expected: vec![2, 3],
                found: vec![3, 2],
            }],
            not_float: vec![("i".into(), "I64".into())],
        };
        assert_eq!(
            mismatch.to_string(),
            "the tensors of model.safetensors do not fit the model: \
             10 missing: m0, m1, m2, m3, m4, m5, m6, m7, …; 1 unexpected: u; \
             1 of another shape: s is [3, 2], expected [2, 3]; 1 not of floats: i is I64"
        );
    }
}
