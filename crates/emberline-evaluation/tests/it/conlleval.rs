//! The span scores against the program conlleval (version of 2004-01-26), which wrote
//! `fixtures/conlleval.out` of `fixtures/conlleval.in`: `perl conlleval.pl < conlleval.in > conlleval.out`.
//! Each line of the input is a word, the right tag and the predicted one; many tags begin where they should not.

use emberline_evaluation::{Scores, SpanScores};

/// Precision, recall and F1 as conlleval prints them.
fn line(scores: Scores) -> String {
    let [precision, recall, f1] =
        [scores.precision(), scores.recall(), scores.f1()].map(|part| 100.0 * part);
    format!("precision: {precision:6.2}%; recall: {recall:6.2}%; FB1: {f1:6.2}")
}

#[test]
fn spans_are_counted_as_conlleval_counts_them() {
    let mut scores = SpanScores::new();
    for sentence in include_str!("../fixtures/conlleval.in").trim_end().split("\n\n") {
        let column = |column: usize| -> Vec<&str> {
            sentence.lines().map(|line| line.split(' ').nth(column).unwrap()).collect()
        };
        scores.add(&column(1), &column(2));
    }
    let overall = scores.overall();
    let mut found = vec![
        format!(
            "with {} phrases; found: {} phrases; correct: {}.",
            overall.expected, overall.predicted, overall.correct
        ),
        line(overall),
    ];
    found.extend(
        scores
            .by_kind()
            .iter()
            .map(|(kind, scores)| format!("{kind}: {}  {}", line(*scores), scores.predicted)),
    );
    let expected = include_str!("../fixtures/conlleval.out").lines();
    for (found, expected) in found.iter().zip(expected.clone()) {
        assert!(expected.ends_with(found.as_str()), "{found:?} is not {expected:?}");
    }
    assert_eq!(found.len(), expected.count());
}
