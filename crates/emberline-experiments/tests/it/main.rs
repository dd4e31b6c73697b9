//! Tests of the built program `emberline`, as a user meets it.

#![recursion_limit = "256"]

mod bad_input;
mod end_to_end;
#[cfg(feature = "wgpu")]
mod gpu;
mod program;
mod resume;
