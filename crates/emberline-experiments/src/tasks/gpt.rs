//! A GPT learns a text by the recipe of nanoGPT, and continues prompts.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::write_config;
use emberline_core::Stream;
use emberline_generation::{GenerationConfig, generate_text};
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_pretraining::{NextToken, NextTokenWindows};
use emberline_text::{Corpus, SplitFractions, Tokenizer, Windows};
use emberline_training::{Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::language_modelling::{SamplesConfig, perplexity};
use super::trainee::{Session, Trainee};
use super::{Findings, Prepared};
use crate::config::{RunConfig, check_dropout, check_sizes};
use crate::{datasets, generate, model_directory};

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
    /// A file, a folder of `datasets/`, or a data set that `emberline data` fetched.
    pub text: String,
    /// What the SHA-256 of the text must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The tokens of a list of byte pairs that is learnt from the training part; without it tokens are characters.
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

impl GptConfig {
    /// Whether the values besides the training's can be run; the error names the first that cannot.
    pub fn validate(&self) -> Result<()> {
        check_sizes(&[
            ("data.batch_size", self.data.batch_size),
            ("data.seq_length", self.data.seq_length),
            ("data.micro_batches", self.data.micro_batches),
            ("data.byte_pairs", self.data.byte_pairs.unwrap_or(1)),
        ])?;
        self.model.validate().context("`model` cannot be used")?;
        self.samples.validate()
    }
}

impl ModelConfig {
    fn validate(&self) -> Result<()> {
        let Self { d_model, n_layers, n_heads, dropout } = *self;
        check_sizes(&[("d_model", d_model), ("n_layers", n_layers), ("n_heads", n_heads)])?;
        if !d_model.is_multiple_of(n_heads) {
            bail!("`d_model` must be a multiple of the {n_heads} heads, but is {d_model}");
        }
        check_dropout(dropout)
    }

    /// The config of the model for a vocabulary and texts of a length.
    fn for_texts(&self, vocab_size: usize, n_positions: usize) -> Gpt2Config {
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
    data: NextTokenWindows,
    model_config: Gpt2Config,
    trainee: Trainee<Gpt2>,
    /// The characters of a token of the validation text, on average.
    characters_per_token: f64,
}

/// Reads the text, opens the device and makes the model; writes nothing.
///
/// # Errors
/// If the text cannot be read or is too short, a prompt is not of its characters, or the model does not fit.
pub fn prepare(mut config: GptConfig) -> Result<Box<dyn Prepared>> {
    let file = datasets::find(&mut config.data.text, "txt")?;
    let corpus = Corpus::from_file(&file)?;
    datasets::check(&[&file], &mut config.data.sha256)?;
    let splits = corpus.split(config.data.split)?;
    let tokenizer = match config.data.byte_pairs {
        Some(vocab_size) => {
            let training = Corpus::new(corpus.name(), splits.train)?;
            Tokenizer::byte_pair(&training, vocab_size)?
        }
        None => Tokenizer::characters(&corpus),
    };
    for prompt in &config.samples.prompts {
        // Better now than after the training.
        let tokens = tokenizer.encode(prompt);
        let tokens = tokens.with_context(|| {
            format!("`samples.prompts`: {prompt:?} is not of the tokens of {}", corpus.name())
        })?;
        ensure!(!tokens.is_empty(), "`samples.prompts`: a model goes on from one token at least");
    }
    let (batch_size, seq_length) = (config.data.batch_size, config.data.seq_length);
    let of = |part: &str| format!("{}: its {part} part", corpus.name());
    let random = Stream::new(config.training.seed);
    let training = Windows::new(tokenizer.encode(splits.train)?, batch_size, seq_length)
        .and_then(|windows| {
            windows.drawn(random.named("windows")).in_micro_batches(config.data.micro_batches)
        })
        .with_context(|| of("training"))?;
    let validation = tokenizer.encode(splits.validation)?;
    let characters_per_token =
        splits.validation.chars().count() as f64 / validation.len().max(1) as f64;

    let device = config.device.open()?.autodiff();
    let data =
        NextTokenWindows::new(training, &validation, &device).with_context(|| of("validation"))?;
    let model_config = config.model.for_texts(tokenizer.vocab_size(), seq_length);
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init(random.named("model"), device),
        Gpt2::stored_name,
        device,
    )?;
    let prepared =
        PreparedGpt { config, tokenizer, data, model_config, trainee, characters_per_token };
    Ok(Box::new(prepared))
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
            &self.data,
            &|directory| {
                write_config(directory, &self.model_config)?;
                model_directory::write_tokenizer(&self.tokenizer, directory)
            },
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, trained: &Trained<()>) -> Result<Findings> {
        let loss = trained.best.context("a run is evaluated at its end")?.validation_loss;
        let bits_per_character = loss / LN_2 / self.characters_per_token;
        let mut metrics = BTreeMap::from([("bits_per_character".into(), bits_per_character)]);
        metrics.extend(perplexity(loss).map(|perplexity| ("perplexity".into(), perplexity)));
        Ok(Findings { metrics, samples: self.samples(directory)?, ..Findings::default() })
    }
}

impl PreparedGpt {
    /// What the best checkpoint writes after each prompt, as far as the positions reach.
    fn samples(&self, directory: &Path) -> Result<String> {
        let SamplesConfig { prompts, max_new_tokens, stop, temperature } = &self.config.samples;
        let model = self.trainee.best(directory)?.valid();
        let device = self.trainee.device.clone().inner();
        let mut texts = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let room =
                self.model_config.n_positions.saturating_sub(self.tokenizer.encode(prompt)?.len());
            let generation = GenerationConfig {
                sampling: generate::sampling(*temperature, None, None)?,
                max_new_tokens: (*max_new_tokens).min(room),
                stop_strings: stop.iter().cloned().collect(),
                seed: self.config.training.seed,
                ..GenerationConfig::default()
            };
            let go_on = |_: &str| ControlFlow::Continue(());
            let written =
                generate_text(&model, &self.tokenizer, prompt, &generation, &device, go_on)?;
            texts.push(format!("{}{written}", prompt.trim_start_matches('\n')));
        }
        Ok(texts.join("\n\n--------\n\n") + "\n")
    }
}
