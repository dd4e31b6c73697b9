//! The vocabulary: an ordered list of tokens, in which a token's place is its id.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::corpus::read;
use crate::error::TextError;

/// How often each token occurs, in the order in which tokens were first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    counts: Vec<(String, u64)>,
    places: HashMap<String, usize>,
}

impl TokenCounts {
    /// Counts one more occurrence.
    pub fn add(&mut self, token: &str) {
        match self.places.get(token) {
            Some(place) => self.counts[*place].1 += 1,
            None => {
                self.places.insert(token.to_string(), self.counts.len());
                self.counts.push((token.to_string(), 1));
            }
        }
    }

    /// How often a token occurred.
    pub fn count(&self, token: &str) -> u64 {
        self.places.get(token).map_or(0, |place| self.counts[*place].1)
    }
}

impl<'a> FromIterator<&'a str> for TokenCounts {
    fn from_iter<I: IntoIterator<Item = &'a str>>(tokens: I) -> Self {
        let mut counts = Self::default();
        tokens.into_iter().for_each(|token| counts.add(token));
        counts
    }
}

/// Which tokens enter a vocabulary, and what becomes of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyConfig {
    /// Tokens seen less often are left out.
    pub min_count: u64,
    /// The tokens that come first, in this order, counted or not.
    pub specials: Vec<String>,
    /// The special token that stands for every token left out; without one they are an error.
    pub unknown: Option<String>,
}

impl Default for VocabularyConfig {
    /// Every token that was seen, after `<unk>` for all others.
    fn default() -> Self {
        Self { min_count: 1, specials: vec!["<unk>".into()], unknown: Some("<unk>".into()) }
    }
}

/// A one-to-one map between tokens and the ids `0..size`.
///
/// The special tokens come first, then the others by falling count, and equal counts in the order in
/// which the tokens were first seen.
///
/// ```
/// use emberline_text::{TokenCounts, Vocabulary, VocabularyConfig};
///
/// let counts: TokenCounts = "to be or not to be".split(' ').collect();
/// let config = VocabularyConfig { min_count: 2, ..VocabularyConfig::default() };
/// let vocabulary = Vocabulary::new(&counts, &config)?;
/// assert_eq!(vocabulary.tokens(), ["<unk>", "to", "be"]);
/// assert_eq!(vocabulary.id("be")?, 2);
/// assert_eq!(vocabulary.id("question")?, 0);
/// # Ok::<(), emberline_text::TextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    tokens: Vec<String>,
    counts: Vec<u64>,
    ids: HashMap<String, u32>,
    unknown: Option<u32>,
}

impl Vocabulary {
    /// The vocabulary of counted tokens.
    ///
    /// # Errors
    /// [`TextError::DuplicateToken`] if a special token is given twice,
    /// [`TextError::UnknownIsNotSpecial`].
    pub fn new(counts: &TokenCounts, config: &VocabularyConfig) -> Result<Self, TextError> {
        if let Some(unknown) = config.unknown.as_ref().filter(|u| !config.specials.contains(u)) {
            let (token, specials) = (unknown.clone(), config.specials.clone());
            return Err(TextError::UnknownIsNotSpecial { token, specials });
        }
        let specials = config.specials.iter().map(|token| (token.clone(), counts.count(token)));
        let is_kept = |(token, count): &&(String, u64)| {
            *count >= config.min_count && !config.specials.contains(token)
        };
        let mut others: Vec<_> = counts.counts.iter().filter(is_kept).cloned().collect();
        // A stable sort: equal counts stay in the order of `TokenCounts`.
        others.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Self::from_entries(specials.chain(others), config.unknown.as_deref())
    }

    /// The vocabulary of labels: all of them in the order of their characters' code points, and nothing for
    /// unknown ones.
    pub fn of_labels(counts: &TokenCounts) -> Self {
        let mut labels = counts.counts.clone();
        labels.sort();
        Self::from_entries(labels, None).expect("each label is counted in one place")
    }

    fn from_entries(
        entries: impl IntoIterator<Item = (String, u64)>,
        unknown: Option<&str>,
    ) -> Result<Self, TextError> {
        let (tokens, counts): (Vec<String>, Vec<u64>) = entries.into_iter().unzip();
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0u32..).zip(&tokens) {
            if ids.insert(token.clone(), id).is_some() {
                return Err(TextError::DuplicateToken { token: token.clone() });
            }
        }
        let unknown = match unknown {
            None => None,
            Some(token) => match ids.get(token) {
                Some(id) => Some(*id),
                None => {
                    let token = token.to_string();
                    return Err(TextError::UnknownIsNotSpecial { token, specials: Vec::new() });
                }
            },
        };
        Ok(Self { tokens, counts, ids, unknown })
    }

    /// The number of tokens.
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    /// Every token, in the order of the ids.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// How often each token was seen, in the order of the ids.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The id of a token, or that of the unknown token.
    ///
    /// # Errors
    /// [`TextError::UnknownToken`] if the token is not there and nothing stands for it.
    pub fn id(&self, token: &str) -> Result<u32, TextError> {
        self.known_id(token)
            .or(self.unknown)
            .ok_or_else(|| TextError::UnknownToken { token: token.to_string() })
    }

    /// The id of a token, if it is there.
    pub fn known_id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The token of an id, if there is one.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// The token that stands for those left out.
    pub fn unknown_token(&self) -> Option<&str> {
        self.unknown.and_then(|id| self.token(id))
    }

    /// The vocabulary as a JSON file, a token a line.
    pub fn to_json(&self) -> Vec<u8> {
        let entries = self.tokens.iter().zip(&self.counts);
        let lines: Vec<String> =
            entries.map(|entry| serde_json::json!(entry).to_string()).collect();
        let unknown = serde_json::json!(self.unknown_token());
        let lines = lines.join(",\n");
        format!("{{\"unknown\": {unknown}, \"tokens\": [\n{lines}\n]}}\n").into_bytes()
    }

    /// The vocabulary of a JSON file's bytes.
    ///
    /// # Errors
    /// [`TextError::VocabularyFormat`], with `name` for the bytes.
    pub fn from_json(bytes: &[u8], name: &str) -> Result<Self, TextError> {
        let format = |source| TextError::VocabularyFormat { name: name.to_string(), source };
        let file: VocabularyFile =
            serde_json::from_slice(bytes).map_err(|error| format(error.into()))?;
        Self::from_entries(file.tokens, file.unknown.as_deref())
            .map_err(|error| format(error.into()))
    }

    /// Reads a file that [`to_json`](Self::to_json) made.
    ///
    /// # Errors
    /// [`TextError::Read`], [`TextError::VocabularyFormat`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        Self::from_json(&read(path)?, &path.display().to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VocabularyFile {
    unknown: Option<String>,
    tokens: Vec<(String, u64)>,
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn counts() -> TokenCounts {
        "b a c a b d \n e c \"".split(' ').collect()
    }

    fn config(min_count: u64, specials: &[&str], unknown: Option<&str>) -> VocabularyConfig {
        let specials = specials.iter().map(|token| token.to_string()).collect();
        VocabularyConfig { min_count, specials, unknown: unknown.map(str::to_string) }
    }

    #[test]
    fn tokens_come_by_falling_count_and_then_as_first_seen() {
        let vocabulary = Vocabulary::new(&counts(), &config(1, &[], None)).unwrap();
        assert_eq!(vocabulary.tokens(), ["b", "a", "c", "d", "\n", "e", "\""]);
        assert_eq!(vocabulary.counts(), [2, 2, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn specials_come_first_in_their_order_even_unseen_and_once() {
        let config = config(2, &["<pad>", "d", "<unk>"], Some("<unk>"));
        let vocabulary = Vocabulary::new(&counts(), &config).unwrap();
        assert_eq!(vocabulary.tokens(), ["<pad>", "d", "<unk>", "b", "a", "c"]);
        assert_eq!(vocabulary.counts(), [0, 1, 0, 2, 2, 2]);
    }

    #[test]
    fn labels_come_in_alphabetical_order() {
        let counts: TokenCounts = "O B-person O É I-person O".split(' ').collect();
        let labels = Vocabulary::of_labels(&counts);
        assert_eq!(labels.tokens(), ["B-person", "I-person", "O", "É"]);
        assert_eq!(labels.counts(), [1, 1, 3, 1]);
        assert_eq!((labels.known_id("O"), labels.known_id("B-place")), (Some(2), None));
    }

    #[test]
    fn ids_and_tokens_are_one_to_one() {
        let vocabulary = Vocabulary::new(&counts(), &VocabularyConfig::default()).unwrap();
        for (id, token) in (0u32..).zip(vocabulary.tokens()) {
            assert_eq!(vocabulary.id(token).unwrap(), id);
            assert_eq!(vocabulary.token(id), Some(token.as_str()));
        }
        assert_eq!(vocabulary.token(vocabulary.size() as u32), None);
    }

    #[test]
    fn an_unknown_token_gets_the_id_of_its_stand_in_and_not_the_first() {
        let config = config(1, &["<pad>", "<unk>"], Some("<unk>"));
        let vocabulary = Vocabulary::new(&counts(), &config).unwrap();
        assert_eq!(vocabulary.id("zebra").unwrap(), 1);
        assert_eq!(vocabulary.known_id("zebra"), None);
    }

    #[test]
    fn an_unknown_token_without_a_stand_in_is_an_error_that_names_it() {
        let vocabulary = Vocabulary::new(&counts(), &config(1, &["<pad>"], None)).unwrap();
        let error = vocabulary.id("zebra").unwrap_err().to_string();
        assert!(error.starts_with("token \"zebra\" is not in the vocabulary"), "{error}");
    }

    #[test]
    fn wrong_specials_are_errors() {
        let error = Vocabulary::new(&counts(), &config(1, &["<pad>"], Some("<unk>"))).unwrap_err();
        assert!(matches!(error, TextError::UnknownIsNotSpecial { .. }), "{error}");
        let error = Vocabulary::new(&counts(), &config(1, &["<s>", "<s>"], None)).unwrap_err();
        assert!(matches!(error, TextError::DuplicateToken { .. }), "{error}");
    }

    #[test]
    fn a_saved_vocabulary_is_loaded_as_it_was() {
        for config in [VocabularyConfig::default(), config(1, &[], None)] {
            let vocabulary = Vocabulary::new(&counts(), &config).unwrap();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), vocabulary.to_json()).unwrap();
            assert_eq!(Vocabulary::from_file(file.path()).unwrap(), vocabulary);
        }
        let empty = Vocabulary::new(&TokenCounts::default(), &config(1, &[], None)).unwrap();
        assert_eq!(Vocabulary::from_json(&empty.to_json(), "empty").unwrap(), empty);
    }

    #[test]
    fn a_file_that_is_no_vocabulary_is_an_error_with_its_cause() {
        let whole = Vocabulary::new(&counts(), &VocabularyConfig::default()).unwrap().to_json();
        let twice = br#"{"unknown": null, "tokens": [["a", 1], ["a", 2]]}"#;
        let nowhere = br#"{"unknown": "<unk>", "tokens": [["a", 1]]}"#;
        let more = br#"{"unknown": null, "tokens": [], "more": 1}"#;
        for bytes in [&whole[..whole.len() / 2], b"", b"{}", twice, nowhere, more] {
            let error = Vocabulary::from_json(bytes, "v.json").unwrap_err();
            assert_eq!(error.to_string(), "v.json is not a vocabulary of this library");
            assert!(error.source().is_some());
        }
        let error = Vocabulary::from_file("no/such/v.json").unwrap_err();
        assert!(matches!(error, TextError::Read { .. }), "{error}");
    }
}
