//! A GPT learns a text, or several documents, by the recipe of nanoGPT, and continues prompts.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_core::Stream;
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_pretraining::NextToken;
use emberline_text::{SplitFractions, Tokenizer};
use emberline_training::{BatchRamp, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::documents::{Documents, Rows, TextData, Texts};
use super::language_modelling::{SamplesConfig, perplexity};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_dropout, check_sizes};
use crate::model_directory;

/// A GPT-2 on a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GptConfig {
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

/// A text, its split and its batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A file, a folder of files, a folder of `datasets/`, or a data set that `emberline data` fetched; or a list of
    /// those. Several are documents in a row, with `<|endoftext|>` between them.
    pub text: Texts,
    /// What the SHA-256 of the files, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The tokens of a list of byte pairs that is learnt from the training part, besides `<|endoftext|>`; without it
    /// tokens are characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte_pairs: Option<usize>,
    /// How much of the text is for training and validation.
    pub split: SplitFractions,
    /// The rows of an update.
    pub batch_size: usize,
    /// The tokens of a row, and the positions of the model.
    pub seq_length: usize,
    /// In how many parts an update is computed, one after the other.
    pub micro_batches: usize,
    /// How updates grow to `batch_size` rows; where absent they have all from the first on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_ramp: Option<BatchRamp>,
}

/// The sizes of a GPT-2; its vocabulary is that of the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The width between the layers.
    pub d_model: usize,
    /// The layers on top of each other.
    pub n_layers: usize,
    /// The heads of every attention.
    pub n_heads: usize,
    /// The probability that a number is dropped in training: of the first input, of weights of attention, of the output
    /// of every sub-layer.
    pub dropout: f64,
}

impl Kind for GptConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.model.validate().context("`model` cannot be used")?;
        self.samples.validate()
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl DataConfig {
    /// Whether the values can be read with; the error names the first that cannot.
    pub fn validate(&self) -> Result<()> {
        check_sizes(&[
            ("data.batch_size", self.batch_size),
            ("data.seq_length", self.seq_length),
            ("data.micro_batches", self.micro_batches),
            ("data.byte_pairs", self.byte_pairs.unwrap_or(1)),
        ])?;
        let ramp = self.batch_ramp.map_or(Ok(()), |ramp| ramp.validate(self.batch_size));
        ramp.context("`data` cannot be used")
    }

    /// The documents, which from now on are named in full, as windows that are drawn, and their tokenizer.
    ///
    /// # Errors
    /// If a text cannot be read or is too short.
    pub fn read(&mut self, random: Stream, device: &Device) -> Result<(Tokenizer, TextData)> {
        let documents = Documents::read(&mut self.text, &mut self.sha256, self.split)?;
        let tokenizer = documents.tokenizer(self.byte_pairs)?;
        let &mut Self { batch_size, seq_length, micro_batches, .. } = self;
        let rows = Rows { batch_size, seq_length, micro_batches };
        let mut data = documents.windows(&tokenizer, rows, random.named("windows"), device)?;
        if let Some(ramp) = &self.batch_ramp {
            data.windows = data.windows.ramped(ramp);
        }
        Ok((tokenizer, data))
    }
}

impl ModelConfig {
    /// Whether a model of these sizes can be made; the error names the first that cannot.
    pub fn validate(&self) -> Result<()> {
        let Self { d_model, n_layers, n_heads, dropout } = *self;
        check_sizes(&[("d_model", d_model), ("n_layers", n_layers), ("n_heads", n_heads)])?;
        if !d_model.is_multiple_of(n_heads) {
            bail!("`d_model` must be a multiple of the {n_heads} heads, but is {d_model}");
        }
        check_dropout(dropout)
    }

    /// The config of the model for a vocabulary and texts of a length.
    pub fn for_texts(&self, vocab_size: usize, n_positions: usize) -> Gpt2Config {
        let Self { d_model, n_layers, n_heads, dropout } = *self;
        Gpt2Config {
            vocab_size,
            n_positions,
            d_model,
            n_layers,
            n_heads,
            residual_dropout: dropout,
            embedding_dropout: dropout,
            attention_dropout: dropout,
            ..Gpt2Config::default()
        }
    }
}

/// The text as windows, the model, the device.
struct PreparedGpt {
    config: GptConfig,
    tokenizer: Tokenizer,
    data: TextData,
    model_config: Gpt2Config,
    trainee: Trainee<Gpt2>,
}

/// Reads the text, opens the device and makes the model; writes nothing.
///
/// # Errors
/// If the text cannot be read or is too short, a prompt is not of its characters, or the model does not fit.
fn prepare(mut config: GptConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let (tokenizer, data) = config.data.read(random, &device)?;
    config.samples.check(&tokenizer)?;
    let seq_length = config.data.seq_length;
    let model_config = config.model.for_texts(tokenizer.vocab_size(), seq_length);
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init(random.named("model"), device),
        Gpt2::stored_name,
        device,
    )?;
    Ok(Box::new(PreparedGpt { config, tokenizer, data, model_config, trainee }))
}

impl Prepared for PreparedGpt {
    fn config(&self) -> RunConfig {
        RunConfig::Gpt(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &NextToken,
            &self.data.windows,
            &|directory| {
                model_directory::write_others(&self.model_config, &self.tokenizer, directory)
            },
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, trained: &Trained<()>) -> Result<Findings> {
        let loss = trained.best.context("a run is evaluated at its end")?.validation_loss;
        let bits_per_character = loss / LN_2 / self.data.characters_per_token;
        let mut metrics = BTreeMap::from([("bits_per_character".into(), bits_per_character)]);
        metrics.extend(perplexity(loss).map(|perplexity| ("perplexity".into(), perplexity)));
        let model = self.trainee.best(directory)?.valid();
        let device = self.trainee.device.clone().inner();
        let seed = self.config.training.seed;
        let n_positions = self.model_config.n_positions;
        let samples =
            self.config.samples.write(&model, &self.tokenizer, n_positions, seed, &device)?;
        Ok(Findings { metrics, samples, ..Findings::default() })
    }
}
