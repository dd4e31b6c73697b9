//! A model reads a sequence and writes another: translation, spelling to sound, and toy tasks with one right answer.

mod attention;
mod config;
mod data;
pub mod model;
mod prepared;
mod scores;
pub mod translator;

use anyhow::{Context, Result, ensure};
use emberline_backend::LabelSmoothing;
use emberline_backend::device::DeviceName;
use emberline_generation::BeamConfig;
use emberline_pretraining::ScheduledSampling;
use emberline_text::{BadLines, BatchSize, TranslationTokenizer, TranslationTokens};
use emberline_training::TrainingConfig;
use serde::{Deserialize, Serialize};

pub use self::data::DataConfig;
pub use self::model::ModelConfig;
pub use self::scores::ScoresConfig;
use super::{Kind, Prepared};
use crate::config::check_sizes;

/// A model from one language into another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranslationConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read and written.
    pub data: DataConfig,
    /// What becomes of a pair with an empty side, or with a side that is longer than the model takes.
    #[serde(default)]
    pub bad_lines: BadLines,
    /// What both sides are cut into.
    pub tokens: TokensConfig,
    /// How pairs become updates.
    pub batches: BatchesConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How labels are smoothed in training; not at all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<LabelSmoothing>,
    /// How often the decoder reads the target's token in training; always where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_sampling: Option<ScheduledSampling>,
    /// How it learns; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// Of how many of the last checkpoints the model that is tested is the mean; 1 tests the best checkpoint.
    #[serde(default = "one")]
    pub averaged_checkpoints: usize,
    /// How the test part is decoded; it stops at `</s>`.
    pub beam: BeamConfig,
    /// What is measured of that.
    pub scores: ScoresConfig,
}

/// What sentences are cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokensConfig {
    /// One list of tokens, learned from both sides; a Transformer has one table for it.
    Joint(TranslationTokens),
    /// A list for each side.
    Separate {
        /// Of what is read.
        source: TranslationTokens,
        /// Of what is written.
        target: TranslationTokens,
    },
}

/// How pairs become updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchesConfig {
    /// How much an update has.
    pub size: BatchSize,
    /// Training pairs with more tokens on a side are left out, `</s>` included; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
}

fn one() -> usize {
    1
}

impl Kind for TranslationConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256()
    }

    fn validate(&self) -> Result<()> {
        let (BatchSize::Sentences(size) | BatchSize::Tokens(size)) = self.batches.size;
        check_sizes(&[
            ("batches.size", size),
            ("batches.max_tokens", self.batches.max_tokens.unwrap_or(1)),
        ])?;
        self.data.validate()?;
        self.model.validate(&self.tokens).context("`model` cannot be used")?;
        if let Some(smoothing) = self.smoothing {
            let (LabelSmoothing::Uniform(epsilon)
            | LabelSmoothing::Others(epsilon)
            | LabelSmoothing::OthersBut { smoothing: epsilon, .. }) = smoothing;
            let holds = (0.0..1.0).contains(&epsilon);
            ensure!(holds, "`smoothing` must be at least 0 and below 1, but is {epsilon}");
        }
        if let Some(sampling) = &self.scheduled_sampling {
            sampling.validate()?;
        }
        self.validate_average()?;
        self.beam.validate().context("`beam` cannot be used")?;
        let stop_tokens = &self.beam.stop_tokens;
        ensure!(
            stop_tokens.is_empty(),
            "`beam.stop_tokens` must be empty, but is {stop_tokens:?}: a translation ends at </s>"
        );
        Ok(())
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl TranslationConfig {
    /// Whether there will be as many checkpoints as are to be averaged, whenever the run ends.
    fn validate_average(&self) -> Result<()> {
        let n = self.averaged_checkpoints;
        ensure!(n > 0, "`averaged_checkpoints` must be at least 1, but is 0");
        let training = &self.training;
        ensure!(
            n <= training.keep_checkpoints,
            "`averaged_checkpoints` must be at most `training.keep_checkpoints` {}, but is {n}",
            training.keep_checkpoints
        );
        // The first evaluation is a fall of the loss.
        let first_end = training.early_stopping.map_or(training.steps, |stopping| {
            let evaluations = stopping.patience.saturating_add(1);
            training.steps.min(training.evaluate_every.saturating_mul(evaluations))
        });
        let saved = first_end.div_ceil(training.checkpoint_every);
        ensure!(
            n as u64 <= saved,
            "`averaged_checkpoints` is {n}, but a run may end after {first_end} updates, with {saved} checkpoints"
        );
        Ok(())
    }
}

impl TokensConfig {
    /// The tokenizers of source and target, learned from the sentences of both.
    fn learn(&self, corpus: &emberline_text::ParallelCorpus) -> Result<[TranslationTokenizer; 2]> {
        let sources: Vec<&str> = corpus.sources().collect();
        let targets: Vec<&str> = corpus.targets().collect();
        Ok(match self {
            Self::Joint(tokens) => {
                let both = TranslationTokenizer::learn(tokens, [sources, targets].concat())?;
                [both.clone(), both]
            }
            Self::Separate { source, target } => [
                TranslationTokenizer::learn(source, sources)?,
                TranslationTokenizer::learn(target, targets)?,
            ],
        })
    }
}

/// Reads the pairs, opens the device and makes the model; writes nothing.
///
/// # Errors
/// If a line of a file is not as expected or longer than the model takes, and not to be skipped; if the model does not
/// fit.
fn prepare(mut config: TranslationConfig) -> Result<Box<dyn Prepared>> {
    let parts = config.data.read(config.bad_lines)?;
    let tokenizers = config.tokens.learn(&parts.training)?;
    model::prepare(config, parts, tokenizers)
}
