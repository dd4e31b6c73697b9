//! Tests of the built program `emberline`, as a user meets it.

#![recursion_limit = "256"]

mod autoregressive;
mod bad_directories;
mod bad_input;
mod bert_finetuning;
mod end_to_end;
mod evaluation;
mod finetuning;
mod generation;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda"))]
mod gpu;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda"))]
mod gpu_attention;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda"))]
mod gpu_bert;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda"))]
mod gpu_elmo;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda"))]
mod gpu_lora;
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda"))]
mod gpu_translators;
mod in_context;
mod kinds;
mod memory;
mod predict;
mod program;
mod published;
mod resume;
mod vectors;
