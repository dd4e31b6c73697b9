//! A BERT goes on to a task: it is a directory, or reads books first; then it gets the head of the task, and all of it is
//! trained on examples.
//!
//! Beside it the same model can be trained from random weights, in the same updates of the same batches: the difference
//! is what pretraining is worth.

mod answers;
mod beginning;
mod classification;
mod labelled_rows;
mod tagging;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_core::Stream;
use emberline_finetuning::{Batches, ExampleBatch};
use emberline_models::bert::{Bert, BertConfig, BertFor, Head};
use emberline_training::{Objective, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::answers::AskedConfig;
pub use self::beginning::{Beginning, FinetunedConfig, PretrainingConfig};
pub use self::classification::{ClassifiedConfig, examples};
use self::labelled_rows::LabelledRows;
pub use self::tagging::TaggedConfig;
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared, Stage};
use crate::config::RunConfig;
use crate::model_directory;
use crate::result::Table;

/// The folder of a run directory for the training from random weights.
const FROM_RANDOM: &str = "from_random";

/// A BERT on a task, which is that of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BertFinetuningConfig<D> {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// The examples.
    pub data: D,
    /// What learns them.
    pub model: FinetunedConfig,
    /// How they are learnt; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// Where the model comes from that learns them, unless `model.path` names one.
    pub pretraining: PretrainingConfig,
}

/// The examples of a task, as a config names them.
///
/// Generic over it: [`BertFinetuningConfig`] as a [`Kind`] of run.
pub trait TaskData: Clone + Serialize + 'static {
    /// The task.
    type Task: Task;

    /// The config of a run.
    fn run_config(config: BertFinetuningConfig<Self>) -> RunConfig;

    /// Where they are; empty where the preset cannot know it.
    fn path(&self) -> &str;

    /// The checksum of the files, once they are read.
    fn sha256(&self) -> Option<&str>;

    /// Whether the values can be used; the error names the first that cannot.
    fn validate(&self) -> Result<()>;

    /// Reads the examples, with the tokens of the model that learns them.
    fn read(
        &mut self,
        beginning: &Beginning,
        random: Stream,
        device: &Device,
    ) -> Result<Self::Task>;
}

/// A task with its examples.
pub trait Task {
    /// The head that it needs.
    type Head: Head;
    /// What one forward pass reads.
    type Batch: ExampleBatch;
    /// What is learnt.
    type Objective: Objective<BertFor<Self::Head>, Batch = Self::Batch, Carry = ()>;
    /// The same.
    const OBJECTIVE: Self::Objective;

    /// The examples to learn from.
    fn data(&self) -> &Batches<Self::Batch>;

    /// The config of the model with the head.
    fn model_config(&self) -> &BertConfig;

    /// What the numbers of a model are to be held against, and of how many examples they are.
    fn baselines(&self) -> BTreeMap<String, f64>;

    /// What a model makes of the test part.
    fn findings(&self, model: &BertFor<Self::Head>, device: &Device) -> Result<Findings>;
}

impl<D: TaskData> Kind for BertFinetuningConfig<D> {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256()
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.pretraining.validate().context("`pretraining` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// The examples, the model, the device.
struct PreparedTask<D: TaskData> {
    config: BertFinetuningConfig<D>,
    beginning: Beginning,
    task: D::Task,
    /// With the weights of a directory, or with random ones where books are still to be read.
    trainee: Trainee<BertFor<HeadOf<D>>>,
    random: Stream,
}

type HeadOf<D> = <<D as TaskData>::Task as Task>::Head;

/// Reads the model and the examples, and opens the device; writes nothing.
///
/// # Errors
/// If the directory of the model or the examples cannot be used, or the model does not fit.
fn prepare<D: TaskData>(mut config: BertFinetuningConfig<D>) -> Result<Box<dyn Prepared>> {
    let is_named = !config.data.path().is_empty();
    ensure!(is_named, "`data.path` is not set: --set data.path=PATH names the examples");
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let BertFinetuningConfig { model, pretraining, data, .. } = &mut config;
    let beginning =
        Beginning::new(&mut model.path, pretraining, random.named("pretraining"), &device)?;
    let task = data.read(&beginning, random.named("data"), &device)?;
    let model_config = task.model_config();
    model_config.validate().context("the model cannot be used")?;
    let random = random.named("task");
    let trainee: Trainee<BertFor<HeadOf<D>>> = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init_for(random, device),
        Bert::stored_name,
        device,
    )?;
    let model = beginning.begun(trainee.model.clone(), config.model.strict)?;
    let trainee = trainee.with_model(model);
    Ok(Box::new(PreparedTask { config, beginning, task, trainee, random }))
}

impl<D: TaskData> Prepared for PreparedTask<D> {
    fn config(&self) -> RunConfig {
        D::run_config(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        let BertFinetuningConfig { model, training, pretraining, .. } = &self.config;
        let books = self.beginning.stage(pretraining, training.seed);
        let from_random = model.compared.then(|| Stage {
            folder: FROM_RANDOM,
            training,
            train: Box::new(move |session: Session<'_>| self.learn(&self.at_random(), session)),
        });
        books.into_iter().chain(from_random).collect()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        // Random until the books are read, which in a dry run they never are.
        let model = self.trainee.model.clone();
        let model = self.beginning.pretrained(model, session.directory)?;
        self.learn(&self.trainee.with_model(model), session)
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let device = self.trainee.device.clone().inner();
        let of = |run: &Path| -> Result<Findings> {
            self.task.findings(&self.trainee.best(run)?.valid(), &device)
        };
        let mut findings = of(directory)?;
        if self.config.model.compared {
            let from_random = of(&directory.join(FROM_RANDOM))?.metrics;
            findings.tables.insert(0, comparison(&findings.metrics, &from_random));
            let renamed = |(name, value)| (format!("{name}_from_random"), value);
            findings.metrics.extend(from_random.into_iter().map(renamed));
        }
        findings.metrics.extend(self.task.baselines());
        findings.metrics.extend(self.beginning.findings(directory)?);
        Ok(findings)
    }
}

impl<D: TaskData> PreparedTask<D> {
    fn at_random(&self) -> Trainee<BertFor<HeadOf<D>>> {
        let config = self.task.model_config();
        self.trainee.with_model(config.init_for(self.random, &self.trainee.device))
    }

    fn learn(
        &self,
        trainee: &Trainee<BertFor<HeadOf<D>>>,
        session: Session<'_>,
    ) -> Result<Trained<()>> {
        let BertFinetuningConfig { data, model, pretraining, .. } = &self.config;
        trainee.train(
            session,
            &<D::Task as Task>::OBJECTIVE,
            self.task.data(),
            &|directory| {
                let tokenizer = self.beginning.tokenizer.tokenizer();
                model_directory::write_others(self.task.model_config(), tokenizer, directory)
            },
            &json!({ "model": model, "data": data, "pretraining": pretraining }),
        )
    }
}

/// What the same updates made of both beginnings.
fn comparison(pretrained: &BTreeMap<String, f64>, random: &BTreeMap<String, f64>) -> Table {
    let row = |name: &str, metrics: &BTreeMap<String, f64>| {
        (name.to_string(), metrics.values().copied().collect())
    };
    Table {
        title: "the same updates on pretrained and on random weights".into(),
        columns: pretrained.keys().map(|name| name.replace('_', " ")).collect(),
        rows: vec![row("pretrained", pretrained), row("random", random)],
    }
}
