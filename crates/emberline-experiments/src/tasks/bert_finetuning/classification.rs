//! A BERT says of which class a text is, or a pair of texts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use emberline_core::Stream;
use emberline_evaluation::{ConfusionMatrix, best_class};
use emberline_finetuning::{Classification, LabelledBatch, LabelledBatches};
use emberline_models::bert::{
    Architecture, BertConfig, BertForSequenceClassification, ClassificationHead,
};
use emberline_text::{
    BertTokenizer, Example, LabelledTexts, SplitFractions, TextColumns, Vocabulary,
};
use serde::{Deserialize, Serialize};

use super::{Beginning, BertFinetuningConfig, LabelledRows, Task, TaskData};
use crate::config::{RunConfig, check_sizes};
use crate::tasks::{Findings, labelled};
use crate::{datasets, terminal};

/// The texts that are shown with their answers.
const SHOWN: usize = 20;

/// Texts with a class each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifiedConfig {
    /// A folder, or one of `datasets/`, with the files below; or one file, of which a tenth is for validation and another
    /// one for the test.
    pub path: String,
    /// The file of the folder that is learnt from.
    pub training: String,
    /// The file that decides between checkpoints; where absent, a tenth of the texts for training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// The file that is looked at last; where absent, a tenth of the texts for training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// What the SHA-256 of the files, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Where the texts and their classes are.
    pub columns: TextColumns,
    /// The tokens of a row at most; the ends of longer texts are left out.
    pub max_length: usize,
    /// The rows of an update.
    pub batch_size: usize,
}

/// The texts as rows.
pub struct ClassificationTask {
    rows: LabelledRows,
    test: LabelledTexts,
    /// The part of the test that is of the most frequent class of the training.
    share_of_most_frequent: f64,
}

impl TaskData for ClassifiedConfig {
    type Task = ClassificationTask;

    fn run_config(config: BertFinetuningConfig<Self>) -> RunConfig {
        RunConfig::BertClassification(config)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        check_sizes(&[("data.batch_size", self.batch_size), ("data.max_length", self.max_length)])
    }

    fn read(
        &mut self,
        beginning: &Beginning,
        random: Stream,
        device: &Device,
    ) -> Result<ClassificationTask> {
        beginning.check_length(self.max_length)?;
        let [training, validation, test] = self.parts()?;
        let classes = Vocabulary::of_labels(&training.labels());
        let rows = |texts: &LabelledTexts| {
            examples(texts, &classes, &beginning.tokenizer, self.max_length)
        };
        let rows = [rows(&training)?, rows(&validation)?, rows(&test)?];
        let counts = training.labels();
        let most_frequent = classes.tokens().iter().max_by_key(|class| counts.count(class));
        let is_most_frequent = |label: &String| Some(label) == most_frequent;
        let right = test.texts().iter().filter(|text| is_most_frequent(&text.label)).count();
        let share_of_most_frequent = right as f64 / test.texts().len().max(1) as f64;
        let (head, batch_size) = (Architecture::SequenceClassification, self.batch_size);
        let rows = LabelledRows::new(beginning, head, classes, rows, batch_size, random, device)
            .with_context(|| self.path.clone())?;
        Ok(ClassificationTask { rows, test, share_of_most_frequent })
    }
}

impl ClassifiedConfig {
    /// The texts for training, validation and test; the config from now on names their files and their checksum.
    ///
    /// # Errors
    /// If a line of a file is not as expected.
    pub fn parts(&mut self) -> Result<[LabelledTexts; 3]> {
        if Path::new(&self.path).is_file() {
            let file = datasets::find(&mut self.path, "tsv")?;
            let texts = LabelledTexts::from_table(&file, &self.columns)?;
            datasets::check(&[&file], &mut self.sha256)?;
            return split(&texts, 0.1, 0.1);
        }
        let folder = datasets::find_folder(&mut self.path)?;
        let names = [Some(&self.training), self.validation.as_ref(), self.test.as_ref()];
        let files: Vec<PathBuf> =
            names.into_iter().flatten().map(|name| folder.join(name)).collect();
        let read = |name: &String| LabelledTexts::from_table(folder.join(name), &self.columns);
        let training = read(&self.training)?;
        let [validation, test] = [&self.validation, &self.test].map(|name| name.as_ref().map(read));
        let parts = match [validation.transpose()?, test.transpose()?] {
            [Some(validation), Some(test)] => [training, validation, test],
            [None, Some(test)] => {
                let [training, validation, _] = split(&training, 0.1, 0.0)?;
                [training, validation, test]
            }
            [Some(validation), None] => {
                let [training, _, test] = split(&training, 0.0, 0.1)?;
                [training, validation, test]
            }
            [None, None] => split(&training, 0.1, 0.1)?,
        };
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        datasets::check(&files, &mut self.sha256)?;
        Ok(parts)
    }
}

/// Takes these parts of the texts away for validation and test, whatever the seed of the run.
fn split(texts: &LabelledTexts, validation: f64, test: f64) -> Result<[LabelledTexts; 3]> {
    let fractions = SplitFractions { train: 1.0 - validation - test, validation };
    Ok(texts.split(fractions, Stream::new(0).named("split"))?)
}

/// The texts as rows; how many had to be cut is told.
///
/// # Errors
/// If a class is not of the training part.
pub fn examples(
    texts: &LabelledTexts,
    classes: &Vocabulary,
    tokenizer: &BertTokenizer,
    max_length: usize,
) -> Result<Vec<Example>> {
    let labels = texts.label_ids(classes)?;
    let mut n_cut = 0;
    let mut rows = Vec::with_capacity(labels.len());
    for (text, label) in texts.texts().iter().zip(labels) {
        let row = tokenizer.row(&text.text, text.second.as_deref(), max_length);
        let row = row.with_context(|| format!("{}:{}", texts.name(), text.line))?;
        n_cut += usize::from(row.n_cut > 0);
        rows.push(Example { tokens: row.tokens, segments: row.segments, labels: vec![label] });
    }
    note_cut(n_cut, rows.len(), "texts", texts.name(), max_length);
    Ok(rows)
}

/// Tells how many texts lost their ends, if any did.
pub(super) fn note_cut(n_cut: usize, n: usize, what: &str, name: &str, max_length: usize) {
    if n_cut > 0 {
        terminal::note(format_args!(
            "{n_cut} of {n} {what} of {name} have more than {max_length} tokens: their ends are left out"
        ));
    }
}

impl Task for ClassificationTask {
    type Head = ClassificationHead;
    type Batch = LabelledBatch;
    type Objective = Classification;
    const OBJECTIVE: Classification = Classification;

    fn data(&self) -> &LabelledBatches {
        &self.rows.data
    }

    fn model_config(&self) -> &BertConfig {
        &self.rows.model_config
    }

    fn baselines(&self) -> BTreeMap<String, f64> {
        BTreeMap::from([
            ("test_accuracy_of_most_frequent_class".into(), self.share_of_most_frequent),
            ("test_count".into(), self.rows.test.len() as f64),
        ])
    }

    fn findings(&self, model: &BertForSequenceClassification, device: &Device) -> Result<Findings> {
        let LabelledRows { classes, test, .. } = &self.rows;
        let scores = self.rows.test_scores(model, device);
        let predicted: Vec<u32> = scores.iter().map(|row| best_class(&row[0])).collect();
        let mut matrix = ConfusionMatrix::new(classes.size());
        for (example, predicted) in test.iter().zip(&predicted) {
            matrix.add(example.labels[0], *predicted);
        }
        let mut metrics = BTreeMap::from([
            ("test_accuracy".into(), matrix.accuracy()),
            ("test_macro_f1".into(), matrix.macro_f1()),
            ("test_matthews".into(), matrix.matthews()),
        ]);
        if classes.size() == 2 {
            // As GLUE counts it: of the class that is called 1.
            metrics.insert("test_f1_of_second_class".into(), matrix.of_class(1).f1());
        }
        let scores = (0..).zip(classes.tokens()).map(|(id, class)| (class, matrix.of_class(id)));
        Ok(Findings {
            metrics,
            samples: labelled::answers(&self.test, classes, &predicted, SHOWN),
            tables: vec![
                labelled::scores_table("classes of the test part", scores),
                labelled::confusion_table(&matrix, classes),
            ],
            ..Findings::default()
        })
    }
}
