//! Answers to questions, compared as the official scripts of SQuAD do (Rajpurkar and others, 2016 and 2018).

use std::collections::HashMap;
use std::ops::Add;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::scores::ratio;
use crate::segments::words;

/// A word as Python's regular expressions have it.
static WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").expect("the pattern is valid"));

/// What the script deletes: the punctuation of ASCII.
const PUNCTUATION: &str = r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##;

/// Whose script scores an answer. They differ only where nothing is left of an answer without its articles and signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquadVersion {
    /// Every question has an answer. Two answers of which nothing is left have an F1 of 0.
    V1,
    /// Questions may have none, and an empty prediction says so. Right answers of which nothing is left do not count.
    V2,
}

/// How many answers are exactly right, and the sum of their F1, so that those of parts add up.
///
/// ```
/// use emberline_evaluation::{AnswerScores, SquadVersion};
///
/// let of = |predicted| AnswerScores::of(predicted, &["the Norman conquest", "1066"], SquadVersion::V1);
/// let scores = of("The Norman Conquest!") + of("a Norman castle") + of("Paris");
/// assert_eq!(scores.exact_match(), 1.0 / 3.0);
/// assert_eq!(scores.f1(), (1.0 + 0.5 + 0.0) / 3.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerScores {
    /// The questions.
    pub questions: u64,
    /// Those whose answer is one of the right ones, articles, signs, capitals and blanks aside.
    pub exact: u64,
    /// The sum of the F1 of every answer with the right one that it is nearest to: of the words that both have.
    pub f1_sum: f64,
}

impl Add for AnswerScores {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            questions: self.questions + other.questions,
            exact: self.exact + other.exact,
            f1_sum: self.f1_sum + other.f1_sum,
        }
    }
}

impl AnswerScores {
    /// Of one question with its right answers; without any, the right answer is none, and a prediction must be empty.
    pub fn of(predicted: &str, right: &[&str], version: SquadVersion) -> Self {
        let predicted = normalized(predicted);
        let mut right: Vec<String> = right.iter().map(|answer| normalized(answer)).collect();
        if version == SquadVersion::V2 {
            right.retain(|answer| !answer.is_empty());
        }
        if right.is_empty() {
            right.push(String::new());
        }
        let both_empty = if version == SquadVersion::V2 { 1.0 } else { 0.0 };
        let f1 = right.iter().map(|right| word_f1(&predicted, right, both_empty));
        Self {
            questions: 1,
            exact: u64::from(right.contains(&predicted)),
            f1_sum: f1.fold(0.0, f64::max),
        }
    }

    /// The part of the answers that is exactly right; the scripts print 100 times as much.
    pub fn exact_match(&self) -> f64 {
        ratio(self.exact as f64, self.questions as f64)
    }

    /// The mean F1; the scripts print 100 times as much.
    pub fn f1(&self) -> f64 {
        ratio(self.f1_sum, self.questions as f64)
    }
}

/// An answer in lower case without punctuation and articles, one blank between its words.
fn normalized(answer: &str) -> String {
    let lower: String =
        answer.to_lowercase().chars().filter(|sign| !PUNCTUATION.contains(*sign)).collect();
    let without_articles = WORD.replace_all(&lower, |word: &Captures| match &word[0] {
        "a" | "an" | "the" => " ".to_string(),
        other => other.to_string(),
    });
    words(&without_articles).collect::<Vec<_>>().join(" ")
}

/// F1 of the words of two normalized answers, each as often as both have it.
fn word_f1(predicted: &str, right: &str, both_empty: f64) -> f64 {
    if predicted.is_empty() && right.is_empty() {
        return both_empty;
    }
    let mut left: HashMap<&str, u64> = HashMap::new();
    words(right).for_each(|word| *left.entry(word).or_default() += 1);
    let mut common = 0;
    for word in words(predicted) {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / words(predicted).count() as f64;
    let recall = common as f64 / words(right).count() as f64;
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_signs_capitals_and_blanks_do_not_count() {
        assert_eq!(normalized(" The  U.S.A., an\tisland — a thesis"), "usa island — thesis");
        assert_eq!(normalized("The. An, A!"), "");
        // An accent that stands by itself ends a word, and so an article, in Python.
        assert_eq!(normalized("a\u{301} is"), "\u{301} is");
    }

    #[test]
    fn words_count_as_often_as_both_answers_have_them() {
        let f1 = |predicted, right| AnswerScores::of(predicted, &[right], SquadVersion::V1).f1();
        assert_eq!(f1("new new york", "new york"), 0.8);
        assert_eq!(f1("york", "new york"), 2.0 / 3.0);
        assert_eq!(f1("boston", "new york"), 0.0);
    }

    #[test]
    fn no_answer_is_right_where_there_is_none() {
        let v2 = |predicted, right: &[&str]| AnswerScores::of(predicted, right, SquadVersion::V2);
        assert_eq!((v2("", &[]).exact_match(), v2("", &[]).f1()), (1.0, 1.0));
        assert_eq!((v2("Paris", &[]).exact_match(), v2("Paris", &[]).f1()), (0.0, 0.0));
        assert_eq!((v2("", &["Paris"]).exact_match(), v2("", &["Paris"]).f1()), (0.0, 0.0));
        // A right answer of which nothing is left is none.
        assert_eq!(v2("a", &["the", "Paris"]).f1(), 0.0);
        let v1 = AnswerScores::of("a", &["the"], SquadVersion::V1);
        assert_eq!((v1.exact_match(), v1.f1()), (1.0, 0.0));
        assert_eq!(AnswerScores::default().f1(), 0.0);
    }
}
