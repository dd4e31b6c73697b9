//! The models that translate, by their sizes: their vocabularies are those of the data.

use anyhow::Result;
use emberline_models::attention_seq2seq::bahdanau::OutputState;
use emberline_models::attention_seq2seq::luong::ScoreKind;
use emberline_models::attention_seq2seq::{BahdanauConfig, LuongConfig};
use emberline_models::seq2seq::{ChoConfig, SutskeverConfig};
use emberline_models::transformer::{PositionKind, TransformerConfig, Vocabulary};
use emberline_text::TranslationTokenizer;
use serde::{Deserialize, Serialize};

use super::config::TranslatorConfig;
use super::data::Parts;
use super::{Prepared, TokensConfig, TranslationConfig, prepared};

/// The sizes of a model. Those of its config.json are these and its vocabularies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelConfig {
    /// LSTMs, with one vector between them.
    Sutskever {
        /// The width of the token vectors.
        d_embedding: usize,
        /// The width of the states.
        d_hidden: usize,
        /// The layers of the encoder, and of the decoder.
        n_layers: usize,
        /// Whether a source is read from its end.
        reversed_source: bool,
        /// The probability that a number is dropped in training.
        dropout: f64,
    },
    /// GRUs, with one vector between them that every step reads.
    Cho {
        /// The width of the token vectors.
        d_embedding: usize,
        /// The width of the states.
        d_hidden: usize,
        /// The layers of the encoder, and of the decoder.
        n_layers: usize,
        /// The maxout units.
        d_maxout: usize,
        /// The probability that a number is dropped in training.
        dropout: f64,
    },
    /// Additive attention over a bidirectional GRU.
    Bahdanau {
        /// The width of the token vectors.
        d_embedding: usize,
        /// The width of the states.
        d_hidden: usize,
        /// The width in which states are compared.
        d_alignment: usize,
        /// The maxout units.
        d_maxout: usize,
        /// The state that the output reads.
        output_state: OutputState,
        /// The probability that a number is dropped in training.
        dropout: f64,
    },
    /// Attention above LSTMs.
    Luong {
        /// The width of the token vectors.
        d_embedding: usize,
        /// The width of the states.
        d_hidden: usize,
        /// The layers of the encoder, and of the decoder.
        n_layers: usize,
        /// How states are compared.
        score: ScoreKind,
        /// Whether what was attended to is an input of the next step.
        input_feeding: bool,
        /// Whether a source is read from its end.
        reversed_source: bool,
        /// The probability that a number is dropped in training.
        dropout: f64,
    },
    /// Attention alone.
    Transformer {
        /// The width between the layers.
        d_model: usize,
        /// The width inside the feed-forward layers.
        d_ff: usize,
        /// The heads of every attention.
        n_heads: usize,
        /// The layers of the encoder.
        n_encoder_layers: usize,
        /// The layers of the decoder.
        n_decoder_layers: usize,
        /// The probability that a number is dropped in training.
        dropout: f64,
        /// How it knows of positions.
        positions: PositionKind,
    },
}

/// The config.json of a model, whichever it is.
enum AnyConfig {
    Sutskever(SutskeverConfig),
    Cho(ChoConfig),
    Bahdanau(BahdanauConfig),
    Luong(LuongConfig),
    Transformer(TransformerConfig),
}

impl ModelConfig {
    /// Whether a model of these sizes can be made; the error names the first that cannot.
    pub fn validate(&self, tokens: &TokensConfig) -> Result<()> {
        match self.with_vocabularies(tokens, [1, 1]) {
            AnyConfig::Sutskever(model) => model.check(),
            AnyConfig::Cho(model) => model.check(),
            AnyConfig::Bahdanau(model) => model.check(),
            AnyConfig::Luong(model) => model.check(),
            AnyConfig::Transformer(model) => model.check(),
        }
    }

    /// The config of the model for vocabularies of these sizes.
    fn with_vocabularies(
        &self,
        tokens: &TokensConfig,
        [source_vocab_size, target_vocab_size]: [usize; 2],
    ) -> AnyConfig {
        match *self {
            Self::Sutskever { d_embedding, d_hidden, n_layers, reversed_source, dropout } => {
                AnyConfig::Sutskever(SutskeverConfig {
                    model_type: Default::default(),
                    source_vocab_size,
                    target_vocab_size,
                    d_embedding,
                    d_hidden,
                    n_layers,
                    reversed_source,
                    dropout,
                })
            }
            Self::Cho { d_embedding, d_hidden, n_layers, d_maxout, dropout } => {
                AnyConfig::Cho(ChoConfig {
                    model_type: Default::default(),
                    source_vocab_size,
                    target_vocab_size,
                    d_embedding,
                    d_hidden,
                    n_layers,
                    d_maxout,
                    dropout,
                })
            }
            Self::Bahdanau {
                d_embedding,
                d_hidden,
                d_alignment,
                d_maxout,
                output_state,
                dropout,
            } => AnyConfig::Bahdanau(BahdanauConfig {
                model_type: Default::default(),
                source_vocab_size,
                target_vocab_size,
                d_embedding,
                d_hidden,
                d_alignment,
                d_maxout,
                output_state,
                dropout,
            }),
            Self::Luong {
                d_embedding,
                d_hidden,
                n_layers,
                score,
                input_feeding,
                reversed_source,
                dropout,
            } => AnyConfig::Luong(LuongConfig {
                model_type: Default::default(),
                source_vocab_size,
                target_vocab_size,
                d_embedding,
                d_hidden,
                n_layers,
                score,
                input_feeding,
                reversed_source,
                dropout,
            }),
            Self::Transformer {
                d_model,
                d_ff,
                n_heads,
                n_encoder_layers,
                n_decoder_layers,
                dropout,
                positions,
            } => AnyConfig::Transformer(TransformerConfig {
                model_type: Default::default(),
                vocabulary: match tokens {
                    TokensConfig::Joint(_) => Vocabulary::Shared(target_vocab_size),
                    TokensConfig::Separate { .. } => {
                        let [source, target] = [source_vocab_size, target_vocab_size];
                        Vocabulary::Separate { source, target }
                    }
                },
                d_model,
                d_ff,
                n_heads,
                n_encoder_layers,
                n_decoder_layers,
                dropout,
                positions,
            }),
        }
    }
}

/// A run of the model that its config names.
///
/// # Errors
/// Those of [`prepared::prepare`].
pub fn prepare(
    config: TranslationConfig,
    parts: Parts,
    tokenizers: [TranslationTokenizer; 2],
) -> Result<Box<dyn Prepared>> {
    let sizes = tokenizers.each_ref().map(TranslationTokenizer::vocab_size);
    match config.model.with_vocabularies(&config.tokens, sizes) {
        AnyConfig::Sutskever(model) => prepared::prepare(config, model, parts, tokenizers),
        AnyConfig::Cho(model) => prepared::prepare(config, model, parts, tokenizers),
        AnyConfig::Bahdanau(model) => prepared::prepare(config, model, parts, tokenizers),
        AnyConfig::Luong(model) => prepared::prepare(config, model, parts, tokenizers),
        AnyConfig::Transformer(model) => prepared::prepare(config, model, parts, tokenizers),
    }
}
