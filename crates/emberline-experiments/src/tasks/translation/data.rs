//! Where pairs come from.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use emberline_core::Stream;
use emberline_text::{
    BadLines, PairColumns, ParallelCorpus, SequenceTask, SequenceTaskConfig, SplitFractions,
    TextError,
};
use serde::{Deserialize, Serialize};

use crate::config::check_sizes;
use crate::datasets;

/// Pairs, and which of them are for training, validation and test. The test is the same whatever the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataConfig {
    /// Two columns of a file.
    Table {
        /// A file, or a folder of `datasets/` with one `.tsv`.
        path: String,
        /// What the SHA-256 of the file must be; the run writes it down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        /// Which.
        columns: PairColumns,
        /// How much is for training and validation; a source is in one part alone.
        split: SplitFractions,
    },
    /// Two columns of three files.
    Tables {
        /// A folder, or one of `datasets/`.
        path: String,
        /// What the SHA-256 of the files, one after the other, must be; the run writes it down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        /// Which.
        columns: PairColumns,
        /// The name of the file for training.
        training: String,
        /// The name of the file for validation.
        validation: String,
        /// The name of the file for the test.
        test: String,
    },
    /// Six files, whose lines belong together in twos: `<part>.<language>`, or the same with `.gz`.
    Files {
        /// A folder, or one of `datasets/`.
        path: String,
        /// What the SHA-256 of the files, one after the other, must be; the run writes it down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        /// The language that is read.
        source: String,
        /// The language that is written.
        target: String,
        /// The part for training.
        training: String,
        /// The part for validation.
        validation: String,
        /// The part for the test.
        test: String,
    },
    /// Random sequences, none of them twice.
    Sequences {
        /// What is to be made of one.
        task: SequenceTask,
        /// The symbols.
        n_symbols: usize,
        /// The symbols of the shortest.
        min_length: usize,
        /// The symbols of the longest.
        max_length: usize,
        /// How many are for training.
        training: usize,
        /// How many are for validation.
        validation: usize,
        /// How many are for the test.
        test: usize,
    },
}

/// The pairs by their use.
pub struct Parts {
    pub training: ParallelCorpus,
    pub validation: ParallelCorpus,
    pub test: ParallelCorpus,
    /// What was wrong with each line that was left out.
    pub skipped: Vec<String>,
}

impl DataConfig {
    /// Whether the values can be read with; the error names the first that cannot.
    pub fn validate(&self) -> Result<()> {
        let Self::Sequences {
            n_symbols, min_length, max_length, training, validation, test, ..
        } = *self
        else {
            return Ok(());
        };
        check_sizes(&[
            ("data.n_symbols", n_symbols),
            ("data.min_length", min_length),
            ("data.max_length", max_length),
            ("data.training", training),
            ("data.validation", validation),
            ("data.test", test),
        ])?;
        ensure!(
            min_length <= max_length,
            "`data.min_length` must be at most `data.max_length` {max_length}, but is {min_length}"
        );
        Ok(())
    }

    /// The checksum, where it comes from files and they are read.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Table { sha256, .. }
            | Self::Tables { sha256, .. }
            | Self::Files { sha256, .. } => sha256.as_deref(),
            Self::Sequences { .. } => None,
        }
    }

    /// The pairs; the config from now on names their files and their checksum.
    ///
    /// # Errors
    /// If a file is missing, or a line of it not as expected and not to be skipped; if there is nothing in a part.
    pub fn read(&mut self, bad_lines: BadLines) -> Result<Parts> {
        // Not of the seed of the run: the test of another seed is the same.
        let random = Stream::new(0).named("split");
        let mut skipped = Vec::new();
        let mut keep = |corpus: Result<ParallelCorpus, TextError>| -> Result<ParallelCorpus> {
            let corpus = corpus?;
            skipped.extend_from_slice(corpus.skipped());
            Ok(corpus)
        };
        let [training, validation, test] = match self {
            Self::Table { path, sha256, columns, split } => {
                check_named(path, "a file")?;
                let file = datasets::find(path, "tsv")?;
                let corpus = keep(ParallelCorpus::from_columns(&file, columns, bad_lines))?;
                datasets::check(&[&file], sha256)?;
                corpus.split(*split, random)?
            }
            Self::Tables { path, sha256, columns, training, validation, test } => {
                let folder = folder(path)?;
                let files = [training, validation, test].map(|name| folder.join(name));
                datasets::check(&files.each_ref().map(PathBuf::as_path), sha256)?;
                let read =
                    |file: PathBuf| keep(ParallelCorpus::from_columns(file, columns, bad_lines));
                let [training, validation, test] = files.map(read);
                [training?, validation?, test?]
            }
            Self::Files { path, sha256, source, target, training, validation, test } => {
                let folder = folder(path)?;
                let sides = |part: &mut String| -> Result<[PathBuf; 2]> {
                    Ok([side(&folder, part, source)?, side(&folder, part, target)?])
                };
                let files = [sides(training)?, sides(validation)?, sides(test)?];
                let paths: Vec<&Path> = files.as_flattened().iter().map(PathBuf::as_path).collect();
                datasets::check(&paths, sha256)?;
                let read = |[source, target]: [PathBuf; 2]| {
                    keep(ParallelCorpus::from_files(source, target, bad_lines))
                };
                let [training, validation, test] = files.map(read);
                [training?, validation?, test?]
            }
            Self::Sequences {
                task,
                n_symbols,
                min_length,
                max_length,
                training,
                validation,
                test,
            } => {
                let (task, n_symbols) = (*task, *n_symbols);
                let (min_length, max_length) = (*min_length, *max_length);
                SequenceTaskConfig { task, n_symbols, min_length, max_length }
                    .corpora([*training, *validation, *test], random)?
            }
        };
        for (corpus, part) in
            [(&training, "training"), (&validation, "validation"), (&test, "test")]
        {
            ensure!(!corpus.pairs().is_empty(), "{} has no {part} part", corpus.name());
        }
        Ok(Parts { training, validation, test, skipped })
    }
}

/// The folder of a config.
fn folder(path: &mut String) -> Result<PathBuf> {
    check_named(path, "a folder")?;
    datasets::find_folder(path)
}

/// Data that is not committed has no name until the user gives it one.
fn check_named(path: &str, what: &str) -> Result<()> {
    ensure!(!path.is_empty(), "`data.path` must name {what} of this data: --set data.path=PATH");
    Ok(())
}

/// One side of a part, packed or not.
fn side(folder: &Path, part: &str, language: &str) -> Result<PathBuf> {
    let name = format!("{part}.{language}");
    let files = [folder.join(&name), folder.join(format!("{name}.gz"))];
    let found = files.into_iter().find(|file| file.is_file());
    match found {
        Some(file) => Ok(file),
        None => bail!("there is neither {name} nor {name}.gz in {}", folder.display()),
    }
}
