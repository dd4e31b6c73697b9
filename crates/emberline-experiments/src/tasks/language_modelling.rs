//! A language model learns a text, and continues prompts.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_core::{Incremental, Stream};
use emberline_generation::{GenerationConfig, generate_text};
use emberline_models::rnn_language_model::{
    CellKind, ModelType, RnnLanguageModel, RnnLanguageModelConfig,
};
use emberline_pretraining::{CarriedNextToken, NextTokenWindows};
use emberline_text::{Corpus, END_OF_TEXT, SplitFractions, Tokenizer, Windows};
use emberline_training::{Trained, TrainingConfig, best_checkpoint};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_dropout, check_sizes};
use crate::{datasets, generate, model_directory};

/// A language model on a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageModellingConfig {
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
    /// The tokens to add to each, at most.
    pub max_new_tokens: usize,
    /// What ends a text once the model has written it; nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// Divides the scores.
    pub temperature: f64,
}

impl Kind for LanguageModellingConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        check_sizes(&[
            ("data.batch_size", self.data.batch_size),
            ("data.seq_length", self.data.seq_length),
            ("data.micro_batches", self.data.micro_batches),
        ])?;
        check_model(&self.model.for_vocabulary(1)).context("`model` cannot be used")?;
        self.samples.validate()
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl SamplesConfig {
    /// Whether texts can be written so; the error names the first value that cannot be.
    pub fn validate(&self) -> Result<()> {
        let temperature = self.temperature;
        let is_temperature = temperature.is_finite() && temperature >= 0.0;
        ensure!(is_temperature, "`samples.temperature` must be at least 0, but is {temperature}");
        ensure!(self.stop.as_deref() != Some(""), "`samples.stop` is empty");
        Ok(())
    }

    /// Whether every prompt can be continued, which is better known before the training than after it.
    ///
    /// # Errors
    /// If one has a token that the tokenizer has not, or none.
    pub fn check(&self, tokenizer: &Tokenizer) -> Result<()> {
        for prompt in &self.prompts {
            let tokens = tokenizer.encode(prompt);
            let tokens = tokens.with_context(|| {
                format!("`samples.prompts`: {prompt:?} is not of the tokens of the text")
            })?;
            ensure!(
                !tokens.is_empty(),
                "`samples.prompts`: a model goes on from one token at least"
            );
        }
        Ok(())
    }

    /// What a model writes after each prompt, as far as its positions reach.
    ///
    /// # Errors
    /// If a prompt cannot be continued.
    pub fn write<M: Incremental>(
        &self,
        model: &M,
        tokenizer: &Tokenizer,
        n_positions: usize,
        seed: u64,
        device: &Device,
    ) -> Result<String> {
        let mut texts = Vec::with_capacity(self.prompts.len());
        for prompt in &self.prompts {
            let room = n_positions.saturating_sub(tokenizer.encode(prompt)?.len());
            let generation = GenerationConfig {
                sampling: generate::sampling(self.temperature, None, None)?,
                max_new_tokens: self.max_new_tokens.min(room),
                stop_tokens: tokenizer.id(END_OF_TEXT).into_iter().collect(),
                stop_strings: self.stop.iter().cloned().collect(),
                seed,
                ..GenerationConfig::default()
            };
            let go_on = |_: &str| ControlFlow::Continue(());
            let written = generate_text(model, tokenizer, prompt, &generation, device, go_on)?;
            texts.push(format!("{}{written}", prompt.trim_start_matches('\n')));
        }
        Ok(texts.join("\n\n--------\n\n") + "\n")
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
    check_dropout(config.dropout)
}

/// The text as windows, the model, the device.
struct PreparedLanguageModel {
    config: LanguageModellingConfig,
    tokenizer: Tokenizer,
    data: NextTokenWindows,
    model_config: RnnLanguageModelConfig,
    trainee: Trainee<RnnLanguageModel>,
    /// The characters of a token of the validation text, on average.
    characters_per_token: f64,
}

/// Reads the text, opens the device and makes the model; writes nothing.
///
/// # Errors
/// If the text cannot be read or is too short, a prompt is not of its characters, or the model does not fit.
fn prepare(mut config: LanguageModellingConfig) -> Result<Box<dyn Prepared>> {
    let corpus = read_text(&mut config.data)?;
    let tokenizer = Tokenizer::characters(&corpus);
    for prompt in &config.samples.prompts {
        // Better now than after the training.
        let tokens = tokenizer.encode(prompt);
        let tokens = tokens.with_context(|| {
            format!("`samples.prompts`: {prompt:?} is not of the characters of {}", corpus.name())
        })?;
        ensure!(!tokens.is_empty(), "`samples.prompts`: a model goes on from one token at least");
    }
    let splits = corpus.split(config.data.split)?;
    let (batch_size, seq_length) = (config.data.batch_size, config.data.seq_length);
    let of = |part: &str| format!("{}: its {part} part", corpus.name());
    let training = tokenizer.encode(splits.train)?;
    let training = Windows::new(training, batch_size, seq_length)
        .and_then(|windows| windows.in_micro_batches(config.data.micro_batches))
        .with_context(|| of("training"))?;
    let validation = tokenizer.encode(splits.validation)?;
    let characters_per_token =
        splits.validation.chars().count() as f64 / validation.len().max(1) as f64;

    let device = config.device.open()?.autodiff();
    let data =
        NextTokenWindows::new(training, &validation, &device).with_context(|| of("validation"))?;
    let model_config = config.model.for_vocabulary(tokenizer.vocab_size());
    let random = Stream::new(config.training.seed).named("model");
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init(random, device),
        RnnLanguageModel::stored_name,
        device,
    )?;
    let prepared = PreparedLanguageModel {
        config,
        tokenizer,
        data,
        model_config,
        trainee,
        characters_per_token,
    };
    Ok(Box::new(prepared))
}

/// The text of a config, which from now on names its file and its checksum.
fn read_text(data: &mut DataConfig) -> Result<Corpus> {
    let file = datasets::find(&mut data.text, "txt")?;
    let corpus = Corpus::from_file(&file)?;
    datasets::check(&[&file], &mut data.sha256)?;
    Ok(corpus)
}

impl Prepared for PreparedLanguageModel {
    fn config(&self) -> RunConfig {
        RunConfig::LanguageModelling(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &CarriedNextToken,
            &self.data,
            &|directory| {
                model_directory::write_others(&self.model_config, &self.tokenizer, directory)
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

/// The exponential of a loss, where it is a number: that of a loss of 710 is not.
pub(super) fn perplexity(loss: f64) -> Option<f64> {
    Some(loss.exp()).filter(|perplexity| perplexity.is_finite())
}

impl PreparedLanguageModel {
    /// What the best checkpoint writes after each prompt.
    fn samples(&self, directory: &Path) -> Result<String> {
        let config = &self.config;
        let best = best_checkpoint(directory)?.context("a finished run has a best checkpoint")?;
        let loaded = model_directory::load(&best, &self.trainee.device.clone().inner())?;
        let generation = GenerationConfig {
            sampling: generate::sampling(config.samples.temperature, None, None)?,
            max_new_tokens: config.samples.max_new_tokens,
            stop_strings: config.samples.stop.iter().cloned().collect(),
            seed: config.training.seed,
            ..GenerationConfig::default()
        };
        let mut text = String::new();
        for (i, prompt) in config.samples.prompts.iter().enumerate() {
            if i > 0 {
                text += "\n\n--------\n\n";
            }
            text += prompt.trim_start_matches('\n');
            text += &loaded.continue_text(prompt, &generation, |_| ControlFlow::Continue(()))?;
        }
        Ok(text + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check_memory;
    use crate::experiments::char_lstm::char_lstm_deep;

    #[test]
    fn a_model_beyond_the_memory_is_refused_with_its_size() {
        let mut config = char_lstm_deep().model.for_vocabulary(70);
        config.d_hidden = 1 << 20;
        config.n_layers = 1 << 20;
        let error = check_memory(config.parameter_count(), 4).map_err(|error| error.to_string());
        assert!(crate::doctor::memory_bytes().is_none() || error.is_err(), "{error:?}");
    }

    #[test]
    fn the_perplexity_of_any_loss_is_a_number_or_absent() {
        assert_eq!([0.0, 710.0].map(perplexity), [Some(1.0), None]);
    }
}
