//! The glue to Burn's backends: a device by name, the memory policy, the linear layer, and the
//! operations that Burn does not fuse.
//!
//! This is the only crate that names a backend. Every other one takes a
//! [`Device`](burn::tensor::Device) and never asks for the default.
//!
//! Each fused operation is one file with its equation and two bodies: a native one for Flex on
//! the CPU, forward and backward, and a portable one of plain tensor operations that every other
//! device takes and Burn differentiates. The public function looks at the device.

#![recursion_limit = "256"]

mod adamw;
mod additive_scores;
pub mod attention;
mod cross_entropy;
pub mod device;
mod dropout;
mod embedding;
#[cfg(feature = "flex")]
mod flex;
mod gelu;
mod host;
mod int8;
mod layer_norm;
mod linear;
mod linear_cross_entropy;
mod log_sum_exp;
mod low_rank;
pub mod memory;
pub mod recurrent;
mod square_sum;
#[cfg(all(test, feature = "flex"))]
mod testing;

pub use adamw::{AdamWStep, adamw_step};
pub use additive_scores::additive_scores;
pub use cross_entropy::cross_entropy;
pub use device::{DeviceError, DeviceName, test_device};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use gelu::Gelu;
pub use host::{is_on_host, storage_address};
pub use layer_norm::layer_norm;
pub use linear::{Linear, LinearConfig, head_scores};
pub use linear_cross_entropy::{CrossEntropyOptions, LabelSmoothing, linear_cross_entropy};
pub use log_sum_exp::log_sum_exp;
pub use low_rank::{Draws, LowRank, LowRankFactors, without_adapters};
pub use square_sum::square_sum;
