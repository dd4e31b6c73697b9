//! Words as bytes: corpora and files of vectors hold some that are no UTF-8, and those are words too.

use std::borrow::Cow;

use hashbrown::HashTable;

/// Different words in order, and the place of each.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// All words, one after the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    places: HashTable<u32>,
}

impl Words {
    /// None, with room for so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let (ends, places) = (Vec::with_capacity(count), HashTable::with_capacity(count));
        Self { bytes: Vec::new(), ends, places }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The word at a place.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, place: usize) -> &[u8] {
        word(&self.bytes, &self.ends, place)
    }

    /// The word at a place as text, with U+FFFD for what is none.
    ///
    /// # Panics
    /// If there is none.
    pub fn text(&self, place: usize) -> Cow<'_, str> {
        String::from_utf8_lossy(self.get(place))
    }

    /// The place of a word.
    pub fn place(&self, word: impl AsRef<[u8]>) -> Option<usize> {
        let word = word.as_ref();
        self.places.find(hash(word), |place| self.get(*place as usize) == word).map(|p| *p as usize)
    }

    /// Puts a word at the end, unless it is there; gives its place, and whether it is new.
    ///
    /// # Panics
    /// If there are 2³² already.
    pub fn insert(&mut self, word: &[u8]) -> (usize, bool) {
        let Self { bytes, ends, places } = self;
        if let Some(place) =
            places.find(hash(word), |p| self::word(bytes, ends, *p as usize) == word)
        {
            return (*place as usize, false);
        }
        let place = ends.len();
        bytes.extend_from_slice(word);
        ends.push(bytes.len());
        let new = u32::try_from(place).expect("fewer than 2^32 words");
        places.insert_unique(hash(word), new, |p| hash(self::word(bytes, ends, *p as usize)));
        (place, true)
    }

    /// Every word, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|place| self.get(place))
    }
}

/// Eight bytes at a time, each multiplied into the ones before: the middle of a product depends on all of both.
fn hash(word: &[u8]) -> u64 {
    let fold = |hash: u64, number: u64| {
        let product = u128::from(hash ^ number) * 0x9e37_79b9_7f4a_7c15;
        (product >> 64) as u64 ^ product as u64
    };
    let (chunks, rest) = word.as_chunks();
    let hash = chunks.iter().fold(word.len() as u64, |hash, c| fold(hash, u64::from_le_bytes(*c)));
    fold(hash, rest.iter().fold(1, |number, byte| number << 8 | u64::from(*byte)))
}

fn word<'a>(bytes: &'a [u8], ends: &[usize], place: usize) -> &'a [u8] {
    let start = place.checked_sub(1).map_or(0, |before| ends[before]);
    &bytes[start..ends[place]]
}

impl<W: AsRef<[u8]>> FromIterator<W> for Words {
    /// The different ones, as they come.
    fn from_iter<I: IntoIterator<Item = W>>(words: I) -> Self {
        let mut all = Self::default();
        for word in words {
            all.insert(word.as_ref());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_places_are_one_to_one() {
        let words: Words = ["b", "a", "", "b", "ab"].into_iter().collect();
        assert_eq!(words.iter().collect::<Vec<_>>(), [&b"b"[..], b"a", b"", b"ab"]);
        for place in 0..words.len() {
            assert_eq!(words.place(words.get(place)), Some(place));
        }
        assert_eq!(words.place("c"), None);
    }

    #[test]
    fn a_word_need_not_be_text() {
        let mut words = Words::default();
        assert_eq!(words.insert(b"a\xff"), (0, true));
        assert_eq!(words.insert(b"a\xfe"), (1, true));
        assert_eq!(words.insert(b"a\xff"), (0, false));
        assert_eq!((words.get(1), words.text(1)), (&b"a\xfe"[..], "a\u{fffd}".into()));
    }
}
