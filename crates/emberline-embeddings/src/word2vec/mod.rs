//! word2vec.
