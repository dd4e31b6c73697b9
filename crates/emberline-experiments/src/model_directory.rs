//! Model directories: weights, config and vocabulary together.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline::auto::{AutoConfig, AutoModel};
use emberline_checkpoint::{
    CheckpointError, Stored, Weights, is_complete, load_weights, save_weights, write_atomically,
    write_config,
};
use emberline_models::gpt1::Gpt1;
use emberline_models::gpt2::Gpt2;
use emberline_models::gpt3::Gpt3;
use emberline_models::rnn_language_model::RnnLanguageModel;
use emberline_text::{Gpt1Text, TextError, Tokenizer};
use emberline_training::{best_checkpoint, latest_checkpoint};
use serde::{Deserialize, Serialize};

use crate::config::check_memory;
use crate::names;
use crate::run_directory::CONFIG_FILE;

/// The directory within a run of the mean of its last checkpoints.
pub const AVERAGED: &str = "averaged";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";

/// The names that parameters have in files, by their paths.
pub type Names = dyn Fn(&str) -> Stored;

/// A language model of a kind that directories hold.
pub enum AnyModel {
    Recurrent(RnnLanguageModel),
    Gpt1(Gpt1),
    Gpt2(Gpt2),
    Gpt3(Gpt3),
}

/// Computes with the model of an [`AnyModel`], whichever it is.
macro_rules! with_model {
    ($any:expr, $model:ident => $body:expr) => {
        match $any {
            $crate::model_directory::AnyModel::Recurrent($model) => $body,
            $crate::model_directory::AnyModel::Gpt1($model) => $body,
            $crate::model_directory::AnyModel::Gpt2($model) => $body,
            $crate::model_directory::AnyModel::Gpt3($model) => $body,
        }
    };
}
pub(crate) use with_model;

/// A language model that can read and write text.
pub struct Loaded {
    pub model: AnyModel,
    pub tokenizer: Tokenizer,
    pub device: Device,
    /// The longest text; `None` where there is no limit.
    pub n_positions: Option<usize>,
    /// The tokens that end a text.
    pub stop_tokens: Vec<u32>,
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

/// Writes the config of a model and its tokenizer into a directory that is there.
pub fn write_others(
    config: &impl Serialize,
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
    let Model { model, vocab_size, n_positions, .. } = load_model(directory, device)?;
    let tokenizer = match &model {
        AnyModel::Gpt1(_) => match Tokenizer::gpt1(directory, Gpt1Text::Hf) {
            // One that was trained here on byte pairs of its own.
            Err(TextError::NotGpt1 { .. }) => Tokenizer::from_directory(directory)?,
            tokenizer => tokenizer?,
        },
        _ => Tokenizer::from_directory(directory)?,
    };
    let n_tokens = tokenizer.vocab_size();
    let fits = match &model {
        AnyModel::Recurrent(_) => n_tokens == vocab_size,
        // Published models may have more rows than tokens, so that their number suits a machine.
        _ => n_tokens <= vocab_size,
    };
    ensure!(
        fits,
        "{} has a vocabulary of {n_tokens} tokens, and its model one of {vocab_size}",
        directory.display(),
    );
    let stop_tokens = stop_tokens(directory, n_tokens)?;
    Ok(Loaded { model, tokenizer, device: device.clone(), n_positions, stop_tokens })
}

/// The `eos_token_id` of a directory that `transformers` wrote, where the model has that token.
fn stop_tokens(directory: &Path, vocab_size: usize) -> Result<Vec<u32>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ends {
        One(u32),
        Several(Vec<u32>),
    }
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        eos_token_id: Option<Ends>,
    }
    // The first that says so, as in `transformers`.
    for name in ["generation_config.json", "config.json"] {
        let path = directory.join(name);
        if !path.exists() {
            continue;
        }
        let name = path.display();
        let text = std::fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        let config: Config = serde_json::from_slice(&text)
            .with_context(|| format!("the `eos_token_id` of {name} cannot be used"))?;
        let tokens = match config.eos_token_id {
            Some(Ends::One(token)) => vec![token],
            Some(Ends::Several(tokens)) => tokens,
            None => continue,
        };
        return Ok(tokens.into_iter().filter(|token| (*token as usize) < vocab_size).collect());
    }
    Ok(Vec::new())
}

/// A language model that reads and writes tokens.
pub struct Model {
    pub model: AnyModel,
    pub vocab_size: usize,
    /// The longest text; `None` where there is no limit.
    pub n_positions: Option<usize>,
}

/// The config of the model of a directory, which this machine can hold.
///
/// # Errors
/// If there is no config.json, or it is of no model of ours or of one that is too large.
pub fn config(directory: &Path) -> Result<AutoConfig> {
    let unusable = || format!("the config.json of {} cannot be used", directory.display());
    match AutoConfig::read(directory) {
        Err(emberline::Error::UnknownModelType { directory, model_type }) => bail!(
            "the config.json of {} is of `{model_type}`, which is no language model; {}",
            directory.display(),
            names::hint(&model_type, AutoConfig::MODEL_TYPES)
        ),
        config => {
            let config = config?;
            check_memory(config.parameter_count(), 1).with_context(unusable)?;
            Ok(config)
        }
    }
}

/// Reads the model of a directory without its tokenizer, strictly.
///
/// # Errors
/// As [`load`].
pub fn load_model(directory: &Path, device: &Device) -> Result<Model> {
    let config = config(directory)?;
    if let AutoConfig::Bert(_) = config {
        bail!(
            "{} holds a BERT, which writes no text: it sees what stands on both sides of a word",
            directory.display()
        );
    }
    let model = match config.load(directory, device)? {
        AutoModel::Recurrent(model) => AnyModel::Recurrent(model),
        AutoModel::Gpt1(model) => AnyModel::Gpt1(model),
        AutoModel::Gpt2(model) => AnyModel::Gpt2(model),
        AutoModel::Gpt3(model) => AnyModel::Gpt3(model),
        AutoModel::Bert(_) => unreachable!("a model is of the kind of its config"),
    };
    let (vocab_size, n_positions) = (config.vocab_size(), config.n_positions());
    Ok(Model { model, vocab_size, n_positions })
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
