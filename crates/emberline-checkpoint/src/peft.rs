//! Directories of adapters, as PEFT (Hugging Face's library of parameter-efficient fine-tuning) reads and writes them:
//! `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{read_json, write_json};
use crate::error::CheckpointError;
use crate::tensors::save_tensors;
use crate::weights::Weights;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT says of a LoRA adapter, under its names; what else a file has is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeftConfig {
    /// Always `LORA`.
    pub peft_type: String,
    /// The rank.
    pub r: usize,
    /// What the scale of an adapter is in proportion to.
    pub lora_alpha: f64,
    /// The probability with which an input of an adapter is dropped in training.
    #[serde(default)]
    pub lora_dropout: f64,
    /// Which biases are trained: `none`, `lora_only` or `all`.
    #[serde(default = "none")]
    pub bias: String,
    /// Whether the scale is `alpha / √r`, and not `alpha / r`.
    #[serde(default)]
    pub use_rslora: bool,
    /// The modules with an adapter: names, or a regular expression.
    #[serde(default)]
    pub target_modules: Value,
    /// The modules that are trained whole.
    #[serde(default)]
    pub modules_to_save: Option<Vec<String>>,
    /// Whether the matrices of the model lie as `[d_input, d_output]`, as those of GPT do. Those of an adapter never do.
    #[serde(default)]
    pub fan_in_fan_out: bool,
    /// What the adapter was trained on.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Whether the adapter is loaded frozen.
    #[serde(default = "yes")]
    pub inference_mode: bool,
    /// Ranks of single modules, which there are none of here.
    #[serde(default)]
    pub rank_pattern: BTreeMap<String, Value>,
    /// Scales of single modules, which there are none of here.
    #[serde(default)]
    pub alpha_pattern: BTreeMap<String, Value>,
    /// What else a file has.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn none() -> String {
    "none".to_string()
}

fn yes() -> bool {
    true
}

/// Reads the directory of a LoRA adapter, and nothing of its tensors but the header.
///
/// # Errors
/// [`CheckpointError::Read`], [`CheckpointError::Config`], [`CheckpointError::NotSafetensors`];
/// [`CheckpointError::NotSupported`] for what is no plain LoRA.
pub fn read_adapter(folder: impl AsRef<Path>) -> Result<(PeftConfig, Weights), CheckpointError> {
    let path = folder.as_ref().join(CONFIG);
    let config: PeftConfig = read_json(&path)?;
    let is_set = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let variants = ["use_dora", "use_qalora", "use_bdlora", "lora_bias", "trainable_token_indices"];
    let variant = variants.iter().find(|field| config.other.get(**field).is_some_and(is_set));
    let asked = match variant {
        _ if config.peft_type != "LORA" => Some(format!("peft_type {}", config.peft_type)),
        Some(field) => Some(field.to_string()),
        None if !config.rank_pattern.is_empty() => Some("rank_pattern".to_string()),
        None if !config.alpha_pattern.is_empty() => Some("alpha_pattern".to_string()),
        None => None,
    };
    if let Some(asked) = asked {
        let expected = "LORA with one rank and one alpha, and none of its variants";
        return Err(CheckpointError::NotSupported { path, asked, expected });
    }
    Ok((config, Weights::open(folder.as_ref().join(WEIGHTS))?))
}

/// Writes the directory of a LoRA adapter, which is there.
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn write_adapter(
    folder: impl AsRef<Path>,
    config: &PeftConfig,
    tensors: Vec<(String, TensorData)>,
) -> Result<(), CheckpointError> {
    save_tensors(folder.as_ref().join(WEIGHTS), tensors)?;
    write_json(&folder.as_ref().join(CONFIG), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> PeftConfig {
        serde_json::from_str(text).unwrap()
    }

    fn read(text: &str) -> Result<PeftConfig, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let tensor = ("a".to_string(), TensorData::from([1.0f32]));
        let plain = config(r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#);
        write_adapter(folder.path(), &plain, vec![tensor]).unwrap();
        std::fs::write(folder.path().join(CONFIG), text).unwrap();
        read_adapter(folder.path()).map(|(config, _)| config)
    }

    #[test]
    fn an_adapter_is_read_as_it_was_written_with_what_is_not_known_here() {
        let text = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "all", "use_rslora": true,
            "target_modules": ["query"], "revision": null, "use_dora": false, "peft_version": "0.21.2"}"#;
        let read = read(text).unwrap();
        assert_eq!(read, config(text));
        assert_eq!((read.r, read.lora_alpha, read.inference_mode), (2, 4.0, true));
        assert_eq!(read.other["peft_version"], "0.21.2");
    }

    #[test]
    fn what_is_no_plain_lora_is_refused_by_name() {
        let of = |fields: &str| {
            let text = format!(r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": 4, {fields}}}"#);
            read(&text).unwrap_err().to_string()
        };
        assert!(of(r#""use_dora": true"#).contains("asks for use_dora: expected LORA"));
        assert!(of(r#""rank_pattern": {"query": 4}"#).contains("asks for rank_pattern"));
        let error = read(r#"{"peft_type": "IA3", "r": 2, "lora_alpha": 4}"#).unwrap_err();
        assert!(error.to_string().contains("asks for peft_type IA3"), "{error}");
        let error = read(r#"{"peft_type": "LORA", "r": -2, "lora_alpha": 4}"#).unwrap_err();
        assert!(error.to_string().ends_with("at r"), "{error}");
    }
}
