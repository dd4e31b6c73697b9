//! The zoo: one file a model, each with what it changed against its ancestor.
//!
//! A model here knows nothing of losses, optimizers, files and tokenizers.

pub mod attention_seq2seq;
pub mod bert;
pub mod cnn;
pub mod gpt1;
pub mod gpt1_task;
pub mod gpt2;
pub mod gpt3;
mod gpt_cache;
mod layer_groups;
pub mod published;
pub mod recurrent_classifier;
pub mod recurrent_tagger;
pub mod rnn_language_model;
pub mod seq2seq;
mod stored;
pub mod transformer;
