//! chrF: how many n-grams of characters translations and their references share (Popović, 2015: "chrF: character
//! n-gram F-score for automatic MT evaluation"; with words, 2017: "chrF++: words helping character n-grams"), equal to
//! sacreBLEU's. It needs no tokenizer, and suits languages of long words better than BLEU.

use std::fmt;
use std::hash::Hash;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use crate::error::EvaluationError;
use crate::ngrams::{n_matches, ngrams};
use crate::scores::{Scores, ratio};
use crate::segments::{
    SACREBLEU_VERSION, case, cased, common_number, is_space, number_of_references, sum, words,
};

/// The longest n-grams of characters.
const CHARACTER_ORDER: usize = 6;

/// How much more recall weighs than precision.
const BETA: u8 = 2;

/// How chrF is computed: by default, as sacreBLEU computes it by default. White space does not count.
///
/// ```
/// use emberline_evaluation::Chrf;
///
/// let references = [["The cat sat on the mat."]];
/// let plus_plus = Chrf { word_order: 2, ..Chrf::default() };
/// let chrf = plus_plus.corpus(&["The cats sat on a mat."], &references)?;
/// assert_eq!(
///     chrf.to_string(),
///     "chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0 = 52.71"
/// );
/// # Ok::<(), emberline_evaluation::EvaluationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chrf {
    /// The longest n-grams of words that count beside those of characters: 0 for chrF, 2 for chrF++.
    pub word_order: u8,
    /// Whether both sides are lower-cased before.
    pub lowercase: bool,
}

/// What chrF is computed from, summed over the segments of a corpus. The counts of corpora add up; their scores do
/// not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChrfCounts {
    /// The n-grams of 1 to 6 characters, then those of words, each kind with the shortest first: how many the
    /// references have, the hypotheses have, and both. Of several references those count that give the segment the
    /// highest score, and n-grams of a length that they have none of count as not predicted.
    pub orders: Vec<Scores>,
    /// The number of references of every segment; none if it varies.
    pub n_references: Option<usize>,
}

impl Add for ChrfCounts {
    type Output = Self;

    /// # Panics
    /// If one counts longer n-grams than the other.
    fn add(self, other: Self) -> Self {
        let (n_orders, of_other) = (self.orders.len(), other.orders.len());
        assert_eq!(n_orders, of_other, "counts of as many orders");
        Self {
            orders: self.orders.into_iter().zip(other.orders).map(|(a, b)| a + b).collect(),
            n_references: common_number(self.n_references, other.n_references),
        }
    }
}

/// chrF, and what it comes from. Displayed as sacreBLEU prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChrfScore {
    /// From 0 to 100.
    pub score: f64,
    /// The counts.
    pub counts: ChrfCounts,
    /// How the score was computed, as sacreBLEU writes it: to be printed beside the score.
    pub signature: String,
}

impl fmt::Display for ChrfScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pluses = "+".repeat(self.counts.orders.len() - CHARACTER_ORDER);
        write!(f, "chrF{BETA}{pluses}|{} = {:.2}", self.signature, self.score)
    }
}

impl Chrf {
    /// chrF of a corpus, each hypothesis with its references.
    ///
    /// # Errors
    /// If there are not as many hypotheses as segments with references, or no segment, or one without a reference.
    pub fn corpus<H: AsRef<str>, R: AsRef<[S]>, S: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[R],
    ) -> Result<ChrfScore, EvaluationError> {
        let counts = sum(hypotheses, references, |hypothesis, of| self.counts(hypothesis, of))?;
        Ok(self.score(counts))
    }

    /// What is counted of a segment.
    ///
    /// # Panics
    /// If there is no reference.
    pub fn counts<S: AsRef<str>>(&self, hypothesis: &str, references: &[S]) -> ChrfCounts {
        let hypothesis = cased(hypothesis, self.lowercase);
        let mut best: Option<(f64, Vec<Scores>)> = None;
        for reference in references {
            let orders = self.orders(&hypothesis, &cased(reference.as_ref(), self.lowercase));
            let score = f_score(&orders);
            // Of equally good references, the first.
            if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                best = Some((score, orders));
            }
        }
        let (_, orders) = best.expect("a segment has a reference");
        ChrfCounts { orders, n_references: Some(references.len()) }
    }

    /// chrF of what was counted, which may be the sum over corpora.
    ///
    /// # Panics
    /// If it was counted with another [`word_order`](Self::word_order).
    pub fn score(&self, counts: ChrfCounts) -> ChrfScore {
        let n_orders = CHARACTER_ORDER + usize::from(self.word_order);
        assert_eq!(counts.orders.len(), n_orders, "counts with this word order");
        let signature = format!(
            "nrefs:{}|case:{}|eff:yes|nc:{CHARACTER_ORDER}|nw:{}|space:no|version:{SACREBLEU_VERSION}",
            number_of_references(counts.n_references),
            case(self.lowercase),
            self.word_order,
        );
        ChrfScore { score: f_score(&counts.orders), counts, signature }
    }

    fn orders(&self, hypothesis: &str, reference: &str) -> Vec<Scores> {
        let [of_hypothesis, of_reference] = [hypothesis, reference].map(|segment| {
            segment.chars().filter(|character| !is_space(*character)).collect::<Vec<_>>()
        });
        let characters =
            (1..=CHARACTER_ORDER).map(|order| compare(&of_hypothesis, &of_reference, order));
        let [of_hypothesis, of_reference] = [hypothesis, reference].map(without_punctuation);
        let words = (1..=usize::from(self.word_order))
            .map(|order| compare(&of_hypothesis, &of_reference, order));
        characters.chain(words).collect()
    }
}

fn compare<T: Eq + Hash>(hypothesis: &[T], reference: &[T], order: usize) -> Scores {
    let (found, there) = (ngrams(hypothesis, order), ngrams(reference, order));
    Scores {
        expected: there.values().sum(),
        predicted: if there.is_empty() { 0 } else { found.values().sum() },
        correct: n_matches(&found, &there),
    }
}

/// The words, of which a mark of ASCII at the end, or else one at the start, is a word of its own.
fn without_punctuation(segment: &str) -> Vec<&str> {
    let is_mark = |character: char| character.is_ascii_punctuation();
    let parts = words(segment).flat_map(|word| {
        let at = match word {
            word if word.ends_with(is_mark) => word.len() - 1,
            word if word.starts_with(is_mark) => 1,
            word => word.len(),
        };
        <[&str; 2]>::from(word.split_at(at))
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// The F-score of the mean precision and the mean recall of the orders that both sides have, in percent; 0 if there
/// is none.
fn f_score(orders: &[Scores]) -> f64 {
    let of_both = || orders.iter().filter(|scores| scores.predicted > 0 && scores.expected > 0);
    let mean = |of: fn(&Scores) -> f64| ratio(of_both().map(of).sum(), of_both().count() as f64);
    let (precision, recall) = (mean(Scores::precision), mean(Scores::recall));
    let factor = f64::from(BETA).powi(2);
    100.0 * ratio((1.0 + factor) * precision * recall, factor * precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(chrf: Chrf, hypothesis: &str, references: &[&str]) -> f64 {
        chrf.corpus(&[hypothesis], &[references]).unwrap().score
    }

    #[test]
    fn chrf_is_the_f_score_of_the_mean_precision_and_recall_of_the_orders_that_both_have() {
        // Of "abc" and "abcd", 3 of 3 and 4 characters are the same, 2 of 2 and 3 pairs, 1 of 1 and 2 threes.
        let recall = (3.0 / 4.0 + 2.0 / 3.0 + 1.0 / 2.0) / 3.0;
        let expected = 100.0 * 5.0 * recall / (4.0 + recall);
        assert!((score(Chrf::default(), "abc", &["abcd"]) - expected).abs() < 1e-12);
    }

    #[test]
    fn white_space_does_not_count_among_characters() {
        assert_eq!(score(Chrf::default(), "a b\u{3000}c", &["ab c"]), 100.0);
    }

    #[test]
    fn of_several_references_the_best_one_counts() {
        let references = ["nothing of it", "the cat sat", "the cat"];
        assert_eq!(score(Chrf::default(), "the cat sat", &references), 100.0);
    }

    #[test]
    fn one_mark_at_an_end_of_a_word_is_a_word() {
        assert_eq!(
            without_punctuation("(hi) \"you! ? it's"),
            ["(hi", ")", "\"you", "!", "?", "it's"]
        );
        assert_eq!(without_punctuation("(so"), ["(", "so"]);
    }

    #[test]
    fn nothing_in_common_is_zero() {
        for (hypothesis, reference) in [("", ""), ("", "a"), ("a", ""), ("a", "b")] {
            assert_eq!(
                score(Chrf { word_order: 2, lowercase: false }, hypothesis, &[reference]),
                0.0
            );
        }
    }

    #[test]
    #[should_panic(expected = "counts with this word order")]
    fn counts_of_another_word_order_are_refused() {
        let counts = Chrf::default().counts("a", &["a"]);
        Chrf { word_order: 2, lowercase: false }.score(counts);
    }
}
