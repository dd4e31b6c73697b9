//! The decoding engine: greedy, temperature, top-k, top-p, streaming.
//!
//! It names no model: whatever goes on from where it stopped ([`Incremental`](emberline_core::Incremental))
//! can be sampled. Run it on `model.valid()`.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod engine;
mod error;
mod sampling;
#[cfg(test)]
mod test_model;
mod text;

pub use engine::{GenerationConfig, generate};
pub use error::GenerationError;
pub use sampling::Sampling;
pub use text::generate_text;
