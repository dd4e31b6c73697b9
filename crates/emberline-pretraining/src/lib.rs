//! Pretraining objectives and their data builders: next token, both ways too, masked token and next sentence, translation.
//!
//! No objective names a model: each is for every model with the traits that it needs.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod bidirectional;
mod both_ways;
mod draws;
mod masked_token;
mod masking;
mod next_token;
mod sampled_softmax;
mod scheduled_sampling;
mod sentence_pair_batches;
mod sentence_pairs;
#[cfg(test)]
mod tiny_encoder;
#[cfg(test)]
mod tiny_translator;
mod translation;
mod translation_batches;
mod windows;

pub use bidirectional::{BidirectionalBatch, NextWordBothWays};
pub use both_ways::{BothWaysWindows, ReadBothWays, predicted_words};
pub use masked_token::{
    MaskedToken, MaskedTokenAndNextSentence, NextSentence, RightGuesses, SentencePairBatch,
};
pub use masking::{MaskedRow, Masking, MaskingConfig};
pub use next_token::{CarriedNextToken, NextToken, NextTokenBatch};
pub use scheduled_sampling::ScheduledSampling;
pub use sentence_pair_batches::{MaskingTime, SentencePairBatches};
pub use sentence_pairs::{Documents, PairRow, SentencePairsConfig};
pub use translation::{Translation, TranslationBatch};
pub use translation_batches::TranslationBatches;
pub use windows::NextTokenWindows;
