//! Lines of `{"context": …, "completion": …}`, as the tasks of GPT-3's paper were published.

use serde::Deserialize;

use super::error::TaskError;
use super::task::{Item, Task};

#[derive(Deserialize)]
struct Line {
    context: String,
    completion: String,
}

/// Reads a task whose answers are written. The contexts of the published files begin with their empty lines, so that
/// nothing more separates examples.
///
/// # Errors
/// [`TaskError::Format`] with the line; [`TaskError::Empty`] and [`TaskError::Item`].
pub fn completion_task(name: &str, text: &str) -> Result<Task, TaskError> {
    let mut items = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Line { context, completion } = serde_json::from_str(line).map_err(|error| {
            TaskError::Format { name: name.into(), message: format!("line {}: {error}", index + 1) }
        })?;
        items.push(Item::Text { context, targets: vec![completion] });
    }
    Task { separator: String::new(), ..Task::new(name, items) }.checked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_item() {
        let text = "{\"context\": \"\\n\\nQ: What is 98 plus 45?\\n\\nA:\", \"completion\": \" 143\"}\n\n\
                    {\"context\": \"\\nasinoc =\", \"completion\": \" casino\"}\n";
        let task = completion_task("sums", text).unwrap();
        assert_eq!(task.items.len(), 2);
        assert_eq!(task.items[1].as_example(), "\nasinoc = casino");
    }

    #[test]
    fn a_missing_field_is_named_with_its_line() {
        let error =
            completion_task("sums.jsonl", "\n{\"context\": \"a\"}").unwrap_err().to_string();
        assert!(error.starts_with("sums.jsonl: line 2: missing field `completion`"), "{error}");
        let error = completion_task("sums.jsonl", "\n").unwrap_err().to_string();
        assert_eq!(error, "sums.jsonl has no items: expected at least one");
    }
}
