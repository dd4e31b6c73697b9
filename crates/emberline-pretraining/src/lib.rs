//! Pretraining objectives and their data builders: next token, translation.
//!
//! No objective names a model: each is for every model with the traits that it needs.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod next_token;
mod scheduled_sampling;
#[cfg(test)]
mod tiny_translator;
mod translation;
mod translation_batches;
mod windows;

pub use next_token::{CarriedNextToken, NextToken, NextTokenBatch};
pub use scheduled_sampling::ScheduledSampling;
pub use translation::{Translation, TranslationBatch};
pub use translation_batches::TranslationBatches;
pub use windows::NextTokenWindows;
