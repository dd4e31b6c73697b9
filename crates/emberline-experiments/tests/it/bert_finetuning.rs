//! A BERT that goes on to a task.

use std::process::Command;

use serde_json::Value;

use crate::bad_input::refused;
use crate::program::{Finished, Folder};

/// The result of a tiny run into the folder of its name, and what the program said.
fn run(folder: &Folder, experiment: &str, more: &[&str]) -> (Value, Finished) {
    let more = [more, &["--json"]].concat();
    let finished = folder.succeed(folder.tiny_run_of(experiment, experiment, &more));
    (serde_json::from_str(&finished.stdout).unwrap(), finished)
}

fn metric(result: &Value, name: &str) -> f64 {
    result["metrics"][name].as_f64().unwrap_or_else(|| panic!("no {name}"))
}

/// The config.json of the best model of a run.
fn config(folder: &Folder, run: &str) -> Value {
    let best = folder.read(&format!("{run}/checkpoints/best"));
    let config = folder.read(&format!("{run}/checkpoints/{}/config.json", best.trim()));
    serde_json::from_str(&config).unwrap()
}

#[test]
fn a_bert_reads_books_and_learns_classes_beside_one_that_has_read_nothing() {
    let folder = Folder::new();
    let (result, finished) = run(&folder, "bert-classify", &[]);
    for note in ["pretraining, 12 updates", "from_random, 24 updates", "training, 24 updates"] {
        assert!(finished.stderr.contains(note), "no {note:?} in {}", finished.stderr);
    }
    for name in ["test_accuracy", "test_macro_f1", "test_matthews", "test_f1_of_second_class"] {
        assert!((-1.0..=1.0).contains(&metric(&result, name)), "{name}");
        metric(&result, &format!("{name}_from_random"));
    }
    assert_eq!(metric(&result, "test_count"), 3.0);
    assert_eq!(metric(&result, "test_accuracy_of_most_frequent_class"), 2.0 / 3.0);
    assert!(metric(&result, "pretraining_validation_loss") > 0.0);
    let rows = result["tables"][0]["rows"].as_array().unwrap();
    assert_eq!((&rows[0][0], &rows[1][0]), (&"pretrained".into(), &"random".into()));
    let written = config(&folder, "bert-classify");
    assert_eq!(written["architectures"][0], "BertForSequenceClassification");
    assert_eq!(written["id2label"], serde_json::json!({ "0": "fox", "1": "sea" }));

    // Or it begins with a model that is there, and comes to the same.
    let best = folder.read("bert-classify/pretraining/checkpoints/best");
    let path = format!("model.path=bert-classify/pretraining/checkpoints/{}", best.trim());
    let begun = folder.tiny_run_of("bert-classify", "begun", &["--set", &path, "--json"]);
    let begun = folder.succeed(begun);
    for words in ["classifier.weight", "new, and random at first"] {
        assert!(begun.stderr.contains(words), "{}", begun.stderr);
    }
    let begun: Value = serde_json::from_str(&begun.stdout).unwrap();
    assert_eq!(begun["validation_loss"], result["validation_loss"]);
    assert!(!folder.path("begun/pretraining").exists());

    // What has a head of these classes goes on with it.
    let again = ["--set", "model.path=begun", "--set", "model.strict=true"];
    let again = folder.succeed(folder.tiny_run_of("bert-classify", "again", &again));
    assert!(!again.stderr.contains("new, and random"), "{}", again.stderr);
}

#[test]
fn a_bert_tags_the_first_piece_of_each_word() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "bert-ner", &["--set", "model.compared=false"]);
    for name in ["test_span_precision", "test_span_recall", "test_span_f1", "test_accuracy"] {
        assert!((0.0..=1.0).contains(&metric(&result, name)), "{name}");
    }
    // All words of the test were seen.
    assert_eq!(metric(&result, "test_span_f1_of_looking_up"), 1.0);
    assert_eq!(metric(&result, "test_count"), 36.0);
    assert!(!folder.path("bert-ner/from_random").exists());
    assert_eq!(config(&folder, "bert-ner")["architectures"][0], "BertForTokenClassification");
}

#[test]
fn a_bert_answers_out_of_windows_of_a_passage() {
    let folder = Folder::new();
    let (result, _) = run(&folder, "bert-qa", &[]);
    for name in ["test_exact_match", "test_f1", "test_f1_of_nearest_sentence"] {
        assert!((0.0..=1.0).contains(&metric(&result, name)), "{name}");
    }
    assert_eq!(metric(&result, "test_count"), 2.0);
    let samples = folder.read("bert-qa/samples.txt");
    assert!(samples.starts_with("Who sat?\n    ") && samples.contains("right: cat"), "{samples}");
    assert_eq!(config(&folder, "bert-qa")["architectures"][0], "BertForQuestionAnswering");
}

#[test]
fn sentences_are_compared_and_a_linear_layer_learns_their_vectors() {
    let folder = Folder::new();
    folder.write("judged.tsv", b"0.5\tthe fox\tthe dog\n1\ta cat\ta cat\n0\ta sea\tit ran\n");
    let judged = "judged={ path = \"judged.tsv\", columns = { label = 1, text = 2, second = 3, \
                  first_line = \"example\" } }";
    let (result, _) = run(&folder, "bert-sentences", &["--set", judged]);
    // The test is the training once more.
    assert_eq!(metric(&result, "test_accuracy_of_nearest_sentence"), 1.0);
    assert_eq!(metric(&result, "test_accuracy_of_most_shared_words"), 1.0);
    assert_eq!(metric(&result, "judged_spearman_of_shared_words"), 1.0);
    assert_eq!((metric(&result, "judged_count"), metric(&result, "test_count")), (3.0, 3.0));
    metric(&result, "judged_spearman_of_cosine");
    metric(&result, "test_accuracy_of_linear_layer");
    let samples = folder.read("bert-sentences/samples.txt");
    assert!(samples.contains("the quick brown fox\n    1.000 the quick brown fox"), "{samples}");
    folder.write("judged.tsv", b"0.5\ta\tb\nmuch\ta\tb\n");
    let bad = folder.tiny_run_of("bert-sentences", "bad", &["--set", judged]);
    refused(bad, 1, &["judged.tsv:2: \"much\" is no number"]);
}

#[test]
fn one_file_of_texts_is_split_and_long_texts_are_told() {
    let folder = Folder::new();
    let names = folder.read("names.tsv");
    folder.write(
        "one.tsv",
        names
            .replace('\t', " saw the cat. it slept well. a dog ran. the dog sat well.\t")
            .as_bytes(),
    );
    let columns = "data.columns={ text = 1, label = 2, first_line = \"header\" }";
    let more = ["--set", "data.path=one.tsv", "--set", columns];
    let (result, finished) = run(&folder, "bert-classify", &more);
    assert!((4.0..25.0).contains(&metric(&result, "test_count")));
    let note = "have more than 16 tokens: their ends are left out";
    assert!(finished.stderr.contains(note), "{}", finished.stderr);
}

#[test]
fn what_a_bert_cannot_learn_is_named() {
    let folder = Folder::new();
    let bad = |changes: &[&str]| -> Command {
        let more: Vec<&str> = changes.iter().flat_map(|change| ["--set", *change]).collect();
        folder.tiny_run_of("bert-classify", "bad", &more)
    };
    folder.write("authors/unseen.tsv", b"label\tsentence\nfox\ta\nwolf\tb\n");
    let words = ["authors/unseen.tsv:3", "no training example has the label \"wolf\"", "fox"];
    refused(bad(&["data.test=unseen.tsv"]), 1, &words);
    folder.write("authors/columns.tsv", b"label\tsentence\nfox\ta\tb\n");
    let words = ["authors/columns.tsv:2", "expected 2 columns, but found 3"];
    refused(bad(&["data.test=columns.tsv"]), 1, &words);
    folder.write("authors/empty.tsv", b"label\tsentence\nfox\t \n");
    refused(bad(&["data.test=empty.tsv"]), 1, &["authors/empty.tsv:2: the text is empty"]);
    refused(bad(&["data.max_length=17"]), 1, &["`data.max_length` is 17", "16 positions"]);
    refused(bad(&["data.columns.label=3"]), 1, &["has no column 3"]);
    refused(folder.emberline(&["run", "bert-sst2"]), 1, &["`data.path` is not set"]);

    let fixture = |name: &str| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../emberline-models/tests/fixtures/");
        std::fs::create_dir_all(folder.path(name)).unwrap();
        for file in ["config.json", "model.safetensors"] {
            let bytes = std::fs::read(format!("{source}{name}/{file}")).unwrap();
            folder.write(&format!("{name}/{file}"), &bytes);
        }
        let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fox"];
        folder.write(&format!("{name}/vocab.txt"), pieces.join("\n").as_bytes());
        format!("model.path={name}")
    };
    let of_three = fixture("bert_classes");
    let words = ["has a head of 3 classes", "the labels of the data are [\"fox\", \"sea\"]"];
    refused(bad(&[&of_three, "data.max_length=8"]), 1, &words);
    let headless = fixture("bert_alone");
    let strict = [&headless, "model.strict=true", "data.max_length=8"];
    refused(bad(&strict), 1, &["classifier.weight", "`model.strict`"]);
    assert!(!folder.path("bad").exists());

    folder.write("squad.json", b"{\"data\": []}");
    let asked = |more: &[&str]| folder.tiny_run_of("bert-qa", "bad", more);
    refused(asked(&[]), 1, &["squad.json has no example"]);
    refused(asked(&["--set", "data.stride=16"]), 2, &["`data.stride` must be below"]);
}
