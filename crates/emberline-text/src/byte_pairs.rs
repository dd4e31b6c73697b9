//! The vocabulary and the merges of byte pairs in files, checked before the `tokenizers` crate builds on them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::Path;

use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::corpus::read;
use crate::error::TextError;

/// Tokens with their ids, and the pairs to merge, the first to be merged first.
pub(crate) struct BytePairs {
    pub(crate) vocabulary: BTreeMap<String, u32>,
    pub(crate) merges: Vec<(String, String)>,
}

impl BytePairs {
    /// Reads a vocabulary in JSON, and a text with a pair a line after the line of its version.
    ///
    /// # Errors
    /// [`TextError::Read`], [`TextError::TokenizerFormat`].
    pub(crate) fn from_files(vocabulary: &Path, merges: &Path) -> Result<Self, TextError> {
        let tokens: BTreeMap<String, u32> = serde_json::from_slice(&read(vocabulary)?)
            .map_err(|error| format_error(vocabulary, error.into()))?;
        let text =
            String::from_utf8(read(merges)?).map_err(|error| format_error(merges, error.into()))?;
        let longest = tokens.keys().map(String::len).max().unwrap_or(0);
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with("#version"));
        let pair = |(number, line): (usize, &str)| {
            let pair = line.split_once(' ').filter(|(_, right)| !right.contains(' '));
            let pair = pair.filter(|(left, right)| left.len() + right.len() <= longest);
            let message =
                || format!("line {number} is not a pair of tokens that make another: {line:?}");
            let (left, right) = pair.ok_or_else(|| format_error(merges, message().into()))?;
            Ok((left.to_string(), right.to_string()))
        };
        let merges = lines.map(pair).collect::<Result<_, TextError>>()?;
        Ok(Self { vocabulary: tokens, merges })
    }
}

fn format_error(path: &Path, source: Box<dyn Error + Send + Sync>) -> TextError {
    TextError::TokenizerFormat { name: path.display().to_string(), source }
}

/// Refuses a `tokenizer.json` on which the `tokenizers` crate panics: one that ends within its decoder, or that merges
/// two tokens into one longer than any of its vocabulary.
pub(crate) fn check_pipeline(bytes: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
    let file: File = serde_json::from_slice(bytes)?;
    let Some(Model { vocab, merges, continuing_subword_prefix }) = file.model else {
        return Ok(());
    };
    let prefix = continuing_subword_prefix.map_or(0, |prefix| prefix.len());
    for (number, Merge { left, right }) in (1..).zip(merges.unwrap_or_default()) {
        let length = right.checked_sub(prefix).map(|right| left + right);
        if length.is_none_or(|length| length > vocab.longest) {
            return Err(format!("the vocabulary has no token that merge {number} makes").into());
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct File {
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    vocab: Vocabulary,
    merges: Option<Vec<Merge>>,
    continuing_subword_prefix: Option<String>,
}

/// The lengths of two tokens, written as a pair or with a blank between them.
struct Merge {
    left: usize,
    right: usize,
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two tokens")
    }

    fn visit_str<E: de::Error>(self, line: &str) -> Result<Merge, E> {
        let (left, right) = line.split_once(' ').unwrap_or((line, ""));
        Ok(Merge { left: left.len(), right: right.len() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<Merge, A::Error> {
        let mut length = || -> Result<usize, A::Error> {
            let token = tokens.next_element::<String>()?;
            token.map(|token| token.len()).ok_or_else(|| de::Error::custom("a merge of one token"))
        };
        Ok(Merge { left: length()?, right: length()? })
    }
}

/// The length of the longest token; 0 for a vocabulary of another kind, which has no merges.
#[derive(Default)]
struct Vocabulary {
    longest: usize,
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vocabulary")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Vocabulary, A::Error> {
        let mut longest = 0;
        while let Some((token, _)) = entries.next_entry::<String, IgnoredAny>()? {
            longest = longest.max(token.len());
        }
        Ok(Vocabulary { longest })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<Vocabulary, A::Error> {
        while tokens.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Vocabulary::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;

    fn message(merges: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let [vocabulary, file] = ["v", "m"].map(|name| folder.path().join(name));
        std::fs::write(&vocabulary, r#"{"a": 0, "b": 1, "ab": 2}"#).unwrap();
        std::fs::write(&file, merges).unwrap();
        match BytePairs::from_files(&vocabulary, &file) {
            Ok(pairs) => format!("{:?}", pairs.merges),
            Err(error) => error.source().unwrap().to_string(),
        }
    }

    #[test]
    fn merges_follow_the_line_of_the_version() {
        assert_eq!(message("#version: 0.2\na b\n"), r#"[("a", "b")]"#);
        assert_eq!(message("a b"), r#"[("a", "b")]"#);
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        for line in ["ab", "a b a", "", "ab ab"] {
            let expected = format!("line 2 is not a pair of tokens that make another: {line:?}");
            assert_eq!(message(&format!("a b\n{line}\n")), expected);
        }
    }

    #[test]
    fn a_pipeline_that_merges_beyond_its_vocabulary_is_an_error() {
        for (prefix, merges) in [
            ("null", r#"[["ab", "ab"]]"#),
            ("null", r#"["ab ab"]"#),
            (r###""##""###, r#"[["a", "b"]]"#),
        ] {
            let json = format!(
                r#"{{"version": "1.0", "added_tokens": [], "model": {{"type": "BPE",
                "continuing_subword_prefix": {prefix}, "vocab": {{"a": 0, "b": 1, "ab": 2}}, "merges": {merges}}}}}"#
            );
            let error = Tokenizer::from_json(json.as_bytes(), "t.json").unwrap_err();
            assert_eq!(error.to_string(), "t.json is not a tokenizer that can be used");
            let cause = error.source().unwrap().to_string();
            assert_eq!(cause, "the vocabulary has no token that merge 1 makes");
        }
    }
}
