//! Vocabularies, tokenizers, corpora, splits, windows and batches.
