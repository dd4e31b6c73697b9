//! Attention against PyTorch, against its vector-by-vector form, what is said about it, and the chapter's step by hand.

mod by_hand;
mod claims;
mod fixture;
mod parity;
mod vector_by_vector;
