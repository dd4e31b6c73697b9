#![doc = include_str!("../README.md")]

mod bad_lines;
mod bert_tokenizer;
mod byte_pairs;
mod characters;
mod corpus;
pub mod datasets;
mod error;
mod examples;
mod labelled;
mod one_hot;
mod pairs;
mod parallel;
mod published;
mod questions;
mod sentences;
mod sequence_tasks;
mod streaming;
mod tagged;
mod text_table;
mod tokenizer;
mod translation_tokenizer;
mod vocabulary;
mod windows;

pub use bad_lines::BadLines;
pub use bert_tokenizer::{
    BertRow, BertSpecialTokens, BertTensors, BertTokenizer, Piece, truncated_lengths,
};
pub use characters::{Lexicon, N_CHARACTERS, WORD_LENGTH, WordCharacters, word_characters};
pub use corpus::{Corpus, SplitFractions, Splits};
pub use error::TextError;
pub use examples::{Example, UNLABELLED, length_batches, token_batch};
pub use labelled::{FirstLine, LabelColumn, LabelledText, LabelledTexts};
pub use one_hot::one_hot;
pub use pairs::{BatchSize, EncodedPairs, TokenPair};
pub use parallel::{Column, Pair, PairColumns, ParallelCorpus};
pub use published::{END_OF_TEXT, Gpt1Text};
pub use questions::{Article, Articles, Passage, Question};
pub use sentences::{documents_of_book, documents_of_lines};
pub use sequence_tasks::{SequenceTask, SequenceTaskConfig};
pub use streaming::DecodeStream;
pub use tagged::{Separator, TaggedSentence, TaggedSentences};
pub use text_table::TextColumns;
pub use tokenizer::{Tokenizer, split_words};
pub use translation_tokenizer::{TranslationTokenizer, TranslationTokens};
pub use vocabulary::{TokenCounts, Vocabulary, VocabularyConfig};
pub use windows::{Window, Windows, covering_windows, packed};
