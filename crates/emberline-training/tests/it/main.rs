//! The loop as a whole, on a model of a few dozen numbers.

mod ending;
mod learning;
mod resuming;
mod support;
