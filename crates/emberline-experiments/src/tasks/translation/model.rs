//! The models that translate, by their sizes: their vocabularies are those of the data.

use anyhow::{Result, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline_checkpoint::Stored;
use emberline_core::{EncoderDecoder, Stream};
use emberline_models::attention_seq2seq::bahdanau::OutputState;
use emberline_models::attention_seq2seq::luong::ScoreKind;
use emberline_models::attention_seq2seq::{Bahdanau, BahdanauConfig, Luong, LuongConfig};
use emberline_models::seq2seq::{Cho, ChoConfig, Sutskever, SutskeverConfig};
use emberline_models::transformer::{PositionKind, Transformer, TransformerConfig, Vocabulary};
use emberline_text::TranslationTokenizer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::data::Parts;
use super::{Prepared, TokensConfig, TranslationConfig, prepared};
use crate::config::{check_dropout, check_sizes};

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

/// The config.json of a model that translates.
pub trait TranslatorConfig: Serialize + DeserializeOwned + 'static {
    /// The model.
    type Model: EncoderDecoder + Module + 'static;

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

/// What delegates to the config and the model of the same name.
macro_rules! delegates {
    ($model:ty) => {
        type Model = $model;

        fn parameter_count(&self) -> u64 {
            self.parameter_count()
        }

        fn init(&self, random: Stream, device: &Device) -> $model {
            self.init(random, device)
        }

        fn stored_name(path: &str) -> Stored {
            <$model>::stored_name(path)
        }
    };
}

/// What the configs of the recurrent models have in common.
macro_rules! recurrent {
    ($config:ty, $model:ty, [$($size:ident),+]) => {
        impl TranslatorConfig for $config {
            delegates!($model);

            fn check(&self) -> Result<()> {
                check_sizes(&[$((stringify!($size), self.$size)),+])?;
                check_dropout(self.dropout)
            }

            fn vocab_sizes(&self) -> [usize; 2] {
                [self.source_vocab_size, self.target_vocab_size]
            }
        }
    };
}

recurrent!(
    SutskeverConfig,
    Sutskever,
    [source_vocab_size, target_vocab_size, d_embedding, d_hidden, n_layers]
);
recurrent!(
    ChoConfig,
    Cho,
    [source_vocab_size, target_vocab_size, d_embedding, d_hidden, n_layers, d_maxout]
);
recurrent!(
    BahdanauConfig,
    Bahdanau,
    [source_vocab_size, target_vocab_size, d_embedding, d_hidden, d_alignment, d_maxout]
);
recurrent!(
    LuongConfig,
    Luong,
    [source_vocab_size, target_vocab_size, d_embedding, d_hidden, n_layers]
);

impl TranslatorConfig for TransformerConfig {
    delegates!(Transformer);

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
}

/// What is done with the config of a model, whichever it is.
trait WithConfig {
    type Output;

    fn with<C: TranslatorConfig>(self, config: C) -> Result<Self::Output>;
}

impl ModelConfig {
    /// Whether a model of these sizes can be made; the error names the first that cannot.
    pub fn validate(&self, tokens: &TokensConfig) -> Result<()> {
        struct Check;
        impl WithConfig for Check {
            type Output = ();
            fn with<C: TranslatorConfig>(self, config: C) -> Result<()> {
                config.check()
            }
        }
        self.with_vocabularies(tokens, [1, 1], Check)
    }

    /// Hands the config for vocabularies on.
    fn with_vocabularies<W: WithConfig>(
        &self,
        tokens: &TokensConfig,
        [source_vocab_size, target_vocab_size]: [usize; 2],
        action: W,
    ) -> Result<W::Output> {
        match *self {
            Self::Sutskever { d_embedding, d_hidden, n_layers, reversed_source, dropout } => action
                .with(SutskeverConfig {
                    model_type: Default::default(),
                    source_vocab_size,
                    target_vocab_size,
                    d_embedding,
                    d_hidden,
                    n_layers,
                    reversed_source,
                    dropout,
                }),
            Self::Cho { d_embedding, d_hidden, n_layers, d_maxout, dropout } => {
                action.with(ChoConfig {
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
            } => action.with(BahdanauConfig {
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
            } => action.with(LuongConfig {
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
            } => action.with(TransformerConfig {
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
    struct Prepare(TranslationConfig, Parts, [TranslationTokenizer; 2]);
    impl WithConfig for Prepare {
        type Output = Box<dyn Prepared>;
        fn with<C: TranslatorConfig>(self, config: C) -> Result<Box<dyn Prepared>> {
            prepared::prepare(self.0, config, self.1, self.2)
        }
    }
    let sizes = tokenizers.each_ref().map(TranslationTokenizer::vocab_size);
    let (model, tokens) = (config.model.clone(), config.tokens);
    model.with_vocabularies(&tokens, sizes, Prepare(config, parts, tokenizers))
}
