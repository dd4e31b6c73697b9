//! The decoding engine: greedy, temperature, top-k, top-p, streaming, beam search.
//!
//! It names no model: whatever goes on from where it stopped ([`Incremental`](emberline_core::Incremental)), or
//! writes a target for a source ([`EncoderDecoder`](emberline_core::EncoderDecoder)), can be sampled and searched.
//! Run it on `model.valid()`.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod batches;
mod beam;
mod decoder;
mod engine;
mod error;
mod input;
mod likelihood;
mod ngrams;
mod pick;
mod restrictions;
mod rolling;
mod sampling;
mod shared_prefix;
mod stop_strings;
#[cfg(test)]
mod test_model;
mod text;

pub use beam::{
    BeamConfig, BeamScoring, EarlyStopping, Hypothesis, beam_search, beam_search_target,
};
pub use engine::{ContextLimit, GenerationConfig, generate, generate_target, generate_with_scores};
pub use error::GenerationError;
pub use likelihood::{
    Likelihood, LogLikelihood, likelihoods, log_probabilities, target_log_probabilities,
};
pub use pick::Pick;
pub use rolling::{Window, rolling_log_likelihoods};
pub use sampling::{Sampling, TopP};
pub use shared_prefix::likelihoods_sharing_prefixes;
pub use text::{TextStep, beam_search_text, generate_text, generate_texts};
