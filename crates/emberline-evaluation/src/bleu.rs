//! BLEU: how many n-grams of translations are in their references (Papineni et al., 2002: "BLEU: a Method for
//! Automatic Evaluation of Machine Translation"), equal to sacreBLEU's (Post, 2018: "A Call for Clarity in Reporting
//! BLEU Scores").

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use crate::bleu_tokenizer::BleuTokenizer;
use crate::error::EvaluationError;
use crate::ngrams::{Ngrams, n_matches, ngrams};
use crate::scores::ratio;
use crate::segments::{SACREBLEU_VERSION, case, cased, common_number, number_of_references, sum};

/// The longest n-grams that BLEU counts.
pub const MAX_ORDER: usize = 4;

/// What a precision of 0 becomes, so that the geometric mean of the precisions is not 0 whenever one is (Chen and
/// Cherry, 2014: "A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU"); in configs and
/// signatures, by the names of sacreBLEU. Without a single word in common BLEU is 0 whatever the smoothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BleuSmoothing {
    /// The first such order has half a match, the next a quarter, and so on: that of `mteval-v13a`.
    #[default]
    Exp,
    /// Each such order has a tenth of a match.
    Floor,
    /// Every order above the first has one match more, of one n-gram more.
    AddK,
    /// It stays 0.
    None,
}

impl BleuSmoothing {
    /// Its name in signatures, with its parameter if it has one.
    fn signature(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Floor => "floor[0.10]",
            Self::AddK => "add-k[1.00]",
            Self::None => "none",
        }
    }
}

/// How BLEU is computed: by default, as sacreBLEU computes it by default.
///
/// Segments are whole sentences as one would print them: the tokenizer of a model must be undone before. BLEU over
/// the tokens of a model, as torchtext computes it, is that with [`BleuTokenizer::None`] and [`BleuSmoothing::None`]
/// over tokens joined by spaces.
///
/// ```
/// use emberline_evaluation::Bleu;
///
/// let hypotheses = ["The cat sat on the mat.", "It rains again today."];
/// let references = [["The cat sat on the mat."], ["It is raining again today."]];
/// let bleu = Bleu::default().corpus(&hypotheses, &references)?;
/// assert_eq!(bleu.counts.correct, [11, 8, 6, 4]);
/// assert_eq!(
///     bleu.to_string(),
///     "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 71.59 \
///      91.7/80.0/75.0/66.7 (BP = 0.920 ratio = 0.923 hyp_len = 12 ref_len = 13)"
/// );
/// # Ok::<(), emberline_evaluation::EvaluationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bleu {
    /// How segments are cut into tokens.
    pub tokenizer: BleuTokenizer,
    /// What becomes of a precision of 0.
    pub smoothing: BleuSmoothing,
    /// Whether both sides are lower-cased before.
    pub lowercase: bool,
    /// Whether orders for which the hypotheses are too short are left out of the mean, and do not make it 0. For
    /// single sentences.
    pub effective_order: bool,
}

/// What BLEU is computed from, summed over the segments of a corpus. The counts of corpora add up; their scores do
/// not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BleuCounts {
    /// The tokens of the hypotheses.
    pub hypothesis_length: u64,
    /// The tokens of those references that are nearest in length to their hypotheses; of equally near ones, the
    /// shorter.
    pub reference_length: u64,
    /// The n-grams of 1 to 4 tokens of the hypotheses that are in a reference too, each as often as it is in one.
    pub correct: [u64; MAX_ORDER],
    /// The n-grams of 1 to 4 tokens of the hypotheses.
    pub total: [u64; MAX_ORDER],
    /// The number of references of every segment; none if it varies.
    pub n_references: Option<usize>,
}

impl Add for BleuCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let sum = |one: [u64; MAX_ORDER], other: [u64; MAX_ORDER]| {
            std::array::from_fn(|order| one[order] + other[order])
        };
        Self {
            hypothesis_length: self.hypothesis_length + other.hypothesis_length,
            reference_length: self.reference_length + other.reference_length,
            correct: sum(self.correct, other.correct),
            total: sum(self.total, other.total),
            n_references: common_number(self.n_references, other.n_references),
        }
    }
}

/// BLEU, and what it comes from. Displayed as sacreBLEU prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct BleuScore {
    /// From 0 to 100.
    pub score: f64,
    /// The smoothed precision of n-grams of 1 to 4 tokens, in percent; all 0 if no token is right.
    pub precisions: [f64; MAX_ORDER],
    /// The factor below 1 of hypotheses that are shorter than their references.
    pub brevity_penalty: f64,
    /// The counts, without smoothing.
    pub counts: BleuCounts,
    /// How the score was computed, as sacreBLEU writes it: to be printed beside the score.
    pub signature: String,
}

impl fmt::Display for BleuScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth] = self.precisions;
        let BleuCounts { hypothesis_length, reference_length, .. } = self.counts;
        write!(
            f,
            "BLEU|{} = {:.2} {first:.1}/{second:.1}/{third:.1}/{fourth:.1} (BP = {:.3} ratio = {:.3} \
             hyp_len = {hypothesis_length} ref_len = {reference_length})",
            self.signature,
            self.score,
            self.brevity_penalty,
            ratio(hypothesis_length as f64, reference_length as f64),
        )
    }
}

impl Bleu {
    /// BLEU of a corpus, each hypothesis with its references.
    ///
    /// # Errors
    /// If there are not as many hypotheses as segments with references, or no segment, or one without a reference.
    pub fn corpus<H: AsRef<str>, R: AsRef<[S]>, S: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[R],
    ) -> Result<BleuScore, EvaluationError> {
        let counts = sum(hypotheses, references, |hypothesis, of| self.counts(hypothesis, of))?;
        Ok(self.score(counts))
    }

    /// BLEU of a sentence, with [`effective_order`](Self::effective_order) even if it is off: as sacreBLEU's
    /// `sentence_bleu`.
    ///
    /// # Errors
    /// If there is no reference.
    pub fn sentence<S: AsRef<str>>(
        &self,
        hypothesis: &str,
        references: &[S],
    ) -> Result<BleuScore, EvaluationError> {
        Self { effective_order: true, ..*self }.corpus(&[hypothesis], &[references])
    }

    /// What is counted of a segment.
    ///
    /// # Panics
    /// If there is no reference.
    pub fn counts<S: AsRef<str>>(&self, hypothesis: &str, references: &[S]) -> BleuCounts {
        let tokens = |segment: &str| self.tokenizer.tokens(&cased(segment, self.lowercase));
        let hypothesis = tokens(hypothesis);
        let references: Vec<_> = references.iter().map(|of| tokens(of.as_ref())).collect();
        let nearest = references
            .iter()
            .map(Vec::len)
            .min_by_key(|length| (length.abs_diff(hypothesis.len()), *length))
            .expect("a segment has a reference");
        BleuCounts {
            hypothesis_length: hypothesis.len() as u64,
            reference_length: nearest as u64,
            correct: std::array::from_fn(|shorter| {
                let order = shorter + 1;
                n_matches(&ngrams(&hypothesis, order), &in_any(&references, order))
            }),
            total: std::array::from_fn(|shorter| hypothesis.len().saturating_sub(shorter) as u64),
            n_references: Some(references.len()),
        }
    }

    /// BLEU of what was counted, which may be the sum over corpora.
    pub fn score(&self, counts: BleuCounts) -> BleuScore {
        let brevity_penalty = brevity_penalty(counts.hypothesis_length, counts.reference_length);
        let (precisions, n_orders) = self.precisions(&counts);
        let logarithms = precisions[..n_orders].iter().map(|precision| (precision / 100.0).ln());
        let mean = logarithms.sum::<f64>() / n_orders as f64;
        BleuScore {
            score: 100.0 * brevity_penalty * mean.exp(),
            precisions,
            brevity_penalty,
            counts,
            signature: self.signature(counts.n_references),
        }
    }

    /// The precision of each order, in percent, and how many of them are in the mean.
    fn precisions(&self, counts: &BleuCounts) -> ([f64; MAX_ORDER], usize) {
        let mut precisions = [0.0; MAX_ORDER];
        if counts.correct == [0; MAX_ORDER] {
            return (precisions, MAX_ORDER);
        }
        let mut share_of_match = 1.0;
        for order in 0..MAX_ORDER {
            let is_added_to = self.smoothing == BleuSmoothing::AddK && order > 0;
            let added = if is_added_to { 1.0 } else { 0.0 };
            let correct = counts.correct[order] as f64 + added;
            let total = counts.total[order] as f64 + added;
            if total == 0.0 {
                let n_orders = if self.effective_order { order } else { MAX_ORDER };
                return (precisions, n_orders);
            }
            let correct = match self.smoothing {
                BleuSmoothing::Exp if correct == 0.0 => {
                    share_of_match /= 2.0;
                    share_of_match
                }
                BleuSmoothing::Floor if correct == 0.0 => 0.1,
                _ => correct,
            };
            precisions[order] = 100.0 * correct / total;
        }
        (precisions, MAX_ORDER)
    }

    fn signature(&self, n_references: Option<usize>) -> String {
        format!(
            "nrefs:{}|case:{}|eff:{}|tok:{}|smooth:{}|version:{SACREBLEU_VERSION}",
            number_of_references(n_references),
            case(self.lowercase),
            if self.effective_order { "yes" } else { "no" },
            self.tokenizer.name(),
            self.smoothing.signature(),
        )
    }
}

/// How often each n-gram is in the reference that has it most often.
fn in_any(references: &[Vec<String>], order: usize) -> Ngrams<'_, String> {
    let mut most = Ngrams::new();
    for reference in references {
        for (ngram, count) in ngrams(reference, order) {
            let of_others = most.entry(ngram).or_default();
            *of_others = count.max(*of_others);
        }
    }
    most
}

/// `exp(1 - reference / hypothesis)` for hypotheses that are shorter than their references, 1 for the others.
fn brevity_penalty(hypothesis_length: u64, reference_length: u64) -> f64 {
    if hypothesis_length >= reference_length {
        return 1.0;
    }
    // Without a token it is exp(-infinity), which is 0.
    (1.0 - reference_length as f64 / hypothesis_length as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Bleu = Bleu {
        tokenizer: BleuTokenizer::None,
        smoothing: BleuSmoothing::None,
        lowercase: false,
        effective_order: false,
    };

    #[test]
    fn a_token_matches_no_more_often_than_it_is_in_one_reference() {
        // The example of the paper: two of seven.
        let references = ["the cat is on the mat", "there is a cat on the mat"];
        let counts = PLAIN.counts("the the the the the the the", &references);
        assert_eq!((counts.correct, counts.total), ([2, 0, 0, 0], [7, 6, 5, 4]));
    }

    #[test]
    fn bleu_is_the_geometric_mean_of_the_precisions_times_the_brevity_penalty() {
        let bleu = PLAIN.corpus(&["a b c d e"], &[["a b c d x e f"]]).unwrap();
        assert_eq!(bleu.precisions, [100.0, 75.0, 200.0 / 3.0, 50.0]);
        let expected =
            100.0 * (0.75 * (2.0 / 3.0) * 0.5f64).powf(0.25) * (1.0 - 7.0 / 5.0f64).exp();
        assert!((bleu.score - expected).abs() < 1e-12);
    }

    #[test]
    fn of_references_equally_near_in_length_the_shorter_counts() {
        assert_eq!(PLAIN.counts("a b c", &["a b c d", "a b"]).reference_length, 2);
    }

    #[test]
    fn bleu_of_corpora_together_is_that_of_their_counts_and_not_the_mean_of_theirs() {
        let (one, other) = (PLAIN.counts("a b c d", &["a b c d"]), PLAIN.counts("a b", &["c d"]));
        let together = PLAIN.corpus(&["a b c d", "a b"], &[["a b c d"], ["c d"]]).unwrap();
        assert_eq!(PLAIN.score(one + other), together);
        assert_eq!((PLAIN.score(one).score, PLAIN.score(other).score), (100.0, 0.0));
        assert!(together.score > 75.0);
    }

    #[test]
    fn every_smoothing_leaves_nothing_in_common_at_zero() {
        for smoothing in [BleuSmoothing::Exp, BleuSmoothing::Floor, BleuSmoothing::AddK] {
            let bleu = Bleu { smoothing, ..PLAIN };
            for hypothesis in ["", "x", "x y z x y z"] {
                assert_eq!(bleu.sentence(hypothesis, &["a b c d"]).unwrap().score, 0.0);
            }
        }
    }

    #[test]
    fn a_corpus_without_its_other_half_is_refused() {
        let refused = |hypotheses: &[&str], references: &[&[&str]]| {
            PLAIN.corpus(hypotheses, references).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&["a", "b"], &[&["a"]]),
            "2 hypotheses and the references of 1 segments: expected as many"
        );
        assert_eq!(refused(&[], &[]), "the corpus has no segment: expected at least one");
        assert_eq!(
            refused(&["a", "b"], &[&["a"], &[]]),
            "segment 1 has no reference: expected at least one, which may be empty"
        );
    }

    #[test]
    fn a_config_knows_smoothings_by_the_names_of_sacrebleu() {
        let bleu: Bleu =
            serde_json::from_str(r#"{"tokenizer": "zh", "smoothing": "add-k"}"#).unwrap();
        let expected = Bleu {
            tokenizer: BleuTokenizer::Zh,
            smoothing: BleuSmoothing::AddK,
            ..Bleu::default()
        };
        assert_eq!(bleu, expected);
        let unknown = serde_json::from_str::<BleuSmoothing>("\"add\"").unwrap_err().to_string();
        let expected = "unknown variant `add`, expected one of `exp`, `floor`, `add-k`, `none`";
        assert!(unknown.starts_with(expected), "{unknown}");
    }
}
