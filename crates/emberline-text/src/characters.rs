//! Words as the characters they are made of, as ELMo reads them (Peters and others, 2018).
//!
//! A word is its UTF-8 bytes between two marks, so that no word is unknown:
//!
//! ```text
//! word                     258, its bytes (the first 48 of them), 259, and 260 up to 50 characters
//! start of a sentence      258, 256, 259, 260 …            end of a sentence      258, 257, 259, 260 …
//! ```
//!
//! The published code adds 1 to each of these ids and keeps 0 for words that are not there; here they are told by the
//! lengths of a batch, and there is no character for them.

use std::collections::HashMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_core::{CharacterBatch, WordTable};

/// The number of characters of every word, padding included.
pub const WORD_LENGTH: usize = 50;
/// The number of character ids.
pub const N_CHARACTERS: usize = 261;

const SENTENCE_START: u16 = 256;
const SENTENCE_END: u16 = 257;
const WORD_START: u16 = 258;
const WORD_END: u16 = 259;
const PADDING: u16 = 260;

/// The characters of a word.
pub type WordCharacters = [u16; WORD_LENGTH];

/// The characters of a word. Of one with more than 48 bytes the first 48 are read.
///
/// ```
/// use emberline_text::word_characters;
///
/// let characters = word_characters("né");
/// assert_eq!(characters[..6], [258, 110, 195, 169, 259, 260]);
/// ```
pub fn word_characters(word: &str) -> WordCharacters {
    between_marks(word.bytes().map(u16::from))
}

fn between_marks(inner: impl Iterator<Item = u16>) -> WordCharacters {
    let mut characters = [PADDING; WORD_LENGTH];
    characters[0] = WORD_START;
    let mut length = 1;
    for character in inner.take(WORD_LENGTH - 2) {
        characters[length] = character;
        length += 1;
    }
    characters[length] = WORD_END;
    characters
}

/// The different words of texts, and the two marks of sentences, each with a number.
///
/// This is no vocabulary: a new word gets the next number.
///
/// ```
/// use emberline_text::Lexicon;
///
/// let mut lexicon = Lexicon::default();
/// let [a, b, again] = ["to", "be", "to"].map(|word| lexicon.add(word));
/// assert_eq!((a, b, again), (2, 3, 2));
/// ```
#[derive(Clone, Debug)]
pub struct Lexicon {
    ids: HashMap<String, u32>,
    characters: Vec<WordCharacters>,
}

impl Default for Lexicon {
    /// With the marks of sentences alone.
    fn default() -> Self {
        let marks = [SENTENCE_START, SENTENCE_END].map(|mark| between_marks([mark].into_iter()));
        Self { ids: HashMap::new(), characters: marks.to_vec() }
    }
}

impl Lexicon {
    /// The number of the mark before the first word of a sentence.
    pub const SENTENCE_START: u32 = 0;
    /// The number of the mark after its last.
    pub const SENTENCE_END: u32 = 1;

    /// The number of a word.
    pub fn add(&mut self, word: &str) -> u32 {
        if let Some(id) = self.ids.get(word) {
            return *id;
        }
        let id = self.characters.len() as u32;
        self.characters.push(word_characters(word));
        self.ids.insert(word.to_string(), id);
        id
    }

    /// The words of some numbers as a table, each once, and the place in it of each number.
    ///
    /// # Panics
    /// If a number is not of this lexicon.
    pub fn table(&self, numbers: &[u32], device: &Device) -> (WordTable, Vec<i32>) {
        let mut place_of = HashMap::new();
        let (mut characters, mut longest) = (Vec::new(), 0);
        let mut places = Vec::with_capacity(numbers.len());
        for number in numbers {
            let next = place_of.len() as i32;
            places.push(*place_of.entry(*number).or_insert_with(|| {
                let word = &self.characters[*number as usize];
                characters.extend(word.iter().map(|character| i32::from(*character)));
                longest = longest.max(word.iter().filter(|id| **id != PADDING).count());
                next
            }));
        }
        let characters = TensorData::new(characters, [place_of.len(), WORD_LENGTH]);
        (WordTable { characters: Tensor::from_data(characters, device), longest }, places)
    }

    /// Sentences of numbers as a batch, each between its two marks.
    ///
    /// # Panics
    /// If there is no sentence, or a number is not of this lexicon.
    pub fn batch(&self, sentences: &[&[u32]], device: &Device) -> CharacterBatch {
        let lengths: Vec<usize> = sentences.iter().map(|words| words.len() + 2).collect();
        let seq_length = *lengths.iter().max().expect("a batch has at least one sentence");
        let mut numbers = Vec::with_capacity(lengths.len() * seq_length);
        for words in sentences {
            numbers.push(Self::SENTENCE_START);
            numbers.extend(*words);
            numbers.push(Self::SENTENCE_END);
            numbers.resize(numbers.len().next_multiple_of(seq_length), Self::SENTENCE_END);
        }
        let (table, places) = self.table(&numbers, device);
        let words = TensorData::new(places, [lengths.len(), seq_length]);
        let is_full = lengths.iter().all(|length| *length == seq_length);
        CharacterBatch {
            table,
            words: Tensor::<2, Int>::from_data(words, device),
            lengths: (!is_full).then_some(lengths),
            dropout: None,
        }
    }

    /// Sentences of words as a batch, each between its two marks.
    ///
    /// # Panics
    /// If there is no sentence.
    pub fn sentences<W: AsRef<str>>(sentences: &[Vec<W>], device: &Device) -> CharacterBatch {
        let mut lexicon = Self::default();
        let numbers = sentences
            .iter()
            .map(|words| words.iter().map(|word| lexicon.add(word.as_ref())).collect::<Vec<u32>>());
        let numbers: Vec<Vec<u32>> = numbers.collect();
        let numbers: Vec<&[u32]> = numbers.iter().map(Vec::as_slice).collect();
        lexicon.batch(&numbers, device)
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    #[test]
    fn a_word_is_its_bytes_between_two_marks() {
        let characters = word_characters("ab");
        assert_eq!(characters[..4], [258, 97, 98, 259]);
        assert!(characters[4..].iter().all(|id| *id == 260));
        assert_eq!(word_characters("")[..3], [258, 259, 260]);
    }

    #[test]
    fn of_a_long_word_the_first_bytes_are_read() {
        let characters = word_characters(&"é".repeat(40));
        assert_eq!(characters[47..], [195, 169, 259]);
    }

    #[test]
    fn a_batch_holds_each_word_once_and_marks_its_sentences() {
        let sentences = [vec!["the", "end", "of", "the", "line"], vec!["end"]];
        let batch = Lexicon::sentences(&sentences, &test_device());
        let words: Vec<i32> = batch.words.into_data().iter().collect();
        assert_eq!(words, [0, 1, 2, 3, 1, 4, 5, 0, 2, 5, 5, 5, 5, 5]);
        assert_eq!(batch.lengths, Some(vec![7, 3]));
        assert_eq!(batch.table.characters.dims(), [6, WORD_LENGTH]);
        assert_eq!(batch.table.longest, "line".len() + 2);
        let marks = batch.table.characters.slice([0..1, 0..3]).into_data();
        assert_eq!(marks.iter::<u16>().collect::<Vec<_>>(), [258, 256, 259]);
    }
}
