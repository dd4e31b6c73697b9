//! `emberline evaluate` against numbers of `transformers`, and on a run of our own.

use serde_json::Value;

use crate::bad_input::refused;
use crate::program::Folder;

fn evaluate(folder: &Folder, arguments: &[&str]) -> Value {
    let arguments = [&["evaluate"], arguments, &["--json"]].concat();
    let stdout = folder.succeed(folder.emberline(&arguments)).stdout;
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

fn assert_close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{found} is not {expected}");
}

#[test]
fn strided_perplexity_is_that_of_the_recipe_of_transformers() {
    let folder = Folder::new();
    let expected = folder.gpt2_of_letters();
    folder.write("letters.txt", expected["text"].as_str().unwrap().as_bytes());
    for case in expected["strided"].as_array().unwrap() {
        // The recipe reads no token that it does not score: its windows of 8 are ours of 7.
        let stride = case["stride"].to_string();
        let found = evaluate(
            &folder,
            &["model", "--text", "letters.txt", "--window", "7", "--stride", &stride],
        );
        assert_eq!(found["tokens"], case["n_tokens"]);
        let sum = case["log_likelihood"].as_f64().unwrap();
        assert_close(&found["log_likelihood"], sum);
        assert_close(&found["token_perplexity"], (-sum / 42.0).exp());
        assert_close(&found["word_perplexity"], (-sum / 12.0).exp());
        assert_close(&found["byte_perplexity"], (-sum / 43.0).exp());
        assert_close(&found["bits_per_byte"], -sum / 43.0 / std::f64::consts::LN_2);
    }
}

#[test]
fn last_words_are_right_where_those_of_transformers_are() {
    let folder = Folder::new();
    let expected = folder.gpt2_of_letters();
    let passages = expected["passages"].as_array().unwrap();
    let lines = passages.iter().map(|passage| format!("{}\n", passage.as_str().unwrap()));
    folder.write("passages.txt", lines.collect::<String>().as_bytes());
    let objects = passages.iter().map(|passage| format!("{{\"text\": {passage}}}\n"));
    folder.write("passages.jsonl", objects.collect::<String>().as_bytes());
    let words = expected["last_words"].as_array().unwrap();
    let n_right = words.iter().filter(|word| word["is_right"] == true).count();
    let sum: f64 = words.iter().map(|word| word["log_likelihood"].as_f64().unwrap()).sum();
    for file in ["passages.txt", "passages.jsonl"] {
        let found = evaluate(&folder, &["model", "--last-words", file]);
        assert_eq!(found["passages"], words.len());
        assert_eq!(found["right"], n_right);
        assert_close(&found["accuracy"], n_right as f64 / words.len() as f64);
        assert_close(&found["log_likelihood"], sum);
        assert_close(&found["word_perplexity"], (-sum / words.len() as f64).exp());
    }
}

#[test]
fn a_run_of_our_own_is_evaluated_with_unit_and_window_stated() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("run", &[]));
    let evaluate = ["evaluate", "run", "--text", "text.txt", "--window=64", "--stride=16"];
    let table = folder.succeed(folder.emberline(&evaluate)).stdout;
    for row in ["token        perplexity", "word         perplexity", "byte         perplexity"] {
        assert!(table.contains(row), "{table}");
    }
    assert!(table.contains("window       64 tokens, the next one 16 further"), "{table}");
    assert!(table.contains("the first token follows nothing, and is not scored"), "{table}");
    let started = [&evaluate[..], &["--start-token", "e"]].concat();
    let table = folder.succeed(folder.emberline(&started)).stdout;
    assert!(table.contains("after e, every token is scored"), "{table}");
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let folder = Folder::new();
    folder.gpt2_of_letters();
    for (name, text) in [
        ("good.txt", "a bad lad"),
        ("one.txt", "a"),
        ("empty.txt", ""),
        ("other.txt", "a zoo"),
        ("words.txt", "a bad lad\nlad\n"),
        ("long.txt", "a lad\na abcdefghi\n"),
        ("broken.jsonl", "{\"text\": \"a bad\"}\n{\"title\": \"a\"}\n"),
    ] {
        folder.write(name, text.as_bytes());
    }
    let evaluate = |more: &[&str]| folder.emberline(&[&["evaluate", "model"], more].concat());
    let text = |file: &str| evaluate(&["--text", file]);
    refused(text("one.txt"), 1, &["one.txt", "1 tokens", "none follows another"]);
    refused(text("empty.txt"), 1, &["empty.txt"]);
    refused(text("missing.txt"), 1, &["missing.txt"]);
    refused(text("other.txt"), 1, &["other.txt", "'z'"]);
    refused(text("broken.jsonl"), 1, &["broken.jsonl:2", "`text`"]);
    let last_words = |file: &str| evaluate(&["--last-words", file]);
    refused(last_words("words.txt"), 1, &["words.txt:2", "one word"]);
    refused(last_words("long.txt"), 1, &["long.txt:2", "10 tokens", "at most 8"]);
    refused(last_words("other.txt"), 1, &["other.txt", "'z'"]);
    let good = |more: &[&str]| evaluate(&[&["--text", "good.txt"], more].concat());
    refused(good(&["--window", "9"]), 2, &["--window is 9", "at most 8"]);
    refused(good(&["--window", "0"]), 2, &["--window is 0"]);
    refused(good(&["--stride", "0"]), 2, &["--stride is 0"]);
    refused(good(&["--stride", "9"]), 2, &["--stride is 9", "at most the window of 8"]);
    refused(good(&["--batch-size", "0"]), 2, &["--batch-size is 0"]);
    refused(good(&["--start-token", "<|endoftext|>"]), 1, &["--start-token", "<|endoftext|>"]);
    refused(good(&["--last-words", "good.txt"]), 2, &["--last-words"]);
    refused(evaluate(&[]), 2, &["--text"]);
    folder.succeed(good(&["--start-token", "l", "--stride", "8"]));
}
