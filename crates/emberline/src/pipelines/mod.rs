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

use std::path::Path;

use burn::tensor::Device;
use emberline_core::Stream;
pub use emberline_models::bert::Pooling;

pub use self::feature_extraction::FeatureExtraction;
pub use self::fill_mask::{FillMask, FilledMask, FilledMasks};
pub use self::question_answering::{Answer, AnswerOptions, QuestionAnswering};
pub use self::sentence_embeddings::SentenceEmbeddings;
pub use self::text_classification::{LabelScore, TextClassification, TextOrPair};
pub use self::token_classification::{Aggregation, Entity, EntityGroup, TokenClassification};

use crate::error::Error;

/// A model with the head of a task, and what reads texts for it.
pub trait Pipeline: Sized {
    /// The model and the tokenizer of a directory.
    ///
    /// # Errors
    /// If a file is missing or foreign, they do not fit each other, [`Error::OtherHead`], or [`Error::NewHead`].
    fn open(directory: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        Ok(Self::opened(directory.as_ref(), None, device)?.0)
    }

    /// The same with a head that is drawn from `random` where the directory has none, and its tensors then.
    ///
    /// # Errors
    /// As [`open`](Self::open), without the last.
    fn open_with_new_head(
        directory: impl AsRef<Path>,
        random: Stream,
        device: &Device,
    ) -> Result<(Self, Vec<String>), Error> {
        Self::opened(directory.as_ref(), Some(random), device)
    }

    /// Either of them: without `random` a head that the directory does not have is an error.
    ///
    /// # Errors
    /// As theirs.
    fn opened(
        directory: &Path,
        random: Option<Stream>,
        device: &Device,
    ) -> Result<(Self, Vec<String>), Error>;
}

/// What a pipeline makes of some texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions<T> {
    /// What it makes of each.
    pub texts: Vec<T>,
    /// The indices of those that had more tokens than the model reads, and lost their ends.
    pub truncated: Vec<usize>,
}
