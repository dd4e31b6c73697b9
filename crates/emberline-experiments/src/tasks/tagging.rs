//! A tagger reads a sentence both ways, and gives each word a tag.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::module::Module;
use emberline_backend::device::DeviceName;
use emberline_core::Stream;
use emberline_evaluation::{ConfusionMatrix, SpanScores, predict_tokens};
use emberline_finetuning::{LabelledBatches, TokenClassification};
use emberline_models::recurrent_tagger::{RecurrentTagger, RecurrentTaggerConfig};
use emberline_text::{Example, Separator, TaggedSentence, TaggedSentences, Vocabulary};
use emberline_training::{Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::labelled::{self, ModelConfig};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::datasets;

/// The sentences that are shown with their tags.
const SHOWN: usize = 8;

/// A tagger of words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaggingConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: TaggedConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How it learns; its seed is that of the whole run.
    pub training: TrainingConfig,
}

/// Sentences with a tag for each word, in three files, and their batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaggedConfig {
    /// A folder, or one of `datasets/`.
    pub path: String,
    /// The file of it that is learned from.
    pub training: String,
    /// The file that decides between checkpoints.
    pub validation: String,
    /// The file that is looked at last.
    pub test: String,
    /// What the SHA-256 of the three files, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What stands between the columns.
    pub separator: Separator,
    /// Words seen less often in the training file are one.
    pub min_count: u64,
    /// The sentences of an update.
    pub batch_size: usize,
}

impl Kind for TaggingConfig {
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

/// Sentences with their ids.
struct Part {
    sentences: TaggedSentences,
    examples: Vec<Example>,
}

/// The sentences, the model, the device.
struct PreparedTagger {
    config: TaggingConfig,
    words: Vocabulary,
    tags: Vocabulary,
    data: LabelledBatches,
    validation: Part,
    test: Part,
    model_config: RecurrentTaggerConfig,
    trainee: Trainee<RecurrentTagger>,
}

/// Reads the sentences, opens the device and makes the model; writes nothing.
///
/// # Errors
/// If a line of a file is not as expected, a tag is not of the training file, or the model does not fit.
fn prepare(mut config: TaggingConfig) -> Result<Box<dyn Prepared>> {
    let TaggedConfig { path, training, validation, test, sha256, separator, .. } = &mut config.data;
    let [training, validation, test] =
        read(path, [training, validation, test], sha256, *separator)?;
    let words = labelled::vocabulary(&training.words(), config.data.min_count)?;
    let tags = Vocabulary::of_labels(&training.tags());
    let part = |sentences: TaggedSentences| -> Result<Part> {
        Ok(Part { examples: sentences.encode(&words, &tags)?, sentences })
    };
    let (validation, test) = (part(validation)?, part(test)?);
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let data = LabelledBatches::new(
        training.encode(&words, &tags)?,
        validation.examples.clone(),
        config.data.batch_size,
        random.named("data"),
        &device,
    )?;
    let ModelConfig { cell, merge, d_embedding, d_hidden, n_layers, dropout } = config.model;
    let model_config = RecurrentTaggerConfig {
        model_type: Default::default(),
        vocab_size: words.size(),
        n_classes: tags.size(),
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
        RecurrentTagger::stored_name,
        device,
    )?;
    Ok(Box::new(PreparedTagger {
        config,
        words,
        tags,
        data,
        validation,
        test,
        model_config,
        trainee,
    }))
}

/// The sentences for training, validation and test of a folder, which is from now on named in full, and their checksum.
///
/// # Errors
/// If a line of a file is not as expected.
pub fn read(
    path: &mut String,
    names: [&str; 3],
    sha256: &mut Option<String>,
    separator: Separator,
) -> Result<[TaggedSentences; 3]> {
    let folder = datasets::find_folder(path)?;
    let files: [PathBuf; 3] = names.map(|name| folder.join(name));
    let [training, validation, test] =
        files.each_ref().map(|file| TaggedSentences::from_file(file, separator));
    let sentences = [training?, validation?, test?];
    datasets::check(&files.each_ref().map(PathBuf::as_path), sha256)?;
    Ok(sentences)
}

impl Prepared for PreparedTagger {
    fn config(&self) -> RunConfig {
        RunConfig::Tagging(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &TokenClassification,
            &self.data,
            &|directory| {
                labelled::write_others(&self.model_config, &self.words, &self.tags, directory)
            },
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        // Where most tags are `O`, the lowest loss is long before the first entity is dared.
        let best = self.trainee.best(directory)?.valid();
        let last = self.trainee.last(directory)?.valid();
        let [of_best, of_last] =
            [&best, &last].map(|model| self.answers(model, &self.validation).f1());
        let model = if of_last > of_best { last } else { best };
        let answers = self.answers(&model, &self.test);
        let Answers { matrix, spans, .. } = &answers;

        let scores = (0..).zip(self.tags.tokens()).map(|(id, tag)| (tag, matrix.of_class(id)));
        let mut metrics = BTreeMap::from([
            ("validation_f1".into(), of_best.max(of_last)),
            ("test_accuracy".into(), matrix.accuracy()),
            ("test_macro_f1".into(), matrix.macro_f1()),
            ("test_count".into(), matrix.total() as f64),
        ]);
        let mut tables = vec![
            labelled::scores_table("tags of the test part", scores),
            labelled::confusion_table(matrix, &self.tags),
        ];
        if !spans.by_kind().is_empty() {
            let overall = spans.overall();
            metrics.extend([
                ("test_span_precision".into(), overall.precision()),
                ("test_span_recall".into(), overall.recall()),
                ("test_span_f1".into(), overall.f1()),
            ]);
            let scores = spans.by_kind().iter().map(|(kind, scores)| (kind, *scores));
            tables.insert(0, labelled::scores_table("spans of the test part", scores));
        }
        let samples = samples(self.test.sentences.sentences(), &answers.tags);
        Ok(Findings { metrics, samples, tables, ..Findings::default() })
    }
}

/// What a model says of a part.
struct Answers<'a> {
    /// A tag for each word.
    tags: Vec<Vec<&'a str>>,
    matrix: ConfusionMatrix,
    /// The spans that tags beginning with `B-` and `I-` mark; none where there are no such tags.
    spans: SpanScores,
}

impl Answers<'_> {
    /// What checkpoints are chosen by: the F1 of spans, or the mean of the tags' where there are no spans.
    fn f1(&self) -> f64 {
        match self.spans.by_kind().is_empty() {
            true => self.matrix.macro_f1(),
            false => self.spans.overall().f1(),
        }
    }
}

impl PreparedTagger {
    fn answers(&self, model: &RecurrentTagger, part: &Part) -> Answers<'_> {
        let rows: Vec<&[u32]> = part.examples.iter().map(|row| &row.tokens[..]).collect();
        let device = self.trainee.device.clone().inner();
        let predicted = predict_tokens(model, &rows, self.config.data.batch_size, &device);
        let mut matrix = ConfusionMatrix::new(self.tags.size());
        for (example, predicted) in part.examples.iter().zip(&predicted) {
            for (expected, predicted) in example.labels.iter().zip(predicted) {
                matrix.add(*expected, *predicted);
            }
        }
        let name = |tag: &u32| self.tags.token(*tag).unwrap_or_default();
        let tags: Vec<Vec<&str>> =
            predicted.iter().map(|row| row.iter().map(name).collect()).collect();
        let mut spans = SpanScores::new();
        for (sentence, predicted) in part.sentences.sentences().iter().zip(&tags) {
            let expected: Vec<&str> = sentence.tags.iter().map(String::as_str).collect();
            spans.add(&expected, predicted);
        }
        Answers { tags, matrix, spans }
    }
}

/// Sentences from all over a part: a tag that is not `O` stands behind its word, and the right one where it is
/// another.
pub fn samples(sentences: &[TaggedSentence], predicted: &[Vec<&str>]) -> String {
    let mut text = String::new();
    for place in (0..sentences.len()).step_by(sentences.len().div_ceil(SHOWN)) {
        let TaggedSentence { words, tags, .. } = &sentences[place];
        let words = words.iter().zip(tags).zip(&predicted[place]).map(
            |((word, expected), predicted)| match (*predicted, expected.as_str()) {
                (predicted, expected) if predicted != expected => {
                    format!("{word}[{predicted}, not {expected}]")
                }
                ("O", _) => word.clone(),
                (predicted, _) => format!("{word}[{predicted}]"),
            },
        );
        text += &(words.collect::<Vec<_>>().join(" ") + "\n");
    }
    text
}
