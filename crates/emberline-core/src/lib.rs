//! What every crate of Emberline agrees on: batches, the model traits with their laws, losses that
//! carry their counts, correlations, parameters by path, and the random streams.
//!
//! This crate names no backend, no file, no tokenizer and no optimizer.

pub mod batch;
pub mod correlation;
pub mod head;
pub mod laws;
pub mod loss;
pub mod mask;
pub mod model;
pub mod parameters;
pub mod random;
pub mod task;

pub use batch::TokenBatch;
pub use correlation::{pearson, spearman};
pub use head::HeadWeights;
pub use loss::{Count, Loss, Term};
pub use model::{
    Cache, Carry, Causal, EncoderDecoder, HiddenStates, Incremental, LanguageModel, SentencePair,
    TokenEncoder, VocabularyHead,
};
pub use random::Stream;
pub use task::{EncoderTaskModel, TaskModel};
