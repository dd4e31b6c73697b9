//! What a model is asked.

use regex::Regex;
use serde::Serialize;

use super::error::TaskError;

/// A task: its items are asked one by one.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// What there is to do, in words, at the beginning of every prompt, with what stands after it; may be empty.
    pub description: String,
    /// What stands after each example.
    pub separator: String,
    /// What stands before an answer that belongs to no question, as `Answer:`; the probability of a choice after it is
    /// what [`ChoiceScore::Calibrated`](super::ChoiceScore::Calibrated) divides by.
    pub answer_context: Option<String>,
    /// The part of a written answer that counts: what this finds first.
    pub output_pattern: Option<Regex>,
    /// Where a written answer ends.
    pub stop_strings: Vec<String>,
    /// The most tokens of a written answer.
    pub max_new_tokens: usize,
    /// What is asked.
    pub items: Vec<Item>,
    /// What the examples of prompts are drawn from; if empty, from the items that are not asked.
    pub examples: Vec<Item>,
}

/// A question and what counts as its answer. The texts follow each other without a blank between: an answer that is a
/// word of its own begins with one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Item {
    /// One of some answers is the most probable.
    Choice {
        /// What comes before the answer.
        context: String,
        /// The answers.
        choices: Vec<Choice>,
    },
    /// An answer is written.
    Text {
        /// What comes before the answer.
        context: String,
        /// The answers that are right; the first is written in examples.
        targets: Vec<String>,
    },
    /// After one of some texts the same ending is the most probable, as of Winograd's schemas: what is compared is the
    /// probability of the ending alone (Trinh and Le, 2018).
    Partial {
        /// The texts.
        contexts: Vec<String>,
        /// What follows them.
        ending: String,
        /// Which of the texts is right.
        right: usize,
    },
}

/// An answer to choose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// The answer.
    pub text: String,
    /// What choosing it is worth: 1 for the right one, 0 for others, and what a file says between.
    pub grade: f64,
}

impl Task {
    /// A task of a name and items: nothing described, an empty line between examples, answers that end with their line.
    pub fn new(name: impl Into<String>, items: Vec<Item>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            separator: "\n\n".into(),
            answer_context: None,
            output_pattern: None,
            stop_strings: vec!["\n".into()],
            max_new_tokens: 64,
            items,
            examples: Vec::new(),
        }
    }

    /// The same, if there are items and each can be answered.
    ///
    /// # Errors
    /// [`TaskError::Empty`]; [`TaskError::Item`] for choices or contexts that are fewer than two, empty or equal, for
    /// grades of which none is above 0, and for targets and endings that are not there.
    pub fn checked(self) -> Result<Self, TaskError> {
        if self.items.is_empty() {
            return Err(TaskError::Empty { name: self.name });
        }
        for (item, asked) in self.items.iter().chain(&self.examples).enumerate() {
            asked.check().map_err(|(field, complaint)| TaskError::Item {
                name: self.name.clone(),
                item,
                field,
                complaint,
            })?;
        }
        Ok(self)
    }
}

impl Item {
    /// The item with its answer, as prompts have it as an example.
    pub fn as_example(&self) -> String {
        match self {
            Self::Choice { context, choices } => {
                let best = choices.iter().reduce(|a, b| if b.grade > a.grade { b } else { a });
                [context.as_str(), best.map_or("", |choice| &choice.text)].concat()
            }
            Self::Text { context, targets } => {
                [context.as_str(), targets.first().map_or("", |target| target)].concat()
            }
            Self::Partial { contexts, ending, right } => {
                [contexts.get(*right).map_or("", |context| context), ending].concat()
            }
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        match self {
            Self::Choice { choices, .. } => {
                let texts: Vec<&str> = choices.iter().map(|choice| choice.text.as_str()).collect();
                check_alternatives(&texts).map_err(|complaint| ("choices", complaint))?;
                if !choices.iter().any(|choice| choice.grade > 0.0) {
                    return Err(("choices", "has no right one".into()));
                }
            }
            Self::Text { targets, .. } => {
                if targets.iter().all(|target| target.trim().is_empty()) {
                    return Err(("targets", "has no text: expected at least one".into()));
                }
            }
            Self::Partial { contexts, ending, right } => {
                let texts: Vec<&str> = contexts.iter().map(String::as_str).collect();
                check_alternatives(&texts).map_err(|complaint| ("contexts", complaint))?;
                if ending.trim().is_empty() {
                    return Err(("ending", "is empty".into()));
                }
                if *right >= contexts.len() {
                    let n = contexts.len();
                    return Err(("right", format!("is {right}: expected less than {n}")));
                }
            }
        }
        Ok(())
    }
}

/// What one chooses from: several texts, none empty and no two the same.
fn check_alternatives(texts: &[&str]) -> Result<(), String> {
    if texts.len() < 2 {
        return Err(format!("has {} texts: expected at least 2", texts.len()));
    }
    for (index, text) in texts.iter().enumerate() {
        if text.trim().is_empty() {
            return Err(format!("has an empty text at {index}"));
        }
        if texts[..index].contains(text) {
            return Err(format!("has {text:?} twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(texts: &[(&str, f64)]) -> Item {
        let choice = |(text, grade): &(&str, f64)| Choice { text: (*text).into(), grade: *grade };
        Item::Choice { context: "Q:".into(), choices: texts.iter().map(choice).collect() }
    }

    #[test]
    fn an_example_ends_with_the_best_answer() {
        assert_eq!(choice(&[(" no", 0.0), (" yes", 1.0), (" ja", 1.0)]).as_example(), "Q: yes");
        let text =
            Item::Text { context: "1 + 1 =".into(), targets: vec![" 2".into(), " two".into()] };
        assert_eq!(text.as_example(), "1 + 1 = 2");
        let contexts = vec!["The cup".into(), "The bag".into()];
        let partial = Item::Partial { contexts, ending: " is too small.".into(), right: 1 };
        assert_eq!(partial.as_example(), "The bag is too small.");
    }

    #[test]
    fn what_cannot_be_answered_is_named() {
        let complaint = |item: Item| Task::new("t", vec![item]).checked().unwrap_err().to_string();
        let refused = [
            (choice(&[(" a", 1.0)]), "t: item 0: `choices` has 1 texts: expected at least 2"),
            (choice(&[(" a", 1.0), (" ", 0.0)]), "t: item 0: `choices` has an empty text at 1"),
            (choice(&[(" a", 1.0), (" a", 0.0)]), "t: item 0: `choices` has \" a\" twice"),
            (choice(&[(" a", 0.0), (" b", 0.0)]), "t: item 0: `choices` has no right one"),
            (
                Item::Text { context: "a".into(), targets: vec![" ".into()] },
                "t: item 0: `targets` has no text: expected at least one",
            ),
            (
                Item::Partial {
                    contexts: vec!["a".into(), "b".into()],
                    ending: "c".into(),
                    right: 2,
                },
                "t: item 0: `right` is 2: expected less than 2",
            ),
        ];
        for (item, expected) in refused {
            assert_eq!(complaint(item), expected);
        }
        let error = Task::new("t", Vec::new()).checked().unwrap_err().to_string();
        assert_eq!(error, "t has no items: expected at least one");
    }
}
