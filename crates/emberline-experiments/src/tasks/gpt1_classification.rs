//! GPT-1's way to a task: a model of language is trained on much text, and then, with a linear layer more, on a little of
//! a task, without forgetting the language.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::{read_config, write_atomically};
use emberline_core::Stream;
use emberline_evaluation::{ConfusionMatrix, predict_groups};
use emberline_finetuning::{
    ClassificationAndNextToken, GroupBatches, GroupExample, Plan, TaskInputs,
};
use emberline_models::gpt1::{Gpt1, Gpt1Config};
use emberline_models::gpt1_task::{Gpt1Task, Gpt1TaskConfig, Task};
use emberline_pretraining::NextToken;
use emberline_text::{FirstLine, LabelColumn, LabelledText, LabelledTexts, Tokenizer, Vocabulary};
use emberline_training::{Trained, TrainingConfig, best_checkpoint};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::documents::TextData;
use super::gpt::{DataConfig, ModelConfig};
use super::labelled;
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, PRETRAINING, Prepared, Stage, stage_loss};
use crate::config::{RunConfig, check_dropout, check_sizes};
use crate::datasets;
use crate::model_directory::{self, AnyModel};

/// The texts that are shown with their answers.
const SHOWN: usize = 20;

/// A GPT-1 on books, and then on labelled texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt1ClassificationConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// The labelled texts.
    pub data: LabelledConfig,
    /// What learns them.
    pub model: FinetunedConfig,
    /// How they are learnt; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// Where the model comes from that learns them, unless `model.path` names one.
    pub pretraining: PretrainingConfig,
}

/// Texts with a class each, in files for training, validation and test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelledConfig {
    /// A folder, or one of `datasets/`, with `train.tsv`, `dev.tsv` and `test.tsv`, or these packed as `.gz`.
    pub path: String,
    /// What the SHA-256 of the files, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether the first line names the columns.
    pub first_line: FirstLine,
    /// Which column is the class.
    pub label_column: LabelColumn,
    /// The texts of an update.
    pub batch_size: usize,
}

/// What fine-tuning adds to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetunedConfig {
    /// The directory of a GPT-1 to begin with, as `transformers` saves it; without it one is pretrained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// λ, what predicting the tokens of the texts counts against their class.
    pub next_token_weight: f64,
    /// The probability that a number that the head reads is dropped in training.
    pub head_dropout: f64,
    /// What of the model is trained; all of it, where it is not said.
    #[serde(default)]
    pub plan: Plan,
}

/// A model of language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainingConfig {
    /// What is read.
    pub data: DataConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How it learns; everything random is of the seed of the run.
    pub training: TrainingConfig,
}

impl Kind for Gpt1ClassificationConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        check_sizes(&[("data.batch_size", self.data.batch_size)])?;
        let weight = self.model.next_token_weight;
        let is_weight = weight.is_finite() && weight >= 0.0;
        ensure!(is_weight, "`model.next_token_weight` must be at least 0, but is {weight}");
        check_dropout(self.model.head_dropout).context("`model.head_dropout` cannot be used")?;
        self.pretraining.validate().context("`pretraining` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl PretrainingConfig {
    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.model.validate().context("`model` cannot be used")?;
        self.training.validate().context("`training` cannot be used")
    }
}

impl ModelConfig {
    /// The config of a GPT-1 for a vocabulary and texts of a length.
    pub fn gpt1(&self, vocab_size: usize, n_positions: usize) -> Gpt1Config {
        let Self { d_model, n_layers, n_heads, dropout } = *self;
        Gpt1Config {
            vocab_size,
            n_positions,
            d_model,
            n_layers,
            n_heads,
            residual_dropout: dropout,
            embedding_dropout: dropout,
            attention_dropout: dropout,
            ..Gpt1Config::default()
        }
    }
}

/// A model of language at its first weights, and what it is to read.
struct Untrained {
    trainee: Trainee<Gpt1>,
    data: TextData,
    tokenizer: Tokenizer,
}

/// The texts, the models, the device.
struct PreparedGpt1 {
    config: Gpt1ClassificationConfig,
    /// What is trained first, unless the run begins with a model that is there.
    untrained: Option<Untrained>,
    tokenizer: Tokenizer,
    classes: Vocabulary,
    data: GroupBatches,
    test: LabelledTexts,
    test_examples: Vec<GroupExample>,
    model_config: Gpt1TaskConfig,
    /// With the model of the beginning, trained or not.
    trainee: Trainee<Gpt1Task>,
    random: Stream,
}

/// Reads the texts, opens the device and makes the models; writes nothing.
///
/// # Errors
/// If a text cannot be read, a class is not of the training part, or a model does not fit.
fn prepare(mut config: Gpt1ClassificationConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let (gpt_config, gpt, tokenizer, untrained) = begin(&mut config, random, &device)?;
    let parts = read(&mut config.data)?;

    // After all that the model has, so that its own tokens stay what they are.
    let tokenizer = tokenizer.with_special_tokens(&TaskInputs::TOKENS)?;
    let token = |name: &str| tokenizer.id(name).with_context(|| format!("no token {name}"));
    let [start, delimiter, extract] = TaskInputs::TOKENS;
    let inputs = TaskInputs {
        start: token(start)?,
        delimiter: token(delimiter)?,
        extract: token(extract)?,
        max_length: gpt_config.n_positions,
    };
    let classes = Vocabulary::of_labels(&parts[0].labels());
    let [training, validation, test_examples] =
        parts.each_ref().map(|texts| examples(texts, &tokenizer, &classes, &inputs));
    let data = GroupBatches::new(
        training?,
        validation?,
        config.data.batch_size,
        random.named("data"),
        &device,
    )
    .with_context(|| config.data.path.clone())?;

    let model_config = task_config(gpt_config, &config.model, &classes, &tokenizer, inputs.extract);
    model_config.validate().context("`model` cannot be used")?;
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init_on(gpt, random.named("task"), device),
        Gpt1Task::stored_name,
        device,
    )?;
    let plan = &config.model.plan;
    plan.of(&trainee.model).context("`model.plan` does not fit the model")?;
    let [_, _, test] = parts;
    Ok(Box::new(PreparedGpt1 {
        config,
        untrained,
        tokenizer,
        classes,
        data,
        test,
        test_examples: test_examples?,
        model_config,
        trainee,
        random,
    }))
}

/// The model of language that the run begins with, at its first weights where it is to be trained, and its tokenizer.
fn begin(
    config: &mut Gpt1ClassificationConfig,
    random: Stream,
    device: &Device,
) -> Result<(Gpt1Config, Gpt1, Tokenizer, Option<Untrained>)> {
    if let Some(path) = &mut config.model.path {
        let directory = datasets::find_folder(path)?;
        let loaded = model_directory::load(&directory, device)?;
        let AnyModel::Gpt1(gpt) = loaded.model else {
            bail!("{} holds a model of another kind than GPT-1", directory.display());
        };
        let gpt_config = read_config(&directory)?;
        return Ok((gpt_config, gpt, loaded.tokenizer, None));
    }
    let PretrainingConfig { data, model, .. } = &mut config.pretraining;
    let random = random.named("pretraining");
    let seq_length = data.seq_length;
    let (tokenizer, data) = data.read(random, device)?;
    let gpt_config = model.gpt1(tokenizer.vocab_size(), seq_length);
    let trainee = Trainee::new(
        gpt_config.parameter_count(),
        |device| gpt_config.init(random.named("model"), device),
        Gpt1::stored_name,
        device.clone(),
    )?;
    let gpt = trainee.model.clone();
    let untrained = Untrained { trainee, data, tokenizer: tokenizer.clone() };
    Ok((gpt_config, gpt, tokenizer, Some(untrained)))
}

/// The labelled texts of a config, which from now on names their folder and their checksum.
fn read(data: &mut LabelledConfig) -> Result<[LabelledTexts; 3]> {
    let folder = datasets::find_folder(&mut data.path)?;
    let file = |name: &str| {
        let packed = folder.join(format!("{name}.gz"));
        if packed.is_file() { packed } else { folder.join(name) }
    };
    let files: [PathBuf; 3] = ["train.tsv", "dev.tsv", "test.tsv"].map(file);
    let [training, validation, test] = files
        .each_ref()
        .map(|file| LabelledTexts::from_columns(file, data.first_line, data.label_column));
    let texts = [training?, validation?, test?];
    datasets::check(&files.each_ref().map(PathBuf::as_path), &mut data.sha256)?;
    Ok(texts)
}

/// The texts as rows, each a group of its own.
fn examples(
    texts: &LabelledTexts,
    tokenizer: &Tokenizer,
    classes: &Vocabulary,
    inputs: &TaskInputs,
) -> Result<Vec<GroupExample>> {
    let labels = texts.label_ids(classes)?;
    let example = |(text, label): (&LabelledText, u32)| {
        let tokens = tokenizer.encode(&text.text);
        let tokens = tokens.with_context(|| format!("{}:{}", texts.name(), text.line))?;
        Ok(GroupExample { rows: vec![inputs.text(&tokens)], label })
    };
    texts.texts().iter().zip(labels).map(example).collect()
}

/// The config of the model with the head, whose classes `transformers` knows by their names.
fn task_config(
    gpt: Gpt1Config,
    model: &FinetunedConfig,
    classes: &Vocabulary,
    tokenizer: &Tokenizer,
    extract_token: u32,
) -> Gpt1TaskConfig {
    let vocab_size = gpt.vocab_size.max(tokenizer.vocab_size());
    let task = Task::Classification { n_classes: classes.size() };
    let config = Gpt1TaskConfig::new(Gpt1Config { vocab_size, ..gpt }, task, extract_token);
    let mut config = Gpt1TaskConfig { head_dropout: model.head_dropout, ..config };
    let names = || classes.tokens().iter().enumerate();
    let by_id: Map<String, Value> =
        names().map(|(id, name)| (id.to_string(), json!(name))).collect();
    let by_name: Map<String, Value> = names().map(|(id, name)| (name.clone(), json!(id))).collect();
    config.gpt.other.0.insert("id2label".into(), by_id.into());
    config.gpt.other.0.insert("label2id".into(), by_name.into());
    config
}

impl Prepared for PreparedGpt1 {
    fn config(&self) -> RunConfig {
        RunConfig::Gpt1Classification(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        let Some(Untrained { trainee, data, tokenizer }) = &self.untrained else {
            return Vec::new();
        };
        let PretrainingConfig { data: read, model, training } = &self.config.pretraining;
        let config = model.gpt1(tokenizer.vocab_size(), read.seq_length);
        let train = move |session: Session<'_>| {
            trainee.train(
                session,
                &NextToken,
                &data.windows,
                &|directory| model_directory::write_others(&config, tokenizer, directory),
                &json!({ "model": model, "data": read, "seed": self.config.training.seed }),
            )
        };
        vec![Stage { folder: PRETRAINING, training, train: Box::new(train) }]
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        let pretrained = match &self.untrained {
            Some(_) => best_checkpoint(&session.directory.join(PRETRAINING))?,
            None => None,
        };
        let trainee = match (&self.untrained, pretrained) {
            (Some(untrained), Some(best)) => Some(self.on(untrained.trainee.load(&best)?)),
            // The model is there already, or this is a dry run, which has not pretrained.
            _ => None,
        };
        let Gpt1ClassificationConfig { data, model, pretraining, .. } = &self.config;
        trainee.as_ref().unwrap_or(&self.trainee).train_by(
            &model.plan,
            session,
            &ClassificationAndNextToken { next_token_weight: model.next_token_weight },
            &self.data,
            &|directory| {
                let Self { model_config, tokenizer, .. } = self;
                model_directory::write_others(model_config, tokenizer, directory)?;
                write_atomically(directory.join(labelled::LABELS), &self.classes.to_json())
            },
            &json!({ "model": model, "data": data, "pretraining": pretraining }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let model = self.trainee.best(directory)?.valid();
        let device = self.trainee.device.clone().inner();
        let groups: Vec<&[Vec<u32>]> =
            self.test_examples.iter().map(|example| &example.rows[..]).collect();
        let predicted = predict_groups(&model, &groups, self.config.data.batch_size, &device);
        let mut matrix = ConfusionMatrix::new(self.classes.size());
        for (example, predicted) in self.test_examples.iter().zip(&predicted) {
            matrix.add(example.label, *predicted);
        }
        let scores =
            (0..).zip(self.classes.tokens()).map(|(id, class)| (class, matrix.of_class(id)));
        let metrics = [
            ("test_accuracy", matrix.accuracy()),
            ("test_macro_f1", matrix.macro_f1()),
            ("test_count", matrix.total() as f64),
        ];
        let mut metrics: BTreeMap<String, f64> =
            metrics.map(|(name, value)| (name.to_string(), value)).into();
        metrics.extend(stage_loss(directory, PRETRAINING)?);
        Ok(Findings {
            metrics,
            samples: labelled::answers(&self.test, &self.classes, &predicted, SHOWN),
            tables: vec![
                labelled::scores_table("classes of the test part", scores),
                labelled::confusion_table(&matrix, &self.classes),
            ],
            ..Findings::default()
        })
    }
}

impl PreparedGpt1 {
    /// The model of the task on a model of language.
    fn on(&self, gpt: Gpt1) -> Trainee<Gpt1Task> {
        let random = self.random.named("task");
        self.trainee.with_model(self.model_config.init_on(gpt, random, &self.trainee.device))
    }
}
