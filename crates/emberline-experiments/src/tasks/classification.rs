//! A classifier reads a short text, letter by letter and both ways, and says which class it is of.

use std::path::Path;

use anyhow::{Context, Result};
use burn::module::Module;
use emberline_backend::device::DeviceName;
use emberline_core::Stream;
use emberline_evaluation::{ConfusionMatrix, predict_rows};
use emberline_finetuning::{Classification, LabelledBatches};
use emberline_models::recurrent_classifier::{RecurrentClassifier, RecurrentClassifierConfig};
use emberline_text::{Example, FirstLine, LabelledTexts, SplitFractions, Vocabulary};
use emberline_training::{Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::labelled::{self, ModelConfig};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::datasets;

/// The texts that are shown with their answers.
const SHOWN: usize = 20;

/// A classifier of texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: LabelledConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How it learns; its seed is that of the whole run.
    pub training: TrainingConfig,
}

/// Texts with a class each, their split and their batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelledConfig {
    /// A file of lines `text<TAB>class`, or a folder of `datasets/` with one.
    pub path: String,
    /// What the SHA-256 of the file must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether the first line names the columns.
    pub first_line: FirstLine,
    /// How much is for training and validation; the rest is the test. A text is in one part alone, and in
    /// the same whatever the seed.
    pub split: SplitFractions,
    /// Characters seen less often in the training part are one.
    pub min_count: u64,
    /// The rows of an update.
    pub batch_size: usize,
}

impl Kind for ClassificationConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        check_sizes(&[("data.batch_size", self.data.batch_size)])?;
        self.model.validate()
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// The examples, the model, the device.
struct PreparedClassifier {
    config: ClassificationConfig,
    characters: Vocabulary,
    classes: Vocabulary,
    data: LabelledBatches,
    test: LabelledTexts,
    test_examples: Vec<Example>,
    model_config: RecurrentClassifierConfig,
    trainee: Trainee<RecurrentClassifier>,
}

/// Reads the texts, opens the device and makes the model; writes nothing.
///
/// # Errors
/// If a line of the file is not as expected, a class is not of the training part, or the model does not fit.
fn prepare(mut config: ClassificationConfig) -> Result<Box<dyn Prepared>> {
    let file = datasets::find(&mut config.data.path, "tsv")?;
    let texts = LabelledTexts::from_file(&file, config.data.first_line)?;
    datasets::check(&[&file], &mut config.data.sha256)?;
    // Not of the seed of the run: the test of another seed is the same.
    let [training, validation, test] =
        texts.split(config.data.split, Stream::new(0).named("split"))?;
    let characters = labelled::vocabulary(&training.characters(), config.data.min_count)?;
    let classes = Vocabulary::of_labels(&training.labels());
    let encode = |texts: &LabelledTexts, part: &str| {
        let examples = texts.encode(&characters, &classes);
        examples.with_context(|| format!("the {part} part of {}", file.display()))
    };
    let test_examples = encode(&test, "test")?;
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let data = LabelledBatches::new(
        encode(&training, "training")?,
        encode(&validation, "validation")?,
        config.data.batch_size,
        random.named("data"),
        &device,
    )
    .with_context(|| file.display().to_string())?;
    let ModelConfig { cell, merge, d_embedding, d_hidden, n_layers, dropout } = config.model;
    let model_config = RecurrentClassifierConfig {
        model_type: Default::default(),
        vocab_size: characters.size(),
        n_classes: classes.size(),
        cell,
        merge,
        d_embedding,
        d_hidden,
        n_layers,
        dropout,
    };
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init(random.named("model"), device),
        RecurrentClassifier::stored_name,
        device,
    )?;
    Ok(Box::new(PreparedClassifier {
        config,
        characters,
        classes,
        data,
        test,
        test_examples,
        model_config,
        trainee,
    }))
}

impl Prepared for PreparedClassifier {
    fn config(&self) -> RunConfig {
        RunConfig::Classification(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &Classification,
            &self.data,
            &|directory| {
                let Self { model_config, characters, classes, .. } = self;
                labelled::write_others(model_config, characters, classes, directory)
            },
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let model = self.trainee.best(directory)?.valid();
        let rows: Vec<&[u32]> = self.test_examples.iter().map(|row| &row.tokens[..]).collect();
        let device = self.trainee.device.clone().inner();
        let predicted = predict_rows(&model, &rows, self.config.data.batch_size, &device);

        let mut matrix = ConfusionMatrix::new(self.classes.size());
        for (example, predicted) in self.test_examples.iter().zip(&predicted) {
            matrix.add(example.labels[0], *predicted);
        }
        let scores =
            (0..).zip(self.classes.tokens()).map(|(id, class)| (class, matrix.of_class(id)));
        let metrics = [
            ("test_accuracy", matrix.accuracy()),
            ("test_macro_f1", matrix.macro_f1()),
            ("test_count", matrix.total() as f64),
        ];
        Ok(Findings {
            metrics: metrics.map(|(name, value)| (name.to_string(), value)).into(),
            samples: labelled::answers(&self.test, &self.classes, &predicted, SHOWN),
            tables: vec![
                labelled::scores_table("classes of the test part", scores),
                labelled::confusion_table(&matrix, &self.classes),
            ],
            ..Findings::default()
        })
    }
}
