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
use crate::tasks::banded::BandedConfig;
use crate::tasks::bert_finetuning::{
    AskedConfig, BertFinetuningConfig, ClassifiedConfig, TaggedConfig,
};
use crate::tasks::bert_pretraining::BertPretrainingConfig;
use crate::tasks::bert_sentences::BertSentencesConfig;
use crate::tasks::classification::ClassificationConfig;
use crate::tasks::digits_transfer::DigitsTransferConfig;
use crate::tasks::elmo_features::ElmoFeaturesConfig;
use crate::tasks::elmo_pretraining::ElmoPretrainingConfig;
use crate::tasks::gpt::GptConfig;
use crate::tasks::gpt1_classification::Gpt1ClassificationConfig;
use crate::tasks::gpt2_finetuning::Gpt2FinetuningConfig;
use crate::tasks::language_modelling::LanguageModellingConfig;
use crate::tasks::long_range::LongRangeConfig;
use crate::tasks::many_tasks::ManyTasksConfig;
use crate::tasks::masking_ablation::MaskingAblationConfig;
use crate::tasks::memory_horizon::MemoryHorizonConfig;
use crate::tasks::sums_to_one::SumsToOneConfig;
use crate::tasks::tagging::TaggingConfig;
use crate::tasks::transfer_text::TransferTextConfig;
use crate::tasks::translation::TranslationConfig;
use crate::tasks::{Kind, Prepared};

/// The key that tells the kinds of runs apart.
const TASK: &str = "task";

/// Makes [`RunConfig`] of the kinds of runs, each with its value of [`TASK`] and its config, which has the fields
/// `experiment`, `device` and `training`.
macro_rules! kinds {
    ($($(#[$doc:meta])* $task:literal $kind:ident($config:ty),)*) => {
        /// A run of any kind; in files the key `task` tells which.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "task")]
        pub enum RunConfig {
            $($(#[$doc])* #[serde(rename = $task)] $kind($config),)*
        }

        impl RunConfig {
            /// The values of [`TASK`].
            const TASKS: &[&str] = &[$($task),*];

            /// By hand: what serde derives for a tagged enum forgets the path to a key that is wrong.
            fn of_task(task: &str, table: Table) -> Result<Self> {
                match task {
                    $($task => from_table(table).map(Self::$kind),)*
                    _ => {
                        let hint = names::hint(task, Self::TASKS.iter().copied());
                        bail!("there is no `{TASK}` `{task}`; {hint}")
                    }
                }
            }

            /// The kind, as files call it.
            pub fn task(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => $task,)*
                }
            }

            /// What all kinds have.
            fn common(&self) -> Common<'_> {
                match self {
                    $(Self::$kind(config) => Common {
                        experiment: &config.experiment,
                        device: config.device,
                        training: &config.training,
                    },)*
                }
            }

            fn kind(&self) -> &dyn Kind {
                match self {
                    $(Self::$kind(config) => config,)*
                }
            }

            /// Reads the data, opens the device and makes the model; writes nothing.
            ///
            /// # Errors
            /// If the data or the device cannot be used.
            pub fn prepare(self) -> Result<Box<dyn Prepared>> {
                match self {
                    $(Self::$kind(config) => config.prepare(),)*
                }
            }
        }
    };
}

kinds! {
    /// A text is continued.
    "language_modelling" LanguageModelling(LanguageModellingConfig),
    /// A text gets a class.
    "classification" Classification(ClassificationConfig),
    /// A word gets a tag.
    "tagging" Tagging(TaggingConfig),
    /// Cells against distances.
    "memory_horizon" MemoryHorizon(MemoryHorizonConfig),
    /// A sequence is read and another one written.
    "translation" Translation(TranslationConfig),
    /// Token mixers against distances and lengths.
    "long_range" LongRange(LongRangeConfig),
    /// A text is continued by a GPT.
    "gpt" Gpt(GptConfig),
    /// Masked words and next sentences are guessed by a BERT.
    "bert_pretraining" BertPretraining(BertPretrainingConfig),
    /// Ways of masking against each other.
    "masking_ablation" MaskingAblation(MaskingAblationConfig),
    /// A text gets a class by a BERT that read books before.
    "bert_classification" BertClassification(BertFinetuningConfig<ClassifiedConfig>),
    /// A word gets a tag by such a BERT.
    "bert_tagging" BertTagging(BertFinetuningConfig<TaggedConfig>),
    /// A question is answered by such a BERT, out of a passage.
    "bert_answers" BertAnswers(BertFinetuningConfig<AskedConfig>),
    /// Sentences as vectors of a BERT.
    "bert_sentences" BertSentences(BertSentencesConfig),
    /// Words are predicted from both sides by an ELMo.
    "elmo_pretraining" ElmoPretraining(ElmoPretrainingConfig),
    /// A sentence gets a class without the layers of an ELMo and with them.
    "elmo_features" ElmoFeatures(ElmoFeaturesConfig),
    /// Probabilities of all sequences are summed.
    "sums_to_one" SumsToOne(SumsToOneConfig),
    /// Dense against banded attention.
    "banded" Banded(BandedConfig),
    /// Examples of many tasks are read, and new tasks are asked.
    "many_tasks" ManyTasks(ManyTasksConfig),
    /// A text gets a class by a GPT-1 that read books before.
    "gpt1_classification" Gpt1Classification(Gpt1ClassificationConfig),
    /// A GPT-2 goes on learning from another text.
    "gpt2_finetuning" Gpt2Finetuning(Gpt2FinetuningConfig),
    /// A network on digits learns others.
    "digits_transfer" DigitsTransfer(DigitsTransferConfig),
    /// Models that read books learn whose a text is, each in several ways.
    "transfer_text" TransferText(TransferTextConfig),
}

/// What the config of every kind has.
struct Common<'a> {
    experiment: &'a str,
    device: DeviceName,
    training: &'a TrainingConfig,
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

    fn from_table(mut table: Table) -> Result<Self> {
        let task = table.remove(TASK).with_context(|| {
            format!("the key `{TASK}` is missing: it is one of {}", Self::TASKS.join(", "))
        })?;
        match task.as_str() {
            Some(task) => Self::of_task(task, table),
            None => bail!("`{TASK}`: expected a string, found {}", Value::type_str(&task)),
        }
    }

    /// The name of the experiment.
    pub fn experiment(&self) -> &str {
        self.common().experiment
    }

    /// Where to compute.
    pub fn device(&self) -> DeviceName {
        self.common().device
    }

    /// How it learns; its seed is that of the whole run.
    pub fn training(&self) -> &TrainingConfig {
        self.common().training
    }

    /// The checksum of the data, where it comes from files and they are read.
    pub fn data_sha256(&self) -> Option<&str> {
        self.kind().data_sha256()
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
        self.kind().validate()
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
