//! All of Emberline behind one name: the crates as modules, the models of directories ([`auto`]), and what they make of
//! texts ([`pipelines`]).
//!
//! ```no_run
//! use emberline::DeviceName;
//! use emberline::pipelines::{FillMask, Pipeline};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = DeviceName::Flex.open()?;
//! let fill_mask = FillMask::open("bert-base-uncased", &device)?;
//! let found = fill_mask.predict(&["Paris is the [MASK] of France."], 5, 8)?;
//! for word in &found.texts[0].masks[0] {
//!     println!("{:.3} {}", word.score, word.token_str);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each crate is a feature, and by default all are here, with the CPU to compute on. Who wants a few of them, or another
//! device, switches the defaults off and names what is wanted: `pipelines` with `wgpu`, say.

// wgpu's types nest more deeply than the compiler's default admits.
#![recursion_limit = "256"]
#![cfg_attr(doctest, doc = include_str!("../README.md"))]

#[cfg(feature = "pipelines")]
pub mod auto;
#[cfg(feature = "pipelines")]
mod error;
#[cfg(feature = "pipelines")]
pub mod pipelines;

#[cfg(feature = "attention")]
pub use emberline_attention as attention;
pub use emberline_backend as backend;
pub use emberline_backend::DeviceName;
pub use emberline_checkpoint as checkpoint;
pub use emberline_core as core;
#[cfg(feature = "embeddings")]
pub use emberline_embeddings as embeddings;
#[cfg(feature = "evaluation")]
pub use emberline_evaluation as evaluation;
#[cfg(feature = "finetuning")]
pub use emberline_finetuning as finetuning;
#[cfg(feature = "generation")]
pub use emberline_generation as generation;
#[cfg(feature = "models")]
pub use emberline_models as models;
#[cfg(feature = "pretraining")]
pub use emberline_pretraining as pretraining;
#[cfg(feature = "recurrent")]
pub use emberline_recurrent as recurrent;
#[cfg(feature = "text")]
pub use emberline_text as text;
#[cfg(feature = "training")]
pub use emberline_training as training;

#[cfg(feature = "pipelines")]
pub use error::Error;
