//! The JSON tasks of BIG-bench (Srivastava et al. 2022), as the package `bigbench` 1.0.0 writes their prompts.
//!
//! Three things are not the same: the order of listed choices, which is of our own stream; which of several right answers
//! an example shows, ours the first of the best and not a random one; and blanks around a written answer, which do not
//! count here.

use std::collections::HashSet;
use std::fmt;

use emberline_core::Stream;
use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::error::TaskError;
use super::task::{Choice, Item, Task};

/// The fields of a file that say how a prompt is written and what is asked. What is not there is as BIG-bench has it.
#[derive(Deserialize)]
struct File {
    name: String,
    #[serde(default)]
    task_prefix: String,
    #[serde(default = "input_prefix")]
    example_input_prefix: String,
    #[serde(default = "output_prefix")]
    example_output_prefix: String,
    #[serde(default = "choice_prefix")]
    choice_prefix: String,
    #[serde(default = "yes")]
    append_choices_to_input: bool,
    #[serde(default = "separator")]
    few_shot_example_separator: String,
    #[serde(default)]
    preferred_score: String,
    output_regex: Option<String>,
    stop_string: Option<String>,
    examples: Vec<Example>,
}

/// What counts of a written answer where a file does not say: its first sentence.
const FIRST_SENTENCE: &str = r"[^.?!;\n]+";

#[derive(Debug, Deserialize)]
struct Example {
    #[serde(default)]
    input: Value,
    #[serde(default)]
    target: Value,
    target_scores: Option<Grades>,
}

/// Answers and what they are worth, in the order of the file: the first of the best is the one that is shown.
#[derive(Debug)]
struct Grades(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Grades {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Grades;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`target_scores` of answers and numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Grades, A::Error> {
                let mut grades = Vec::new();
                while let Some(grade) = map.next_entry()? {
                    grades.push(grade);
                }
                Ok(Grades(grades))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn input_prefix() -> String {
    "\nQ: ".into()
}

fn output_prefix() -> String {
    "\nA: ".into()
}

fn choice_prefix() -> String {
    "\n  choice: ".into()
}

fn separator() -> String {
    "\n".into()
}

fn yes() -> bool {
    true
}

/// Reads a task. Where its preferred score is `multiple_choice_grade`, answers are chosen, and else written.
///
/// The choices that a question lists are shuffled, each item's by a stream of its own: many files have the right one
/// first. An item that comes again is left out, so that no example is the question.
///
/// # Errors
/// [`TaskError::Format`], [`TaskError::Empty`]; [`TaskError::Item`] with the item and the field.
pub fn bigbench_task(name: &str, text: &str, seed: u64) -> Result<Task, TaskError> {
    let wrong = |message: String| TaskError::Format { name: name.into(), message };
    let file: File = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let pattern = match (&file.output_regex, &file.stop_string) {
        (None, None) => Some(FIRST_SENTENCE),
        (pattern, _) => pattern.as_deref(),
    };
    let pattern = pattern.map(Regex::new).transpose();
    let output_pattern = pattern.map_err(|error| wrong(format!("`output_regex`: {error}")))?;
    let random = Stream::new(seed).named("choices");
    let item =
        |(index, example): (usize, &Example)| {
            file.item(example, random.at(index as u64)).map_err(|(field, complaint)| {
                TaskError::Item { name: name.into(), item: index, field, complaint }
            })
        };
    let mut known = HashSet::new();
    let examples = file.examples.iter().enumerate();
    let examples = examples.filter(|(_, example)| known.insert(format!("{example:?}")));
    let items = examples.map(item).collect::<Result<_, _>>()?;
    Task {
        description: file.task_prefix.clone(),
        separator: file.few_shot_example_separator.clone(),
        output_pattern,
        stop_strings: file.stop_string.clone().into_iter().collect(),
        ..Task::new(&file.name, items)
    }
    .checked()
}

impl File {
    fn item(&self, example: &Example, random: Stream) -> Result<Item, (&'static str, String)> {
        let input = example.input.as_str().ok_or_else(|| missing("input", "a text"))?;
        let grades = example.target_scores.as_ref();
        let listed = match grades {
            Some(Grades(grades)) if self.append_choices_to_input => {
                let mut choices: Vec<&str> = grades.iter().map(|(text, _)| &text[..]).collect();
                choices.sort_unstable();
                let order = random.permutation(choices.len());
                order.iter().map(|index| [&self.choice_prefix, choices[*index]].concat()).collect()
            }
            _ => String::new(),
        };
        let context =
            [&self.example_input_prefix, input, &listed, &self.example_output_prefix].concat();
        let targets = targets(&example.target)?;
        match (grades, targets.is_empty()) {
            (Some(grades), true) => Ok(Item::Choice { context, choices: choices(grades)? }),
            (Some(grades), false) if self.preferred_score == "multiple_choice_grade" => {
                Ok(Item::Choice { context, choices: choices(grades)? })
            }
            (_, false) => Ok(Item::Text { context, targets }),
            (None, true) => Err(missing("target", "a text, a list of texts or `target_scores`")),
        }
    }
}

/// The texts that are right; none where the field is not there.
fn targets(value: &Value) -> Result<Vec<String>, (&'static str, String)> {
    let wrong = || missing("target", "a text or a list of texts");
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(target) => Ok(vec![target.clone()]),
        Value::Array(targets) => {
            let target = |target: &Value| target.as_str().map(str::to_string).ok_or_else(wrong);
            targets.iter().map(target).collect()
        }
        _ => Err(wrong()),
    }
}

fn choices(Grades(grades): &Grades) -> Result<Vec<Choice>, (&'static str, String)> {
    let choice = |(text, grade): &(String, Value)| {
        let grade = grade.as_f64().ok_or_else(|| missing("target_scores", "numbers"))?;
        Ok(Choice { text: text.clone(), grade })
    };
    grades.iter().map(choice).collect()
}

fn missing(field: &'static str, expected: &str) -> (&'static str, String) {
    (field, format!("is missing or of another kind: expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> Result<Task, TaskError> {
        bigbench_task("task.json", text, 1)
    }

    #[test]
    fn answers_are_chosen_where_the_file_prefers_that() {
        let text = r#"{"name": "odd", "preferred_score": "multiple_choice_grade", "append_choices_to_input": false,
            "examples": [{"input": "red, cat", "target": "cat", "target_scores": {"red": 0, "cat": 1}}]}"#;
        let found = task(text).unwrap();
        assert_eq!((found.name.as_str(), found.separator.as_str()), ("odd", "\n"));
        assert_eq!(found.items[0].as_example(), "\nQ: red, cat\nA: cat");
        let Item::Choice { choices, .. } = &found.items[0] else { panic!("{found:?}") };
        assert_eq!(choices.iter().map(|choice| choice.grade).collect::<Vec<_>>(), [0.0, 1.0]);
        let written = task(&text.replace("multiple_choice_grade", "exact_str_match")).unwrap();
        assert!(matches!(&written.items[0], Item::Text { targets, .. } if targets[0] == "cat"));
    }

    #[test]
    fn what_counts_of_a_written_answer_is_its_first_sentence_unless_a_file_says_else() {
        let with = |field: &str| {
            let examples = r#""examples": [{"input": "a", "target": "b"}]"#;
            let task = task(&format!(r#"{{"name": "n", {field} {examples}}}"#)).unwrap();
            let pattern = task.output_pattern.map(|pattern| pattern.as_str().to_string());
            (pattern, task.stop_strings)
        };
        let (pattern, stop) = with("");
        let found = Regex::new(&pattern.unwrap()).unwrap().find("\n b c! d").unwrap().as_str();
        assert_eq!((found, stop), (" b c", Vec::new()));
        assert_eq!(with(r#""stop_string": ".","#), (None, vec![".".to_string()]));
        assert_eq!(with(r#""output_regex": "b","#), (Some("b".to_string()), Vec::new()));
    }

    #[test]
    fn an_item_that_comes_again_is_left_out() {
        let (a, b) = (r#"{"input": "a", "target": "1"}"#, r#"{"input": "a", "target": "2"}"#);
        let found = task(&format!(r#"{{"name": "n", "examples": [{a}, {b}, {a}]}}"#)).unwrap();
        assert_eq!(found.items.len(), 2);
    }

    #[test]
    fn choices_are_listed_in_an_order_of_the_seed() {
        let text = r#"{"name": "odd", "task_prefix": "Find it.", "output_regex": "[a-z]+", "examples": [
            {"input": "?", "target_scores": {"a": 1, "b": 0, "c": 0, "d": 0}}]}"#;
        let context = |seed| match &bigbench_task("task.json", text, seed).unwrap().items[0] {
            Item::Choice { context, .. } => context.clone(),
            item => panic!("{item:?}"),
        };
        assert_eq!(context(1), context(1));
        assert!((2..9).any(|seed| context(seed) != context(1)));
        let listed = context(1);
        let listed = listed.strip_prefix("\nQ: ?\n  choice: ").unwrap();
        let mut listed: Vec<&str> =
            listed.strip_suffix("\nA: ").unwrap().split("\n  choice: ").collect();
        listed.sort_unstable();
        assert_eq!(listed, ["a", "b", "c", "d"]);
        let found = task(text).unwrap();
        assert_eq!(found.description, "Find it.");
        assert!(found.output_pattern.unwrap().is_match("word"));
    }

    #[test]
    fn an_item_without_an_answer_is_named() {
        let of = |item: &str| {
            task(&format!(r#"{{"name": "n", "examples": [{item}]}}"#)).unwrap_err().to_string()
        };
        assert_eq!(
            of(r#"{"input": "a"}"#),
            "task.json: item 0: `target` is missing or of another kind: expected a text, a list of texts or \
             `target_scores`"
        );
        assert!(of(r#"{"target": "a"}"#).contains("item 0: `input` is missing"));
        assert!(of(r#"{"input": "a", "target_scores": {"b": "c"}}"#).contains("`target_scores`"));
        assert!(of(r#"{"input": "a", "target_scores": 1}"#).contains("`target_scores`"));
        let error = task(r#"{"examples": []}"#).unwrap_err().to_string();
        assert!(error.contains("missing field `name`"), "{error}");
    }
}
