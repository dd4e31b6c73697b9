//! Texts with their translations, a pair a line: two files whose lines belong together, or two columns of one.

use std::fmt::Debug;
use std::path::Path;

use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::bad_lines::{BadLines, Sieve};
use crate::corpus::{Corpus, SplitFractions};
use crate::error::TextError;
use crate::labelled::{FirstLine, check_filled, lines};

/// A column of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Column {
    /// By its place, from 1.
    Number(usize),
    /// By its name in the header.
    Name(String),
}

/// Which columns of a file with tabs hold the pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairColumns {
    /// What is read.
    pub source: Column,
    /// What is written.
    pub target: Column,
    /// What the first line is; a column that is named needs a header.
    pub first_line: FirstLine,
}

/// A text and its translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What is read, never blank.
    pub source: String,
    /// What is written, never blank.
    pub target: String,
    /// The line of the file, from 1.
    pub line: usize,
}

/// The pairs of a file or of two, or of a part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParallelCorpus {
    name: String,
    pairs: Vec<Pair>,
    skipped: Vec<String>,
}

impl ParallelCorpus {
    /// Pairs that are already at hand.
    ///
    /// # Errors
    /// [`TextError::NoExample`].
    pub fn new(name: impl Into<String>, pairs: Vec<Pair>) -> Result<Self, TextError> {
        Self::with_skipped(name.into(), pairs, Vec::new())
    }

    /// Reads two files of which line n of one is the translation of line n of the other. Nothing in a line is
    /// trimmed; a byte order mark and `\r` before a line's end are not part of it, and a file whose name ends in
    /// `.gz` is unpacked.
    ///
    /// # Errors
    /// Those of [`Corpus::from_file`]; [`TextError::UnequalLines`], also where bad lines are skipped, since no line
    /// is then sure to belong to the one beside it; [`TextError::EmptyColumn`] with the line;
    /// [`TextError::NoExample`] if every line was skipped.
    pub fn from_files(
        source: impl AsRef<Path>,
        target: impl AsRef<Path>,
        bad_lines: BadLines,
    ) -> Result<Self, TextError> {
        Self::align(&Corpus::from_file(source)?, &Corpus::from_file(target)?, bad_lines)
    }

    fn align(source: &Corpus, target: &Corpus, bad_lines: BadLines) -> Result<Self, TextError> {
        let (source_lines, target_lines) = (lines(source).count(), lines(target).count());
        if source_lines != target_lines {
            return Err(TextError::UnequalLines {
                source_name: source.name().to_string(),
                source_lines,
                target_name: target.name().to_string(),
                target_lines,
            });
        }
        let mut sieve = Sieve::new(bad_lines);
        for (line, (text, translation)) in (1..).zip(lines(source).zip(lines(target))) {
            let pair = check_filled(source.name(), line, [("source", text)])
                .and_then(|()| check_filled(target.name(), line, [("target", translation)]))
                .map(|()| Pair { source: text.into(), target: translation.into(), line });
            sieve.add(pair)?;
        }
        let name = format!("{} and {}", source.name(), target.name());
        Self::with_skipped(name, sieve.kept, sieve.skipped)
    }

    /// Reads two columns of a file with a tab between columns, as many in each line as in the first. Nothing in a
    /// column is trimmed, and no quote has a meaning.
    ///
    /// # Errors
    /// Those of [`Corpus::from_file`]; [`TextError::UnknownColumn`]; [`TextError::Columns`] and
    /// [`TextError::EmptyColumn`] with the line; [`TextError::NoExample`] if there is only a header, or every line
    /// was skipped.
    pub fn from_columns(
        path: impl AsRef<Path>,
        columns: &PairColumns,
        bad_lines: BadLines,
    ) -> Result<Self, TextError> {
        Self::parse(&Corpus::from_file(path)?, columns, bad_lines)
    }

    fn parse(
        corpus: &Corpus,
        columns: &PairColumns,
        bad_lines: BadLines,
    ) -> Result<Self, TextError> {
        let name = corpus.name();
        let first: Vec<&str> = lines(corpus).next().unwrap_or_default().split('\t').collect();
        let source = columns.source.place(name, &first, columns.first_line)?;
        let target = columns.target.place(name, &first, columns.first_line)?;
        let n_headers = usize::from(columns.first_line == FirstLine::Header);
        let mut sieve = Sieve::new(bad_lines);
        for (line, text) in (1..).zip(lines(corpus)).skip(n_headers) {
            let cells: Vec<&str> = text.split('\t').collect();
            let pair = if cells.len() == first.len() {
                check_filled(name, line, [("source", cells[source]), ("target", cells[target])])
                    .map(|()| Pair {
                        source: cells[source].into(),
                        target: cells[target].into(),
                        line,
                    })
            } else {
                let (expected, found) = (first.len(), cells.len());
                Err(TextError::Columns { name: name.to_string(), line, expected, found })
            };
            sieve.add(pair)?;
        }
        Self::with_skipped(name.to_string(), sieve.kept, sieve.skipped)
    }

    fn with_skipped(
        name: String,
        pairs: Vec<Pair>,
        skipped: Vec<String>,
    ) -> Result<Self, TextError> {
        if pairs.is_empty() {
            return Err(TextError::NoExample { name });
        }
        Ok(Self { name, pairs, skipped })
    }

    /// The file, or both.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pairs, in the order of the file.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// What was wrong with each line that was left out; of the whole file, and not of a part.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The text of every source.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|pair| &pair.source[..])
    }

    /// The text of every target.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|pair| &pair.target[..])
    }

    /// Splits into training, validation and test by a hash of each source, so that no source that a model was
    /// trained on is in its test. A part may be empty, and its share is met only about.
    ///
    /// # Errors
    /// [`TextError::Fractions`].
    pub fn split(&self, fractions: SplitFractions, random: Stream) -> Result<[Self; 3], TextError> {
        let part_of = fractions.part_of(random)?;
        let mut parts =
            [(); 3].map(|()| Self { name: self.name.clone(), pairs: vec![], skipped: vec![] });
        for pair in &self.pairs {
            parts[part_of(&pair.source)].pairs.push(pair.clone());
        }
        Ok(parts)
    }
}

impl Column {
    /// The index of the column among those of the first line.
    pub(crate) fn place<S: AsRef<str> + Debug>(
        &self,
        name: &str,
        first: &[S],
        first_line: FirstLine,
    ) -> Result<usize, TextError> {
        let place = match self {
            Self::Number(number) => number.checked_sub(1).filter(|place| *place < first.len()),
            Self::Name(wanted) if first_line == FirstLine::Header => {
                first.iter().position(|column| column.as_ref() == wanted)
            }
            Self::Name(_) => None,
        };
        place.ok_or_else(|| TextError::UnknownColumn {
            name: name.to_string(),
            column: match self {
                Self::Number(number) => number.to_string(),
                Self::Name(wanted) => format!("{wanted:?}"),
            },
            known: match first_line {
                FirstLine::Header => format!("{first:?}"),
                FirstLine::Example => format!("1 to {}, without names", first.len()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn align(source: &str, target: &str, bad_lines: BadLines) -> Result<ParallelCorpus, TextError> {
        let (source, target) = (Corpus::new("a.en", source)?, Corpus::new("a.de", target)?);
        ParallelCorpus::align(&source, &target, bad_lines)
    }

    fn columns(source: Column, target: Column, first_line: FirstLine) -> PairColumns {
        PairColumns { source, target, first_line }
    }

    fn parse(text: &str, columns: &PairColumns) -> Result<ParallelCorpus, TextError> {
        ParallelCorpus::parse(&Corpus::new("a.tsv", text)?, columns, BadLines::Refuse)
    }

    fn pair(source: &str, target: &str, line: usize) -> Pair {
        Pair { source: source.into(), target: target.into(), line }
    }

    #[test]
    fn lines_of_two_files_belong_together() {
        let corpus = align("\u{feff}one\r\ntwo \n", "eins\nzwei", BadLines::Refuse).unwrap();
        assert_eq!(corpus.pairs(), [pair("one", "eins", 1), pair("two ", "zwei", 2)]);
        assert_eq!(corpus.name(), "a.en and a.de");
        assert_eq!(corpus.sources().collect::<Vec<_>>(), ["one", "two "]);
        assert_eq!(corpus.targets().collect::<Vec<_>>(), ["eins", "zwei"]);
    }

    #[test]
    fn unequal_numbers_of_lines_are_an_error_that_names_both_and_the_first_without_a_partner() {
        for bad_lines in [BadLines::Refuse, BadLines::Skip] {
            let error = align("one\ntwo\nthree\n", "eins\n", bad_lines).unwrap_err().to_string();
            let expected = "a.en has 3 lines, but a.de has 1: line 2 of a.en has no partner";
            assert_eq!(error, expected);
        }
        let error = align("one\n", "eins\nzwei\n", BadLines::Refuse).unwrap_err().to_string();
        assert_eq!(error, "a.en has 1 lines, but a.de has 2: line 2 of a.de has no partner");
    }

    #[test]
    fn an_empty_side_is_an_error_at_its_line_or_is_skipped_and_counted() {
        let (source, target) = ("one\n \nthree\nfour\n", "eins\nzwei\n\nvier\n");
        let error = align(source, target, BadLines::Refuse).unwrap_err().to_string();
        assert_eq!(error, "a.en:2: the source is empty");
        let corpus = align(source, target, BadLines::Skip).unwrap();
        assert_eq!(corpus.pairs(), [pair("one", "eins", 1), pair("four", "vier", 4)]);
        let expected = ["a.en:2: the source is empty", "a.de:3: the target is empty"];
        assert_eq!(corpus.skipped(), expected);
        let error = align(" \n", "eins\n", BadLines::Skip).unwrap_err().to_string();
        assert_eq!(error, "a.en and a.de has no example");
    }

    #[test]
    fn columns_are_found_by_name_or_by_number() {
        let file = "id\ten\tes\n1\tone\tuno\n2\ttwo\tdos\n";
        let named =
            columns(Column::Name("es".into()), Column::Name("en".into()), FirstLine::Header);
        let expected = [pair("uno", "one", 2), pair("dos", "two", 3)];
        assert_eq!(parse(file, &named).unwrap().pairs(), expected);
        let numbered = columns(Column::Number(3), Column::Number(2), FirstLine::Header);
        assert_eq!(parse(file, &numbered).unwrap().pairs(), expected);
        let numbered = PairColumns { first_line: FirstLine::Example, ..numbered };
        assert_eq!(parse(file, &numbered).unwrap().pairs()[0], pair("es", "en", 1));
        let read: PairColumns =
            serde_json::from_str(r#"{"source": "es", "target": 2, "first_line": "header"}"#)
                .unwrap();
        let number_and_name =
            columns(Column::Name("es".into()), Column::Number(2), FirstLine::Header);
        assert_eq!(read, number_and_name);
    }

    #[test]
    fn a_column_that_is_not_there_is_an_error_that_lists_those_that_are() {
        let error = |source, first_line| {
            let columns = columns(source, Column::Number(1), first_line);
            parse("en\tes\none\tuno\n", &columns).unwrap_err().to_string()
        };
        let name = || Column::Name("de".into());
        let expected = r#"a.tsv has no column "de": its columns are ["en", "es"]"#;
        assert_eq!(error(name(), FirstLine::Header), expected);
        let expected = r#"a.tsv has no column "de": its columns are 1 to 2, without names"#;
        assert_eq!(error(name(), FirstLine::Example), expected);
        for number in [0, 3] {
            let found = error(Column::Number(number), FirstLine::Example);
            let expected = format!("a.tsv has no column {number}: its columns are 1 to 2, ");
            assert!(found.starts_with(&expected), "{found}");
        }
    }

    #[test]
    fn a_line_with_other_columns_than_the_first_is_an_error_at_its_line_or_is_skipped() {
        let numbered = columns(Column::Number(1), Column::Number(2), FirstLine::Example);
        let file = "one\tuno\ntwo\nthree\ttres\n";
        let error = parse(file, &numbered).unwrap_err().to_string();
        assert_eq!(error, "a.tsv:2: expected 2 columns, but found 1");
        let corpus = Corpus::new("a.tsv", file).unwrap();
        let corpus = ParallelCorpus::parse(&corpus, &numbered, BadLines::Skip).unwrap();
        assert_eq!(corpus.pairs(), [pair("one", "uno", 1), pair("three", "tres", 3)]);
        assert_eq!(corpus.skipped(), [error]);
        let header = PairColumns { first_line: FirstLine::Header, ..numbered };
        let error = parse("en\tes\n", &header).unwrap_err().to_string();
        assert_eq!(error, "a.tsv has no example");
    }

    #[test]
    fn equal_sources_are_in_one_part_of_a_split() {
        let pairs = (0..600).map(|n| pair(&format!("{}", n / 2), &format!("{n}"), n + 1)).collect();
        let corpus = ParallelCorpus::new("pairs", pairs).unwrap();
        let fractions = SplitFractions { train: 0.5, validation: 0.25 };
        let parts = corpus.split(fractions, Stream::new(1)).unwrap();
        assert_eq!(parts.iter().map(|part| part.pairs().len()).sum::<usize>(), 600);
        for part in &parts {
            assert!(!part.pairs().is_empty());
            assert!(part.pairs().chunks(2).all(|two| two[0].source == two[1].source));
        }
        assert_eq!(parts, corpus.split(fractions, Stream::new(1)).unwrap());
        assert!(corpus.split(SplitFractions { train: 2.0, ..fractions }, Stream::new(1)).is_err());
    }
}
