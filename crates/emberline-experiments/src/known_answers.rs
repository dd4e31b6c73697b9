//! What models have answered to tasks, kept on disk from one `emberline evaluate` to the next.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use emberline_checkpoint::write_atomically;
use emberline_evaluation::in_context::KnownAnswers;
use emberline_finetuning::FeatureKey;

use crate::model_directory::{Loaded, with_model};

/// The answers of a model, and the file that they are kept in, if they are.
#[derive(Default)]
pub struct Kept {
    pub known: KnownAnswers,
    file: Option<PathBuf>,
}

impl Kept {
    /// Those that a folder, which is made, has of the model of a directory. The file is called by the content that answers
    /// come of: weights, config and tokenizer. So none is ever stale, and all can be deleted at any time.
    ///
    /// # Errors
    /// If folder or file cannot be read, or the file is damaged.
    pub fn open(folder: &Path, directory: &Path, loaded: &Loaded) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let config = directory.join("config.json");
        let config =
            std::fs::read(&config).with_context(|| format!("cannot read {}", config.display()))?;
        let key = with_model!(&loaded.model, model => FeatureKey::default().module(model));
        let key = key.bytes(&config).bytes(&loaded.tokenizer.to_json());
        let file = folder.join(format!("{}.json", key.hex()));
        let known = match std::fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => KnownAnswers::default(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", file.display()));
            }
            Ok(text) => serde_json::from_slice(&text).with_context(|| {
                let file = file.display();
                format!("{file} holds no answers: delete it, and the model is asked again")
            })?,
        };
        Ok(Self { known, file: Some(file) })
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        Ok(write_atomically(file, &serde_json::to_vec(&self.known)?)?)
    }
}
