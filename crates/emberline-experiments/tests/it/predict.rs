//! What `predict` prints for lines of text, and what it refuses. The pipelines themselves are tested in their crate.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bad_input::refused;
use crate::program::Folder;

/// A small BERT with word pieces, and what the pipelines of `transformers` make of texts.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../emberline/tests/fixtures").join(name)
}

/// The outputs of a case for inputs that are one text, and these texts as lines.
fn expected(name: &str, output: &str) -> (String, Vec<Value>) {
    let text = std::fs::read(fixture(name).join("expected.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let cases: Vec<&Value> = cases.iter().filter(|case| case["input"].is_string()).collect();
    let lines = cases.iter().map(|case| format!("{}\n", case["input"].as_str().unwrap()));
    (lines.collect(), cases.iter().map(|case| case[output].clone()).collect())
}

/// `predict` of a task and a fixture.
fn predict(folder: &Folder, task: &str, name: &str, more: &[&str]) -> Command {
    let model = fixture(name);
    folder.emberline(&[&["predict", task, model.to_str().unwrap()], more].concat())
}

/// A folder with a copy of a fixture in `model`.
fn with_model(name: &str) -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("model")).unwrap();
    for file in ["config.json", "model.safetensors", "vocab.txt"] {
        std::fs::copy(fixture(name).join(file), folder.path("model").join(file)).unwrap();
    }
    folder
}

/// The objects of a value without their numbers, which differ in the last digits.
fn without_scores(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(without_scores).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != "score");
            Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        Value::Number(_) => Value::Null,
        other => other.clone(),
    }
}

#[test]
fn every_line_gets_a_line_of_what_the_pipeline_of_transformers_makes_of_it() {
    let folder = Folder::new();
    for (task, name, output, more) in [
        ("fill-mask", "words", "output", &["--top-k=3"][..]),
        ("text-classification", "classes", "output", &["--top_k=9"]),
        ("text-classification", "labels", "output", &["--top-k=9", "--batch-size=2"]),
        ("token-classification", "tags", "simple", &["--aggregation=simple"]),
        ("token-classification", "tags", "first", &["--aggregation_strategy=first"]),
        ("token-classification", "tags", "windows", &["--aggregation=first", "--stride=4"]),
        ("feature-extraction", "alone", "output", &[]),
        ("feature-extraction", "sentences", "output", &[]),
    ] {
        let (lines, outputs) = expected(name, output);
        folder.write("lines.txt", lines.as_bytes());
        let command = predict(&folder, task, name, &[&["--file", "lines.txt"], more].concat());
        let found = folder.succeed(command);
        let found_lines: Vec<Value> =
            found.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found_lines: Vec<Value> = found_lines.iter().map(without_scores).collect();
        let outputs: Vec<Value> = outputs.iter().map(without_scores).collect();
        assert_eq!(found_lines, outputs, "{task} {more:?}");
        let last = outputs.len();
        let is_told = found.stderr.contains("had more tokens than the model reads")
            && found.stderr.contains(&format!("1 of {last} lines"))
            && found.stderr.contains(&format!("lines.txt:{last}"));
        assert_eq!(is_told, output != "windows" && name != "sentences", "{}", found.stderr);
    }
}

#[test]
fn lines_come_from_stdin_or_from_the_command_line_and_may_be_pairs() {
    let folder = Folder::new();
    folder.write("lines.txt", b"the cat\tthe mat\nthe cat\n");
    let mut command = predict(&folder, "text-classification", "classes", &[]);
    command.stdin(Stdio::from(std::fs::File::open(folder.path("lines.txt")).unwrap()));
    let found = folder.succeed(command).stdout;
    assert_eq!(found.lines().count(), 2);
    let one = ["--text", "the cat\tthe mat"];
    let alone = folder.succeed(predict(&folder, "text-classification", "classes", &one)).stdout;
    assert_eq!(alone.lines().next(), found.lines().next());
    let tokens = predict(&folder, "token-classification", "tags", &["--text", "the cat\n"]);
    assert!(!folder.succeed(tokens).stdout.contains("\"entity\":\"O\""));
}

#[test]
fn questions_stand_before_their_text_or_have_one_in_common() {
    let folder = Folder::new();
    folder.write("lines.txt", b"Who sat?\tThe cat sat on the mat.\n");
    folder.write("context.txt", b"The cat sat on the mat.");
    let answer = |more: &[&str]| {
        folder.succeed(predict(&folder, "question-answering", "answers", more)).stdout
    };
    let found: Value = serde_json::from_str(&answer(&["--file", "lines.txt"])).unwrap();
    assert_eq!(found["answer"], "on the");
    assert_eq!((&found["start"], &found["end"]), (&12.into(), &18.into()));
    let common = answer(&["--text", "Who sat?", "--context", "context.txt"]);
    assert_eq!(serde_json::from_str::<Value>(&common).unwrap(), found);
    let several: Value =
        serde_json::from_str(&answer(&["--file", "lines.txt", "--top-k=3", "--may-be-none"]))
            .unwrap();
    assert_eq!(several.as_array().unwrap().len(), 3);
}

#[test]
fn lines_that_cannot_be_read_are_named_by_their_place() {
    let folder = Folder::new();
    folder.write("lines.txt", b"[MASK] sat\n\n");
    folder.write("tabs.txt", b"a\tb\nno tab\na\tb\tc\n");
    let file = |task: &str, name: &str, file: &str, words: &[&str]| {
        refused(predict(&folder, task, name, &["--file", file]), 1, words);
    };
    file("fill-mask", "words", "lines.txt", &["lines.txt:2", "is empty"]);
    file("feature-extraction", "alone", "lines.txt", &["lines.txt:2", "is empty"]);
    file("fill-mask", "words", "tabs.txt", &["tabs.txt:1", "has no [MASK]"]);
    file("text-classification", "classes", "tabs.txt", &["tabs.txt:3", "two with a tab"]);
    file("question-answering", "answers", "tabs.txt", &["tabs.txt:2", "a question, a tab"]);
    file("fill-mask", "words", "absent.txt", &["absent.txt"]);
    let long = "Who sat on the mat in the house of Ann Lee in Rome, Paris and Berlin?\tA cat.";
    let asked = predict(&folder, "question-answering", "answers", &["--text", long]);
    refused(asked, 1, &["--text", "cannot be read in parts", "18 tokens"]);
    let stdin = predict(&folder, "fill-mask", "words", &[]);
    refused(stdin, 1, &["stdin", "empty"]);
}

#[test]
fn a_head_that_is_not_there_is_told_and_refused_when_that_is_asked_for() {
    let folder = Folder::new();
    let classify = |more: &[&str]| {
        let more = [&["--text", "the cat", "--top-k=2"], more].concat();
        predict(&folder, "text-classification", "words", &more)
    };
    let found = folder.succeed(classify(&[]));
    for word in
        ["has no classifier.weight, classifier.bias", "new and of random numbers", "--strict"]
    {
        assert!(found.stderr.contains(word), "{}", found.stderr);
    }
    assert_eq!(found.stdout.matches("LABEL_").count(), 2);
    refused(classify(&["--strict"]), 1, &["read as a BertForSequenceClassification", "classifier"]);
    let tags = predict(&folder, "token-classification", "classes", &["--text", "the cat"]);
    refused(tags, 1, &["is of a BertForSequenceClassification", "BertForTokenClassification"]);
}

#[test]
fn directories_and_settings_that_do_not_fit_are_refused() {
    let folder = with_model("words");
    let fill = |more: &[&str]| {
        folder.emberline(&[&["predict", "fill-mask", "model", "--text", "[MASK]"], more].concat())
    };
    folder.succeed(fill(&["--strict"]));
    refused(fill(&["--top-k=0"]), 2, &["--top-k is at least 1"]);
    refused(fill(&["--batch-size=0"]), 2, &["--batch-size is at least 1"]);
    refused(fill(&["--file", "text.txt"]), 2, &["--text", "--file"]);
    let words = folder.read("model/vocab.txt");
    folder.write("model/vocab.txt", (words.clone() + "one\ntwo\nthree\n").as_bytes());
    refused(fill(&[]), 1, &["model has a vocabulary of", "tokens, and its model one of"]);
    folder.write("model/vocab.txt", words.replace("[MASK]\n", "mask\n").as_bytes());
    refused(fill(&[]), 1, &["model is no tokenizer of BERT", "[MASK]"]);
    std::fs::remove_file(folder.path("model/vocab.txt")).unwrap();
    refused(fill(&[]), 1, &["vocab.txt"]);
    let stride = ["--text", "the cat", "--stride=4"];
    let tags = predict(&folder, "token-classification", "tags", &stride);
    refused(tags, 2, &["--stride", "--aggregation"]);
    let letters = Folder::new();
    letters.gpt2_of_letters();
    let gpt2 = letters.emberline(&["predict", "feature-extraction", "model", "--text", "a"]);
    refused(gpt2, 1, &["model holds no BERT", "`gpt2`"]);
}

#[test]
fn vectors_become_one_where_a_pooling_is_named() {
    let folder = Folder::new();
    let vector = |more: &[&str]| -> Vec<f64> {
        let more = [&["--text", "the cat"], more].concat();
        let found = folder.succeed(predict(&folder, "feature-extraction", "alone", &more)).stdout;
        serde_json::from_str(&found).unwrap()
    };
    let [mean, cls, pooler] =
        ["mean", "cls", "pooler"].map(|pooling| vector(&["--pooling", pooling]));
    assert!(mean != cls && cls != pooler && pooler.len() == 12);
    let unit = vector(&["--pooling=mean", "--normalize"]);
    let square: f64 = unit.iter().map(|number| number * number).sum();
    assert!((square - 1.0).abs() < 1e-5, "{square}");
    let no_pooler = ["--text", "the cat", "--pooling=pooler"];
    refused(predict(&folder, "feature-extraction", "tags", &no_pooler), 1, &["has no pooler"]);
}

#[test]
fn a_run_of_pretraining_fills_masks() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run_of("bert-pretrain-tiny", "run", &[]));
    let fill = ["predict", "fill-mask", "run", "--text", "the [MASK] sat.", "--strict"];
    let found = folder.succeed(folder.emberline(&fill));
    let words: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(words.as_array().unwrap().len(), 5);
    assert!(words[0]["sequence"].as_str().unwrap().ends_with("sat."), "{words}");
}
