//! Objectives for models with the head of a task, and the data they are trained on: labelled rows, groups of rows with one
//! label, and rows with a label for each token.
//!
//! No objective names a model: each is for every [`TaskModel`](emberline_core::TaskModel) that scores what
//! it needs.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod auxiliary;
mod batches;
mod classification;
mod epochs;
mod groups;
mod task_inputs;

pub use auxiliary::ClassificationAndNextToken;
pub use batches::{LabelledBatch, LabelledBatches};
pub use classification::{Classification, TokenClassification};
pub use groups::{GroupBatch, GroupBatches, GroupExample};
pub use task_inputs::TaskInputs;
