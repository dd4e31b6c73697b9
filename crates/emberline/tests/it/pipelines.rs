//! What pipelines make of texts, field for field.

use std::path::{Path, PathBuf};
use std::process::Command;

use emberline::auto::{AutoConfig, AutoModel};
use emberline::backend::test_device;
use emberline::checkpoint::{
    read_sentence_modules, save_weights, write_config, write_sentence_modules,
};
use emberline::models::bert::Bert;
use emberline::pipelines::{
    Aggregation, AnswerOptions, FeatureExtraction, FillMask, Pipeline, Pooling, QuestionAnswering,
    SentenceEmbeddings, TextClassification, TokenClassification,
};
use emberline::text::Tokenizer;
use serde::Serialize;
use serde_json::Value;

use crate::fixture;

/// The inputs and outputs of a case.
fn expected(name: &str) -> Vec<Value> {
    let text = std::fs::read(fixture(name).join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Those inputs that are one text.
fn texts(cases: &[Value]) -> Vec<&str> {
    cases.iter().filter_map(|case| case["input"].as_str()).collect()
}

/// The two texts of an input.
fn pair(case: &Value) -> (&str, &str) {
    (case["input"][0].as_str().unwrap(), case["input"][1].as_str().unwrap())
}

/// Whether both have the same fields and values, numbers with a point up to 1e-4.
#[track_caller]
fn assert_same(found: &impl Serialize, expected: &Value) {
    let found = serde_json::to_value(found).unwrap();
    compare(&found, expected, "the output");
}

#[track_caller]
fn compare(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}: {found:?} for {expected:?}");
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                compare(found, expected, &format!("{place}, {index}"));
            }
        }
        (Value::Object(found), Value::Object(expected)) => {
            let fields = |object: &serde_json::Map<String, Value>| {
                object.keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(fields(found), fields(expected), "{place}");
            for (field, found) in found {
                compare(found, &expected[field], &format!("{place}, {field}"));
            }
        }
        (Value::Number(found), Value::Number(expected)) if expected.is_f64() => {
            let [a, b] = [found, expected].map(|number| number.as_f64().unwrap());
            assert!((a - b).abs() < 1e-4, "{place}: {a} for {b}");
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

#[test]
fn masks_are_filled_with_the_words_of_transformers() {
    let cases = expected("words");
    let fill_mask = FillMask::open(fixture("words"), &test_device()).unwrap();
    for batch_size in [1, 8] {
        let found = fill_mask.predict(&texts(&cases), 3, batch_size).unwrap();
        assert_eq!(found.truncated, [2]);
        for (found, case) in found.texts.iter().zip(&cases) {
            assert_same(found, &case["output"]);
        }
    }
}

#[test]
fn texts_and_pairs_get_the_classes_of_transformers() {
    for name in ["classes", "labels", "number"] {
        let cases = expected(name);
        let classify = TextClassification::open(fixture(name), &test_device()).unwrap();
        let (single, pairs): (Vec<&Value>, Vec<&Value>) =
            cases.iter().partition(|case| case["input"].is_string());
        let found = classify.predict(&texts(&cases), usize::MAX, 2).unwrap();
        assert_eq!(found.truncated, [4]);
        assert_eq!(found.texts.len(), single.len());
        for (found, case) in found.texts.iter().zip(single) {
            assert_same(found, &case["output"]);
        }
        let inputs: Vec<(&str, &str)> = pairs.iter().map(|case| pair(case)).collect();
        let found = classify.predict(&inputs, usize::MAX, 2).unwrap();
        for (found, case) in found.texts.iter().zip(pairs) {
            assert_same(found, &case["output"]);
        }
        let best = classify.predict(&texts(&cases), 1, 2).unwrap();
        assert_same(&best.texts[0][0], &cases[0]["output"][0]);
    }
}

#[test]
fn tokens_and_names_are_those_of_transformers() {
    let cases = expected("tags");
    let tag = TokenClassification::open(fixture("tags"), &test_device()).unwrap();
    let texts = texts(&cases);
    let found = tag.predict(&texts, 3).unwrap();
    assert_eq!(found.truncated, [4]);
    let [simple, first] = [Aggregation::Simple, Aggregation::First]
        .map(|aggregation| tag.predict_groups(&texts, aggregation, 3).unwrap());
    let windows = tag.predict_groups_in_windows(&texts, Aggregation::First, 4, 3).unwrap();
    for (index, case) in cases.iter().enumerate() {
        assert_same(&found.texts[index], &case["none"]);
        assert_same(&simple.texts[index], &case["simple"]);
        assert_same(&first.texts[index], &case["first"]);
        assert_same(&windows[index], &case["windows"]);
    }
}

#[test]
fn answers_are_those_of_transformers_in_windows_too() {
    let cases = expected("answers");
    let answer = QuestionAnswering::open(fixture("answers"), &test_device()).unwrap();
    for case in &cases {
        let setting = |name: &str, otherwise: u64| {
            case["settings"][name].as_u64().unwrap_or(otherwise) as usize
        };
        let options = AnswerOptions {
            top_k: setting("top_k", 1),
            max_answer_tokens: setting("max_answer_len", 15),
            may_be_none: case["settings"]["handle_impossible_answer"] == true,
            stride: Some(3),
        };
        let found = answer.predict(&[pair(case)], &options, 2).unwrap();
        match &case["output"] {
            Value::Array(_) => assert_same(&found[0], &case["output"]),
            one => assert_same(&found[0][0], one),
        }
    }
    // All together, as one by one.
    let asked: Vec<(&str, &str)> = cases.iter().map(pair).collect();
    let found = answer.predict(&asked, &AnswerOptions { stride: Some(3), ..Default::default() }, 3);
    for (found, case) in found.unwrap().iter().zip(&cases).step_by(2) {
        assert_same(&found[0], &case["output"]);
    }
}

#[test]
fn features_are_those_of_transformers() {
    let cases = expected("alone");
    let extract = FeatureExtraction::open(fixture("alone"), &test_device()).unwrap();
    let found = extract.predict(&texts(&cases), 2).unwrap();
    assert_eq!(found.truncated, [4]);
    for (found, case) in found.texts.iter().zip(&cases) {
        assert_same(found, &case["output"]);
    }
}

#[test]
fn sentences_have_the_vectors_that_their_modules_say() {
    let cases = expected("sentences");
    let embed = SentenceEmbeddings::open(fixture("sentences"), &test_device()).unwrap();
    let found = embed.predict(&texts(&cases), 2).unwrap();
    for (found, case) in found.texts.iter().zip(&cases) {
        assert_same(found, &case["output"]);
    }
    // All vectors of the same model, of which the first is that of `[CLS]`.
    let features = expected("alone");
    let first =
        SentenceEmbeddings::open_with(fixture("alone"), Pooling::Cls, false, &test_device());
    let found = first.unwrap().predict(&texts(&features), 2).unwrap();
    assert_same(&found.texts[0], &features[0]["output"][0]);
}

#[test]
fn a_directory_that_is_written_here_gives_the_same_vectors_here_and_in_sentence_transformers() {
    let (folder, device) = (tempfile::tempdir().unwrap(), test_device());
    let (source, directory) = (fixture("sentences"), folder.path());
    let AutoModel::Bert(bert) = AutoModel::open(&source, &device).unwrap() else { panic!() };
    let AutoConfig::Bert(config) = AutoConfig::read(&source).unwrap() else { panic!() };
    save_weights(&bert, directory.join("model.safetensors"), &Bert::stored_name).unwrap();
    write_config(directory, &config).unwrap();
    Tokenizer::from_directory(&source).unwrap().save(directory).unwrap();
    let modules = read_sentence_modules(&source).unwrap().unwrap();
    write_sentence_modules(directory, &modules, config.d_model).unwrap();

    let cases = expected("sentences");
    let embed = SentenceEmbeddings::open(directory, &device).unwrap();
    for (found, case) in embed.predict(&texts(&cases), 2).unwrap().texts.iter().zip(&cases) {
        assert_same(found, &case["output"]);
    }
    let Some(python) = std::env::var_os("EMBERLINE_PYTHON") else {
        println!("skipped: EMBERLINE_PYTHON names no Python that has sentence-transformers");
        return;
    };
    let mut check = Command::new(python);
    let output = check.arg(fixture("pipelines.py")).arg("check").arg(directory).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The folder of the real weights, which are too large to be committed.
fn minilm() -> Option<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/weights/minilm-l6");
    if !folder.join("expected.json").is_file() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn sentences_have_the_vectors_of_minilm() {
    let Some(folder) = minilm() else { return };
    let text = std::fs::read(folder.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let sentences: Vec<&str> = expected["sentences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    let embed = SentenceEmbeddings::open_with(&folder, Pooling::Mean, true, &test_device());
    let found = embed.unwrap().predict(&sentences, 5).unwrap();
    let vectors = expected["reduced_f16_weights"]["sentence_embeddings"].as_array().unwrap();
    assert_eq!(found.texts.len(), vectors.len());
    for ((sentence, found), expected) in sentences.iter().zip(&found.texts).zip(vectors) {
        let expected: Vec<f64> =
            expected.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
        let cosine: f64 = found.iter().zip(&expected).map(|(a, b)| f64::from(*a) * b).sum();
        assert!(cosine > 0.9999, "{sentence}: a cosine of {cosine}");
    }
}
