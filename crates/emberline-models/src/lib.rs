//! The zoo: one file a model.
