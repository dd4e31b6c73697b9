//! What the configs of published models have in common.

use std::fmt::Display;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Fields of a published config.json that say nothing to its model. They are written back as they were read.
///
/// Except those that say in which element type weights are stored: the weights say that themselves, and may be saved in
/// another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct OtherFields(pub Map<String, Value>);

impl OtherFields {
    /// Those of a new model, which is read by this class of `transformers`.
    pub(crate) fn of_class(class: &str) -> Self {
        Self(Map::from_iter([("architectures".to_string(), json!([class]))]))
    }
}

impl From<Map<String, Value>> for OtherFields {
    fn from(mut fields: Map<String, Value>) -> Self {
        fields.retain(|name, _| name != "dtype" && name != "torch_dtype");
        Self(fields)
    }
}

/// A switch that the models here have in one position. A config with the other is refused when it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed<const POSITION: bool>;

impl<const POSITION: bool> Serialize for Fixed<POSITION> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(POSITION)
    }
}

impl<'de, const POSITION: bool> Deserialize<'de> for Fixed<POSITION> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = bool::deserialize(deserializer)?;
        if found == POSITION {
            return Ok(Self);
        }
        Err(D::Error::custom(format!("{found} is not supported here, only {POSITION}")))
    }
}

/// A field of a model's config whose value cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} must be {expected}, but is {found}")]
pub struct InvalidConfig {
    /// The field, as the file names it.
    pub field: &'static str,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

/// An error that names the field unless `holds`.
pub(crate) fn require(
    holds: bool,
    field: &'static str,
    expected: impl Display,
    found: impl Display,
) -> Result<(), InvalidConfig> {
    match holds {
        true => Ok(()),
        false => {
            Err(InvalidConfig { field, expected: expected.to_string(), found: found.to_string() })
        }
    }
}

/// An error that names the first size that is zero.
pub(crate) fn require_sizes(sizes: &[(&'static str, usize)]) -> Result<(), InvalidConfig> {
    sizes.iter().try_for_each(|(field, size)| require(*size > 0, field, "at least 1", size))
}

/// An error that names the first number that is no probability of dropout.
pub(crate) fn require_dropouts(dropouts: &[(&'static str, f64)]) -> Result<(), InvalidConfig> {
    let is_one = |number: f64| (0.0..1.0).contains(&number);
    dropouts.iter().try_for_each(|(field, number)| {
        require(is_one(*number), field, "at least 0 and below 1", number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Config {
        width: usize,
        #[serde(default)]
        scaled: Fixed<true>,
        #[serde(flatten)]
        other: OtherFields,
    }

    #[test]
    fn other_fields_come_back_without_the_element_type() {
        let text =
            r#"{"width": 3, "eos": [1, null], "torch_dtype": "float16", "dtype": "bfloat16"}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        let written = serde_json::to_value(&config).unwrap();
        assert_eq!(written, json!({"width": 3, "scaled": true, "eos": [1, null]}));
    }

    #[test]
    fn a_switch_in_the_other_position_is_refused() {
        assert!(serde_json::from_str::<Config>(r#"{"width": 3, "scaled": true}"#).is_ok());
        let error = serde_json::from_str::<Config>(r#"{"width": 3, "scaled": false}"#).unwrap_err();
        assert!(error.to_string().starts_with("false is not supported here, only true"), "{error}");
    }
}
