//! Labelled texts and pairs of texts in columns of a file: with tabs between them, or with commas and quotes.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::error::TextError;
use crate::labelled::{FirstLine, LabelledText, LabelledTexts, check_filled, lines};
use crate::parallel::Column;

/// Which columns of a file hold the texts and their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextColumns {
    /// The text.
    pub text: Column,
    /// The second text of a pair, where examples are pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Column>,
    /// The label.
    pub label: Column,
    /// What the first line is; a column that is named needs a header.
    pub first_line: FirstLine,
}

impl LabelledTexts {
    /// Reads columns of a file, texts or pairs of texts and their labels: with a tab between columns, where no quote has a
    /// meaning, or with commas and quotes if the file is a `.csv`. Each line has as many columns as the first; nothing in a
    /// column is trimmed, and a file whose name ends in `.gz` is unpacked.
    ///
    /// # Errors
    /// Those of [`Corpus::from_file`]; [`TextError::UnknownColumn`]; [`TextError::Columns`] and
    /// [`TextError::EmptyColumn`] with the line; [`TextError::NotCsv`]; [`TextError::NoExample`] if there is only a header.
    pub fn from_table(path: impl AsRef<Path>, columns: &TextColumns) -> Result<Self, TextError> {
        Self::parse_table(&Corpus::from_file(path)?, columns)
    }

    fn parse_table(corpus: &Corpus, columns: &TextColumns) -> Result<Self, TextError> {
        let (name, first_line) = (corpus.name(), columns.first_line);
        let records = records(corpus)?;
        let first = records.first().map(|(_, first)| &first[..]).unwrap_or_default();
        let place = |column: &Column| column.place(name, first, first_line);
        let [text, label] = [place(&columns.text)?, place(&columns.label)?];
        let second = columns.second.as_ref().map(place).transpose()?;
        let n_headers = usize::from(first_line == FirstLine::Header);
        let mut texts = Vec::with_capacity(records.len());
        for (line, cells) in records.iter().skip(n_headers) {
            let (line, expected, found) = (*line, first.len(), cells.len());
            if found != expected {
                return Err(TextError::Columns { name: name.to_string(), line, expected, found });
            }
            let [text, label] = [text, label].map(|column| &cells[column][..]);
            check_filled(name, line, [("text", text), ("label", label)])?;
            let second = second.map(|column| cells[column].to_string());
            if let Some(second) = &second {
                check_filled(name, line, [("second text", second)])?;
            }
            texts.push(LabelledText { text: text.into(), second, label: label.into(), line });
        }
        Self::new(name, texts)
    }
}

/// The number of a line, and its cells.
type Record<'a> = (usize, Vec<Cow<'a, str>>);

/// The lines of a file in cells.
fn records(corpus: &Corpus) -> Result<Vec<Record<'_>>, TextError> {
    let name = corpus.name();
    if !name.trim_end_matches(".gz").ends_with(".csv") {
        let cells = lines(corpus).map(|line| line.split('\t').map(Cow::Borrowed).collect());
        return Ok((1..).zip(cells).collect());
    }
    let text = corpus.text().strip_prefix('\u{feff}').unwrap_or(corpus.text());
    let reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let record = |record: Result<csv::StringRecord, csv::Error>| {
        let record =
            record.map_err(|source| TextError::NotCsv { name: name.to_string(), source })?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        Ok((line, record.iter().map(|cell| Cow::Owned(cell.to_string())).collect()))
    };
    reader.into_records().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, text: &str, first_line: FirstLine) -> Result<LabelledTexts, TextError> {
        let corpus = Corpus::new(name, text)?;
        let [label, text, second] = [1, 2, 3].map(Column::Number);
        let columns = TextColumns { text, second: Some(second), label, first_line };
        LabelledTexts::parse_table(&corpus, &columns)
    }

    #[test]
    fn pairs_are_columns_of_a_table_with_tabs_or_of_csv() {
        let with_tabs = "label\ta\tb\r\n1\tsay \"so\tan, \"so\n";
        let texts = table("a.tsv", with_tabs, FirstLine::Header).unwrap();
        let pair = |text: &str, second: &str, line| LabelledText {
            text: text.into(),
            second: Some(second.into()),
            label: "1".into(),
            line,
        };
        assert_eq!(texts.texts(), [pair("say \"so", "an, \"so", 2)]);
        let csv = "\"1\",\"say \"\"so\"\"\",\"a, \nb\\c\"\n1,d,e\n";
        let texts = table("a.csv", csv, FirstLine::Example).unwrap();
        assert_eq!(texts.texts(), [pair("say \"so\"", "a, \nb\\c", 1), pair("d", "e", 3)]);
    }

    #[test]
    fn a_line_of_a_table_that_is_not_as_the_first_is_named() {
        let complaint =
            |name: &str, text: &str| table(name, text, FirstLine::Example).unwrap_err().to_string();
        let expected = "a.tsv:2: expected 3 columns, but found 2";
        assert_eq!(complaint("a.tsv", "1\ta\tb\n1\ta\n"), expected);
        let expected = "a.csv:3: expected 3 columns, but found 2";
        assert_eq!(complaint("a.csv", "1,a,\"b\nc\"\n1,a\n"), expected);
        assert_eq!(complaint("a.tsv", "1\ta\t \n"), "a.tsv:1: the second text is empty");
        assert!(complaint("a.tsv", "1\ta\n").starts_with("a.tsv has no column 3"));
        let error = table("a.tsv", "l\ta\tb\n", FirstLine::Header).unwrap_err().to_string();
        assert_eq!(error, "a.tsv has no example");
    }
}
