//! Predictions of models with the head of a task, and how right they are.
//!
//! Nothing here names a model: predictions are those of any [`TaskModel`](emberline_core::TaskModel), and the
//! scores need no model at all.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod confusion;
mod predict;
mod scores;
mod spans;

pub use confusion::ConfusionMatrix;
pub use predict::{predict_rows, predict_tokens};
pub use scores::Scores;
pub use spans::{Span, SpanScores, spans};
