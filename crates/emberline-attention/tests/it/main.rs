//! Attention against PyTorch, against its vector-by-vector form, and what is said about it.

mod claims;
mod fixture;
mod parity;
mod vector_by_vector;
