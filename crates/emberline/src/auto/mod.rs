//! The model of a directory, whichever it is: the `model_type` of its config.json tells.
//!
//! Burn's `Module` cannot be an object behind a pointer, so that what may be any model is an enum of them.

mod bert;

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use emberline_checkpoint::{
    PublishedNames, Stored, Weights, is_complete, load_weights, read_config, read_sentence_modules,
    verify,
};
use emberline_core::Stream;
use emberline_models::bert::{AnyBert, BertConfig};
use emberline_models::gpt1::{Gpt1, Gpt1Config};
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_models::gpt3::{Gpt3, Gpt3Config};
use emberline_models::published::InvalidConfig;
use emberline_models::rnn_language_model::{RnnLanguageModel, RnnLanguageModelConfig};
use serde::Deserialize;

pub(crate) use self::bert::{StoredBert, bert_for};
use crate::error::Error;

/// A model of a kind that directories hold.
#[expect(clippy::large_enum_variant, reason = "nobody has many of them")]
#[derive(Module, Debug)]
pub enum AutoModel {
    /// `rnn_language_model`.
    Recurrent(RnnLanguageModel),
    /// `openai-gpt`.
    Gpt1(Gpt1),
    /// `gpt2`.
    Gpt2(Gpt2),
    /// `gpt3`.
    Gpt3(Gpt3),
    /// `bert`, with the head that its config names.
    Bert(AnyBert),
}

/// The config of such a model, whose sizes can be.
#[derive(Clone, Debug, PartialEq)]
pub enum AutoConfig {
    /// `rnn_language_model`.
    Recurrent(RnnLanguageModelConfig),
    /// `openai-gpt`.
    Gpt1(Gpt1Config),
    /// `gpt2`.
    Gpt2(Gpt2Config),
    /// `gpt3`.
    Gpt3(Gpt3Config),
    /// `bert`.
    Bert(BertConfig),
}

/// What tells the kinds of models apart.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    model_type: Option<String>,
}

/// The folder of the encoder in a directory of `sentence-transformers` that has no config.json of a model itself; any
/// other directory as it is.
///
/// # Errors
/// [`Error::Checkpoint`] if the parts of the directory are not those that are known here.
pub fn encoder_directory(directory: impl AsRef<Path>) -> Result<PathBuf, Error> {
    let directory = directory.as_ref();
    if directory.join("config.json").exists() {
        return Ok(directory.to_path_buf());
    }
    let modules = read_sentence_modules(directory)?;
    Ok(modules.map_or(directory.to_path_buf(), |modules| directory.join(modules.encoder)))
}

impl AutoModel {
    /// The model of a directory, without its tokenizer.
    ///
    /// # Errors
    /// Those of [`AutoConfig::read`] and [`AutoConfig::load`].
    pub fn open(directory: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        let directory = directory.as_ref();
        AutoConfig::read(directory)?.load(directory, device)
    }
}

impl AutoConfig {
    /// The kinds of models, as a config.json names them.
    pub const MODEL_TYPES: [&str; 5] = ["rnn_language_model", "openai-gpt", "gpt2", "gpt3", "bert"];

    /// The config of the model of a directory, whose files are checked where they have checksums.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::NoModelType`], [`Error::UnknownModelType`], [`Error::Config`].
    pub fn read(directory: impl AsRef<Path>) -> Result<Self, Error> {
        let directory = encoder_directory(directory)?;
        // A plain model directory has no checksums.
        if is_complete(&directory) {
            verify(&directory)?;
        }
        let Kind { model_type } = read_config(&directory)?;
        let Some(model_type) = model_type else { return Err(Error::NoModelType { directory }) };
        let config = match model_type.as_str() {
            "rnn_language_model" => Self::Recurrent(read_config(&directory)?),
            "openai-gpt" => Self::Gpt1(read_config(&directory)?),
            "gpt2" => Self::Gpt2(read_config(&directory)?),
            "gpt3" => Self::Gpt3(read_config(&directory)?),
            "bert" => Self::Bert(read_config(&directory)?),
            _ => return Err(Error::UnknownModelType { directory, model_type }),
        };
        config.validate().map_err(|source| Error::Config { directory, source })?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), InvalidConfig> {
        match self {
            Self::Recurrent(config) => config.validate(),
            Self::Gpt1(config) => config.validate(),
            Self::Gpt2(config) => config.validate(),
            Self::Gpt3(config) => config.validate(),
            Self::Bert(config) => config.validate(),
        }
    }

    /// Its kind, as a config.json names it.
    pub fn model_type(&self) -> &'static str {
        let index = match self {
            Self::Recurrent(_) => 0,
            Self::Gpt1(_) => 1,
            Self::Gpt2(_) => 2,
            Self::Gpt3(_) => 3,
            Self::Bert(_) => 4,
        };
        Self::MODEL_TYPES[index]
    }

    /// The number of tokens.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Recurrent(config) => config.vocab_size,
            Self::Gpt1(config) => config.vocab_size,
            Self::Gpt2(config) => config.vocab_size,
            Self::Gpt3(config) => config.vocab_size,
            Self::Bert(config) => config.vocab_size,
        }
    }

    /// The longest text; `None` where there is no limit.
    pub fn n_positions(&self) -> Option<usize> {
        match self {
            Self::Recurrent(_) => None,
            Self::Gpt1(config) => Some(config.n_positions),
            Self::Gpt2(config) => Some(config.n_positions),
            Self::Gpt3(config) => Some(config.n_positions),
            Self::Bert(config) => Some(config.n_positions),
        }
    }

    /// The parameters of the model, for a BERT without its head; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        match self {
            Self::Recurrent(config) => config.parameter_count(),
            Self::Gpt1(config) => config.parameter_count(),
            Self::Gpt2(config) => config.parameter_count(),
            Self::Gpt3(config) => config.parameter_count(),
            Self::Bert(config) => config.parameter_count(),
        }
    }

    /// The model of this config with the weights of a directory, strictly: every parameter is in the file, and every
    /// tensor of the file is one. A BERT has the pooler that the file has, whatever its head reads, and heads that its
    /// config does not name are left out.
    ///
    /// # Errors
    /// [`Error::Checkpoint`]; for a BERT [`Error::Architecture`] and [`Error::NewHead`].
    pub fn load(&self, directory: impl AsRef<Path>, device: &Device) -> Result<AutoModel, Error> {
        let directory = encoder_directory(directory)?;
        // Whatever the weights of a model are at first, they are replaced, all of them or none.
        let random = Stream::new(0);
        Ok(match self {
            Self::Recurrent(config) => AutoModel::Recurrent(load_weights(
                config.init(random, device),
                &Weights::open(&directory)?,
                &RnnLanguageModel::stored_name,
            )?),
            Self::Gpt1(config) => AutoModel::Gpt1(published(
                config.init(random, device),
                &directory,
                &Gpt1::PUBLISHED_NAMES,
                &Gpt1::stored_name,
            )?),
            Self::Gpt2(config) => AutoModel::Gpt2(published(
                config.init(random, device),
                &directory,
                &Gpt2::PUBLISHED_NAMES,
                &Gpt2::stored_name,
            )?),
            Self::Gpt3(config) => AutoModel::Gpt3(load_weights(
                config.init(random, device),
                &Weights::open(&directory)?,
                &Gpt3::stored_name,
            )?),
            Self::Bert(config) => AutoModel::Bert(bert::any_bert(config, &directory, device)?),
        })
    }
}

/// The model with the weights of a directory of its family.
fn published<M: Module>(
    model: M,
    directory: &Path,
    names: &PublishedNames,
    table: &dyn Fn(&str) -> Stored,
) -> Result<M, Error> {
    Ok(load_weights(model, &Weights::open_published(directory, names)?, table)?)
}
