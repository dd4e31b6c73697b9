//! Vectors of words: word2vec, the files of others, and what the vectors say; ELMo.

pub mod elmo;
pub mod word2vec;
