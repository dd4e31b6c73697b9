//! Prompts with examples against the package `bigbench` 1.0.0 and lm-evaluation-harness 0.4.13, which wrote
//! `fixtures/few_shot_prompts.json` through `fixtures/few_shot_prompts.py`.

use std::path::Path;

use emberline_evaluation::in_context::{
    Choice, Item, Prompt, Task, bigbench_task, completion_task,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    bigbench: Vec<OfBigbench>,
    harness: Vec<OfHarness>,
}

#[derive(Deserialize)]
struct OfBigbench {
    file: Option<String>,
    text: Option<String>,
    examples: Vec<usize>,
    item: usize,
    prompt: String,
    choices: Vec<String>,
}

#[derive(Deserialize)]
struct OfHarness {
    description: String,
    separator: String,
    docs: Vec<Doc>,
    n_examples: usize,
    arguments: Vec<[String; 2]>,
}

#[derive(Deserialize, serde::Serialize)]
#[serde(untagged)]
enum Doc {
    Choice { context: String, choices: Vec<String>, right: usize },
    Text { context: String, completion: String },
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/few_shot_prompts.json")).unwrap()
}

/// All that stands before the answer of an item.
fn prompt(task: &Task, examples: &[usize], item: usize) -> String {
    let examples: Vec<&Item> = examples.iter().map(|example| &task.items[*example]).collect();
    let (Item::Choice { context, .. } | Item::Text { context, .. }) = &task.items[item] else {
        panic!("{:?}", task.items[item])
    };
    Prompt::new(task, &examples).before + context
}

/// The lines of a prompt in an order that hangs on nothing: that of listed choices is drawn.
fn sorted_lines(prompt: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = prompt.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn prompts_of_bigbench_are_those_of_its_package() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/bigbench");
    let mut n_equal = 0;
    for case in fixture().bigbench {
        let text = match (&case.file, case.text) {
            (Some(file), _) => std::fs::read_to_string(folder.join(file)).unwrap(),
            (None, text) => text.unwrap(),
        };
        let task = bigbench_task("task.json", &text, 1).unwrap();
        let found = prompt(&task, &case.examples, case.item);
        assert_eq!(sorted_lines(&found), sorted_lines(&case.prompt));
        n_equal += usize::from(found == case.prompt);
        if let Item::Choice { choices, .. } = &task.items[case.item] {
            let choices: Vec<&str> = choices.iter().map(|choice| &choice.text[..]).collect();
            assert_eq!(choices, case.choices);
        }
    }
    // All but those that list choices.
    assert!(n_equal >= 11, "{n_equal} prompts are equal");
}

#[test]
fn prompts_are_those_of_the_harness() {
    for case in fixture().harness {
        let items = case.docs.iter().map(|doc| match doc {
            Doc::Choice { context, choices, right } => {
                let choice = |(index, text): (usize, &String)| Choice {
                    text: format!(" {text}"),
                    grade: f64::from(u8::from(index == *right)),
                };
                let choices = choices.iter().enumerate().map(choice).collect();
                Item::Choice { context: context.clone(), choices }
            }
            Doc::Text { context, completion } => {
                Item::Text { context: context.clone(), targets: vec![completion.clone()] }
            }
        });
        let task = Task {
            description: case.description,
            separator: case.separator,
            ..Task::new("case", items.collect())
        };
        let examples: Vec<usize> = (0..case.n_examples).collect();
        let last = task.items.len() - 1;
        let found = prompt(&task, &examples, last);
        let answers: Vec<&str> = match &task.items[last] {
            Item::Choice { choices, .. } => choices.iter().map(|choice| &choice.text[..]).collect(),
            Item::Text { targets, .. } => targets.iter().map(String::as_str).collect(),
            item => panic!("{item:?}"),
        };
        let found: Vec<[&str; 2]> =
            answers.into_iter().map(|answer| [&found[..], answer]).collect();
        assert_eq!(found, case.arguments);
        if task.description.is_empty() && task.separator.is_empty() {
            let lines = case.docs.iter().map(|doc| serde_json::to_string(doc).unwrap() + "\n");
            let read = completion_task("sums.jsonl", &lines.collect::<String>()).unwrap();
            assert_eq!(prompt(&read, &examples, last), found[0][0]);
        }
    }
}
