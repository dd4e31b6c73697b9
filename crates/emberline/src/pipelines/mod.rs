//! What a BERT makes of texts, in a few lines.
//!
//! Everything here is written by serde under the names of the pipelines of `transformers`, and places in texts are counted
//! in characters, as Python counts them. Texts are read `batch_size` at a time, those of about one length together, and
//! come back in their order.

mod feature_extraction;
mod fill_mask;
mod places;
mod question_answering;
mod reader;
mod sentence_embeddings;
mod text_classification;
mod token_classification;

pub use emberline_models::bert::Pooling;

pub use self::feature_extraction::FeatureExtraction;
pub use self::fill_mask::{FillMask, FilledMask, FilledMasks};
pub use self::question_answering::{Answer, AnswerOptions, QuestionAnswering};
pub use self::sentence_embeddings::SentenceEmbeddings;
pub use self::text_classification::{LabelScore, TextClassification, TextOrPair};
pub use self::token_classification::{Aggregation, Entity, EntityGroup, TokenClassification};

/// What a pipeline makes of some texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions<T> {
    /// What it makes of each.
    pub texts: Vec<T>,
    /// The indices of those that had more tokens than the model reads, and lost their ends.
    pub truncated: Vec<usize>,
}
