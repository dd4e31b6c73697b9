//! The config.json of each model that translates, as a run needs it.

use anyhow::{Result, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline_checkpoint::Stored;
use emberline_core::{EncoderDecoder, Stream};
use emberline_models::attention_seq2seq::{Bahdanau, BahdanauConfig, Luong, LuongConfig};
use emberline_models::seq2seq::{Cho, ChoConfig, Sutskever, SutskeverConfig};
use emberline_models::transformer::{PositionKind, Transformer, TransformerConfig, Vocabulary};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{check_dropout, check_sizes};

/// The config.json of a model that translates.
///
/// The run of a model and its reading back are generic over it; the configs of all models here implement it.
pub trait TranslatorConfig: Serialize + DeserializeOwned + 'static {
    /// The model.
    type Model: EncoderDecoder + Module + Sync + 'static;

    /// Whether the model can be made; the error names the first size that cannot be.
    fn check(&self) -> Result<()>;

    /// The tokens of source and target.
    fn vocab_sizes(&self) -> [usize; 2];

    /// The longest source or target; `None` where there is no limit.
    fn max_length(&self) -> Option<usize> {
        None
    }

    /// The parameters of the model, which is not made for it.
    fn parameter_count(&self) -> u64;

    /// The model.
    fn init(&self, random: Stream, device: &Device) -> Self::Model;

    /// The name of a parameter in files.
    fn stored_name(path: &str) -> Stored;
}

impl TranslatorConfig for SutskeverConfig {
    type Model = Sutskever;

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("source_vocab_size", self.source_vocab_size),
            ("target_vocab_size", self.target_vocab_size),
            ("d_embedding", self.d_embedding),
            ("d_hidden", self.d_hidden),
            ("n_layers", self.n_layers),
        ])?;
        check_dropout(self.dropout)
    }

    fn vocab_sizes(&self) -> [usize; 2] {
        [self.source_vocab_size, self.target_vocab_size]
    }

    fn parameter_count(&self) -> u64 {
        self.parameter_count()
    }

    fn init(&self, random: Stream, device: &Device) -> Sutskever {
        self.init(random, device)
    }

    fn stored_name(path: &str) -> Stored {
        Sutskever::stored_name(path)
    }
}

impl TranslatorConfig for ChoConfig {
    type Model = Cho;

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("source_vocab_size", self.source_vocab_size),
            ("target_vocab_size", self.target_vocab_size),
            ("d_embedding", self.d_embedding),
            ("d_hidden", self.d_hidden),
            ("n_layers", self.n_layers),
            ("d_maxout", self.d_maxout),
        ])?;
        check_dropout(self.dropout)
    }

    fn vocab_sizes(&self) -> [usize; 2] {
        [self.source_vocab_size, self.target_vocab_size]
    }

    fn parameter_count(&self) -> u64 {
        self.parameter_count()
    }

    fn init(&self, random: Stream, device: &Device) -> Cho {
        self.init(random, device)
    }

    fn stored_name(path: &str) -> Stored {
        Cho::stored_name(path)
    }
}

impl TranslatorConfig for BahdanauConfig {
    type Model = Bahdanau;

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("source_vocab_size", self.source_vocab_size),
            ("target_vocab_size", self.target_vocab_size),
            ("d_embedding", self.d_embedding),
            ("d_hidden", self.d_hidden),
            ("d_alignment", self.d_alignment),
            ("d_maxout", self.d_maxout),
        ])?;
        check_dropout(self.dropout)
    }

    fn vocab_sizes(&self) -> [usize; 2] {
        [self.source_vocab_size, self.target_vocab_size]
    }

    fn parameter_count(&self) -> u64 {
        self.parameter_count()
    }

    fn init(&self, random: Stream, device: &Device) -> Bahdanau {
        self.init(random, device)
    }

    fn stored_name(path: &str) -> Stored {
        Bahdanau::stored_name(path)
    }
}

impl TranslatorConfig for LuongConfig {
    type Model = Luong;

    fn check(&self) -> Result<()> {
        check_sizes(&[
            ("source_vocab_size", self.source_vocab_size),
            ("target_vocab_size", self.target_vocab_size),
            ("d_embedding", self.d_embedding),
            ("d_hidden", self.d_hidden),
            ("n_layers", self.n_layers),
        ])?;
        check_dropout(self.dropout)
    }

    fn vocab_sizes(&self) -> [usize; 2] {
        [self.source_vocab_size, self.target_vocab_size]
    }

    fn parameter_count(&self) -> u64 {
        self.parameter_count()
    }

    fn init(&self, random: Stream, device: &Device) -> Luong {
        self.init(random, device)
    }

    fn stored_name(path: &str) -> Stored {
        Luong::stored_name(path)
    }
}

impl TranslatorConfig for TransformerConfig {
    type Model = Transformer;

    fn check(&self) -> Result<()> {
        let Self { d_model, d_ff, n_heads, n_encoder_layers, n_decoder_layers, positions, .. } =
            *self;
        let [source, target] = self.vocab_sizes();
        check_sizes(&[
            ("the source's vocabulary", source),
            ("the target's vocabulary", target),
            ("d_model", d_model),
            ("d_ff", d_ff),
            ("n_heads", n_heads),
            ("n_encoder_layers", n_encoder_layers),
            ("n_decoder_layers", n_decoder_layers),
        ])?;
        ensure!(
            d_model.is_multiple_of(n_heads),
            "`n_heads` must divide `d_model` {d_model}, but is {n_heads}"
        );
        match positions {
            PositionKind::Sinusoidal | PositionKind::SinusoidalHalves => ensure!(
                d_model.is_multiple_of(2),
                "`d_model` must be even for sines and cosines, but is {d_model}"
            ),
            PositionKind::Learned { max_positions } => {
                check_sizes(&[("max_positions", max_positions)])?;
            }
            PositionKind::None | PositionKind::Scalar | PositionKind::OneHot => {}
        }
        check_dropout(self.dropout)
    }

    fn vocab_sizes(&self) -> [usize; 2] {
        match self.vocabulary {
            Vocabulary::Shared(size) => [size; 2],
            Vocabulary::Separate { source, target } => [source, target],
        }
    }

    fn max_length(&self) -> Option<usize> {
        self.max_length()
    }

    fn parameter_count(&self) -> u64 {
        self.parameter_count()
    }

    fn init(&self, random: Stream, device: &Device) -> Transformer {
        self.init(random, device)
    }

    fn stored_name(path: &str) -> Stored {
        Transformer::stored_name(path)
    }
}
