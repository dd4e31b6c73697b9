//! word2vec: vectors of words from the words around them. CBOW and skip-gram, with negative samples, hierarchical softmax,
//! or both.
//!
//! Against a neural language model (Bengio 2003) it has no hidden layer and no softmax over the vocabulary. Against its own C
//! program it takes the exact gradient, all threads give the vectors of one, and its loss is the mean over all
//! predictions; [`faithful`] is the C program step by step.
//!
//! Mikolov, Chen, Corrado, Dean, "Efficient Estimation of Word Representations in Vector Space", 2013; Mikolov, Sutskever,
//! Chen, Corrado, Dean, "Distributed Representations of Words and Phrases and their Compositionality", 2013.

mod block;
mod checkpoint;
mod config;
mod corpus;
pub mod faithful;
mod huffman;
mod objective;
mod sampling;
mod training;
mod vocabulary;

use std::sync::Arc;

use emberline_core::Stream;

use crate::table::Table;
use crate::vectors::WordVectors;

pub use config::{Architecture, Context, Word2VecConfig};
pub use corpus::Corpus;
pub use training::{MeanLoss, Progress, train};
pub use vocabulary::Vocabulary;

use objective::Objective;

/// Two tables of vectors, and the words that they are of.
#[derive(Clone, Debug)]
pub struct Word2Vec {
    /// What it is trained with.
    pub config: Word2VecConfig,
    /// Its words.
    pub vocabulary: Arc<Vocabulary>,
    /// The vectors of the words, `[vocab_size, d_embedding]`: what training is for.
    inputs: Table,
    /// What they are held against: a row a word for negative samples, then a row an inner node of the tree.
    outputs: Table,
}

impl Word2Vec {
    /// A model before training: small vectors from the seed, and outputs of zeros.
    pub fn init(config: Word2VecConfig, vocabulary: Vocabulary) -> Self {
        let (vocab_size, width) = (vocabulary.words.len(), config.d_embedding);
        let mut inputs = Table::zeros(vocab_size, width);
        let random = Stream::new(config.seed).named("vectors");
        for word in 0..vocab_size {
            // Twice those of the C program, as in gensim: a short training goes further.
            let bound = 1.0 / width as f64;
            let numbers = random.at(word as u64).uniforms(width, -bound, bound);
            inputs.row_mut(word).copy_from_slice(&numbers);
        }
        let outputs = Table::zeros(Objective::n_outputs(&config, vocab_size), width);
        Self { config, vocabulary: Arc::new(vocabulary), inputs, outputs }
    }

    /// The vectors of the words, as they are now.
    pub fn vectors(&self) -> WordVectors {
        WordVectors::new(self.vocabulary.words.clone(), self.inputs.clone())
    }

    /// The vectors of the words, without a copy.
    pub fn into_vectors(self) -> WordVectors {
        let words = Arc::unwrap_or_clone(self.vocabulary).words;
        WordVectors::new(words, self.inputs)
    }
}
