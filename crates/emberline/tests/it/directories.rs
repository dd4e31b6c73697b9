//! Directories: the model of any kind, and what one gets whose parts do not fit.

use std::fs;

use emberline::Error;
use emberline::auto::{AutoConfig, AutoModel};
use emberline::backend::test_device;
use emberline::core::Stream;
use emberline::models::bert::AnyBert;
use emberline::pipelines::{
    FeatureExtraction, FillMask, Pipeline, QuestionAnswering, SentenceEmbeddings,
    TextClassification, TokenClassification,
};
use tempfile::TempDir;

use crate::fixture;

/// A copy of a fixture, to be changed.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "vocab.txt"] {
        fs::copy(fixture(name).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

fn change_config(folder: &TempDir, from: &str, to: &str) {
    let path = folder.path().join("config.json");
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains(from), "{config}");
    fs::write(path, config.replace(from, to)).unwrap();
}

#[test]
fn the_model_of_a_directory_is_that_of_its_config() {
    let open = |name: &str| AutoModel::open(fixture(name), &test_device()).unwrap();
    assert!(matches!(open("words"), AutoModel::Bert(AnyBert::PreTraining(_))));
    assert!(matches!(open("tags"), AutoModel::Bert(AnyBert::TokenClassification(_))));
    assert!(matches!(open("sentences"), AutoModel::Bert(AnyBert::Model(_))));
    let gpt2 = fixture("../../../emberline-models/tests/fixtures/gpt2_of_three_heads");
    assert!(matches!(AutoModel::open(&gpt2, &test_device()).unwrap(), AutoModel::Gpt2(_)));
    let config = AutoConfig::read(&gpt2).unwrap();
    let sizes = (config.model_type(), config.vocab_size(), config.n_positions());
    assert_eq!(sizes, ("gpt2", 13, Some(8)));
    let error = FeatureExtraction::open(&gpt2, &test_device()).unwrap_err().to_string();
    assert!(error.contains("holds no BERT: its config.json is of `gpt2`"), "{error}");
}

#[test]
fn a_config_that_names_no_model_of_ours_is_refused_by_name() {
    let complaint = |from: &str, to: &str| {
        let folder = copy("classes");
        change_config(&folder, from, to);
        let error = AutoModel::open(folder.path(), &test_device()).unwrap_err();
        let source = std::error::Error::source(&error).map(|source| source.to_string());
        format!("{error}: {}", source.unwrap_or_default())
    };
    let error = complaint("\"model_type\": \"bert\"", "\"model_type\": \"t5\"");
    assert!(error.contains("of `t5`: expected one of rnn_language_model, openai-gpt"), "{error}");
    let error = complaint("\"model_type\": \"bert\"", "\"model_typ\": \"bert\"");
    assert!(error.contains("names no `model_type`"), "{error}");
    let error = complaint("\"hidden_size\": 12", "\"hidden_size\": 13");
    assert!(error.contains("hidden_size must be a multiple of the 3 heads"), "{error}");
    let error = complaint("BertForSequenceClassification", "BertLMHeadModel");
    assert!(error.contains("names BertLMHeadModel"), "{error}");
}

#[test]
fn a_head_that_is_not_there_is_named_and_new_only_where_one_asks_for_it() {
    let (device, directory) = (test_device(), fixture("words"));
    let error = TextClassification::open(&directory, &device).unwrap_err().to_string();
    for word in ["read as a BertForSequenceClassification", "classifier.weight, classifier.bias"] {
        assert!(error.contains(word), "{error}");
    }
    let (classify, new) =
        TextClassification::open_with_new_head(&directory, Stream::new(1), &device).unwrap();
    assert_eq!(new, ["classifier.weight", "classifier.bias"]);
    let labels = classify.predict(&["the cat"], 2, 1).unwrap().texts.remove(0);
    assert_eq!(labels.len(), 2);
    assert!(labels.iter().all(|label| label.label.starts_with("LABEL_")));
    let error = QuestionAnswering::open(&directory, &device).unwrap_err().to_string();
    assert!(error.contains("qa_outputs.weight, qa_outputs.bias"), "{error}");
    let error = FillMask::open(fixture("alone"), &device).unwrap_err().to_string();
    assert!(error.contains("cls.predictions.bias"), "{error}");
}

#[test]
fn a_head_of_the_same_name_is_not_taken_for_another() {
    let error = TokenClassification::open(fixture("classes"), &test_device()).unwrap_err();
    let words = "is of a BertForSequenceClassification, whose head is not that of a BertForToken";
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_vocabulary_that_is_larger_than_the_model_is_refused() {
    let folder = copy("tags");
    let path = folder.path().join("vocab.txt");
    let words = fs::read_to_string(&path).unwrap() + "one\ntwo\nthree\n";
    let n_tokens = words.lines().count();
    fs::write(path, words).unwrap();
    let error = TokenClassification::open(folder.path(), &test_device()).unwrap_err();
    assert!(matches!(&error, Error::Vocabulary { n_tokens: n, .. } if *n == n_tokens), "{error}");
}

#[test]
fn texts_without_words_and_masks_are_refused_by_their_number() {
    let fill_mask = FillMask::open(fixture("words"), &test_device()).unwrap();
    let error = fill_mask.predict(&["[MASK]", "the cat"], 1, 2).unwrap_err();
    assert_eq!(
        (error.text(), error.to_string().as_str()),
        (Some(1), "text 1 has no [MASK] among the tokens that the model reads")
    );
    let error = fill_mask.predict(&["[MASK]", " \t"], 1, 2).unwrap_err();
    assert_eq!(error.to_string(), "text 1 is empty: expected a word at least");
    let answer = QuestionAnswering::open(fixture("answers"), &test_device()).unwrap();
    let long =
        ["Who sat on the mat in the house of Ann Lee in Rome, Paris and Berlin?", "The cat."];
    let error = answer.predict(&[("Who?", "Ann."), (long[0], long[1])], &Default::default(), 2);
    assert!(matches!(error, Err(Error::NoRoom { text: 1, .. })), "{error:?}");
}

#[test]
fn a_directory_that_does_not_say_how_vectors_become_one_is_refused() {
    let error = SentenceEmbeddings::open(fixture("alone"), &test_device()).unwrap_err();
    assert!(error.to_string().contains("has no modules.json"), "{error}");
}
