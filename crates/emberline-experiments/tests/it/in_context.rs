//! `emberline evaluate --task` against lm-evaluation-harness.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use emberline_backend::test_device;
use emberline_checkpoint::{Weights, load_weights, read_config};
use emberline_core::Stream;
use emberline_evaluation::in_context::{AskConfig, evaluate_task, toml_task};
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_text::Tokenizer;
use serde_json::Value;

use crate::bad_input::refused;
use crate::program::Folder;

/// A folder with the model of letters and the task `letters.toml`, and what is known of it: see
/// `tests/fixtures/in_context.py`.
fn folder() -> (Folder, Value) {
    let folder = Folder::new();
    folder.gpt2_of_letters();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/in_context.json");
    let expected: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut task = String::from("name = \"letters\"\nseparator = \" \"\n");
    for item in expected["items"].as_array().unwrap() {
        let choices = item["choices"].as_array().unwrap().iter();
        let choices: Vec<String> =
            choices.map(|choice| format!("\" {}\"", choice.as_str().unwrap())).collect();
        let (context, right, choices) = (&item["context"], &item["right"], choices.join(", "));
        task +=
            &format!("[[items]]\ncontext = {context}\nchoices = [{choices}]\nright = {right}\n");
    }
    folder.write("letters.toml", task.as_bytes());
    (folder, expected)
}

const ASKED: [&str; 5] = ["evaluate", "model", "--task=letters.toml", "--start-token=a", "--json"];

#[test]
fn choices_have_the_scores_of_the_harness_and_its_files() {
    let (folder, expected) = folder();
    let output = folder.emberline(&[&ASKED[..], &["--output", "scores"]].concat());
    let found: Value = serde_json::from_str(&folder.succeed(output).stdout).unwrap();
    for metric in ["acc", "acc_norm", "acc_mutual_info"] {
        assert_eq!(found["results"]["letters"][format!("{metric},none")], expected[metric]);
    }
    assert_eq!(found["n-samples"]["letters"]["effective"], 6);
    let mut files: Vec<_> = std::fs::read_dir(folder.path("scores/model")).unwrap().collect();
    files.sort_by_key(|file| file.as_ref().unwrap().file_name());
    let texts = files.iter().map(|file| file.as_ref().unwrap().path());
    let texts: Vec<String> = texts.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let [results, samples] = &texts[..] else { panic!("{files:?}") };
    assert_eq!(serde_json::from_str::<Value>(results).unwrap()["results"], found["results"]);
    for (line, expected) in samples.lines().zip(expected["log_likelihoods"].as_array().unwrap()) {
        let sample: Value = serde_json::from_str(line).unwrap();
        let answers = sample["filtered_resps"].as_array().unwrap();
        assert_eq!(answers.len(), expected.as_array().unwrap().len());
        for (answer, expected) in answers.iter().zip(expected.as_array().unwrap()) {
            let (found, expected) = (answer[0].as_f64().unwrap(), expected.as_f64().unwrap());
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}: {line}");
        }
    }
    assert_eq!(samples.lines().count(), 6);
}

#[test]
fn examples_that_do_not_fit_are_counted_or_refused() {
    let (folder, _) = folder();
    let two = [&ASKED[..], &["--num-fewshot=1", "--limit=3"]].concat();
    let output = folder.succeed(folder.emberline(&two));
    assert!(output.stderr.contains("3 prompts have fewer than 1 examples"), "{}", output.stderr);
    let strict = [&two[..], &["--strict"]].concat();
    refused(folder.emberline(&strict), 1, &["item 0 of letters", "does not fit the 8 positions"]);
}

#[test]
fn what_was_answered_is_kept_and_not_asked_again() {
    let (folder, _) = folder();
    let run = |extra: &[&str]| {
        let arguments = [&ASKED[..], &["--cache", "kept"], extra].concat();
        folder.succeed(folder.emberline(&arguments))
    };
    let files = || -> Vec<_> {
        let files = std::fs::read_dir(folder.path("kept")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    };
    let results = |stdout: &str| serde_json::from_str::<Value>(stdout).unwrap()["results"].clone();
    let plain = folder.succeed(folder.emberline(&ASKED)).stdout;
    let some = run(&["--limit=3"]);
    assert!(some.stderr.contains("0 answers were kept"), "{}", some.stderr);
    let first = run(&[]);
    let again = run(&[]);
    assert!(again.stderr.contains(" 0 are new"), "{}", again.stderr);
    for found in [&first, &again] {
        assert_eq!(results(&found.stdout), results(&plain));
    }
    let [file] = &files()[..] else { panic!("{:?}", files()) };

    // The file is what is read: one answer that is certain there has the best score.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for answer in kept["likelihoods"].as_object_mut().unwrap().values_mut() {
        answer["log_probabilities"] = serde_json::json!([-1.0]);
    }
    std::fs::write(file, kept.to_string()).unwrap();
    assert_ne!(results(&run(&[]).stdout), results(&plain));

    std::fs::write(file, "{\"likelihoods\": {").unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let damaged = [&ASKED[..], &["--cache", "kept"]].concat();
    refused(folder.emberline(&damaged), 1, &[name, "holds no answers: delete it"]);

    // The answers of another model are in another file.
    let config = folder.read("model/config.json").replace("\"n_head\": 3", "\"n_head\": 1");
    folder.write("model/config.json", config.as_bytes());
    run(&[]);
    assert_eq!(files().len(), 2);
}

#[test]
fn a_task_file_that_cannot_be_asked_is_named() {
    let (folder, _) = folder();
    let of = |file: &str, text: &str, words: &[&str]| {
        folder.write(file, text.as_bytes());
        refused(folder.emberline(&["evaluate", "model", "--task", file]), 1, words);
    };
    of("a.jsonl", "{\"context\": \"a\"}\n", &["a.jsonl: line 1", "missing field `completion`"]);
    of(
        "b.json",
        "{\"name\": \"b\", \"examples\": [{\"input\": \"a\"}]}",
        &["b.json: item 0: `target`"],
    );
    of("c.toml", "name = \"c\"\nitems = []\n", &["has no items: expected at least one"]);
    of("d.csv", "a,b\n", &["d.csv: expected a .json of BIG-bench, a .jsonl or a .toml"]);
    refused(folder.emberline(&["evaluate", "model", "--num-fewshot=1"]), 2, &["--task"]);
}

/// The bits of all weights, in their order.
struct Bits(Vec<u32>);

impl ModuleVisitor for Bits {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let numbers = parameter.val().into_data().try_into_vec::<f32>().unwrap();
        self.0.extend(numbers.into_iter().map(f32::to_bits));
    }
}

#[test]
fn no_weight_changes_when_a_model_is_asked() {
    let (folder, _) = folder();
    let directory = folder.path("model");
    let config: Gpt2Config = read_config(&directory).unwrap();
    let weights = Weights::open_published(&directory, &Gpt2::PUBLISHED_NAMES).unwrap();
    let device = test_device();
    let model = config.init(Stream::new(0), &device);
    let model = load_weights(model, &weights, &Gpt2::stored_name).unwrap();
    let bits = |model: &Gpt2| {
        let mut bits = Bits(Vec::new());
        model.visit(&mut bits);
        bits.0
    };
    let before = bits(&model);
    let tokenizer = Tokenizer::from_directory(&directory).unwrap();
    let task = toml_task("letters.toml", &folder.read("letters.toml")).unwrap();
    let config = AskConfig { max_positions: Some(8), ..AskConfig::default() };
    evaluate_task(&model, &tokenizer, &task, &config, &device).unwrap();
    assert!(before.len() > 1000 && before == bits(&model));
}
