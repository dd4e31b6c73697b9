//! Changing a config from the command line, and reading one, with errors that name the key.

use anyhow::{Result, anyhow, bail};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::names;

/// Reads a config from a table.
///
/// # Errors
/// A missing, unknown or mistyped key, with its path; for an unknown one the nearest too.
pub fn from_table<C: DeserializeOwned>(table: Table) -> Result<C> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        let message = message.trim_end();
        let Some((key, known)) = unknown_field(message) else {
            return anyhow!("`{path}`: {message}");
        };
        // Serde's path ends at the unknown key itself, or at the table that holds it.
        let table = path.strip_suffix(key).unwrap_or(&path).trim_matches('.');
        let full = |name: &str| match table {
            "" => name.to_string(),
            table => format!("{table}.{name}"),
        };
        let known: Vec<String> = known.iter().map(|name| full(name)).collect();
        let hint = names::hint(&full(key), known.iter().map(String::as_str));
        anyhow!("there is no key `{}`; {hint}", full(key))
    })
}

/// The key and the known ones of serde's message ``unknown field `a`, expected one of `b`, `c` ``.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// Puts the value of `path.to.key=value` into a table.
///
/// # Errors
/// What is not of that form, or a path through what is no table.
pub fn set(table: &mut Table, text: &str) -> Result<()> {
    let Some((path, value)) = text.split_once('=') else {
        bail!("`--set {text}` is not of the form path.to.key=value");
    };
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut table = table;
    for (depth, key) in keys.iter().enumerate() {
        let entry = table.entry(*key).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else {
            bail!("`{}` is a value, and has no key of its own", keys[..=depth].join("."));
        };
        table = inner;
    }
    table.insert(last.to_string(), value_of(value.trim()));
    Ok(())
}

/// The TOML value that a text is, else the text as a string.
fn value_of(text: &str) -> Value {
    match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => table.remove("value").unwrap_or_else(|| text.into()),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        name: String,
        training: Training,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Training {
        steps: u64,
        learning_rate: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_grad_norm: Option<f64>,
    }

    fn config() -> Config {
        let training = Training { steps: 10, learning_rate: 0.1, max_grad_norm: None };
        Config { name: "a".into(), training }
    }

    fn set_all(overrides: &[&str]) -> Result<Config> {
        let mut table = Table::try_from(config()).unwrap();
        overrides.iter().try_for_each(|text| set(&mut table, text))?;
        from_table(table)
    }

    fn complaint(overrides: &[&str]) -> String {
        format!("{:#}", set_all(overrides).unwrap_err())
    }

    #[test]
    fn values_are_typed_as_toml_and_else_are_text() {
        let changed = set_all(&[
            "training.steps=20",
            "training.learning_rate=1",
            "name=b c",
            "training.max_grad_norm=5.0",
        ])
        .unwrap();
        let training = Training { steps: 20, learning_rate: 1.0, max_grad_norm: Some(5.0) };
        assert_eq!(changed, Config { name: "b c".into(), training });
        assert_eq!(set_all(&["name=\"20\""]).unwrap().name, "20");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let message = "there is no key `training.step`; did you mean `training.steps`?";
        assert_eq!(complaint(&["training.step=3"]), message);
        assert!(complaint(&["nmae=3"]).ends_with("did you mean `name`?"));
        assert!(complaint(&["learning_rate=3"]).starts_with("there is no key `learning_rate`"));
        assert!(complaint(&["name.of=3"]).starts_with("`name` is a value"));
    }

    #[test]
    fn a_wrong_type_names_the_key_and_what_was_found() {
        let message = complaint(&["training.steps=many"]);
        assert!(
            message.starts_with("`training.steps`: invalid type: string \"many\""),
            "{message}"
        );
        assert!(complaint(&["training.steps=-1"]).contains("training.steps"));
        assert!(complaint(&["training.steps"]).contains("path.to.key=value"));
    }

    #[test]
    fn a_missing_key_is_named() {
        let table = toml::from_str("name = \"a\"").unwrap();
        let error = from_table::<Config>(table).unwrap_err().to_string();
        assert!(error.contains("missing field `training`"), "{error}");
    }
}
