//! Objectives for models with the head of a task, and the data they are trained on: labelled rows, and rows
//! with a label for each token.
//!
//! No objective names a model: each is for every [`TaskModel`](emberline_core::TaskModel) that scores what
//! it needs.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod batches;
mod classification;

pub use batches::{LabelledBatch, LabelledBatches};
pub use classification::{Classification, TokenClassification};
