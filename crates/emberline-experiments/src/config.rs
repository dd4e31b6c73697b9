//! What a run is told: the whole of it, in one value that is written to `config.toml` and re-runs it.

use anyhow::{Context, Result, bail, ensure};
use emberline_backend::device::DeviceName;
use emberline_text::BadLines;
use emberline_training::TrainingConfig;
use serde::Serialize;
use toml::{Table, Value};

use crate::doctor;
use crate::names;
use crate::overrides::{self, from_table};
use crate::result::{grouped, mebibytes};
use crate::tasks::Prepared;
use crate::tasks::banded::{self, BandedConfig};
use crate::tasks::bert_pretraining::{self, BertPretrainingConfig};
use crate::tasks::classification::{self, ClassificationConfig};
use crate::tasks::gpt::{self, GptConfig};
use crate::tasks::gpt1_classification::{self, Gpt1ClassificationConfig};
use crate::tasks::gpt2_finetuning::{self, Gpt2FinetuningConfig};
use crate::tasks::language_modelling::{self, LanguageModellingConfig};
use crate::tasks::long_range::{self, LongRangeConfig};
use crate::tasks::memory_horizon::{self, MemoryHorizonConfig};
use crate::tasks::sums_to_one::{self, SumsToOneConfig};
use crate::tasks::tagging::{self, TaggingConfig};
use crate::tasks::translation::{self, TranslationConfig};

/// The key that tells the kinds of runs apart.
const TASK: &str = "task";
/// Its values.
const TASKS: [&str; 12] = [
    "language_modelling",
    "classification",
    "tagging",
    "memory_horizon",
    "translation",
    "long_range",
    "gpt",
    "bert_pretraining",
    "sums_to_one",
    "banded",
    "gpt1_classification",
    "gpt2_finetuning",
];

/// A run of any kind; in files the key `task` tells which.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum RunConfig {
    /// A text is continued.
    LanguageModelling(LanguageModellingConfig),
    /// A text gets a class.
    Classification(ClassificationConfig),
    /// A word gets a tag.
    Tagging(TaggingConfig),
    /// Cells against distances.
    MemoryHorizon(MemoryHorizonConfig),
    /// A sequence is read and another one written.
    Translation(TranslationConfig),
    /// Token mixers against distances and lengths.
    LongRange(LongRangeConfig),
    /// A text is continued by a GPT.
    Gpt(GptConfig),
    /// Masked words and next sentences are guessed by a BERT.
    BertPretraining(BertPretrainingConfig),
    /// Probabilities of all sequences are summed.
    SumsToOne(SumsToOneConfig),
    /// Dense against banded attention.
    Banded(BandedConfig),
    /// A text gets a class by a GPT-1 that read books before.
    Gpt1Classification(Gpt1ClassificationConfig),
    /// A GPT-2 goes on learning from another text.
    Gpt2Finetuning(Gpt2FinetuningConfig),
}

impl RunConfig {
    /// Reads a config from TOML text.
    ///
    /// # Errors
    /// Text that is not TOML, with the line; a missing, unknown or mistyped key, with its path.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_table(toml::from_str(text)?)
    }

    /// The config with the values of `--set path.to.key=value` in it.
    ///
    /// # Errors
    /// Those of [`overrides::set`] and [`parse`](Self::parse).
    pub fn with_overrides(&self, overrides: &[String]) -> Result<Self> {
        let mut table = Table::try_from(self).context("a config is a TOML table")?;
        overrides.iter().try_for_each(|text| overrides::set(&mut table, text))?;
        Self::from_table(table)
    }

    /// By hand: what serde derives for a tagged enum forgets the path to a key that is wrong.
    fn from_table(mut table: Table) -> Result<Self> {
        let task = table.remove(TASK).with_context(|| {
            format!("the key `{TASK}` is missing: it is one of {}", TASKS.join(", "))
        })?;
        match task.as_str() {
            Some("language_modelling") => from_table(table).map(Self::LanguageModelling),
            Some("classification") => from_table(table).map(Self::Classification),
            Some("tagging") => from_table(table).map(Self::Tagging),
            Some("memory_horizon") => from_table(table).map(Self::MemoryHorizon),
            Some("translation") => from_table(table).map(Self::Translation),
            Some("long_range") => from_table(table).map(Self::LongRange),
            Some("gpt") => from_table(table).map(Self::Gpt),
            Some("bert_pretraining") => from_table(table).map(Self::BertPretraining),
            Some("sums_to_one") => from_table(table).map(Self::SumsToOne),
            Some("banded") => from_table(table).map(Self::Banded),
            Some("gpt1_classification") => from_table(table).map(Self::Gpt1Classification),
            Some("gpt2_finetuning") => from_table(table).map(Self::Gpt2Finetuning),
            Some(name) => bail!("there is no `{TASK}` `{name}`; {}", names::hint(name, TASKS)),
            None => bail!("`{TASK}`: expected a string, found {}", Value::type_str(&task)),
        }
    }

    /// The kind, as files call it.
    pub fn task(&self) -> &'static str {
        match self {
            Self::LanguageModelling(_) => TASKS[0],
            Self::Classification(_) => TASKS[1],
            Self::Tagging(_) => TASKS[2],
            Self::MemoryHorizon(_) => TASKS[3],
            Self::Translation(_) => TASKS[4],
            Self::LongRange(_) => TASKS[5],
            Self::Gpt(_) => TASKS[6],
            Self::BertPretraining(_) => TASKS[7],
            Self::SumsToOne(_) => TASKS[8],
            Self::Banded(_) => TASKS[9],
            Self::Gpt1Classification(_) => TASKS[10],
            Self::Gpt2Finetuning(_) => TASKS[11],
        }
    }

    /// The name of the experiment.
    pub fn experiment(&self) -> &str {
        match self {
            Self::LanguageModelling(LanguageModellingConfig { experiment, .. })
            | Self::Classification(ClassificationConfig { experiment, .. })
            | Self::Tagging(TaggingConfig { experiment, .. })
            | Self::MemoryHorizon(MemoryHorizonConfig { experiment, .. })
            | Self::Translation(TranslationConfig { experiment, .. })
            | Self::LongRange(LongRangeConfig { experiment, .. })
            | Self::Gpt(GptConfig { experiment, .. })
            | Self::BertPretraining(BertPretrainingConfig { experiment, .. })
            | Self::SumsToOne(SumsToOneConfig { experiment, .. })
            | Self::Banded(BandedConfig { experiment, .. })
            | Self::Gpt1Classification(Gpt1ClassificationConfig { experiment, .. })
            | Self::Gpt2Finetuning(Gpt2FinetuningConfig { experiment, .. }) => experiment,
        }
    }

    /// Where to compute.
    pub fn device(&self) -> DeviceName {
        match self {
            Self::LanguageModelling(LanguageModellingConfig { device, .. })
            | Self::Classification(ClassificationConfig { device, .. })
            | Self::Tagging(TaggingConfig { device, .. })
            | Self::MemoryHorizon(MemoryHorizonConfig { device, .. })
            | Self::Translation(TranslationConfig { device, .. })
            | Self::LongRange(LongRangeConfig { device, .. })
            | Self::Gpt(GptConfig { device, .. })
            | Self::BertPretraining(BertPretrainingConfig { device, .. })
            | Self::SumsToOne(SumsToOneConfig { device, .. })
            | Self::Banded(BandedConfig { device, .. })
            | Self::Gpt1Classification(Gpt1ClassificationConfig { device, .. })
            | Self::Gpt2Finetuning(Gpt2FinetuningConfig { device, .. }) => *device,
        }
    }

    /// How it learns; its seed is that of the whole run.
    pub fn training(&self) -> &TrainingConfig {
        match self {
            Self::LanguageModelling(LanguageModellingConfig { training, .. })
            | Self::Classification(ClassificationConfig { training, .. })
            | Self::Tagging(TaggingConfig { training, .. })
            | Self::MemoryHorizon(MemoryHorizonConfig { training, .. })
            | Self::Translation(TranslationConfig { training, .. })
            | Self::LongRange(LongRangeConfig { training, .. })
            | Self::Gpt(GptConfig { training, .. })
            | Self::BertPretraining(BertPretrainingConfig { training, .. })
            | Self::SumsToOne(SumsToOneConfig { training, .. })
            | Self::Banded(BandedConfig { training, .. })
            | Self::Gpt1Classification(Gpt1ClassificationConfig { training, .. })
            | Self::Gpt2Finetuning(Gpt2FinetuningConfig { training, .. }) => training,
        }
    }

    /// The checksum of the data, where it comes from files and they are read.
    pub fn data_sha256(&self) -> Option<&str> {
        match self {
            Self::LanguageModelling(config) => config.data.sha256.as_deref(),
            Self::Classification(config) => config.data.sha256.as_deref(),
            Self::Tagging(config) => config.data.sha256.as_deref(),
            Self::MemoryHorizon(_) | Self::LongRange(_) | Self::SumsToOne(_) => None,
            Self::Translation(config) => config.data.sha256(),
            Self::Gpt(config) => config.data.sha256.as_deref(),
            Self::BertPretraining(config) => config.data.sha256.as_deref(),
            Self::Banded(config) => config.data.sha256.as_deref(),
            Self::Gpt1Classification(config) => config.data.sha256.as_deref(),
            Self::Gpt2Finetuning(config) => config.data.sha256.as_deref(),
        }
    }

    /// Leaves out lines of the data that cannot be used, instead of ending at the first.
    ///
    /// # Errors
    /// If this kind of run has no lines to spare.
    pub fn skip_bad_lines(&mut self) -> Result<()> {
        match self {
            Self::Translation(config) => config.bad_lines = BadLines::Skip,
            other => bail!("--skip-bad is for pairs of lines, not for runs of {}", other.task()),
        }
        Ok(())
    }

    /// Whether the values can be run; the error names the first that cannot. What only the data can tell
    /// is not looked at.
    pub fn validate(&self) -> Result<()> {
        self.training().validate().context("`training` cannot be used")?;
        match self {
            Self::LanguageModelling(config) => config.validate(),
            Self::Classification(config) => config.validate(),
            Self::Tagging(config) => config.validate(),
            Self::MemoryHorizon(config) => config.validate(),
            Self::Translation(config) => config.validate(),
            Self::LongRange(config) => config.validate(),
            Self::Gpt(config) => config.validate(),
            Self::BertPretraining(config) => config.validate(),
            Self::SumsToOne(config) => config.validate(),
            Self::Banded(config) => config.validate(),
            Self::Gpt1Classification(config) => config.validate(),
            Self::Gpt2Finetuning(config) => config.validate(),
        }
    }

    /// Reads the data, opens the device and makes the model; writes nothing.
    ///
    /// # Errors
    /// If the data or the device cannot be used.
    pub fn prepare(self) -> Result<Box<dyn Prepared>> {
        match self {
            Self::LanguageModelling(config) => language_modelling::prepare(config),
            Self::Classification(config) => classification::prepare(config),
            Self::Tagging(config) => tagging::prepare(config),
            Self::MemoryHorizon(config) => memory_horizon::prepare(config),
            Self::Translation(config) => translation::prepare(config),
            Self::LongRange(config) => long_range::prepare(config),
            Self::Gpt(config) => gpt::prepare(config),
            Self::BertPretraining(config) => bert_pretraining::prepare(config),
            Self::SumsToOne(config) => sums_to_one::prepare(config),
            Self::Banded(config) => banded::prepare(config),
            Self::Gpt1Classification(config) => gpt1_classification::prepare(config),
            Self::Gpt2Finetuning(config) => gpt2_finetuning::prepare(config),
        }
    }
}

/// Whether every size is one that a model or a batch can have; the error names the first that is not.
pub fn check_sizes(sizes: &[(&str, usize)]) -> Result<()> {
    for (key, size) in sizes {
        // The limit keeps products of sizes within what a computer can address.
        ensure!((1..=1 << 20).contains(size), "`{key}` must be 1 to 1048576, but is {size}");
    }
    Ok(())
}

/// Whether a dropout is a probability below 1.
pub fn check_dropout(dropout: f64) -> Result<()> {
    let is_fraction = (0.0..1.0).contains(&dropout);
    ensure!(is_fraction, "`dropout` must be at least 0 and below 1, but is {dropout}");
    Ok(())
}

/// Whether so many parameters, `copies` times, can fit into the memory of this machine.
///
/// # Errors
/// If they cannot, with both sizes.
pub fn check_memory(parameters: u64, copies: u64) -> Result<()> {
    let Some(memory) = doctor::memory_bytes() else { return Ok(()) };
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
