//! Places in a text, of which Rust counts bytes and Python characters.

use std::ops::Range;

/// The characters before every byte of a text.
pub(super) struct Places {
    /// Nothing where every character is a byte.
    before: Option<Vec<usize>>,
}

impl Places {
    pub(super) fn of(text: &str) -> Self {
        if text.is_ascii() {
            return Self { before: None };
        }
        let mut before = Vec::with_capacity(text.len() + 1);
        for (index, character) in text.chars().enumerate() {
            before.extend(std::iter::repeat_n(index, character.len_utf8()));
        }
        before.push(before.last().map_or(0, |last| last + 1));
        Self { before: Some(before) }
    }

    /// The characters of some bytes.
    pub(super) fn characters(&self, bytes: &Range<usize>) -> Range<usize> {
        match &self.before {
            Some(before) => before[bytes.start]..before[bytes.end],
            None => bytes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_and_not_bytes() {
        let text = "猫 🙂é!";
        let places = Places::of(text);
        for (bytes, characters) in [(0..3, 0..1), (4..8, 2..3), (8..10, 3..4), (0..11, 0..5)] {
            let expected: String =
                text.chars().collect::<Vec<_>>()[characters.clone()].iter().collect();
            assert_eq!(text[bytes.clone()], expected);
            assert_eq!(places.characters(&bytes), characters);
        }
        assert_eq!(Places::of("cat").characters(&(1..3)), 1..3);
    }
}
