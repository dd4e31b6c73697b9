//! What can go wrong in a training run.

use std::io;
use std::path::{Path, PathBuf};

use burn::store::RecordError;
use emberline_checkpoint::CheckpointError;

use crate::config::ConfigError;

/// Why training stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A value of the config cannot be trained with.
    #[error("the training config cannot be used")]
    Config(#[from] ConfigError),
    /// A new run would write over an old one.
    #[error("{} already holds a run; resume it, or choose another directory", directory.display())]
    AlreadyStarted {
        /// The run directory.
        directory: PathBuf,
    },
    /// The checkpoint is of a run with another config, model or data.
    #[error("{} is of another run: {field} is {found} there, but {expected} here", checkpoint.display())]
    OtherRun {
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The path of the first value that differs.
        field: String,
        /// The value of this run.
        expected: String,
        /// The value of the checkpoint.
        found: String,
    },
    /// A mean is to be that of more checkpoints than there are.
    #[error(
        "{} has {found} complete checkpoints, but {expected} are asked for",
        directory.display()
    )]
    TooFewCheckpoints {
        /// The run directory.
        directory: PathBuf,
        /// The complete checkpoints in it.
        found: usize,
        /// Those that are asked for.
        expected: usize,
    },
    /// A loss, the norm of the gradients or a weight is not a number any more.
    #[error("{what} is {value} at step {step}; {}", last_good(checkpoint.as_deref()))]
    NonFinite {
        /// The number of the update, from 1.
        step: u64,
        /// What is not finite: the loss of a term, the norm of the gradients, or the sum of the squares
        /// of a parameter.
        what: String,
        /// Its value.
        value: f64,
        /// The last checkpoint from before.
        checkpoint: Option<PathBuf>,
    },
    /// Part of a checkpoint could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state of the optimizer could not be written or read.
    #[error("cannot write or read the optimizer state {}", path.display())]
    Optimizer {
        /// The file.
        path: PathBuf,
        /// What Burn says.
        source: RecordError,
    },
    /// A file of a checkpoint does not hold what training wrote.
    #[error("{} does not hold {expected}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: String,
    },
    /// A JSON file of a run could not be read as what it should be.
    #[error("{} is not what training wrote", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file or folder of a run could not be written or read.
    #[error("cannot write or read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl TrainingError {
    /// Names the file that an input or output error is about.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    /// Names the file that is not the JSON it should be.
    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { path: path.to_path_buf(), source }
    }

    /// Names the file of an optimizer state.
    pub(crate) fn optimizer(path: &Path) -> impl FnOnce(RecordError) -> Self {
        move |source| Self::Optimizer { path: path.to_path_buf(), source }
    }
}

fn last_good(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "there is no checkpoint yet".to_string(),
    }
}
