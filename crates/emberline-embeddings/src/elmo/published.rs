//! The published files: `options.json`, and weights in HDF5 with TensorFlow's names and layouts.
//!
//! Strict, as every loading here: each tensor of the file has its place in the model that the options describe, and each
//! parameter its tensor; the error lists all that do not fit.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use emberline_checkpoint::Mismatch;

use super::Elmo;
use super::config::{ElmoConfig, InvalidElmoConfig};
use super::options::read_options;
use super::weights::PublishedWeights;

/// Why a published ELMo could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElmoError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not the options of an ELMo that reads characters.
    #[error("{} does not hold the options of an ELMo that reads characters", path.display())]
    NotOptions {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The options are those of no model.
    #[error("the options of {} cannot be those of a model", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The option.
        source: InvalidElmoConfig,
    },
    /// A file is not HDF5, or is damaged.
    #[error("{} is not a whole file in HDF5", path.display())]
    NotHdf5 {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The weights are those of another model than the options describe.
    #[error("{} describes another model than {} holds", options.display(), weights.display())]
    Disagree {
        /// The file of the options.
        options: PathBuf,
        /// The file of the weights.
        weights: PathBuf,
        /// Every tensor that does not fit.
        source: Box<Mismatch>,
    },
}

/// Loads a published model.
///
/// The forget gates' 1, which is in no file, is added to their biases. Weights are converted to the device's own
/// element type.
///
/// # Errors
/// Those of [`read_options`]; [`Read`](ElmoError::Read) and [`NotHdf5`](ElmoError::NotHdf5) for the weights;
/// [`Disagree`](ElmoError::Disagree).
pub fn load_published(
    options: impl AsRef<Path>,
    weights: impl AsRef<Path>,
    device: &Device,
) -> Result<(ElmoConfig, Elmo), ElmoError> {
    let (options, path) = (options.as_ref(), weights.as_ref());
    let config = read_options(options)?;
    let weights = PublishedWeights::open(path)?;
    let mismatch = weights.mismatch(&config);
    if !mismatch.is_empty() {
        let (options, weights) = (options.to_path_buf(), path.to_path_buf());
        return Err(ElmoError::Disagree { options, weights, source: Box::new(mismatch) });
    }
    let elmo = weights.model(&config, device)?;
    Ok((config, elmo))
}
