//! A GPT-2 that somebody trained goes on learning from another text, and becomes a directory that Python opens too.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::{PendingDirectory, read_config, remove_directory, write_config};
use emberline_core::Stream;
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_pretraining::NextToken;
use emberline_text::{SplitFractions, Tokenizer};
use emberline_training::{Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::documents::{Documents, Rows, TextData, Texts};
use super::language_modelling::{SamplesConfig, perplexity};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::datasets;
use crate::model_directory::{self, AnyModel, Loaded};

/// The directory within a run of the model that it ends with.
pub const MODEL: &str = "model";

/// A directory of a GPT-2, and a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt2FinetuningConfig {
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
    /// What the model is asked to write, before and after.
    pub samples: SamplesConfig,
}

/// A text, its split and its batches. Tokens are those of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A file, a folder of files, a folder of `datasets/`, or a data set that `emberline data` fetched; or a list of
    /// those. Several are documents in a row with `<|endoftext|>` between them, as is what a text that spells this out
    /// holds.
    pub path: Texts,
    /// What the SHA-256 of the files, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How much of each document is for training and validation.
    pub split: SplitFractions,
    /// The rows of an update.
    pub batch_size: usize,
    /// The tokens of a row, at most the positions of the model.
    pub seq_length: usize,
    /// In how many parts an update is computed, one after the other.
    pub micro_batches: usize,
}

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Its directory, with config, weights and tokenizer, as `transformers` saves them.
    pub path: String,
}

impl Kind for Gpt2FinetuningConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        check_sizes(&[
            ("data.batch_size", self.data.batch_size),
            ("data.seq_length", self.data.seq_length),
            ("data.micro_batches", self.data.micro_batches),
        ])?;
        self.samples.validate()
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// The text as windows, the model, the device.
struct PreparedFinetuning {
    config: Gpt2FinetuningConfig,
    tokenizer: Tokenizer,
    data: TextData,
    model_config: Gpt2Config,
    trainee: Trainee<Gpt2>,
}

/// Reads the model and the text, and opens the device; writes nothing.
///
/// # Errors
/// If the directory is not one of a GPT-2, the text cannot be read or is too short, or the model does not fit.
fn prepare(mut config: Gpt2FinetuningConfig) -> Result<Box<dyn Prepared>> {
    let (model, data) = (&config.model.path, &config.data.path);
    ensure!(!model.is_empty(), "`model.path` is not set: --set model.path=DIRECTORY names a GPT-2");
    let is_named = *data != Texts::One(String::new());
    ensure!(is_named, "`data.path` is not set: --set data.path=FILE names a text");
    let directory = datasets::find_folder(&mut config.model.path)?;
    let DataConfig { path, sha256, split, .. } = &mut config.data;
    let documents = Documents::read(path, sha256, *split)?;
    let device = config.device.open()?.autodiff();
    let Loaded { model, tokenizer, .. } = model_directory::load(&directory, &device)?;
    let AnyModel::Gpt2(model) = model else {
        bail!("{} holds a model of another kind than GPT-2", directory.display());
    };
    let model_config: Gpt2Config = read_config(&directory)?;
    config.samples.check(&tokenizer)?;

    let DataConfig { batch_size, seq_length, micro_batches, .. } = config.data;
    let n_positions = model_config.n_positions;
    ensure!(
        seq_length <= n_positions,
        "`data.seq_length` is {seq_length}, but the model has {n_positions} positions"
    );
    let rows = Rows { batch_size, seq_length, micro_batches };
    let random = Stream::new(config.training.seed);
    let data = documents.windows(&tokenizer, rows, random.named("windows"), &device)?;
    let trainee =
        Trainee::new(model_config.parameter_count(), |_| model, Gpt2::stored_name, device)?;
    Ok(Box::new(PreparedFinetuning { config, tokenizer, data, model_config, trainee }))
}

impl Prepared for PreparedFinetuning {
    fn config(&self) -> RunConfig {
        RunConfig::Gpt2Finetuning(self.config.clone())
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
        let best = self.trainee.best(directory)?.valid();
        self.save(&best, &directory.join(MODEL))?;
        let before = self.trainee.model.valid();
        let loss_before = self.data.mean_loss(&before);
        let loss = trained.best.context("a run is evaluated at its end")?.validation_loss;
        let bits = loss / LN_2 / self.data.characters_per_token;
        let mut metrics = BTreeMap::from([
            ("validation_loss_before".to_string(), loss_before),
            ("bits_per_character".to_string(), bits),
        ]);
        metrics.extend(perplexity(loss).map(|perplexity| ("perplexity".into(), perplexity)));
        let samples =
            format!("before\n\n{}\nafter\n\n{}", self.samples(&before)?, self.samples(&best)?);
        Ok(Findings { metrics, samples, ..Findings::default() })
    }
}

impl PreparedFinetuning {
    fn samples(&self, model: &Gpt2) -> Result<String> {
        let device = self.trainee.device.clone().inner();
        let (n_positions, seed) = (self.model_config.n_positions, self.config.training.seed);
        self.config.samples.write(model, &self.tokenizer, n_positions, seed, &device)
    }

    /// Writes a directory with weights, config and tokenizer, which `transformers` opens, in place of one of a session
    /// that may not have come to its end.
    fn save(&self, model: &Gpt2, target: &Path) -> Result<()> {
        if target.exists() {
            remove_directory(target)?;
        }
        let pending = PendingDirectory::create(target)?;
        model_directory::save_weights_of(model, &Gpt2::stored_name, pending.path())?;
        write_config(pending.path(), &self.model_config)?;
        self.tokenizer.save(pending.path())?;
        Ok(pending.commit()?)
    }
}
