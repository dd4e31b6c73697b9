//! The files by which `sentence-transformers` tells how an encoder makes one vector of a sentence.
//!
//! ```text
//! modules.json                    the parts in order: an encoder, a pooling, and perhaps a normalisation
//! sentence_bert_config.json       the longest text
//! 1_Pooling/config.json           which vectors are pooled
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{read_json, write_json};
use crate::error::CheckpointError;

const MODULES: &str = "modules.json";
const LIMITS: &str = "sentence_bert_config.json";
const POOLING: &str = "1_Pooling";
const NORMALIZE: &str = "2_Normalize";
const CONFIG: &str = "config.json";

/// How an encoder makes one vector of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentenceModules {
    /// The folder of the encoder within the directory; empty for the directory itself.
    pub encoder: PathBuf,
    /// Which vectors become one.
    pub pooling: PoolingMode,
    /// Whether the vector is divided by its length.
    pub normalizes: bool,
    /// The longest text in tokens, if there is a limit below that of the encoder.
    pub max_seq_length: Option<usize>,
}

/// Which vectors of a sentence become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolingMode {
    /// The mean of those of all tokens.
    Mean,
    /// That of the first token.
    Cls,
}

#[derive(Serialize, Deserialize)]
struct Part {
    idx: usize,
    name: String,
    path: String,
    /// The Python class.
    #[serde(rename = "type")]
    class: String,
}

#[derive(Deserialize)]
struct Limits {
    #[serde(default)]
    max_seq_length: Option<usize>,
}

/// Reads the parts of a directory; `None` if it has no `modules.json`, and so is not one of `sentence-transformers`.
///
/// # Errors
/// [`Read`](CheckpointError::Read); [`Config`](CheckpointError::Config) with the file and the field;
/// [`NotSupported`](CheckpointError::NotSupported) for parts and ways of pooling that are not known here.
pub fn read_sentence_modules(
    directory: impl AsRef<Path>,
) -> Result<Option<SentenceModules>, CheckpointError> {
    let directory = directory.as_ref();
    let path = directory.join(MODULES);
    if !path.exists() {
        return Ok(None);
    }
    let parts: Vec<Part> = read_json(&path)?;
    let classes: Vec<&str> =
        parts.iter().map(|part| part.class.rsplit('.').next().unwrap_or_default()).collect();
    let (encoder, pooling, normalizes) = match (classes.as_slice(), parts.as_slice()) {
        (["Transformer", "Pooling"], [encoder, pooling]) => (encoder, pooling, false),
        (["Transformer", "Pooling", "Normalize"], [encoder, pooling, _]) => {
            (encoder, pooling, true)
        }
        _ => {
            return Err(CheckpointError::NotSupported {
                path,
                asked: classes.join(", "),
                expected: "Transformer, Pooling, and perhaps Normalize",
            });
        }
    };
    let encoder = PathBuf::from(&encoder.path);
    let limits = directory.join(&encoder).join(LIMITS);
    let max_seq_length =
        if limits.exists() { read_json::<Limits>(&limits)?.max_seq_length } else { None };
    let pooling = pooling_mode(&directory.join(&pooling.path).join(CONFIG))?;
    Ok(Some(SentenceModules { encoder, pooling, normalizes, max_seq_length }))
}

/// The one way of pooling that a file switches on.
fn pooling_mode(path: &Path) -> Result<PoolingMode, CheckpointError> {
    let config: Map<String, Value> = read_json(path)?;
    let switched = |(name, value): (&String, &Value)| {
        let mode = name.strip_prefix("pooling_mode_")?;
        (value == &Value::Bool(true)).then(|| mode.to_string())
    };
    let modes: Vec<String> = match &config.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode.clone()],
        _ => config.iter().filter_map(switched).collect(),
    };
    match modes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["mean" | "mean_tokens"] => Ok(PoolingMode::Mean),
        ["cls" | "cls_token"] => Ok(PoolingMode::Cls),
        other => Err(CheckpointError::NotSupported {
            path: path.to_path_buf(),
            asked: match other {
                [] => "pooling by nothing".to_string(),
                modes => format!("pooling by {}", modes.join(" and ")),
            },
            expected: "the mean of all tokens, or the first token",
        }),
    }
}

/// Writes the parts of a directory that is there, with an encoder of a width in the directory itself.
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn write_sentence_modules(
    directory: impl AsRef<Path>,
    modules: &SentenceModules,
    d_model: usize,
) -> Result<(), CheckpointError> {
    let directory = directory.as_ref();
    let part = |idx: usize, path: &str, class: &str| Part {
        idx,
        name: idx.to_string(),
        path: path.to_string(),
        class: format!("sentence_transformers.models.{class}"),
    };
    let mut parts = vec![part(0, "", "Transformer"), part(1, POOLING, "Pooling")];
    if modules.normalizes {
        parts.push(part(2, NORMALIZE, "Normalize"));
    }
    for part in &parts[1..] {
        let folder = directory.join(&part.path);
        fs::create_dir_all(&folder).map_err(CheckpointError::write(&folder))?;
    }
    write_json(&directory.join(MODULES), &parts)?;
    if let Some(max_seq_length) = modules.max_seq_length {
        let limits = json!({"max_seq_length": max_seq_length, "do_lower_case": false});
        write_json(&directory.join(LIMITS), &limits)?;
    }
    let pooling = json!({
        "word_embedding_dimension": d_model,
        "pooling_mode_cls_token": modules.pooling == PoolingMode::Cls,
        "pooling_mode_mean_tokens": modules.pooling == PoolingMode::Mean,
        "pooling_mode_max_tokens": false,
        "pooling_mode_mean_sqrt_len_tokens": false,
    });
    write_json(&directory.join(POOLING).join(CONFIG), &pooling)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINILM: SentenceModules = SentenceModules {
        encoder: PathBuf::new(),
        pooling: PoolingMode::Mean,
        normalizes: true,
        max_seq_length: Some(256),
    };

    /// What is read after a file of the written directory has this text.
    fn read_with(file: &str, text: &str) -> Result<Option<SentenceModules>, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        write_sentence_modules(folder.path(), &MINILM, 384).unwrap();
        fs::write(folder.path().join(file), text).unwrap();
        read_sentence_modules(folder.path())
    }

    #[test]
    fn modules_come_back() {
        let cls = SentenceModules {
            pooling: PoolingMode::Cls,
            normalizes: false,
            max_seq_length: None,
            ..MINILM
        };
        for modules in [MINILM, cls] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(read_sentence_modules(folder.path()).unwrap(), None);
            write_sentence_modules(folder.path(), &modules, 384).unwrap();
            assert_eq!(read_sentence_modules(folder.path()).unwrap(), Some(modules));
        }
    }

    #[test]
    fn pooling_may_be_named_by_one_word() {
        let text = r#"{"embedding_dimension": 384, "pooling_mode": "cls"}"#;
        let modules = read_with("1_Pooling/config.json", text).unwrap().unwrap();
        assert_eq!(modules.pooling, PoolingMode::Cls);
    }

    #[test]
    fn what_is_not_known_here_is_refused_by_name() {
        let complaint = |file: &str, text: &str| read_with(file, text).unwrap_err().to_string();
        let max = r#"{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true}"#;
        let error = complaint("1_Pooling/config.json", max);
        assert!(error.contains("1_Pooling/config.json asks for pooling by max_tokens and mean_tokens: expected the mean"), "{error}");
        let error = complaint("1_Pooling/config.json", "{}");
        assert!(error.contains("asks for pooling by nothing: expected"), "{error}");
        let dense = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.models.Dense"}]"#;
        let error = complaint("modules.json", dense);
        assert!(
            error.contains(
                "modules.json asks for Transformer, Dense: expected Transformer, Pooling"
            ),
            "{error}"
        );
        let error = complaint("modules.json", "{}");
        assert!(error.contains("modules.json is not the config expected here"), "{error}");
    }
}
