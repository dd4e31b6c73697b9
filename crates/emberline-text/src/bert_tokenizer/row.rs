//! A row as BERT reads it, and what of too long a pair is cut off.

use std::iter::{once, repeat_n};
use std::ops::Range;

use super::{BertSpecialTokens, Piece};

/// A text, or a pair of texts, as BERT reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BertRow {
    /// `[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]`.
    pub tokens: Vec<u32>,
    /// Which text each token belongs to: 0 for `[CLS]`, A and the `[SEP]` after it, 1 for B and the last `[SEP]`.
    pub segments: Vec<u32>,
    /// The bytes of its text that each token stands for; nothing for those that were added.
    pub places: Vec<Option<Range<usize>>>,
    /// How many pieces of the texts had no place in the row.
    pub n_cut: usize,
}

impl BertRow {
    /// The row of a text or a pair, all of it.
    pub(super) fn new(
        first: Vec<Piece>,
        second: Option<Vec<Piece>>,
        special: BertSpecialTokens,
    ) -> Self {
        let added = |token| once((token, None));
        let of_text =
            |text: Vec<Piece>| text.into_iter().map(|piece| (piece.token, Some(piece.place)));
        let first_length = first.len() + 2;
        let head = added(special.class).chain(of_text(first)).chain(added(special.separator));
        let tail = second.map(|second| of_text(second).chain(added(special.separator)));
        let (tokens, places): (Vec<u32>, Vec<_>) = head.chain(tail.into_iter().flatten()).unzip();
        let segments = repeat_n(0, first_length).chain(repeat_n(1, tokens.len() - first_length));
        Self { segments: segments.collect(), tokens, places, n_cut: 0 }
    }
}

/// How much of each of two texts is kept where both together may have `room` tokens: the longer one loses its last
/// token, the second of two of one length, until they fit. The second may be no text, of length 0.
///
/// That is the rule of Google's code for fine-tuning. `longest_first` of `transformers` keeps as many tokens, but where
/// both texts lose some and the room is odd, the one that was longer keeps one more, the second of two of one length;
/// here it is always the first.
pub fn truncated_lengths(lengths: [usize; 2], room: usize) -> [usize; 2] {
    let [mut first, mut second] = lengths;
    while first + second > room {
        if first > second { first -= 1 } else { second -= 1 }
    }
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_text_is_cut_and_the_second_of_two_of_one_length() {
        assert_eq!(truncated_lengths([3, 4], 7), [3, 4]);
        assert_eq!(truncated_lengths([9, 2], 7), [5, 2]);
        assert_eq!(truncated_lengths([2, 9], 7), [2, 5]);
        assert_eq!(truncated_lengths([9, 9], 7), [4, 3]);
        assert_eq!(truncated_lengths([9, 0], 7), [7, 0]);
    }
}
