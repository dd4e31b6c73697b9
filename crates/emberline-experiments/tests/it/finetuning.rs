//! A published GPT-2 goes on learning from a text.

use std::path::Path;
use std::process::Command;

use emberline_text::{Corpus, Tokenizer};
use serde_json::Value;

use crate::bad_input::refused;
use crate::program::Folder;

/// The letters that the 13 tokens of the model stand for.
const LETTERS: &str = "abcdefghijklm";

/// A folder with a GPT-2 of random weights in `gpt2`, as `transformers` saved it, and a text of its letters.
fn folder() -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("gpt2")).unwrap();
    let fixture = "../emberline-models/tests/fixtures/gpt2_of_three_heads";
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(file), folder.path("gpt2").join(file)).unwrap();
    }
    let letters = Corpus::new("letters", LETTERS).unwrap();
    folder.write("gpt2/tokenizer.json", &Tokenizer::characters(&letters).to_json());
    folder.write("letters.txt", "abcdefg".repeat(60).as_bytes());
    folder
}

fn finetune(folder: &Folder, more: &[&str]) -> Command {
    let mut command = folder.emberline(&["run", "gpt2-finetune", "--out", "run"]);
    for change in [
        "model.path=gpt2",
        "data.path=letters.txt",
        "data.seq_length=8",
        "training.steps=20",
        "training.evaluate_every=10",
        "training.schedule.learning_rate=0.02",
        "samples={ prompts = [\"abc\"], max_new_tokens = 4, temperature = 0.0 }",
    ] {
        command.args(["--set", change]);
    }
    command.args(more);
    command
}

#[test]
fn a_gpt2_learns_a_text_and_is_a_directory_as_before() {
    let folder = folder();
    let result = folder.succeed(finetune(&folder, &["--json"])).stdout;
    let result: Value = serde_json::from_str(&result).unwrap();
    let before = result["metrics"]["validation_loss_before"].as_f64().unwrap();
    let after = result["validation_loss"].as_f64().unwrap();
    assert!(after < before - 0.5, "{before} before, {after} after");
    let samples = folder.read("run/samples.txt");
    assert!(samples.starts_with("before\n\nabc") && samples.contains("after\n\nabc"), "{samples}");

    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(folder.path("run/model").join(file).is_file(), "{file}");
    }
    let fields = |path: &str| {
        let config: Value = serde_json::from_str(&folder.read(path)).unwrap();
        let mut config = config.as_object().unwrap().clone();
        // Weights are saved in f32, whatever they came in.
        config.remove("dtype");
        config
    };
    let (saved, published) = (fields("run/model/config.json"), fields("gpt2/config.json"));
    for (field, value) in published {
        assert_eq!(saved.get(&field), Some(&value), "{field}");
    }
    // It is the best model of the run, and can be learnt with again.
    let text = |model: &str| {
        let generate = ["generate", model, "--prompt", "abc", "--max-new-tokens=4", "--json"];
        let line: Value =
            serde_json::from_str(&folder.succeed(folder.emberline(&generate)).stdout).unwrap();
        line["generated_text"].clone()
    };
    assert_eq!(text("run/model"), text("run"));
    std::fs::rename(folder.path("run"), folder.path("first")).unwrap();
    folder.succeed(finetune(&folder, &["--set", "model.path=first/model"]));
}

#[test]
fn what_cannot_be_finetuned_is_named() {
    let folder = folder();
    let preset = folder.emberline(&["run", "gpt2-finetune"]);
    refused(preset, 1, &["`model.path` is not set", "--set model.path=DIRECTORY"]);
    refused(finetune(&folder, &["--set", "data.path="]), 1, &["`data.path` is not set"]);
    refused(finetune(&folder, &["--set", "model.path=none"]), 1, &["none"]);
    let long = finetune(&folder, &["--set", "data.seq_length=9"]);
    refused(long, 1, &["`data.seq_length` is 9", "8 positions"]);
    folder.write("other.txt", b"xyz");
    refused(finetune(&folder, &["--set", "data.path=other.txt"]), 1, &["'x'"]);
    let several = "data.path=[\"letters.txt\", \"letters.txt\"]";
    refused(finetune(&folder, &["--set", several]), 1, &["<|endoftext|>", "has none"]);
    assert!(!folder.path("run").exists());
}
