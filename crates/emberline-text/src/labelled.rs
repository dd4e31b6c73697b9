//! Texts with a label each, one a line, with a tab between them.

use std::path::Path;

use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, SplitFractions};
use crate::error::TextError;
use crate::examples::Example;
use crate::vocabulary::{TokenCounts, Vocabulary};

/// What the first line of a file of columns is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstLine {
    /// The names of the columns.
    Header,
    /// An example, like every other line.
    Example,
}

/// Which of two columns is the label; the other is the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelColumn {
    /// `label<TAB>text`.
    First,
    /// `text<TAB>label`.
    Second,
}

/// A text with its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledText {
    /// The text, never empty.
    pub text: String,
    /// The second text of a pair, never empty.
    pub second: Option<String>,
    /// The label, never empty.
    pub label: String,
    /// The line of the file, from 1.
    pub line: usize,
}

/// The labelled texts of a file, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledTexts {
    name: String,
    texts: Vec<LabelledText>,
}

impl LabelledTexts {
    /// Reads a file of two columns, the text first, with a tab between them. Nothing in a column is trimmed; a byte order
    /// mark and `\r` before a line's end are not part of it, and a file whose name ends in `.gz` is unpacked.
    ///
    /// # Errors
    /// Those of [`Corpus::from_file`]; [`TextError::Columns`] and [`TextError::EmptyColumn`] with the line;
    /// [`TextError::NoExample`] if there is only a header.
    pub fn from_file(path: impl AsRef<Path>, first_line: FirstLine) -> Result<Self, TextError> {
        Self::from_columns(path, first_line, LabelColumn::Second)
    }

    /// The same of a file in which either column may be the label.
    ///
    /// # Errors
    /// Those of [`from_file`](Self::from_file).
    pub fn from_columns(
        path: impl AsRef<Path>,
        first_line: FirstLine,
        label_column: LabelColumn,
    ) -> Result<Self, TextError> {
        Self::parse(&Corpus::from_file(path)?, first_line, label_column)
    }

    fn parse(
        corpus: &Corpus,
        first_line: FirstLine,
        label_column: LabelColumn,
    ) -> Result<Self, TextError> {
        let name = corpus.name();
        let mut texts = Vec::new();
        for (line, columns) in (1..).zip(lines(corpus)) {
            let columns: Vec<&str> = columns.split('\t').collect();
            let [first, second] = columns[..] else {
                let (name, found) = (name.to_string(), columns.len());
                return Err(TextError::Columns { name, line, expected: 2, found });
            };
            let (text, label) = match label_column {
                LabelColumn::First => (second, first),
                LabelColumn::Second => (first, second),
            };
            if line == 1 && first_line == FirstLine::Header {
                continue;
            }
            check_filled(name, line, [("text", text), ("label", label)])?;
            texts.push(LabelledText { text: text.into(), second: None, label: label.into(), line });
        }
        Self::new(name, texts)
    }

    pub(crate) fn new(name: &str, texts: Vec<LabelledText>) -> Result<Self, TextError> {
        if texts.is_empty() {
            return Err(TextError::NoExample { name: name.to_string() });
        }
        Ok(Self { name: name.to_string(), texts })
    }

    /// The file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The texts, in the order of the file.
    pub fn texts(&self) -> &[LabelledText] {
        &self.texts
    }

    /// The same texts without capitals.
    #[must_use]
    pub fn lower_case(&self) -> Self {
        let lower = |text: &LabelledText| LabelledText {
            text: text.text.to_lowercase(),
            second: text.second.as_ref().map(|second| second.to_lowercase()),
            ..text.clone()
        };
        Self { name: self.name.clone(), texts: self.texts.iter().map(lower).collect() }
    }

    /// Splits into training, validation and test by a hash of each text, and not by the order of the file, which
    /// often is that of the labels. The same text is always in the same part: none that a model was
    /// trained on is in its test. A part may be empty, and its share is met only about.
    ///
    /// # Errors
    /// [`TextError::Fractions`].
    pub fn split(&self, fractions: SplitFractions, random: Stream) -> Result<[Self; 3], TextError> {
        let part_of = fractions.part_of(random)?;
        let mut parts = [(); 3].map(|()| Self { name: self.name.clone(), texts: Vec::new() });
        for text in &self.texts {
            parts[part_of(&text.text)].texts.push(text.clone());
        }
        Ok(parts)
    }

    /// How often each character occurs.
    pub fn characters(&self) -> TokenCounts {
        let mut counts = TokenCounts::default();
        for character in self.texts.iter().flat_map(|text| text.text.chars()) {
            counts.add(character.encode_utf8(&mut [0; 4]));
        }
        counts
    }

    /// How often each label occurs.
    pub fn labels(&self) -> TokenCounts {
        self.texts.iter().map(|text| text.label.as_str()).collect()
    }

    /// The texts as the ids of their characters, with the ids of their labels.
    ///
    /// # Errors
    /// [`TextError::UnknownLabel`] with the line; [`TextError::UnknownToken`] if a character is not in the
    /// vocabulary and nothing stands for it.
    pub fn encode(
        &self,
        characters: &Vocabulary,
        labels: &Vocabulary,
    ) -> Result<Vec<Example>, TextError> {
        let encode = |(text, label): (&LabelledText, u32)| {
            let id = |character: char| characters.id(character.encode_utf8(&mut [0; 4]));
            let tokens = text.text.chars().map(id).collect::<Result<_, _>>()?;
            Ok(Example { tokens, labels: vec![label], ..Example::default() })
        };
        self.texts.iter().zip(self.label_ids(labels)?).map(encode).collect()
    }

    /// The ids of the labels.
    ///
    /// # Errors
    /// [`TextError::UnknownLabel`] with the line.
    pub fn label_ids(&self, labels: &Vocabulary) -> Result<Vec<u32>, TextError> {
        let id = |text: &LabelledText| label_id(labels, &text.label, &self.name, text.line);
        self.texts.iter().map(id).collect()
    }
}

/// The lines of a file, without a byte order mark and without their ends.
pub(crate) fn lines(corpus: &Corpus) -> impl Iterator<Item = &str> {
    let text = corpus.text();
    text.strip_prefix('\u{feff}').unwrap_or(text).lines()
}

/// Refuses columns with nothing in them.
pub(crate) fn check_filled<const N: usize>(
    name: &str,
    line: usize,
    columns: [(&'static str, &str); N],
) -> Result<(), TextError> {
    match columns.into_iter().find(|(_, content)| content.trim().is_empty()) {
        Some((column, _)) => Err(TextError::EmptyColumn { name: name.into(), line, column }),
        None => Ok(()),
    }
}

/// The id of a label at a line of a file.
pub(crate) fn label_id(
    labels: &Vocabulary,
    label: &str,
    name: &str,
    line: usize,
) -> Result<u32, TextError> {
    labels.known_id(label).ok_or_else(|| TextError::UnknownLabel {
        name: name.to_string(),
        line,
        label: label.to_string(),
        known: labels.tokens().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::VocabularyConfig;

    fn parse(text: &str, first_line: FirstLine) -> Result<LabelledTexts, TextError> {
        LabelledTexts::parse(&Corpus::new("names.tsv", text)?, first_line, LabelColumn::Second)
    }

    fn complaint(text: &str) -> String {
        parse(text, FirstLine::Example).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_a_text_and_its_label_with_or_without_a_header() {
        let file = "\u{feff}name\tlabel\r\nJo Ann\tf\r\n Ali \tm";
        let texts = parse(file, FirstLine::Header).unwrap();
        let text = |text: &str, label: &str, line| LabelledText {
            text: text.into(),
            second: None,
            label: label.into(),
            line,
        };
        assert_eq!(texts.texts(), [text("Jo Ann", "f", 2), text(" Ali ", "m", 3)]);
        let texts = parse(file, FirstLine::Example).unwrap();
        assert_eq!(texts.texts()[0], text("name", "label", 1));
    }

    #[test]
    fn the_label_may_come_first() {
        let corpus = Corpus::new("a.tsv", "f\tJo Ann\n").unwrap();
        let texts = LabelledTexts::parse(&corpus, FirstLine::Example, LabelColumn::First).unwrap();
        assert_eq!((&texts.texts()[0].text[..], &texts.texts()[0].label[..]), ("Jo Ann", "f"));
    }

    #[test]
    fn a_wrong_number_of_columns_is_an_error_at_its_line() {
        let expected = "names.tsv:2: expected 2 columns, but found 3";
        assert_eq!(complaint("a\tx\nb\ty\tz\n"), expected);
        assert_eq!(complaint("a\tx\n\n"), "names.tsv:2: expected 2 columns, but found 1");
        assert!(parse("name\na\tx\n", FirstLine::Header).is_err());
    }

    #[test]
    fn an_empty_text_or_label_is_an_error_at_its_line() {
        assert_eq!(complaint("a\tx\n\tx\n"), "names.tsv:2: the text is empty");
        assert_eq!(complaint("a\t \n"), "names.tsv:1: the label is empty");
    }

    #[test]
    fn a_file_without_an_example_is_an_error() {
        let error = parse("name\tlabel\n", FirstLine::Header).unwrap_err().to_string();
        assert_eq!(error, "names.tsv has no example");
    }

    #[test]
    fn a_label_that_training_has_not_is_an_error_that_names_it_and_the_file() {
        let train = parse("abc\tx\nca\ty\n", FirstLine::Example).unwrap();
        let characters =
            Vocabulary::new(&train.characters(), &VocabularyConfig::default()).unwrap();
        let labels = Vocabulary::of_labels(&train.labels());
        let examples = train.encode(&characters, &labels).unwrap();
        assert_eq!((&examples[1].tokens[..], &examples[1].labels[..]), (&[2, 1][..], &[1][..]));

        let test = parse("ad\tx\n", FirstLine::Example).unwrap();
        let examples = test.encode(&characters, &labels).unwrap();
        assert_eq!(examples[0].tokens, [1, 0], "an unknown character is the unknown token");

        let test = parse("a\tx\nc\tz\n", FirstLine::Example).unwrap();
        let error = test.encode(&characters, &labels).unwrap_err().to_string();
        let expected =
            "names.tsv:2: no training example has the label \"z\"; the labels are [\"x\", \"y\"]";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_split_goes_by_the_text_alone() {
        let names = |order: &mut dyn Iterator<Item = usize>| {
            let lines: Vec<String> = order.map(|name| format!("name {name}\tx")).collect();
            parse(&lines.join("\n"), FirstLine::Example).unwrap()
        };
        let split = |texts: &LabelledTexts, seed| {
            let fractions = SplitFractions { train: 0.8, validation: 0.1 };
            texts.split(fractions, Stream::new(seed)).unwrap().map(|part| {
                let mut texts: Vec<String> =
                    part.texts().iter().map(|text| text.text.clone()).collect();
                texts.sort();
                texts
            })
        };
        let forward = names(&mut (0..2000));
        let parts = split(&forward, 1);
        assert_eq!(parts, split(&names(&mut (0..2000).rev()), 1));
        assert_ne!(parts, split(&forward, 2));
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 2000);
        // Four standard deviations about 1600, 200, 200.
        assert!((1528..1672).contains(&parts[0].len()), "{}", parts[0].len());
        assert!((146..254).contains(&parts[1].len()), "{}", parts[1].len());
    }

    #[test]
    fn texts_lose_their_capitals_and_labels_keep_them() {
        let texts = parse("Who, I?\tYes", FirstLine::Example).unwrap().lower_case();
        let [text] = texts.texts() else { panic!("one text") };
        assert_eq!((&text.text[..], &text.label[..], text.line), ("who, i?", "Yes", 1));
    }

    #[test]
    fn a_text_with_two_labels_is_in_one_part() {
        let lines: Vec<String> =
            (0..200).map(|line| format!("{}\t{}", line / 2, line % 2)).collect();
        let texts = parse(&lines.join("\n"), FirstLine::Example).unwrap();
        let fractions = SplitFractions { train: 0.5, validation: 0.25 };
        for part in texts.split(fractions, Stream::new(3)).unwrap() {
            assert!(part.texts().chunks(2).all(|pair| pair[0].text == pair[1].text));
        }
        assert!(
            texts.split(SplitFractions { train: 0.0, validation: 0.5 }, Stream::new(3)).is_err()
        );
    }
}
