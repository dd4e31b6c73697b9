//! What a run is told: the whole of it, in one value that is written to `config.toml` and re-runs it.

use anyhow::{Context, Result, ensure};
use emberline_backend::device::DeviceName;
use emberline_models::rnn_language_model::{CellKind, ModelType, RnnLanguageModelConfig};
use emberline_text::SplitFractions;
use emberline_training::TrainingConfig;
use serde::{Deserialize, Serialize};

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

fn check_sizes(sizes: &[(&str, usize)]) -> Result<()> {
    for (key, size) in sizes {
        // The limit keeps products of sizes within what a computer can address.
        ensure!((1..=1 << 20).contains(size), "`{key}` must be 1 to 1048576, but is {size}");
    }
    Ok(())
}
