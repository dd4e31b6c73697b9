//! Vectors of words: word2vec, the files of others, and what the vectors say.

pub mod word2vec;
