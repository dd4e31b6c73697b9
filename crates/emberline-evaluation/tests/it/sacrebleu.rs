//! BLEU and chrF against sacreBLEU 2.6.0, which wrote `fixtures/sacrebleu_scores.json` through
//! `fixtures/sacrebleu_scores.py`.

use emberline_evaluation::{Bleu, BleuScore, BleuTokenizer, Chrf, ChrfScore};
use serde_json::{Map, Value};

fn fixture(part: &str) -> Vec<Value> {
    let fixture = include_str!("../fixtures/sacrebleu_scores.json");
    let mut fixture: Map<String, Value> = serde_json::from_str(fixture).unwrap();
    serde_json::from_value(fixture.remove(part).unwrap()).unwrap()
}

fn of<T: serde::de::DeserializeOwned>(object: &Value, key: &str) -> T {
    serde_json::from_value(object[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}"))
}

/// BLEU by sacreBLEU's names of its options.
fn bleu(case: &Value) -> Bleu {
    let mut options: Map<String, Value> = of(case, "options");
    for (theirs, ours) in [("tokenize", "tokenizer"), ("smooth_method", "smoothing")] {
        if let Some(value) = options.remove(theirs) {
            options.insert(ours.into(), value);
        }
    }
    serde_json::from_value(options.into()).unwrap()
}

fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9, "{found} is not {expected}: {what}");
}

fn assert_bleu(found: &BleuScore, expected: &Value, of_what: &str) {
    let line: String = of(expected, "line");
    let what = format!("{of_what}: {line}");
    let counts = &found.counts;
    assert_eq!(counts.correct, of::<[u64; 4]>(expected, "correct"), "{what}");
    assert_eq!(counts.total, of::<[u64; 4]>(expected, "total"), "{what}");
    assert_eq!(counts.hypothesis_length, of::<u64>(expected, "hypothesis_length"), "{what}");
    assert_eq!(counts.reference_length, of::<u64>(expected, "reference_length"), "{what}");
    for (found, expected) in found.precisions.iter().zip(of::<[f64; 4]>(expected, "precisions")) {
        assert_near(*found, expected, &what);
    }
    assert_near(found.brevity_penalty, of(expected, "brevity_penalty"), &what);
    assert_near(found.score, of(expected, "score"), &what);
    assert_eq!(found.to_string(), line, "{of_what}");
}

fn assert_chrf(found: &ChrfScore, expected: &Value, of_what: &str) {
    let orders = found.counts.orders.iter();
    let counts: Vec<_> =
        orders.map(|order| [order.predicted, order.expected, order.correct]).collect();
    assert_eq!(counts, of::<Vec<[u64; 3]>>(expected, "counts"), "{of_what}");
    assert_near(found.score, of(expected, "score"), of_what);
    assert_eq!(found.to_string(), of::<String>(expected, "line"), "{of_what}");
}

#[test]
fn segments_are_cut_as_sacrebleu_cuts_them() {
    for case in fixture("tokenized") {
        let segment: String = of(&case, "segment");
        use BleuTokenizer::{Char, Intl, None, V13a, Zh};
        for tokenizer in [V13a, Intl, Zh, Char, None] {
            let expected: Vec<String> = of(&case, tokenizer.name());
            assert_eq!(tokenizer.tokens(&segment), expected, "{tokenizer:?} of {segment:?}");
        }
    }
}

#[test]
fn scores_of_corpora_are_those_of_sacrebleu() {
    for corpus in fixture("corpora") {
        let name: String = of(&corpus, "name");
        let hypotheses: Vec<String> = of(&corpus, "hypotheses");
        let references: Vec<Vec<String>> = of(&corpus, "references");
        for expected in of::<Vec<Value>>(&corpus, "bleu") {
            let found = bleu(&expected).corpus(&hypotheses, &references).unwrap();
            assert_bleu(&found, &expected, &name);
        }
        for expected in of::<Vec<Value>>(&corpus, "chrf") {
            let chrf: Chrf = of(&expected, "options");
            let found = chrf.corpus(&hypotheses, &references).unwrap();
            assert_chrf(&found, &expected, &name);
        }
    }
}

#[test]
fn scores_of_sentences_are_those_of_sacrebleu() {
    for corpus in fixture("corpora") {
        let hypotheses: Vec<String> = of(&corpus, "hypotheses");
        let references: Vec<Vec<String>> = of(&corpus, "references");
        let sentences: Vec<Value> = of(&corpus, "sentences");
        for ((hypothesis, references), expected) in
            hypotheses.iter().zip(&references).zip(sentences)
        {
            for expected in of::<Vec<Value>>(&expected, "bleu") {
                let bleu = Bleu { effective_order: false, ..bleu(&expected) };
                let found = bleu.sentence(hypothesis, references).unwrap();
                assert_bleu(&found, &expected, hypothesis);
            }
            let chrf: Chrf = of(&expected["chrf"], "options");
            let found = chrf.corpus(&[hypothesis], &[references]).unwrap();
            assert_chrf(&found, &expected["chrf"], hypothesis);
        }
    }
}
