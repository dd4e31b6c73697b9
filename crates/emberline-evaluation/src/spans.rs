//! Spans in tagged sentences, counted as the program conlleval does (Tjong Kim Sang and Buchholz, 2000:
//! "Introduction to the CoNLL-2000 Shared Task: Chunking"), and the package seqeval unless it is told to be strict.

use std::collections::{BTreeMap, BTreeSet};

use crate::scores::Scores;

/// Some tokens of a sentence that are one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<'a> {
    /// The first token.
    pub start: usize,
    /// The token after the last.
    pub end: usize,
    /// What it is: the tag without `B-` or `I-`.
    pub kind: &'a str,
}

/// The spans of a sentence by its tags: `B-` begins one, `I-` of the same kind goes on, `E-` of the same kind goes on
/// and is the last, `S-` is one alone, everything else ends it and is outside.
///
/// An `I-` or `E-` with nothing of its kind to go on from begins a span, as in conlleval: after `O`, after another
/// kind, and at the start of a sentence.
///
/// ```
/// use emberline_evaluation::{Span, spans};
///
/// let found = spans(&["I-place", "I-place", "B-place", "O", "B-person", "I-place"]);
/// let ends: Vec<_> = found.iter().map(|span| (span.start, span.end, span.kind)).collect();
/// assert_eq!(ends, [(0, 2, "place"), (2, 3, "place"), (4, 5, "person"), (5, 6, "place")]);
/// ```
pub fn spans<'a>(tags: &[&'a str]) -> Vec<Span<'a>> {
    let mut spans: Vec<Span<'a>> = Vec::new();
    let mut goes_on = false;
    for (token, tag) in tags.iter().enumerate() {
        let (place, kind) = tag.split_once('-').unwrap_or(("O", ""));
        let is_inside = matches!(place, "I" | "E");
        match spans.last_mut().filter(|last| goes_on && is_inside && last.kind == kind) {
            Some(last) => last.end += 1,
            None if is_inside || matches!(place, "B" | "S") => {
                spans.push(Span { start: token, end: token + 1, kind });
            }
            None => {}
        }
        goes_on = matches!(place, "B" | "I");
    }
    spans
}

/// How many spans there are, were predicted, and were predicted with the right kind and both ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanScores {
    by_kind: BTreeMap<String, Scores>,
}

impl SpanScores {
    /// Without a sentence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a sentence by its tags.
    ///
    /// # Panics
    /// If there is not one predicted tag for each expected one.
    pub fn add(&mut self, expected: &[&str], predicted: &[&str]) {
        assert_eq!(expected.len(), predicted.len(), "a predicted tag for each token");
        let (expected, predicted) = (spans(expected), spans(predicted));
        for span in &expected {
            self.of_kind(span.kind).expected += 1;
        }
        let expected: BTreeSet<&Span> = expected.iter().collect();
        for span in &predicted {
            let scores = self.of_kind(span.kind);
            scores.predicted += 1;
            scores.correct += u64::from(expected.contains(span));
        }
    }

    /// The scores of all spans together.
    pub fn overall(&self) -> Scores {
        self.by_kind.values().fold(Scores::default(), |all, scores| all + *scores)
    }

    /// The scores of each kind of span.
    pub fn by_kind(&self) -> &BTreeMap<String, Scores> {
        &self.by_kind
    }

    fn of_kind(&mut self, kind: &str) -> &mut Scores {
        self.by_kind.entry(kind.to_string()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(sentences: &[(&str, &str)]) -> SpanScores {
        let mut scores = SpanScores::new();
        for (expected, predicted) in sentences {
            let [expected, predicted] =
                [expected, predicted].map(|tags| tags.split(' ').collect::<Vec<_>>());
            scores.add(&expected, &predicted);
        }
        scores
    }

    fn found(tags: &str) -> Vec<(usize, usize, &str)> {
        let tags: Vec<&str> = tags.split(' ').collect();
        spans(&tags).iter().map(|span| (span.start, span.end, span.kind)).collect()
    }

    #[test]
    fn a_span_goes_from_b_over_i_to_the_next_other_tag() {
        assert_eq!(found("B-a I-a O O B-a"), [(0, 2, "a"), (4, 5, "a")]);
        assert_eq!(found("B-a B-a I-a B-b"), [(0, 1, "a"), (1, 3, "a"), (3, 4, "b")]);
        assert_eq!(found("O O"), []);
    }

    #[test]
    fn an_i_with_nothing_to_go_on_from_begins_a_span() {
        assert_eq!(found("I-a I-a O I-b"), [(0, 2, "a"), (3, 4, "b")]);
        assert_eq!(found("B-a I-b I-a"), [(0, 1, "a"), (1, 2, "b"), (2, 3, "a")]);
    }

    #[test]
    fn e_ends_a_span_and_s_is_one_alone() {
        assert_eq!(found("B-a I-a E-a I-a S-a"), [(0, 3, "a"), (3, 4, "a"), (4, 5, "a")]);
        assert_eq!(
            found("S-a E-a O E-b B-b E-a"),
            [(0, 1, "a"), (1, 2, "a"), (3, 4, "b"), (4, 5, "b"), (5, 6, "a")]
        );
    }

    #[test]
    fn the_kind_is_all_after_the_first_hyphen() {
        assert_eq!(found("B-creative-work I-creative-work"), [(0, 2, "creative-work")]);
    }

    #[test]
    fn a_span_is_right_with_its_kind_and_both_ends_only() {
        // The example of the package seqeval: one span is found too early, one is right.
        let of_seqeval = scores(&[
            ("O O O B-MISC I-MISC I-MISC O", "O O B-MISC I-MISC I-MISC I-MISC O"),
            ("B-PER I-PER", "B-PER I-PER"),
        ]);
        assert_eq!(of_seqeval.overall(), Scores { expected: 2, predicted: 2, correct: 1 });
        assert_eq!(of_seqeval.overall().f1(), 0.5);
        assert_eq!(of_seqeval.by_kind()["MISC"].f1(), 0.0);
        assert_eq!(of_seqeval.by_kind()["PER"].f1(), 1.0);
        for wrong in ["B-a I-a O", "B-a I-a B-a", "B-b I-b I-b", "B-a I-b I-b", "O O O"] {
            assert_eq!(scores(&[("B-a I-a I-a", wrong)]).overall().correct, 0, "{wrong}");
        }
    }

    #[test]
    fn a_span_ends_with_its_sentence() {
        let one = scores(&[("B-a I-a", "B-a I-a"), ("I-a O", "I-a O")]);
        assert_eq!(one.overall(), Scores { expected: 2, predicted: 2, correct: 2 });
    }

    #[test]
    #[should_panic(expected = "a predicted tag for each token")]
    fn a_missing_tag_is_refused() {
        SpanScores::new().add(&["O", "O"], &["O"]);
    }
}
