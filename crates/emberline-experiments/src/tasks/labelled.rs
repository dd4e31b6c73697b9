//! What classification and tagging have in common: the sizes of a bidirectional model, and its files.

use std::path::Path;

use anyhow::{Context, Result};
use emberline_checkpoint::{CheckpointError, write_atomically, write_config};
use emberline_evaluation::{ConfusionMatrix, Scores};
use emberline_recurrent::{CellKind, Merge};
use emberline_text::{LabelledTexts, TokenCounts, Vocabulary, VocabularyConfig};
use serde::{Deserialize, Serialize};

use crate::config::{check_dropout, check_sizes};
use crate::result::Table;

const VOCABULARY: &str = "vocabulary.json";
/// The file of the classes in a model directory.
pub const LABELS: &str = "labels.json";

/// The sizes of a bidirectional recurrent model; its vocabulary and labels are those of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The recurrent cell.
    pub cell: CellKind,
    /// What becomes of the outputs of both directions.
    pub merge: Merge,
    /// The width of the embedding.
    pub d_embedding: usize,
    /// The width of every layer in each direction.
    pub d_hidden: usize,
    /// The layers on top of each other.
    pub n_layers: usize,
    /// The probability that a number between layers, or one that the head reads, is dropped in training.
    pub dropout: f64,
}

impl ModelConfig {
    /// Whether a model of these sizes can be made; the error names the first that cannot.
    pub fn validate(&self) -> Result<()> {
        check_sizes(&[
            ("d_embedding", self.d_embedding),
            ("d_hidden", self.d_hidden),
            ("n_layers", self.n_layers),
        ])
        .and_then(|()| check_dropout(self.dropout))
        .context("`model` cannot be used")
    }
}

/// The tokens that were seen often enough, after one for all others.
///
/// # Errors
/// None that a text gives reason for.
pub fn vocabulary(counts: &TokenCounts, min_count: u64) -> Result<Vocabulary> {
    Ok(Vocabulary::new(counts, &VocabularyConfig { min_count, ..VocabularyConfig::default() })?)
}

/// Writes the config of a model and its vocabularies into a directory that is there.
pub fn write_others(
    config: &impl Serialize,
    vocabulary: &Vocabulary,
    labels: &Vocabulary,
    directory: &Path,
) -> Result<(), CheckpointError> {
    write_config(directory, config)?;
    write_atomically(directory.join(VOCABULARY), &vocabulary.to_json())?;
    write_atomically(directory.join(LABELS), &labels.to_json())
}

/// Texts from all over a part with their answers, so many at most.
pub fn answers(
    part: &LabelledTexts,
    classes: &Vocabulary,
    predicted: &[u32],
    n_shown: usize,
) -> String {
    let texts = part.texts();
    let line = |place: usize| {
        let text = &texts[place];
        let answer = classes.token(predicted[place]).unwrap_or_default();
        let verdict = match answer == text.label {
            true => String::new(),
            false => format!(", but it is {}", text.label),
        };
        let second = text.second.as_ref().map_or(String::new(), |second| format!(" | {second}"));
        format!("{}{second}: {answer}{verdict}\n", text.text)
    };
    (0..texts.len()).step_by(texts.len().div_ceil(n_shown).max(1)).map(line).collect()
}

/// How often each label was taken for each.
pub fn confusion_table(matrix: &ConfusionMatrix, labels: &Vocabulary) -> Table {
    let ids = 0..labels.size() as u32;
    let row = |(expected, label): (u32, &String)| {
        let counts = ids.clone().map(|predicted| matrix.count(expected, predicted) as f64);
        (label.clone(), counts.collect())
    };
    Table {
        title: "right answers by row, given answers by column".into(),
        columns: labels.tokens().to_vec(),
        rows: ids.clone().zip(labels.tokens()).map(row).collect(),
    }
}

/// Precision, recall and F1 of each name.
pub fn scores_table<'a>(title: &str, scores: impl Iterator<Item = (&'a String, Scores)>) -> Table {
    let row = |(name, scores): (&String, Scores)| {
        let numbers = [scores.precision(), scores.recall(), scores.f1(), scores.expected as f64];
        (name.clone(), numbers.into())
    };
    Table {
        title: title.into(),
        columns: ["precision", "recall", "F1", "count"].map(String::from).into(),
        rows: scores.map(row).collect(),
    }
}
