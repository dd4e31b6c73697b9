//! The kinds of mixers and their sizes.

use burn::tensor::Device;
use emberline_attention::PositionKind;
use emberline_backend::LinearConfig;
use emberline_core::Stream;
use emberline_models::transformer::{ModelType, Transformer, TransformerConfig, Vocabulary};
use emberline_recurrent::{AnyConfig, CellKind};
use serde::{Deserialize, Serialize};

use super::mixer::{Convolution, Encoder, Mixer};

/// What brings words together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixerKind {
    /// Convolutions on top of each other.
    Cnn,
    /// The plain recurrent layer.
    Rnn,
    /// The LSTM.
    Lstm,
    /// Layers of the Transformer's encoder.
    Transformer,
}

impl MixerKind {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 4] = [Self::Cnn, Self::Rnn, Self::Lstm, Self::Transformer];

    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cnn => "CNN",
            Self::Rnn => "RNN",
            Self::Lstm => "LSTM",
            Self::Transformer => "Transformer",
        }
    }

    /// What `result.json` calls it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Cnn => "cnn",
            Self::Rnn => "rnn",
            Self::Lstm => "lstm",
            Self::Transformer => "transformer",
        }
    }
}

/// The sizes of all mixers, which have one width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixersConfig {
    /// The width of every vector between the layers.
    pub d_model: usize,
    /// The convolutions.
    pub cnn: CnnConfig,
    /// The layers of attention.
    pub transformer: EncoderConfig,
}

/// The sizes of a stack of convolutions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CnnConfig {
    /// The number of layers.
    pub n_layers: usize,
    /// How many words a layer sees at once.
    pub kernel_size: usize,
}

/// The sizes of an encoder of attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// The number of layers.
    pub n_layers: usize,
    /// The heads, which share the width.
    pub n_heads: usize,
    /// The width inside the feed-forward layers.
    pub d_ff: usize,
}

impl MixersConfig {
    fn recurrent(&self, cell: CellKind) -> AnyConfig {
        let d_model = self.d_model;
        AnyConfig { cell, d_input: d_model, d_hidden: d_model, n_layers: 1, dropout: 0.0 }
    }

    /// Of the model whose encoder is taken; its table of words is not, and has one row.
    fn transformer(&self) -> TransformerConfig {
        TransformerConfig {
            model_type: ModelType::Transformer,
            vocabulary: Vocabulary::Shared(1),
            d_model: self.d_model,
            d_ff: self.transformer.d_ff,
            n_heads: self.transformer.n_heads,
            n_encoder_layers: self.transformer.n_layers,
            n_decoder_layers: 0,
            dropout: 0.0,
            positions: PositionKind::Sinusoidal,
        }
    }

    fn convolution(&self) -> LinearConfig {
        LinearConfig::new(self.cnn.kernel_size * self.d_model, self.d_model)
    }

    /// A mixer as it is before any training.
    pub fn init(&self, kind: MixerKind, random: Stream, device: &Device) -> Mixer {
        let layer = |layer| random.named("convolution").at(layer as u64);
        let convolution = |random| Convolution { linear: self.convolution().init(random, device) };
        match kind {
            MixerKind::Cnn => {
                Mixer::Cnn((0..self.cnn.n_layers).map(layer).map(convolution).collect())
            }
            MixerKind::Rnn => {
                Mixer::Recurrent(self.recurrent(CellKind::Rnn).init_cell(random, device))
            }
            MixerKind::Lstm => {
                Mixer::Recurrent(self.recurrent(CellKind::Lstm).init_cell(random, device))
            }
            MixerKind::Transformer => {
                let Transformer { positions, encoder, .. } =
                    self.transformer().init(random, device);
                Mixer::Transformer(Encoder { positions, layers: encoder })
            }
        }
    }

    /// The number of parameters, with no mixer made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self, kind: MixerKind) -> u64 {
        match kind {
            MixerKind::Cnn => {
                let LinearConfig { d_input, d_output, .. } = self.convolution();
                let layer = (d_input as u64 + 1).saturating_mul(d_output as u64);
                layer.saturating_mul(self.cnn.n_layers as u64)
            }
            MixerKind::Rnn => self.recurrent(CellKind::Rnn).parameter_count(),
            MixerKind::Lstm => self.recurrent(CellKind::Lstm).parameter_count(),
            MixerKind::Transformer => {
                let row = self.d_model as u64;
                self.transformer().parameter_count().saturating_sub(row)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;

    #[test]
    fn parameters_are_known_before_there_is_a_mixer() {
        let config = MixersConfig {
            d_model: 8,
            cnn: CnnConfig { n_layers: 3, kernel_size: 5 },
            transformer: EncoderConfig { n_layers: 1, n_heads: 2, d_ff: 16 },
        };
        for kind in MixerKind::ALL {
            let mixer = config.init(kind, Stream::new(1), &test_device());
            assert_eq!(config.parameter_count(kind), parameter_count(&mixer) as u64, "{kind:?}");
        }
    }
}
