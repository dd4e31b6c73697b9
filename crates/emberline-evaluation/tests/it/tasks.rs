//! The scores of tasks against scikit-learn 1.9.1, scipy 1.17.1, seqeval 1.2.2 and the script of SQuAD 2.0, which wrote
//! `fixtures/task_scores.json` through `fixtures/task_scores.py`.

use emberline_evaluation::{
    AnswerScores, ConfusionMatrix, SpanScores, SquadVersion, pearson, spearman,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    classes: Vec<Classes>,
    numbers: Vec<Numbers>,
    tags: Vec<Tags>,
    answers: Vec<Answers>,
}

#[derive(Deserialize)]
struct Classes {
    n_classes: usize,
    expected: Vec<u32>,
    predicted: Vec<u32>,
    accuracy: f64,
    macro_f1: f64,
    f1: Vec<f64>,
    matthews: f64,
}

#[derive(Deserialize)]
struct Numbers {
    expected: Vec<f64>,
    predicted: Vec<f64>,
    pearson: f64,
    spearman: f64,
}

#[derive(Deserialize)]
struct Tags {
    expected: Vec<Vec<String>>,
    predicted: Vec<Vec<String>>,
    precision: f64,
    recall: f64,
    f1: f64,
}

#[derive(Deserialize)]
struct Answers {
    predicted: String,
    right: Vec<String>,
    exact: u64,
    f1: f64,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/task_scores.json")).unwrap()
}

fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12, "{found} is not {expected}");
}

#[test]
fn scores_of_classes_are_those_of_scikit_learn() {
    for case in fixture().classes {
        let mut matrix = ConfusionMatrix::new(case.n_classes);
        for (expected, predicted) in case.expected.iter().zip(&case.predicted) {
            matrix.add(*expected, *predicted);
        }
        assert_near(matrix.accuracy(), case.accuracy);
        assert_near(matrix.macro_f1(), case.macro_f1);
        assert_near(matrix.matthews(), case.matthews);
        for (class, f1) in (0..).zip(case.f1) {
            assert_near(matrix.of_class(class).f1(), f1);
        }
    }
}

#[test]
fn correlations_are_those_of_scipy() {
    for case in fixture().numbers {
        assert_near(pearson(&case.expected, &case.predicted).unwrap(), case.pearson);
        assert_near(spearman(&case.expected, &case.predicted).unwrap(), case.spearman);
    }
}

#[test]
fn spans_are_counted_as_seqeval_counts_them() {
    for case in fixture().tags {
        let mut scores = SpanScores::new();
        for (expected, predicted) in case.expected.iter().zip(&case.predicted) {
            let [expected, predicted] = [expected, predicted]
                .map(|tags| tags.iter().map(String::as_str).collect::<Vec<_>>());
            scores.add(&expected, &predicted);
        }
        let overall = scores.overall();
        assert_near(overall.precision(), case.precision);
        assert_near(overall.recall(), case.recall);
        assert_near(overall.f1(), case.f1);
    }
}

#[test]
fn answers_are_scored_as_the_script_of_squad_scores_them() {
    let mut all = AnswerScores::default();
    let (mut exact, mut f1) = (0, 0.0);
    for case in fixture().answers {
        let right: Vec<&str> = case.right.iter().map(String::as_str).collect();
        let scores = AnswerScores::of(&case.predicted, &right, SquadVersion::V2);
        assert_eq!(scores.exact, case.exact, "{:?} {right:?}", case.predicted);
        assert_near(scores.f1(), case.f1);
        all = all + scores;
        (exact, f1) = (exact + case.exact, f1 + case.f1);
    }
    assert_eq!(all.exact, exact);
    assert!(exact > 10, "some answers are right");
    assert_near(all.f1(), f1 / all.questions as f64);
}
