//! What every crate of Emberline agrees on: batches, the model traits with their laws, losses that
//! carry their counts, correlations, parameters by path, and the random streams.
//!
//! This crate names no backend, no file, no tokenizer and no optimizer.

pub mod batch;
pub mod characters;
pub mod correlation;
pub mod head;
pub mod laws;
pub mod layer_groups;
pub mod loss;
pub mod mask;
pub mod model;
pub mod parameters;
pub mod random;
pub mod task;

pub use batch::TokenBatch;
pub use characters::{BothWays, CharacterBatch, WordTable};
pub use correlation::{pearson, spearman};
pub use head::HeadWeights;
pub use layer_groups::{LayerGroup, LayerGroups};
pub use loss::{Count, Loss, Term};
pub use model::{
    BidirectionalLanguageModel, Cache, Carry, Causal, CharacterEncoder, EncoderDecoder,
    HiddenStates, Incremental, LanguageModel, SentencePair, TokenEncoder, VocabularyHead,
};
pub use random::Stream;
pub use task::{EncoderTaskModel, TaskModel};
