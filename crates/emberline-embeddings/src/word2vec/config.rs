//! What a word2vec is trained with.

use serde::{Deserialize, Serialize};

use crate::error::EmbeddingsError;

/// How words predict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// A word predicts each word of its context.
    SkipGram,
    /// The context together predicts the word: a continuous bag of words.
    Cbow,
}

/// What CBOW makes of the vectors of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

/// Everything that decides about the vectors, besides the corpus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Word2VecConfig {
    /// How words predict each other.
    pub architecture: Architecture,
    /// The width of the vectors.
    pub d_embedding: usize,
    /// How far a context reaches at most; each word draws how far it does, evenly from 1 on.
    pub window: usize,
    /// Negative samples of each prediction; 0 without.
    pub negative: usize,
    /// The power of the counts by which they are drawn.
    pub negative_power: f64,
    /// Whether a tree of decisions is learned: instead of negative samples, or with them.
    pub hierarchical_softmax: bool,
    /// What CBOW makes of a context.
    pub context: Context,
    /// Words of a larger share of the corpus than this are passed over at times; 0 for never.
    pub subsampling: f64,
    /// Words that come less often are no words.
    pub min_count: u64,
    /// How often the corpus is read.
    pub epochs: usize,
    /// The learning rate of the first word; it falls on a line to that of the last, a ten-thousandth of it.
    pub learning_rate: f64,
    /// A longer line is several sentences.
    pub max_sentence_words: usize,
    /// The words of the corpus, at least, which predict with the vectors as they are before all of them. More make better use
    /// of threads; too many, and frequent words learn less from each.
    pub block_words: usize,
    /// The seed of everything random.
    pub seed: u64,
}

impl Word2VecConfig {
    /// Skip-gram with the settings of the C program.
    pub fn skip_gram() -> Self {
        Self {
            architecture: Architecture::SkipGram,
            d_embedding: 100,
            window: 5,
            negative: 5,
            negative_power: 0.75,
            hierarchical_softmax: false,
            context: Context::Mean,
            subsampling: 1e-3,
            min_count: 5,
            epochs: 5,
            learning_rate: 0.025,
            max_sentence_words: 1000,
            block_words: 1024,
            seed: 0,
        }
    }

    /// CBOW with the settings of the C program.
    pub fn cbow() -> Self {
        Self { architecture: Architecture::Cbow, learning_rate: 0.05, ..Self::skip_gram() }
    }

    /// Whether it can be trained with.
    ///
    /// # Errors
    /// [`Config`](EmbeddingsError::Config) for the first value that cannot be used.
    pub fn validate(&self) -> Result<(), EmbeddingsError> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let at_least_1 = |number: usize| (number > 0, number.to_string(), "1 or more");
        let checks = [
            ("d_embedding", at_least_1(self.d_embedding)),
            ("window", at_least_1(self.window)),
            ("epochs", at_least_1(self.epochs)),
            ("block_words", at_least_1(self.block_words)),
            ("max_sentence_words", {
                (self.max_sentence_words > 1, self.max_sentence_words.to_string(), "2 or more")
            }),
            ("negative", {
                let predicts = self.negative > 0 || self.hierarchical_softmax;
                (predicts, self.negative.to_string(), "1 or more without hierarchical_softmax")
            }),
            ("learning_rate", {
                (positive(self.learning_rate), self.learning_rate.to_string(), "a number above 0")
            }),
            ("negative_power", {
                let is_number = self.negative_power.is_finite();
                (is_number, self.negative_power.to_string(), "a number")
            }),
            ("subsampling", {
                let is_threshold = self.subsampling == 0.0 || positive(self.subsampling);
                (is_threshold, self.subsampling.to_string(), "a share of the corpus, or 0")
            }),
        ];
        for (field, (is_good, found, expected)) in checks {
            if !is_good {
                return Err(EmbeddingsError::Config { field, found, expected });
            }
        }
        Ok(())
    }
}

impl Default for Word2VecConfig {
    fn default() -> Self {
        Self::skip_gram()
    }
}
