//! Model directories: strict loading and atomic writing of safetensors and `config.json`, and loading of PyTorch's own
//! files without Python.
//!
//! Three promises hold everywhere. A file or directory is written whole or not at all. A module gets
//! every tensor of a file or none, and the error names all that do not fit. Nothing that a file can
//! hold makes this crate panic.
//!
//! Tokenizer files are opaque: their owners write them into the path of a [`PendingDirectory`].

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

#[cfg(target_endian = "big")]
compile_error!("the files hold little-endian numbers, and this crate copies them as they are");

mod atomic;
mod average;
mod config;
mod directory;
mod elements;
mod error;
mod heads;
mod mapped;
mod module;
mod names;
mod numpy;
mod peft;
mod published;
mod pytorch;
mod seal;
mod sentence_transformers;
mod tensors;
mod weights;

pub use atomic::{write_atomically, write_atomically_with};
pub use average::average_weights;
pub use config::{read_config, write_config};
pub use directory::{
    PendingDirectory, complete_steps, is_complete, latest_complete, remove_directory,
    step_directory,
};
pub use error::{CheckpointError, Mismatch, Misshapen};
pub use heads::{OtherHeads, load_weights_but_heads};
pub use module::{load_weights, save_weights};
pub use names::Stored;
pub use numpy::load_numpy_parts;
pub use peft::{PeftConfig, read_adapter, write_adapter};
pub use published::{PublishedNames, Tied};
pub use seal::verify;
pub use sentence_transformers::{
    PoolingMode, SentenceModules, read_sentence_modules, write_sentence_modules,
};
pub use tensors::{load_tensors, save_tensors};
pub use weights::Weights;
