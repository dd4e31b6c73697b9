//! `metrics.jsonl`: the numbers of a run, one line a logged step.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use emberline_checkpoint::write_atomically;
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;

/// The name of the file in a run directory.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metrics {
    /// An update.
    Training(TrainingMetrics),
    /// An evaluation on the validation data.
    Validation(ValidationMetrics),
}

/// The numbers of one update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingMetrics {
    /// The number of updates, this one included.
    pub step: u64,
    /// How often the training data has been seen.
    pub epoch: f64,
    /// The loss of this update, before it.
    pub loss: f64,
    /// The learning rate of this update.
    pub learning_rate: f64,
    /// The norm of the gradients, before clipping.
    pub grad_norm: f64,
    /// The number of tokens trained on so far.
    pub tokens_seen: u64,
    /// The speed of the updates since the last line; evaluations and checkpoints do not count.
    pub tokens_per_s: f64,
    /// The seconds since the start, those of interrupted sessions included.
    pub elapsed_s: f64,
}

/// The numbers of one evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationMetrics {
    /// The number of updates before it.
    pub step: u64,
    /// The loss over the whole validation data.
    pub validation_loss: f64,
    /// The seconds since the start, those of interrupted sessions included.
    pub elapsed_s: f64,
}

impl Metrics {
    /// The number of updates that the line tells of.
    pub fn step(&self) -> u64 {
        match self {
            Self::Training(metrics) => metrics.step,
            Self::Validation(metrics) => metrics.step,
        }
    }
}

/// Reads the metrics of a run directory, in the order of the file.
///
/// A last line that is cut off, as a kill leaves it, is left out.
///
/// # Errors
/// If the file cannot be read, or another line is not one of metrics.
pub fn read_metrics(directory: &Path) -> Result<Vec<Metrics>, TrainingError> {
    let path = directory.join(METRICS_FILE);
    let text = std::fs::read_to_string(&path).map_err(TrainingError::io(&path))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).map_err(TrainingError::json(&path)))
        .collect()
}

/// The open file of a run.
pub(crate) struct MetricsFile {
    file: File,
    path: PathBuf,
}

impl MetricsFile {
    /// Opens the file of a run that has made `step` updates; lines of later ones are dropped.
    pub fn open(directory: &Path, step: u64) -> Result<Self, TrainingError> {
        let path = directory.join(METRICS_FILE);
        let lines = if path.exists() { read_metrics(directory)? } else { Vec::new() };
        let mut kept = String::new();
        for line in lines.iter().filter(|line| line.step() <= step) {
            kept += &(serde_json::to_string(line).map_err(TrainingError::json(&path))? + "\n");
        }
        write_atomically(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(TrainingError::io(&path))?;
        Ok(Self { file, path })
    }

    /// Appends a line.
    pub fn append(&mut self, metrics: &Metrics) -> Result<(), TrainingError> {
        let line = serde_json::to_string(metrics).map_err(TrainingError::json(&self.path))? + "\n";
        self.file.write_all(line.as_bytes()).map_err(TrainingError::io(&self.path))
    }

    /// Waits until every line is on the disk.
    pub fn sync(&self) -> Result<(), TrainingError> {
        self.file.sync_data().map_err(TrainingError::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation(step: u64) -> Metrics {
        let validation_loss = 1.0 / 3.0;
        Metrics::Validation(ValidationMetrics { step, validation_loss, elapsed_s: 0.1 })
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let training = Metrics::Training(TrainingMetrics {
            step: 2,
            epoch: 0.1,
            loss: 2.0f64.ln(),
            learning_rate: 3e-4,
            grad_norm: 1.7,
            tokens_seen: 64,
            tokens_per_s: 12.5,
            elapsed_s: 5.1,
        });
        let mut file = MetricsFile::open(directory.path(), 0).unwrap();
        file.append(&training).unwrap();
        file.append(&validation(2)).unwrap();
        assert_eq!(read_metrics(directory.path()).unwrap(), [training, validation(2)]);
    }

    #[test]
    fn resuming_drops_later_lines_and_one_that_was_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = MetricsFile::open(directory.path(), 0).unwrap();
        for step in 1..=4 {
            file.append(&validation(step)).unwrap();
        }
        file.file.write_all(br#"{"step": 5, "valid"#).unwrap();
        let mut file = MetricsFile::open(directory.path(), 3).unwrap();
        file.append(&validation(9)).unwrap();
        assert_eq!(read_metrics(directory.path()).unwrap(), [1, 2, 3, 9].map(validation));
    }

    #[test]
    fn a_file_that_is_not_of_metrics_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(METRICS_FILE), "hello\n").unwrap();
        let error = MetricsFile::open(directory.path(), 3).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(METRICS_FILE), "{error}");
    }
}
