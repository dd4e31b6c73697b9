//! Sentences with a tag for each word, in the columns of the CoNLL shared tasks: a word a line, the word in
//! the first column and its tag in the last, and an empty line after each sentence.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::error::TextError;
use crate::examples::Example;
use crate::labelled::{check_filled, label_id, lines};
use crate::vocabulary::{TokenCounts, Vocabulary};

/// What stands between columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separator {
    /// One tab; a word may hold blanks.
    Tab,
    /// Any number of blanks and tabs.
    Blanks,
}

/// A sentence with a tag for each word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedSentence {
    /// The words, at least one.
    pub words: Vec<String>,
    /// As many tags.
    pub tags: Vec<String>,
    /// The line of the first word, from 1.
    pub line: usize,
}

/// The tagged sentences of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedSentences {
    name: String,
    sentences: Vec<TaggedSentence>,
}

impl TaggedSentences {
    /// Reads a file of columns, at least two and as many in each line as in the first. A line of blanks alone
    /// ends a sentence too; a byte order mark and `\r` before a line's end are ignored, and a file whose name
    /// ends in `.gz` is unpacked.
    ///
    /// # Errors
    /// Those of [`Corpus::from_file`]; [`TextError::Columns`] and [`TextError::EmptyColumn`] with the line;
    /// [`TextError::NoExample`] if there is no word.
    pub fn from_file(path: impl AsRef<Path>, separator: Separator) -> Result<Self, TextError> {
        Self::parse(&Corpus::from_file(path)?, separator)
    }

    fn parse(corpus: &Corpus, separator: Separator) -> Result<Self, TextError> {
        let name = corpus.name();
        let mut sentences: Vec<TaggedSentence> = Vec::new();
        let (mut n_columns, mut in_sentence) = (None, false);
        for (line, text) in (1..).zip(lines(corpus)) {
            if text.trim().is_empty() {
                in_sentence = false;
                continue;
            }
            let columns = separator.columns(text);
            let expected = *n_columns.get_or_insert(columns.len().max(2));
            if columns.len() != expected {
                let (name, found) = (name.to_string(), columns.len());
                return Err(TextError::Columns { name, line, expected, found });
            }
            let (word, tag) = (columns[0], columns[expected - 1]);
            check_filled(name, line, [("word", word), ("tag", tag)])?;
            if !in_sentence {
                sentences.push(TaggedSentence { words: Vec::new(), tags: Vec::new(), line });
                in_sentence = true;
            }
            let sentence = sentences.last_mut().expect("a sentence has begun");
            sentence.words.push(word.to_string());
            sentence.tags.push(tag.to_string());
        }
        if sentences.is_empty() {
            return Err(TextError::NoExample { name: name.to_string() });
        }
        Ok(Self { name: name.to_string(), sentences })
    }

    /// The file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sentences, in the order of the file.
    pub fn sentences(&self) -> &[TaggedSentence] {
        &self.sentences
    }

    /// How often each word occurs.
    pub fn words(&self) -> TokenCounts {
        let words = self.sentences.iter().flat_map(|sentence| &sentence.words);
        words.map(String::as_str).collect()
    }

    /// How often each tag occurs.
    pub fn tags(&self) -> TokenCounts {
        self.sentences.iter().flat_map(|sentence| &sentence.tags).map(String::as_str).collect()
    }

    /// The sentences as the ids of their words, with the ids of their tags.
    ///
    /// # Errors
    /// [`TextError::UnknownLabel`] with the line; [`TextError::UnknownToken`] if a word is not in the
    /// vocabulary and nothing stands for it.
    pub fn encode(&self, words: &Vocabulary, tags: &Vocabulary) -> Result<Vec<Example>, TextError> {
        let encode = |(sentence, labels): (&TaggedSentence, Vec<u32>)| {
            let tokens = sentence.words.iter().map(|word| words.id(word)).collect::<Result<_, _>>();
            Ok(Example { tokens: tokens?, labels, ..Example::default() })
        };
        self.sentences.iter().zip(self.tag_ids(tags)?).map(encode).collect()
    }

    /// The ids of the tags of each sentence.
    ///
    /// # Errors
    /// [`TextError::UnknownLabel`] with the line.
    pub fn tag_ids(&self, tags: &Vocabulary) -> Result<Vec<Vec<u32>>, TextError> {
        let ids = |sentence: &TaggedSentence| {
            let tags_at = (sentence.line..).zip(&sentence.tags);
            tags_at.map(|(line, tag)| label_id(tags, tag, &self.name, line)).collect()
        };
        self.sentences.iter().map(ids).collect()
    }
}

impl Separator {
    fn columns(self, line: &str) -> Vec<&str> {
        match self {
            Self::Tab => line.split('\t').collect(),
            Self::Blanks => line.split_ascii_whitespace().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::VocabularyConfig;

    fn parse(text: &str, separator: Separator) -> Result<TaggedSentences, TextError> {
        TaggedSentences::parse(&Corpus::new("dev.tsv", text)?, separator)
    }

    fn complaint(text: &str) -> String {
        parse(text, Separator::Tab).unwrap_err().to_string()
    }

    fn sentence(words: &[&str], tags: &[&str], line: usize) -> TaggedSentence {
        let strings = |list: &[&str]| list.iter().map(|item| item.to_string()).collect();
        TaggedSentence { words: strings(words), tags: strings(tags), line }
    }

    #[test]
    fn empty_lines_end_sentences_wherever_and_however_many_they_are() {
        // The training part of WNUT 2017 writes some of its empty lines with a tab.
        let file = "\n\nNew York\tB-location\r\nis\tO\n\t\n\nbig\tO\n";
        let expected =
            [sentence(&["New York", "is"], &["B-location", "O"], 3), sentence(&["big"], &["O"], 7)];
        assert_eq!(parse(file, Separator::Tab).unwrap().sentences(), expected);
    }

    #[test]
    fn the_word_is_the_first_column_and_the_tag_the_last() {
        let file = "EU NNP B-NP I-ORG\nrejects  VBZ\tB-VP O\n";
        let expected = [sentence(&["EU", "rejects"], &["I-ORG", "O"], 1)];
        assert_eq!(parse(file, Separator::Blanks).unwrap().sentences(), expected);
    }

    #[test]
    fn a_line_with_other_columns_than_the_first_is_an_error_at_its_line() {
        let expected = "dev.tsv:3: expected 2 columns, but found 3";
        assert_eq!(complaint("a\tO\n\nb\tc\tO\n"), expected);
        assert_eq!(complaint("a\tO\nb\n"), "dev.tsv:2: expected 2 columns, but found 1");
        assert_eq!(complaint("a\nb\tO\n"), "dev.tsv:1: expected 2 columns, but found 1");
    }

    #[test]
    fn an_empty_word_or_tag_is_an_error_at_its_line() {
        assert_eq!(complaint("a\tO\n\tO\n"), "dev.tsv:2: the word is empty");
        assert_eq!(complaint("a\t\n"), "dev.tsv:1: the tag is empty");
        assert_eq!(complaint("\n \n"), "dev.tsv has no example");
    }

    #[test]
    fn words_seen_too_seldom_are_unknown_and_a_tag_never_is() {
        let train = parse("a\tX\nb\tY\n\na\tX\n", Separator::Tab).unwrap();
        let config = VocabularyConfig { min_count: 2, ..VocabularyConfig::default() };
        let words = Vocabulary::new(&train.words(), &config).unwrap();
        let tags = Vocabulary::of_labels(&train.tags());
        let examples = train.encode(&words, &tags).unwrap();
        assert_eq!((&examples[0].tokens[..], &examples[0].labels[..]), (&[1, 0][..], &[0, 1][..]));

        let dev = parse("a\tX\n\na\tY\nzebra\tZ\n", Separator::Tab).unwrap();
        let error = dev.encode(&words, &tags).unwrap_err().to_string();
        assert!(error.starts_with("dev.tsv:4: no training example has the label \"Z\""), "{error}");
    }
}
