//! What a run has learnt already, in a file of its directory: a run that was killed goes on behind it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use emberline_checkpoint::write_atomically;
use serde::{Deserialize, Serialize};

use super::TransferTextConfig;

/// The file.
const FILE: &str = "learnt.json";

/// What came out of one training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    /// The right answers to the test.
    pub n_right: usize,
    /// The numbers that were trained.
    pub n_trained: usize,
}

/// What was learnt, by name.
pub struct Kept {
    path: PathBuf,
    contents: Contents,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    /// That of the run: with another one everything is learnt anew.
    config: String,
    learnt: BTreeMap<String, Learnt>,
}

impl Kept {
    /// What a run directory holds, if it is of this config.
    ///
    /// # Errors
    /// If the config cannot be written as text.
    pub fn open(directory: &Path, config: &TransferTextConfig) -> Result<Self> {
        let (path, config) = (directory.join(FILE), toml::to_string(config)?);
        let found = std::fs::read(&path).ok();
        let found = found.and_then(|bytes| serde_json::from_slice::<Contents>(&bytes).ok());
        let contents = found.filter(|contents| contents.config == config);
        let contents = contents.unwrap_or_else(|| Contents { config, learnt: BTreeMap::new() });
        Ok(Self { path, contents })
    }

    /// What was learnt under a name, or else what `learn` makes.
    ///
    /// # Errors
    /// Those of `learn`, and if it cannot be kept.
    pub fn get(&mut self, name: &str, learn: impl FnOnce() -> Result<Learnt>) -> Result<Learnt> {
        if let Some(learnt) = self.contents.learnt.get(name) {
            return Ok(*learnt);
        }
        let learnt = learn()?;
        self.contents.learnt.insert(name.to_string(), learnt);
        write_atomically(&self.path, &serde_json::to_vec_pretty(&self.contents)?)?;
        Ok(learnt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::transfer_text::transfer_text;

    #[test]
    fn what_was_learnt_is_believed_under_the_same_config_and_under_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let of = |config: &TransferTextConfig, n_right| {
            let mut kept = Kept::open(folder.path(), config).unwrap();
            kept.get("a", || Ok(Learnt { n_right, n_trained: 1 })).unwrap().n_right
        };
        let config = transfer_text();
        assert_eq!([of(&config, 5), of(&config, 6)], [5, 5]);
        let mut other = config.clone();
        other.transfer.lora.rank += 1;
        assert_eq!([of(&other, 7), of(&other, 8)], [7, 7]);
        std::fs::write(folder.path().join(FILE), "half of it").unwrap();
        assert_eq!(of(&other, 9), 9);
    }
}
