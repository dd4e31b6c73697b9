//! Attention and what stands around it in a model: heads, caches of keys and values, positions, feed-forward
//! layers, normalisations.
//!
//! A block of a model, the order of these, is the signature of the model, and written in each again.

pub mod cache;
pub mod feed_forward;
mod initial;
pub mod multi_head;
pub mod normalization;
pub mod positions;
pub mod scores;
mod weights;

pub use cache::{KeyValueCache, SourceMemory};
pub use emberline_backend::attention::Visibility;
pub use feed_forward::{Activation, FeedForward, FeedForwardConfig};
pub use multi_head::{MultiHeadAttention, MultiHeadAttentionConfig};
pub use normalization::{BatchNorm, LayerNorm, SequenceLayerNorm};
pub use positions::{PositionKind, Positions};
pub use weights::attention_weights;
