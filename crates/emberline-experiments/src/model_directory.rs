//! Model directories: weights, config and vocabulary together.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline_checkpoint::{
    CheckpointError, Stored, Weights, is_complete, load_weights, read_config, save_weights, verify,
    write_atomically, write_config,
};
use emberline_core::Stream;
use emberline_models::rnn_language_model::{RnnLanguageModel, RnnLanguageModelConfig};
use emberline_text::Tokenizer;
use emberline_training::{best_checkpoint, latest_checkpoint};

use crate::config::check_memory;
use crate::run_directory::CONFIG_FILE;
use crate::tasks::language_modelling::check_model;

/// The directory within a run of the mean of its last checkpoints.
pub const AVERAGED: &str = "averaged";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";

/// The names that parameters have in files, by their paths.
pub type Names = dyn Fn(&str) -> Stored;

/// A language model that can read and write text.
pub struct Loaded {
    pub model: RnnLanguageModel,
    pub tokenizer: Tokenizer,
    pub device: Device,
}

/// Writes the weights of a model into a directory that is there.
pub fn save_weights_of<M: Module>(
    model: &M,
    names: &Names,
    directory: &Path,
) -> Result<(), CheckpointError> {
    save_weights(model, directory.join(WEIGHTS), names)
}

/// The model with the weights of a directory.
pub fn load_weights_into<M: Module>(
    model: M,
    names: &Names,
    directory: &Path,
) -> Result<M, CheckpointError> {
    load_weights(model, &Weights::open(directory.join(WEIGHTS))?, names)
}

/// Writes the config of a language model and its tokenizer into a directory that is there.
pub fn write_others(
    config: &RnnLanguageModelConfig,
    tokenizer: &Tokenizer,
    directory: &Path,
) -> Result<(), CheckpointError> {
    write_config(directory, config)?;
    write_atomically(directory.join(TOKENIZER), &tokenizer.to_json())
}

/// Reads the directory of a language model, strictly.
///
/// # Errors
/// If a file is missing or foreign, a tensor does not fit, the tokenizer is of another vocabulary, or a checkpoint is
/// not what was written.
pub fn load(directory: &Path, device: &Device) -> Result<Loaded> {
    // A plain model directory has no checksums.
    if is_complete(directory) {
        verify(directory)?;
    }
    let config: RnnLanguageModelConfig = read_config(directory)?;
    check_model(&config)
        .and_then(|()| check_memory(config.parameter_count(), 1))
        .with_context(|| format!("the config.json of {} cannot be used", directory.display()))?;
    let tokenizer = Tokenizer::from_file(directory.join(TOKENIZER))?;
    ensure!(
        tokenizer.vocab_size() == config.vocab_size,
        "{} has a vocabulary of {} tokens, and its model one of {}",
        directory.display(),
        tokenizer.vocab_size(),
        config.vocab_size
    );
    // The random weights are replaced, all of them or none.
    let model = config.init(Stream::new(0), device);
    let model = load_weights_into(model, &RnnLanguageModel::stored_name, directory)?;
    Ok(Loaded { model, tokenizer, device: device.clone() })
}

/// The model directory that a path means: itself, or of a run the mean of its checkpoints, or the best, or the latest.
///
/// # Errors
/// If there is no directory, or a run without a checkpoint.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    ensure!(path.is_dir(), "there is no directory {}", path.display());
    if !path.join(CONFIG_FILE).is_file() {
        return Ok(path.to_path_buf());
    }
    let averaged = path.join(AVERAGED);
    if is_complete(&averaged) {
        return Ok(averaged);
    }
    let checkpoint = match best_checkpoint(path)? {
        Some(best) => Some(best),
        None => latest_checkpoint(path)?,
    };
    checkpoint.with_context(|| format!("the run {} has no checkpoint yet", path.display()))
}
