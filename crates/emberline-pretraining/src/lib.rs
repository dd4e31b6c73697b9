//! Pretraining objectives and their data builders: next token.
