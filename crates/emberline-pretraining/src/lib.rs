//! Pretraining objectives and their data builders: next token.
//!
//! No objective names a model: each is for every model with the traits that it needs.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod next_token;
mod windows;

pub use next_token::{CarriedNextToken, NextToken, NextTokenBatch};
pub use windows::NextTokenWindows;
