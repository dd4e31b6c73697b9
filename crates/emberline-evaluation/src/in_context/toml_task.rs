//! Tasks of one's own, in TOML:
//!
//! ```toml
//! name = "capitals"
//! description = "Name the capital."
//! answer_context = "A:"
//!
//! [[items]]
//! context = "Q: France?\nA:"
//! choices = [" Paris", " Lyon"]
//! right = 0
//!
//! [[examples]]
//! context = "Q: Spain?\nA:"
//! targets = [" Madrid"]
//! ```
//!
//! An item has `choices` and `right`, or `targets`, or `contexts`, `ending` and `right`. What separates examples stands
//! after the description, too.

use regex::Regex;
use serde::Deserialize;

use super::error::TaskError;
use super::task::{Choice, Item, Task};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    description: String,
    separator: Option<String>,
    answer_context: Option<String>,
    output_pattern: Option<String>,
    stop_strings: Option<Vec<String>>,
    max_new_tokens: Option<usize>,
    items: Vec<Entry>,
    #[serde(default)]
    examples: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    context: Option<String>,
    choices: Option<Vec<String>>,
    right: Option<usize>,
    targets: Option<Vec<String>>,
    contexts: Option<Vec<String>>,
    ending: Option<String>,
}

/// Reads a task.
///
/// # Errors
/// [`TaskError::Format`] with the place in the file, [`TaskError::Empty`]; [`TaskError::Item`] with the item and the field.
pub fn toml_task(name: &str, text: &str) -> Result<Task, TaskError> {
    let wrong = |message: String| TaskError::Format { name: name.into(), message };
    let file: File = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let pattern = file.output_pattern.as_deref().map(Regex::new).transpose();
    let output_pattern = pattern.map_err(|error| wrong(format!("`output_pattern`: {error}")))?;
    let n_items = file.items.len();
    let mut items = Vec::with_capacity(n_items + file.examples.len());
    for (item, entry) in file.items.into_iter().chain(file.examples).enumerate() {
        items.push(entry.item().map_err(|(field, complaint)| TaskError::Item {
            name: name.into(),
            item,
            field,
            complaint,
        })?);
    }
    let examples = items.split_off(n_items);
    let Task { name, separator, stop_strings, max_new_tokens, items, .. } =
        Task::new(file.name, items);
    let separator = file.separator.unwrap_or(separator);
    let after = if file.description.is_empty() { "" } else { &separator };
    Task {
        name,
        description: file.description + after,
        separator,
        answer_context: file.answer_context,
        output_pattern,
        stop_strings: file.stop_strings.unwrap_or(stop_strings),
        max_new_tokens: file.max_new_tokens.unwrap_or(max_new_tokens),
        items,
        examples,
    }
    .checked()
}

impl Entry {
    fn item(self) -> Result<Item, (&'static str, String)> {
        let there = |field, value: Option<String>| {
            value.ok_or_else(|| (field, "is missing: expected a text".to_string()))
        };
        let right =
            self.right.ok_or_else(|| ("right", "is missing: expected an index".to_string()));
        match (self.choices, self.targets, self.contexts) {
            (Some(choices), None, None) => {
                let right = right?;
                if right >= choices.len() {
                    let n = choices.len();
                    return Err(("right", format!("is {right}: expected less than {n}")));
                }
                let grade = |index| if index == right { 1.0 } else { 0.0 };
                let choices = choices.into_iter().enumerate();
                let choices = choices.map(|(index, text)| Choice { text, grade: grade(index) });
                let context = there("context", self.context)?;
                Ok(Item::Choice { context, choices: choices.collect() })
            }
            (None, Some(targets), None) => {
                Ok(Item::Text { context: there("context", self.context)?, targets })
            }
            (None, None, Some(contexts)) => {
                Ok(Item::Partial { contexts, ending: there("ending", self.ending)?, right: right? })
            }
            _ => Err(("choices", "or `targets` or `contexts`: expected one of the three".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = r#"
        name = "capitals"
        description = "Name the capital."
        answer_context = "A:"

        [[items]]
        context = "Q: France?\nA:"
        choices = [" Paris", " Lyon"]
        right = 0

        [[items]]
        contexts = ["The cup", "The bag"]
        ending = " is full."
        right = 1

        [[examples]]
        context = "Q: Spain?\nA:"
        targets = [" Madrid"]
    "#;

    #[test]
    fn each_kind_of_item_is_read() {
        let task = toml_task("capitals.toml", TASK).unwrap();
        let all: Vec<String> =
            task.items.iter().chain(&task.examples).map(Item::as_example).collect();
        assert_eq!(all, ["Q: France?\nA: Paris", "The bag is full.", "Q: Spain?\nA: Madrid"]);
        assert_eq!((task.items.len(), task.separator.as_str()), (2, "\n\n"));
        assert_eq!(task.answer_context.as_deref(), Some("A:"));
        assert_eq!(task.description, "Name the capital.\n\n");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |from: &str, to: &str| {
            toml_task("capitals.toml", &TASK.replace(from, to)).unwrap_err().to_string()
        };
        let refused = [
            ("right = 0", "", "item 0: `right` is missing: expected an index"),
            ("right = 0", "right = 2", "item 0: `right` is 2: expected less than 2"),
            ("ending = \" is full.\"", "", "item 1: `ending` is missing: expected a text"),
            ("targets = [\" Madrid\"]", "", "item 2: `choices` or `targets` or `contexts`"),
            ("answer_context", "answer", "unknown field `answer`"),
        ];
        for (from, to, expected) in refused {
            let found = error(from, to);
            assert!(found.starts_with("capitals.toml: ") && found.contains(expected), "{found}");
        }
    }
}
