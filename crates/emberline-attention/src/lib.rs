#![doc = include_str!("../README.md")]

pub mod cache;
pub mod causal;
pub mod feed_forward;
mod initial;
pub mod multi_head;
pub mod normalization;
pub mod positions;
pub mod scores;
mod weights;

pub use cache::{KeyValueCache, SourceMemory};
pub use causal::{CausalSelfAttention, CausalSelfAttentionConfig};
pub use emberline_backend::attention::Visibility;
pub use feed_forward::{Activation, FeedForward, FeedForwardConfig};
pub use multi_head::{MultiHeadAttention, MultiHeadAttentionConfig};
pub use normalization::{BatchNorm, LayerNorm, SequenceLayerNorm};
pub use positions::{PositionKind, Positions};
pub use weights::attention_weights;
