//! What a run is told: the whole of it, in one value that is written to `config.toml` and re-runs it.

use anyhow::{Context, Result, ensure};
use emberline_backend::device::DeviceName;
use emberline_models::rnn_language_model::{CellKind, ModelType, RnnLanguageModelConfig};
use emberline_text::SplitFractions;
use emberline_training::TrainingConfig;
use serde::{Deserialize, Serialize};

use crate::doctor;
use crate::result::{grouped, mebibytes};

/// A language model on a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: DataConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How it learns; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// What the trained model is asked to write.
    pub samples: SamplesConfig,
}

/// A text, its split and its batches. Tokens are characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A file, a folder of `datasets/`, or a data set that `emberline data` fetched.
    pub text: String,
    /// What the SHA-256 of the text must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How much of the text is for training and validation.
    pub split: SplitFractions,
    /// The rows of an update.
    pub batch_size: usize,
    /// The tokens of a row, and the reach of the gradient.
    pub seq_length: usize,
    /// In how many parts an update is computed, one after the other.
    pub micro_batches: usize,
}

/// The sizes of a recurrent language model; its vocabulary is that of the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The recurrent cell.
    pub cell: CellKind,
    /// The width of the embedding.
    pub d_embedding: usize,
    /// The width of every layer.
    pub d_hidden: usize,
    /// The layers on top of each other.
    pub n_layers: usize,
    /// The probability that a number between layers is dropped in training.
    pub dropout: f64,
}

/// What is written at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplesConfig {
    /// The texts to continue.
    pub prompts: Vec<String>,
    /// The tokens to add to each.
    pub max_new_tokens: usize,
    /// Divides the scores.
    pub temperature: f64,
}

impl RunConfig {
    /// Whether the values can be run; the error names the first that cannot. What only the text can tell
    /// is not looked at.
    pub fn validate(&self) -> Result<()> {
        self.training.validate().context("`training` cannot be used")?;
        let (seed, largest) = (self.training.seed, i64::MAX as u64);
        // The numbers of TOML end there, and the run must be repeatable by its file.
        ensure!(seed <= largest, "the seed must be at most {largest}, but is {seed}");
        check_sizes(&[
            ("data.batch_size", self.data.batch_size),
            ("data.seq_length", self.data.seq_length),
            ("data.micro_batches", self.data.micro_batches),
        ])?;
        check_model(&self.model.for_vocabulary(1)).context("`model` cannot be used")?;
        let temperature = self.samples.temperature;
        let is_temperature = temperature.is_finite() && temperature >= 0.0;
        ensure!(is_temperature, "`samples.temperature` must be at least 0, but is {temperature}");
        Ok(())
    }
}

impl ModelConfig {
    /// The config of the model for a vocabulary.
    pub fn for_vocabulary(&self, vocab_size: usize) -> RnnLanguageModelConfig {
        RnnLanguageModelConfig {
            model_type: ModelType::default(),
            vocab_size,
            cell: self.cell,
            d_embedding: self.d_embedding,
            d_hidden: self.d_hidden,
            n_layers: self.n_layers,
            dropout: self.dropout,
        }
    }
}

/// Whether a model of these sizes can be made; the error names the first that cannot.
///
/// # Errors
/// If a size is 0 or beyond reason, or the dropout is no probability below 1.
pub fn check_model(config: &RnnLanguageModelConfig) -> Result<()> {
    check_sizes(&[
        ("vocab_size", config.vocab_size),
        ("d_embedding", config.d_embedding),
        ("d_hidden", config.d_hidden),
        ("n_layers", config.n_layers),
    ])?;
    let dropout = config.dropout;
    let is_fraction = (0.0..1.0).contains(&dropout);
    ensure!(is_fraction, "`dropout` must be at least 0 and below 1, but is {dropout}");
    Ok(())
}

/// Whether a model, `copies` times, can fit into the memory of this machine.
///
/// # Errors
/// If it cannot, with both sizes.
pub fn check_memory(config: &RnnLanguageModelConfig, copies: u64) -> Result<()> {
    let Some(memory) = doctor::memory_bytes() else { return Ok(()) };
    let parameters = parameter_count(config);
    let needed = parameters.saturating_mul(copies * size_of::<f32>() as u64);
    ensure!(
        needed <= memory,
        "a model of {} parameters takes at least {}, and this machine has {}",
        grouped(parameters),
        mebibytes(Some(needed)),
        mebibytes(Some(memory))
    );
    Ok(())
}

/// The parameters of a model that is not made yet.
fn parameter_count(config: &RnnLanguageModelConfig) -> u64 {
    let [vocab_size, d_embedding, d_hidden, n_layers] =
        [config.vocab_size, config.d_embedding, config.d_hidden, config.n_layers]
            .map(|size| size as u64);
    let layer = |d_input: u64| 4 * d_hidden * (d_input + d_hidden + 2);
    let layers = layer(d_embedding).saturating_add(layer(d_hidden).saturating_mul(n_layers - 1));
    layers.saturating_add(vocab_size * (d_embedding + d_hidden + 1))
}

fn check_sizes(sizes: &[(&str, usize)]) -> Result<()> {
    for (key, size) in sizes {
        // The limit keeps products of sizes within what a computer can address.
        ensure!((1..=1 << 20).contains(size), "`{key}` must be 1 to 1048576, but is {size}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use emberline_core::{Stream, parameters};

    use super::*;
    use crate::experiments::char_lstm::char_lstm_deep;

    #[test]
    fn the_parameters_are_known_before_there_is_a_model() {
        let config = char_lstm_deep().model.for_vocabulary(70);
        let model = config.init(Stream::new(0), &emberline_backend::test_device());
        assert_eq!(parameter_count(&config), parameters::parameter_count(&model) as u64);
    }

    #[test]
    fn a_model_beyond_the_memory_is_refused_with_its_size() {
        let mut config = char_lstm_deep().model.for_vocabulary(70);
        config.d_hidden = 1 << 20;
        config.n_layers = 1 << 20;
        let error = check_memory(&config, 4).map_err(|error| error.to_string());
        assert!(doctor::memory_bytes().is_none() || error.is_err(), "{error:?}");
    }
}
