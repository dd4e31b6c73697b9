//! Predictions of models with the head of a task, and how right they and translations are.
//!
//! Nothing here names a model: predictions are those of any [`TaskModel`](emberline_core::TaskModel), and the
//! scores need no model at all. Every score comes from counts, which add up over segments and corpora.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod answers;
mod bleu;
mod bleu_tokenizer;
mod chrf;
mod conditioning;
mod confusion;
mod continuations;
mod error;
mod error_rate;
pub mod in_context;
mod ngrams;
mod perplexity;
mod predict;
mod scores;
mod segments;
mod spans;
#[cfg(test)]
mod test_model;

pub use answers::{AnswerScores, SquadVersion};
pub use bleu::{Bleu, BleuCounts, BleuScore, BleuSmoothing, MAX_ORDER};
pub use bleu_tokenizer::BleuTokenizer;
pub use chrf::{Chrf, ChrfCounts, ChrfScore};
pub use conditioning::{first_sentences, question_prompt, summary_prompt, translation_prompt};
pub use confusion::ConfusionMatrix;
pub use continuations::{LastWords, encode_continuation, last_words};
pub use emberline_core::{pearson, spearman};
pub use error::EvaluationError;
pub use error_rate::ErrorRates;
pub use perplexity::{TextLikelihood, perplexity, text_likelihoods};
pub use predict::{best_class, example_scores, predict_groups, predict_rows, predict_tokens};
pub use scores::Scores;
pub use spans::{Span, SpanScores, spans};
