//! The texts of a file, each with its place there, which is what errors name.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use emberline_generation::GenerationError;
use emberline_text::Corpus;
use serde::Deserialize;

/// The texts of a file, or of stdin where it is called `-`.
pub struct Documents {
    texts: Vec<String>,
    /// Where each stands.
    places: Vec<String>,
}

/// A line of a file whose name ends in `.jsonl`.
#[derive(Deserialize)]
struct Line {
    text: String,
}

impl Documents {
    /// The whole file as one text, or of a `.jsonl` the `text` of each line.
    ///
    /// # Errors
    /// If there is no file, it is empty, not UTF-8, or one of its lines not such an object.
    pub fn whole(file: &Path) -> Result<Self> {
        let corpus = read(file)?;
        if is_of_objects(file) {
            return Self::of_objects(&corpus);
        }
        let places = vec![corpus.name().to_string()];
        Ok(Self { texts: vec![corpus.text().to_string()], places })
    }

    /// Each line as a text, or of a `.jsonl` the `text` of each line.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn lines(file: &Path) -> Result<Self> {
        let corpus = read(file)?;
        if is_of_objects(file) {
            return Self::of_objects(&corpus);
        }
        let texts: Vec<String> = corpus.text().lines().map(str::to_string).collect();
        Ok(Self { places: places(&corpus, texts.len()), texts })
    }

    /// One text that has no file; `name` is what errors call it.
    pub fn of_text(text: &str, name: &str) -> Self {
        Self { texts: vec![text.to_string()], places: vec![name.to_string()] }
    }

    fn of_objects(corpus: &Corpus) -> Result<Self> {
        let lines: Vec<&str> = corpus.text().lines().collect();
        let places = places(corpus, lines.len());
        let text = |(line, place): (&&str, &String)| {
            let Line { text } = serde_json::from_str(line)
                .with_context(|| format!("{place}: expected an object with a `text`"))?;
            Ok(text)
        };
        let texts = lines.iter().zip(&places).map(text).collect::<Result<_>>()?;
        Ok(Self { texts, places })
    }

    /// The texts.
    pub fn texts(&self) -> Vec<&str> {
        self.texts.iter().map(String::as_str).collect()
    }

    /// Where a text stands.
    pub fn place(&self, text: usize) -> &str {
        &self.places[text]
    }

    /// Whether every text can be read; the error names the place of the first that cannot.
    ///
    /// # Errors
    /// Those of `check`.
    pub fn check(&self, check: impl Fn(&str) -> Result<()>) -> Result<()> {
        let of = |(text, place): (&String, &String)| check(text).with_context(|| place.clone());
        self.texts.iter().zip(&self.places).try_for_each(of)
    }

    /// What was found of so many rows a text, or the error with the place of its text.
    ///
    /// # Errors
    /// If nothing was found.
    pub fn at_its_place<T>(
        &self,
        found: Result<T, GenerationError>,
        n_rows_of_text: usize,
    ) -> Result<T> {
        let text = match &found {
            Err(
                GenerationError::TooLong { row, .. }
                | GenerationError::EmptyPrompt { row }
                | GenerationError::PromptTooLong { row, .. }
                | GenerationError::UnknownToken { row, .. },
            ) => Some(*row),
            Err(GenerationError::NotANumber { row, .. }) => Some(*row / n_rows_of_text),
            _ => None,
        };
        match text.and_then(|text| self.places.get(text)) {
            Some(place) => found.with_context(|| place.clone()),
            None => Ok(found?),
        }
    }
}

fn read(file: &Path) -> Result<Corpus> {
    if file != Path::new("-") {
        return Ok(Corpus::from_file(file)?);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
    Ok(Corpus::new("stdin", text)?)
}

fn is_of_objects(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "jsonl")
}

fn places(corpus: &Corpus, n_lines: usize) -> Vec<String> {
    (1..=n_lines).map(|line| format!("{}:{line}", corpus.name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_file_its_lines_or_those_of_its_objects() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let plain = file("a.txt", "one\ntwo\n");
        assert_eq!(Documents::whole(&plain).unwrap().texts(), ["one\ntwo\n"]);
        let lines = Documents::lines(&plain).unwrap();
        assert_eq!(lines.texts(), ["one", "two"]);
        assert!(lines.places[1].ends_with("a.txt:2"), "{:?}", lines.places);
        let objects = file("a.jsonl", "{\"text\": \"one\\n\", \"id\": 3}\n{\"text\": \"two\"}\n");
        for documents in [Documents::whole(&objects), Documents::lines(&objects)] {
            assert_eq!(documents.unwrap().texts(), ["one\n", "two"]);
        }
        let bad = file("b.jsonl", "{\"text\": \"a\"}\n{}\n");
        let error = format!("{:#}", Documents::lines(&bad).err().unwrap());
        assert!(error.contains("b.jsonl:2: expected an object with a `text`"), "{error}");
    }

    #[test]
    fn an_error_of_a_row_has_the_place_of_its_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\ntwo\n").unwrap();
        let documents = Documents::lines(file.path()).unwrap();
        let nan: Result<(), _> = Err(GenerationError::NotANumber { row: 3, position: 0 });
        let error = documents.at_its_place(nan, 2).unwrap_err().to_string();
        assert!(error.ends_with(":2"), "{error}");
        let is_two = |text: &str| {
            anyhow::ensure!(text == "two", "no");
            Ok(())
        };
        let error = documents.check(is_two).unwrap_err();
        assert!(error.to_string().ends_with(":1"), "{error}");
    }
}
