//! What is measured of the sentences that a model wrote.

use std::collections::BTreeMap;

use anyhow::Result;
use emberline_evaluation::{Bleu, BleuTokenizer, Chrf, ErrorRates};
use serde::{Deserialize, Serialize};

/// How right what a model wrote is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScoresConfig {
    /// BLEU and chrF against the text of the target as it is in the file.
    Text {
        /// How BLEU cuts both.
        tokenizer: BleuTokenizer,
        /// Whether both are lower-cased before.
        lowercase: bool,
    },
    /// The rates of wrong phonemes and of words with a wrong one.
    Phonemes,
    /// The rate of sequences that are right from start to end.
    Sequences,
}

/// Numbers by name, and how they were computed.
pub struct Scored {
    pub metrics: BTreeMap<String, f64>,
    /// Lines for a reader; the signatures of the scores that have one.
    pub notes: String,
}

impl ScoresConfig {
    /// Scores the hypotheses, each against its reference.
    ///
    /// # Errors
    /// If there is none.
    pub fn score(&self, hypotheses: &[String], references: &[&str]) -> Result<Scored> {
        let mut notes = String::new();
        let metrics = match *self {
            Self::Text { tokenizer, lowercase } => {
                let references: Vec<[&str; 1]> = references.iter().map(|text| [*text]).collect();
                let bleu = Bleu { tokenizer, lowercase, ..Bleu::default() };
                let bleu = bleu.corpus(hypotheses, &references)?;
                let chrf = Chrf { lowercase, ..Chrf::default() }.corpus(hypotheses, &references)?;
                notes = format!("{bleu}\n{chrf}\n\n");
                vec![("test_bleu", bleu.score), ("test_chrf", chrf.score)]
            }
            Self::Phonemes => {
                let rates = error_rates(hypotheses, references);
                let mut metrics = vec![("test_word_error_rate", rates.sequence_error_rate())];
                metrics.extend(rates.error_rate().map(|rate| ("test_phoneme_error_rate", rate)));
                metrics
            }
            Self::Sequences => {
                let rates = error_rates(hypotheses, references);
                let mut metrics = vec![("test_exact_match", rates.exact_match())];
                metrics.extend(rates.error_rate().map(|rate| ("test_symbol_error_rate", rate)));
                metrics
            }
        };
        let metrics = metrics.into_iter().map(|(name, value)| (name.to_string(), value));
        Ok(Scored { metrics: metrics.collect(), notes })
    }
}

/// Of what stands between blanks.
fn error_rates(hypotheses: &[String], references: &[&str]) -> ErrorRates {
    let mut rates = ErrorRates::new();
    for (hypothesis, reference) in hypotheses.iter().zip(references) {
        let symbols = |text| str::split_whitespace(text).collect::<Vec<_>>();
        rates.add(&symbols(reference), &symbols(hypothesis));
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_phoneme_of_four_is_one_wrong_word_of_two() {
        let hypotheses = ["T UW1".to_string(), "M IY0".to_string()];
        let references = ["T UW1", "M IY1"];
        let scored = ScoresConfig::Phonemes.score(&hypotheses, &references).unwrap();
        assert_eq!(scored.metrics["test_phoneme_error_rate"], 0.25);
        assert_eq!(scored.metrics["test_word_error_rate"], 0.5);
        let scored = ScoresConfig::Sequences.score(&hypotheses, &references).unwrap();
        assert_eq!(scored.metrics["test_exact_match"], 0.5);
    }

    #[test]
    fn a_text_that_is_its_reference_has_all_points_and_a_signature() {
        let text = "one two three four five";
        let scores = ScoresConfig::Text { tokenizer: BleuTokenizer::V13a, lowercase: true };
        let scored = scores.score(&[text.to_uppercase()], &[text]).unwrap();
        assert!(scored.metrics.values().all(|score| (score - 100.0).abs() < 1e-9));
        assert!(scored.notes.contains("case:lc|eff:no|tok:13a"), "{}", scored.notes);
    }
}
