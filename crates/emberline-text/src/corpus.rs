//! A text and its parts: read from a file, split into training, validation and test.

use std::io::Read;
use std::path::Path;

use emberline_core::Stream;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::error::TextError;

/// A text with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    name: String,
    text: String,
}

impl Corpus {
    /// A text that is already at hand.
    ///
    /// # Errors
    /// [`TextError::Empty`].
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Result<Self, TextError> {
        let (name, text) = (name.into(), text.into());
        if text.is_empty() {
            return Err(TextError::Empty { name });
        }
        Ok(Self { name, text })
    }

    /// Reads a file of UTF-8 text, as it is: nothing is trimmed or normalised. A file whose name ends in
    /// `.gz` is unpacked.
    ///
    /// # Errors
    /// [`TextError::Read`] if the file is missing or unreadable, [`TextError::NotUtf8`] with the offset
    /// of the first wrong byte, [`TextError::Empty`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        let mut bytes = read(path)?;
        if path.extension().is_some_and(|extension| extension == "gz") {
            bytes =
                unpack(&bytes).map_err(|source| TextError::Read { path: path.into(), source })?;
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let source = error.utf8_error();
            TextError::NotUtf8 { path: path.into(), offset: source.valid_up_to(), source }
        })?;
        Self::new(path.display().to_string(), text)
    }

    /// The file, or the name given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Cuts the text into contiguous parts, counted in characters: the first for training, then
    /// validation, and what remains for the test.
    ///
    /// # Errors
    /// [`TextError::Fractions`].
    pub fn split(&self, fractions: SplitFractions) -> Result<Splits<'_>, TextError> {
        let [train_end, validation_end] = fractions.cuts(self.text.chars().count())?;
        let byte_of = |index: usize| {
            self.text.char_indices().nth(index).map_or(self.text.len(), |(byte, _)| byte)
        };
        let (train, rest) = self.text.split_at(byte_of(train_end));
        let (validation, test) = rest.split_at(byte_of(validation_end) - train.len());
        Ok(Splits { train, validation, test })
    }
}

/// The parts of a text. A part may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splits<'a> {
    /// What the model learns from.
    pub train: &'a str,
    /// What decides between models.
    pub validation: &'a str,
    /// What is looked at last.
    pub test: &'a str,
}

/// How much of a text goes to training and to validation; the rest is the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitFractions {
    /// The part for training, above 0 and at most 1.
    pub train: f64,
    /// The part for validation, after training.
    pub validation: f64,
}

impl Default for SplitFractions {
    /// nanoGPT's convention: the first 90 % for training, the rest for validation, no test.
    fn default() -> Self {
        Self { train: 0.9, validation: 0.1 }
    }
}

impl SplitFractions {
    /// Where training and where validation end among `count` items, both rounded down.
    pub(crate) fn cuts(self, count: usize) -> Result<[usize; 2], TextError> {
        let Self { train, validation } = self;
        // The slack admits fractions like 0.7 and 0.3, whose binary sum may exceed 1 by a rounding.
        let possible = train > 0.0 && validation >= 0.0 && train + validation <= 1.0 + 1e-9;
        if !possible {
            return Err(TextError::Fractions { train, validation });
        }
        let end = |fraction: f64| ((count as f64 * fraction) as usize).min(count);
        Ok([end(train), end(train + validation)])
    }

    /// The part, 0 to 2, of a text by its hash: equal texts are in one part.
    pub(crate) fn part_of(self, random: Stream) -> Result<impl Fn(&str) -> usize, TextError> {
        const PLACES: usize = 1 << 32;
        let [train_end, validation_end] = self.cuts(PLACES)?;
        Ok(move |text: &str| {
            let place = random.named(text).below(0, PLACES);
            usize::from(place >= train_end) + usize::from(place >= validation_end)
        })
    }
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TextError> {
    std::fs::read(path).map_err(|source| TextError::Read { path: path.into(), source })
}

fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let file = file_with(" a\r\n\u{feff}é\n\n".as_bytes());
        let corpus = Corpus::from_file(file.path()).unwrap();
        assert_eq!(corpus.text(), " a\r\n\u{feff}é\n\n");
        assert_eq!(corpus.name(), file.path().display().to_string());
    }

    #[test]
    fn a_packed_file_is_unpacked_and_a_damaged_one_is_an_error_with_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.gz");
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all("é\n".as_bytes()).unwrap();
        let packed = packer.finish().unwrap();
        std::fs::write(&path, &packed).unwrap();
        assert_eq!(Corpus::from_file(&path).unwrap().text(), "é\n");
        for damaged in [&packed[..packed.len() - 5], b"words"] {
            std::fs::write(&path, damaged).unwrap();
            let error = Corpus::from_file(&path).unwrap_err();
            assert!(matches!(error, TextError::Read { .. }), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named_and_keeps_its_cause() {
        let error = Corpus::from_file("no/such/file.txt").unwrap_err();
        assert_eq!(error.to_string(), "cannot read no/such/file.txt");
        let cause = std::error::Error::source(&error).unwrap();
        let cause = cause.downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn an_empty_file_is_an_error_that_names_it() {
        let file = file_with(b"");
        let error = Corpus::from_file(file.path()).unwrap_err().to_string();
        assert_eq!(error, format!("{} is empty, but a text was expected", file.path().display()));
    }

    #[test]
    fn a_file_that_is_not_utf8_is_an_error_with_the_offset_of_the_first_wrong_byte() {
        let file = file_with(b"caf\xc3\xa9 \xff!");
        let error = Corpus::from_file(file.path()).unwrap_err();
        assert!(matches!(error, TextError::NotUtf8 { offset: 6, .. }), "{error}");
        assert!(error.to_string().contains("byte 6"));
    }

    #[test]
    fn the_default_split_is_the_first_nine_tenths_of_the_characters() {
        let corpus = Corpus::new("letters", "äbcdefghijk").unwrap();
        let Splits { train, validation, test } = corpus.split(SplitFractions::default()).unwrap();
        assert_eq!((train, validation, test), ("äbcdefghi", "jk", ""));
    }

    #[test]
    fn parts_are_contiguous_and_make_up_the_text() {
        let text: String = ('a'..='z').chain('α'..='ω').collect();
        let corpus = Corpus::new("letters", text.as_str()).unwrap();
        for (train, validation) in [(0.8, 0.1), (0.5, 0.0), (1.0, 0.0), (0.7, 0.3), (0.01, 0.99)] {
            let splits = corpus.split(SplitFractions { train, validation }).unwrap();
            assert_eq!([splits.train, splits.validation, splits.test].concat(), text);
        }
    }

    #[test]
    fn impossible_fractions_are_an_error() {
        let corpus = Corpus::new("letters", "abc").unwrap();
        for (train, validation) in
            [(0.0, 0.5), (-0.1, 0.5), (0.9, 0.2), (0.5, -0.1), (f64::NAN, 0.1), (0.5, f64::NAN)]
        {
            let error = corpus.split(SplitFractions { train, validation }).unwrap_err();
            assert!(matches!(error, TextError::Fractions { .. }), "{error}");
        }
    }
}
