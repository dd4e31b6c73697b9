//! The tokenizer of BERT: the uncased vocabulary is committed, the cased and the Chinese are beside the project where
//! they are.

use std::fs;
use std::path::PathBuf;

use emberline_backend::test_device;
use emberline_text::{BertTensors, BertTokenizer, TextError, Tokenizer};
use serde::Deserialize;

use crate::{austen, datasets};

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Pair {
    a: String,
    b: String,
    ids: Vec<u32>,
    type_ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Rows {
    texts: Vec<Text>,
    windows: Vec<Windows>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    places: Vec<[usize; 2]>,
}

#[derive(Deserialize)]
struct Windows {
    question: Option<String>,
    text: String,
    max_length: usize,
    stride: usize,
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Row {
    ids: Vec<u32>,
    segments: Vec<u32>,
    places: Vec<Option<[usize; 2]>>,
}

fn uncased() -> BertTokenizer {
    BertTokenizer::from_directory(datasets().join("bert-vocab")).unwrap()
}

/// What `tests/fixtures/bert_rows.py` wrote.
fn fixture() -> Rows {
    serde_json::from_str(include_str!("../fixtures/bert_rows.json")).unwrap()
}

fn assert_published(tokenizer: &BertTokenizer, expected: &str) {
    let Expected { cases, pairs } = serde_json::from_str(expected).unwrap();
    assert!(cases.len() >= 28 && pairs.len() >= 2);
    for Case { text, ids } in cases {
        let row = tokenizer.row(&text, None, 512).unwrap();
        assert_eq!(row.tokens, ids, "{text:?}");
        assert_eq!((row.segments, row.n_cut), (vec![0; ids.len()], 0));
    }
    for Pair { a, b, ids, type_ids } in pairs {
        let row = tokenizer.row(&a, Some(&b), 512).unwrap();
        assert_eq!((row.tokens, row.segments), (ids, type_ids), "{a:?} {b:?}");
    }
}

/// A folder with a vocabulary, and with a config where there is one.
fn folder(vocabulary: &str, config: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab.txt"), vocabulary).unwrap();
    if let Some(config) = config {
        fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    }
    folder
}

/// The vocabulary of the tests of Google's code, and the special tokens that it leaves out.
fn small(config: Option<&str>) -> BertTokenizer {
    let pieces = "[UNK] [CLS] [SEP] want ##want ##ed wa un runn ##ing , [PAD] [MASK]";
    let folder = folder(&pieces.replace(' ', "\n"), config);
    BertTokenizer::from_directory(folder.path()).unwrap()
}

#[test]
fn bert_uncased_gives_the_published_ids_of_texts_and_pairs() {
    let tokenizer = uncased();
    let special = tokenizer.special_tokens();
    let found = [special.pad, special.unknown, special.class, special.separator, special.mask];
    assert_eq!((found, tokenizer.vocab_size()), ([0, 100, 101, 102, 103], 30522));
    let expected = fs::read_to_string(datasets().join("bert-vocab/expected.json")).unwrap();
    assert_published(&tokenizer, &expected);
}

#[test]
fn bert_cased_and_chinese_give_the_published_ids() {
    let shared =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/tests/bert-vocab");
    for name in ["bert-base-cased", "bert-base-chinese"] {
        let read = |end: &str| fs::read_to_string(shared.join(format!("{name}-{end}")));
        let (Ok(vocabulary), Ok(expected)) = (read("vocab.txt"), read("expected.json")) else {
            println!("skipped: {} is not there", shared.display());
            return;
        };
        // No config says which of them is cased.
        let folder = folder(&vocabulary, None);
        assert_published(&BertTokenizer::from_directory(folder.path()).unwrap(), &expected);
    }
}

#[test]
fn the_tests_of_googles_code_pass() {
    let ids = |text| small(None).tokenizer().encode(text).unwrap();
    assert_eq!(ids("UNwant\u{e9}d,running"), [7, 4, 5, 10, 8, 9]);
    assert_eq!(ids("unwantedX running"), [0, 8, 9]);
    assert!(ids("").is_empty());
    let words = |text| uncased().tokenizer().decode(&uncased().tokenizer().encode(text).unwrap());
    assert_eq!(words("John Johanson's house").unwrap(), "john johanson ' s house");
    let row = uncased().row("John Johanson's house", None, 512).unwrap();
    // The first piece of each word: `john johan ##son ' s house` after `[CLS]`.
    let starts = |place: usize| {
        row.places.iter().position(|at| at.as_ref().is_some_and(|at| at.start == place))
    };
    assert_eq!([0, 5, 13, 16].map(starts), [Some(1), Some(2), Some(4), Some(6)]);
    let continues = uncased().continues_word()[row.tokens[3] as usize];
    assert!(continues && !uncased().continues_word()[row.tokens[2] as usize]);
}

#[test]
fn pieces_stand_where_those_of_transformers_do() {
    for Text { text, ids, places } in fixture().texts {
        let pieces = uncased().pieces(&text).unwrap();
        let found: Vec<[usize; 2]> = pieces.iter().map(|p| [p.place.start, p.place.end]).collect();
        let tokens: Vec<u32> = pieces.iter().map(|piece| piece.token).collect();
        assert_eq!((tokens, found), (ids, places), "{text:?}");
        assert_eq!(uncased().pieces_of_all(&[&text, &text]).unwrap(), [pieces.clone(), pieces]);
    }
}

#[test]
fn long_texts_are_cut_into_the_windows_of_transformers() {
    for case in fixture().windows {
        let question = case.question.as_deref();
        let windows = uncased().windows(question, &case.text, case.max_length, case.stride);
        let found: Vec<Row> = windows
            .unwrap()
            .into_iter()
            .map(|row| Row {
                ids: row.tokens,
                segments: row.segments,
                places: row.places.into_iter().map(|at| at.map(|at| [at.start, at.end])).collect(),
            })
            .collect();
        assert_eq!(found, case.rows, "{question:?} {}", case.max_length);
    }
}

#[test]
fn a_pair_that_is_too_long_loses_the_ends_of_its_longer_text() {
    let tokenizer = uncased();
    let row = tokenizer.row("a b c d e", Some("x y"), 8).unwrap();
    let text = tokenizer.tokenizer().decode(&row.tokens).unwrap();
    assert_eq!((&text[..], row.n_cut), ("[CLS] a b c [SEP] x y [SEP]", 2));
    let row = tokenizer.row("a b c d e", None, 5).unwrap();
    let text = tokenizer.tokenizer().decode(&row.tokens).unwrap();
    assert_eq!((&text[..], row.n_cut), ("[CLS] a b c [SEP]", 2));
}

#[test]
fn rows_without_room_are_an_error_that_says_how_much_they_need() {
    let tokenizer = uncased();
    let message = |error: TextError| error.to_string();
    let expected = |has: usize, needed: usize| {
        format!("rows of {has} tokens are too short: here they need {needed} at least")
    };
    assert_eq!(message(tokenizer.row("a", None, 2).unwrap_err()), expected(2, 3));
    assert_eq!(message(tokenizer.row("a", Some("b"), 4).unwrap_err()), expected(4, 5));
    // Two pieces, three special tokens, the stride, and one more.
    assert_eq!(message(tokenizer.windows(Some("a b"), "c", 9, 4).unwrap_err()), expected(9, 10));
    assert!(tokenizer.windows(Some("a b"), "c", 10, 4).is_ok());
}

#[test]
fn an_empty_text_is_a_row_of_special_tokens() {
    let row = uncased().row("", Some(""), 512).unwrap();
    assert_eq!((row.tokens, row.segments), (vec![101, 102, 102], vec![0, 0, 1]));
}

#[test]
fn the_three_tensors_are_padded_with_zeros_and_the_mask_says_where() {
    let tokenizer = uncased();
    let rows = [tokenizer.row("Hello", None, 9), tokenizer.row("How?", Some("So."), 9)];
    let rows = rows.map(Result::unwrap);
    let tensors = BertTensors::new(&[&rows[0], &rows[1]], 0, &test_device());
    let numbers = |tensor: &burn::tensor::Tensor<2, burn::tensor::Int>| -> Vec<i32> {
        tensor.to_data().iter().collect()
    };
    let ids = [101, 7592, 102, 0, 0, 0, 0, 101, 2129, 1029, 102, 2061, 1012, 102];
    assert_eq!(numbers(&tensors.input_ids), ids);
    assert_eq!(numbers(&tensors.token_type_ids), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(numbers(&tensors.attention_mask), [1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
    let tokens = tensors.tokens();
    assert_eq!((tokens.lengths.clone(), tokens.n_tokens()), (Some(vec![3, 7]), 10));
}

#[test]
fn a_config_says_how_a_text_is_read() {
    let ids = |config, text| small(Some(config)).tokenizer().encode(text).unwrap();
    assert_eq!(ids(r#"{"do_lower_case": false}"#, "WANT want w\u{e1}nt"), [0, 3, 0]);
    assert_eq!(ids(r#"{"do_lower_case": true, "strip_accents": false}"#, "WANT w\u{e1}nt"), [3, 0]);
    assert_eq!(ids(r#"{"model_max_length": 512}"#, "WANT w\u{e1}nt"), [3, 3]);
    let folder = folder("[UNK]\na\n", Some(r#"{"do_lower_case": "no"}"#));
    let error = Tokenizer::from_directory(folder.path()).unwrap_err();
    assert!(
        matches!(&error, TextError::TokenizerFormat { name, .. } if name.ends_with("tokenizer_config.json")),
        "{error}"
    );
}

#[test]
fn a_vocabulary_that_cannot_be_is_named_with_what_is_wrong() {
    let cause = |vocabulary| {
        let folder = folder(vocabulary, None);
        let error = Tokenizer::from_directory(folder.path()).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    assert_eq!(cause("[UNK]\na\nb\na\n"), "token \"a\" is in the vocabulary twice");
    assert!(cause("[PAD]\na\n").contains("\"[UNK]\" is not in the vocabulary"));
    let folder = folder("[UNK]\n[PAD]\n[CLS]\n[SEP]\n", None);
    let error = BertTokenizer::from_directory(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("is no tokenizer of BERT: it has no token \"[MASK]\""), "{error}");
    let error = BertTokenizer::from_directory(datasets().join("gpt2-bpe")).unwrap_err();
    assert!(matches!(error, TextError::NotBert { token: "[PAD]", .. }), "{error}");
}

#[test]
fn a_saved_bert_is_the_same_from_every_file_that_was_written() {
    let text = format!("{}[MASK] caf\u{e9} 中文", &austen().text()[..20_000]);
    for tokenizer in [uncased(), small(Some(r#"{"do_lower_case": false}"#))] {
        let folder = tempfile::tempdir().unwrap();
        tokenizer.tokenizer().save(folder.path()).unwrap();
        let expected = tokenizer.pieces(&text).unwrap();
        let loaded = BertTokenizer::from_directory(folder.path()).unwrap();
        assert_eq!(loaded.pieces(&text).unwrap(), expected);
        fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
        let loaded = BertTokenizer::from_directory(folder.path()).unwrap();
        assert_eq!(loaded.pieces(&text).unwrap(), expected);
    }
    let folder = tempfile::tempdir().unwrap();
    uncased().tokenizer().save(folder.path()).unwrap();
    let read = |path: PathBuf| fs::read(path).unwrap();
    let published = read(datasets().join("bert-vocab/vocab.txt"));
    assert!(read(folder.path().join("vocab.txt")) == published);
}

#[test]
fn word_pieces_learned_twice_are_the_same_and_know_the_text() {
    let corpus = austen();
    let part = &corpus.text()[..60_000];
    let learn = || BertTokenizer::learn([part], 600, true).unwrap();
    let tokenizer = learn();
    assert_eq!(tokenizer.vocab_size(), 600);
    assert!(learn().tokenizer().to_json() == tokenizer.tokenizer().to_json());
    let ids = tokenizer.tokenizer().encode(part).unwrap();
    assert!(!ids.contains(&tokenizer.special_tokens().unknown));
    assert!(ids.len() * 2 < part.len(), "{} pieces", ids.len());
}
