//! Objectives for models with the head of a task, and the data they are trained on: labelled rows, rows with a label
//! for each token, groups of rows with one label, rows with several labels or with numbers, answers in a text, and choices
//! between rows.
//!
//! No objective names a model: each is for every [`TaskModel`](emberline_core::TaskModel) that scores what
//! it needs.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod answers;
mod auxiliary;
mod batches;
mod classification;
mod epochs;
mod groups;
mod numbers;
mod task_inputs;

pub use answers::{AnswerBatch, AnswerBatches, Answers, Choice};
pub use auxiliary::ClassificationAndNextToken;
pub use batches::{Batches, ExampleBatch, LabelledBatch, LabelledBatches};
pub use classification::{Classification, TokenClassification};
pub use groups::{GroupBatch, GroupBatches, GroupExample};
pub use numbers::{MultiLabel, NumberBatch, Regression};
pub use task_inputs::TaskInputs;
