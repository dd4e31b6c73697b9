//! Attention and what stands around it in a model.
