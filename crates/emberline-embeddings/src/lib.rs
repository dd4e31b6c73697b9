//! Vectors of words.

pub mod elmo;
