//! `config.json`: what a model must know to be built again.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic::write_atomically;
use crate::error::CheckpointError;

const CONFIG: &str = "config.json";

/// Reads `config.json` of a model directory.
///
/// Whether unknown fields are an error is the type's own choice (`#[serde(deny_unknown_fields)]`).
///
/// # Errors
/// [`CheckpointError::Read`]; [`CheckpointError::Config`] with the file and the field.
pub fn read_config<C: DeserializeOwned>(folder: impl AsRef<Path>) -> Result<C, CheckpointError> {
    read_json(&folder.as_ref().join(CONFIG))
}

/// Reads a file of JSON.
pub(crate) fn read_json<C: DeserializeOwned>(path: &Path) -> Result<C, CheckpointError> {
    let text = std::fs::read(path).map_err(CheckpointError::read(path))?;
    let wrong =
        |field: String, source| CheckpointError::Config { path: path.to_path_buf(), field, source };
    let mut json = serde_json::Deserializer::from_slice(&text);
    let config = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let field = if field == "." { "the top level".to_string() } else { field };
        wrong(field, error.into_inner())
    })?;
    json.end().map_err(|source| wrong("the end".to_string(), source))?;
    Ok(config)
}

/// Writes `config.json` of a model directory, atomically.
///
/// # Errors
/// [`CheckpointError::Write`].
///
/// # Panics
/// If `config` has no JSON form: a map with keys that are not strings.
pub fn write_config<C: Serialize>(
    folder: impl AsRef<Path>,
    config: &C,
) -> Result<(), CheckpointError> {
    write_json(&folder.as_ref().join(CONFIG), config)
}

/// Writes a file of JSON, atomically.
pub(crate) fn write_json<C: Serialize>(path: &Path, config: &C) -> Result<(), CheckpointError> {
    let mut text = serde_json::to_vec_pretty(config).expect("a config has a JSON form");
    text.push(b'\n');
    write_atomically(path, &text)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        width: usize,
        layers: Vec<Layer>,
    }

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Layer {
        dropout: f64,
    }

    /// The message and its cause for a `config.json` of this text.
    fn complaint(text: &str) -> [String; 2] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG), text).unwrap();
        let error = read_config::<Config>(folder.path()).unwrap_err();
        let message = error.to_string().replace(&folder.path().display().to_string(), "");
        [message, error.source().unwrap().to_string()]
    }

    #[test]
    fn a_config_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { width: 3, layers: vec![Layer { dropout: 0.1 }] };
        write_config(folder.path(), &config).unwrap();
        assert_eq!(read_config::<Config>(folder.path()).unwrap(), config);
    }

    #[test]
    fn a_wrong_config_is_named_with_its_field_and_what_was_found() {
        let wrong_type = complaint(r#"{"width": 3, "layers": [{"dropout": "much"}]}"#);
        assert_eq!(
            wrong_type[0],
            "/config.json is not the config expected here, at layers[0].dropout"
        );
        assert!(
            wrong_type[1].starts_with(r#"invalid type: string "much", expected f64"#),
            "{wrong_type:?}"
        );

        let unknown = complaint(r#"{"width": 3, "depth": 2, "layers": []}"#);
        assert!(
            unknown[1].starts_with("unknown field `depth`, expected `width` or `layers`"),
            "{unknown:?}"
        );

        let absent = complaint(r#"{"layers": []}"#);
        assert_eq!(absent[0], "/config.json is not the config expected here, at the top level");
        assert!(absent[1].starts_with("missing field `width`"), "{absent:?}");
    }

    #[test]
    fn a_file_that_is_not_json_or_goes_on_after_it_is_refused() {
        assert!(complaint(r#"{"width": 3, "#)[1].starts_with("EOF while parsing"));
        assert!(complaint(r#"{"width": 3, "layers": []} x"#)[1].starts_with("trailing characters"));
        assert!(complaint("\u{0}\u{1}")[1].starts_with("expected value"));
    }

    #[test]
    fn a_missing_config_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_config::<Config>(folder.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot read {}", folder.path().join(CONFIG).display())
        );
    }
}
