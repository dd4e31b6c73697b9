//! Directories of BERTs: with any head, of `transformers`, `sentence-transformers` or Google.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use emberline_checkpoint::{
    Weights, is_complete, load_weights_but_heads, read_config, read_sentence_modules, verify,
};
use emberline_core::Stream;
use emberline_models::bert::{AnyBert, Architecture, Bert, BertConfig};

use crate::config::check_memory;
use crate::model_directory::Names;

/// A BERT with the head that its config names.
pub struct LoadedBert {
    pub model: AnyBert,
    pub config: BertConfig,
}

/// The folder of the encoder in a directory of `sentence-transformers`, which has no config.json of a model itself; any
/// other directory as it is.
///
/// # Errors
/// If the parts of the directory are not those that are known here.
pub fn encoder_of(directory: &Path) -> Result<PathBuf> {
    if directory.join("config.json").exists() {
        return Ok(directory.to_path_buf());
    }
    let modules = read_sentence_modules(directory)?;
    Ok(modules.map_or(directory.to_path_buf(), |modules| directory.join(modules.encoder)))
}

/// Reads the model of a directory without its tokenizer. A pooler is there if the file has one, whatever the head reads;
/// other heads of the file are left out.
///
/// # Errors
/// If a file is missing or foreign, a tensor does not fit, the head that the config names is not in the file, or a
/// checkpoint is not what was written.
pub fn load(directory: &Path, device: &Device) -> Result<LoadedBert> {
    if is_complete(directory) {
        verify(directory)?;
    }
    let unusable = || format!("the config.json of {} cannot be used", directory.display());
    let config: BertConfig = read_config(directory)?;
    config.validate().with_context(unusable)?;
    check_memory(config.parameter_count(), 1).with_context(unusable)?;
    let architecture = config.architecture().with_context(unusable)?;

    let is_of_tensorflow = Weights::open(directory)?.names().any(|name| name.starts_with("bert/"));
    let (names, table): (_, &Names) = match is_of_tensorflow {
        true => (&Bert::TENSORFLOW_NAMES, &Bert::tensorflow_name),
        false => (&Bert::PUBLISHED_NAMES, &Bert::stored_name),
    };
    let weights = Weights::open_published(directory, names)?;
    // Whatever the weights of a model are at first, they are replaced.
    let random = Stream::new(0);
    let mut model = config.init_any(architecture, random, device);
    let pooler = &mut model.bert_mut().pooler;
    if weights.shape(&table("pooler.weight").name).is_none() {
        pooler.take_if(|_| architecture == Architecture::Model);
    } else if pooler.is_none() {
        *pooler = config.init(random, device).pooler;
    }
    let (model, other) = load_weights_but_heads(model, &weights, names, table)?;
    ensure!(
        other.new.is_empty(),
        "{} is of a {}, but its weights have no {}",
        directory.display(),
        architecture.name(),
        other.new.join(", ")
    );
    Ok(LoadedBert { model, config })
}
