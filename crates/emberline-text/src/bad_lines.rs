//! Lines of a file that cannot be used: an error, or left out and counted.

use serde::{Deserialize, Serialize};

use crate::error::TextError;

/// What becomes of a line that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadLines {
    /// It is an error.
    #[default]
    Refuse,
    /// It is left out, and kept as a complaint.
    Skip,
}

/// Keeps what is good of the lines of a file, and what is to be said of the others.
pub(crate) struct Sieve<T> {
    bad_lines: BadLines,
    pub kept: Vec<T>,
    pub skipped: Vec<String>,
}

impl<T> Sieve<T> {
    pub fn new(bad_lines: BadLines) -> Self {
        Self { bad_lines, kept: Vec::new(), skipped: Vec::new() }
    }

    pub fn add(&mut self, line: Result<T, TextError>) -> Result<(), TextError> {
        match (line, self.bad_lines) {
            (Ok(good), _) => self.kept.push(good),
            (Err(error), BadLines::Skip) => self.skipped.push(error.to_string()),
            (Err(error), BadLines::Refuse) => return Err(error),
        }
        Ok(())
    }
}
