//! What BLEU and chrF share: corpora of segments, and signatures.

use std::ops::Add;

use crate::error::EvaluationError;

/// The version of sacreBLEU whose numbers ours are held to, and whose name signatures carry.
pub const SACREBLEU_VERSION: &str = "2.6.0";

/// The sum of what `counts` finds in each hypothesis and its references.
pub fn sum<H: AsRef<str>, R: AsRef<[S]>, S: AsRef<str>, C: Add<Output = C>>(
    hypotheses: &[H],
    references: &[R],
    counts: impl Fn(&str, &[S]) -> C,
) -> Result<C, EvaluationError> {
    if hypotheses.len() != references.len() {
        let (hypotheses, references) = (hypotheses.len(), references.len());
        return Err(EvaluationError::DifferentLengths { hypotheses, references });
    }
    if let Some(segment) = references.iter().position(|of| of.as_ref().is_empty()) {
        return Err(EvaluationError::NoReference { segment });
    }
    let segments = hypotheses.iter().zip(references);
    segments
        .map(|(hypothesis, references)| counts(hypothesis.as_ref(), references.as_ref()))
        .reduce(C::add)
        .ok_or(EvaluationError::NoSegment)
}

/// The number of references of the segments of two corpora, each of which has a number for all or none.
pub fn common_number(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.filter(|_| one == other)
}

/// How signatures write the number of references of every segment, none if it varies.
pub fn number_of_references(number: Option<usize>) -> String {
    number.map_or("var".into(), |number| number.to_string())
}

/// How signatures write whether both sides were lower-cased.
pub fn case(lowercase: bool) -> &'static str {
    if lowercase { "lc" } else { "mixed" }
}

/// The segment as it is to be compared.
pub fn cased(segment: &str, lowercase: bool) -> String {
    if lowercase { segment.to_lowercase() } else { segment.to_string() }
}

/// Whether Python's `str.split` and `str.strip` take it for white space: four control characters are, too.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// The words of a segment, as Python's `str.split` finds them.
pub fn words(segment: &str) -> impl Iterator<Item = &str> {
    segment.split(is_space).filter(|word| !word.is_empty())
}
