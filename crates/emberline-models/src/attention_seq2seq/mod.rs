//! Sequence to sequence with attention: the encoder gives a sequence of vectors, not one, and the decoder makes of
//! them the one that it needs at each step.

pub mod bahdanau;
pub mod luong;

pub use bahdanau::{Bahdanau, BahdanauConfig};
pub use luong::{Luong, LuongConfig};
