//! Vectors of words: word2vec, the files of others, and what the vectors say; ELMo, whose vectors depend on the sentence.
//!
//! A [`WordVectors`] is a table with a vector for each word, trained by [`word2vec`] or read from a file
//! ([`read_vectors`]). It answers which words are alike, is scored by the standard tests, and becomes the first layer of a
//! model.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

pub mod elmo;
mod error;
mod files;
mod queries;
mod scores;
mod simd;
mod table;
mod vectors;
pub mod word2vec;
mod words;

pub use error::EmbeddingsError;
pub use files::{FastText, Format, read_vectors, write_vectors};
pub use queries::{Combination, Scored};
pub use scores::{AnalogyQuestions, PairScore, SectionScore, SimilarityPairs};
pub use vectors::WordVectors;
pub use words::Words;
