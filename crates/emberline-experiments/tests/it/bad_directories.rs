//! What a directory gets that is none, or whose files are cut off, foreign or made to harm: an error that names it.

use std::path::Path;

use emberline_checkpoint::{load_tensors, save_tensors};

use crate::bad_input::refused;
use crate::program::Folder;

/// That every verb that reads a directory refuses it, with a message of these words.
#[track_caller]
fn all_refuse(folder: &Folder, words: &[&str]) {
    let generate = folder.emberline(&["generate", "model", "--prompt", "bad", "--temperature=0"]);
    refused(generate, 1, words);
    refused(folder.emberline(&["evaluate", "model", "--text", "letters.txt"]), 1, words);
    let activations = ["activations", "model", "--tokens=1,2", "--output=states.safetensors"];
    refused(folder.emberline(&activations), 1, words);
    assert!(!folder.path("states.safetensors").exists());
}

fn letters() -> Folder {
    let folder = Folder::new();
    folder.gpt2_of_letters();
    folder.write("letters.txt", b"a bad lad");
    folder
}

/// The bytes of a safetensors file.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn a_directory_without_weights_or_config_is_named() {
    let folder = letters();
    std::fs::remove_file(folder.path("model/model.safetensors")).unwrap();
    all_refuse(&folder, &["model", "model.safetensors"]);
    let folder = letters();
    std::fs::remove_file(folder.path("model/config.json")).unwrap();
    all_refuse(&folder, &["model/config.json"]);
    std::fs::remove_dir_all(folder.path("model")).unwrap();
    all_refuse(&folder, &["there is no directory model"]);
}

#[test]
fn a_config_of_another_model_is_named() {
    let folder = letters();
    for (config, words) in [
        ("{\"model_type\": \"t5\"}", vec!["model", "`t5`", "no language model"]),
        ("{\"model_type\": \"gpt-2\"}", vec!["`gpt-2`", "`gpt2`"]),
        ("{\"vocab_size\": 13}", vec!["`model_type`"]),
        ("{\"model_type\": \"gpt2\", \"n_embd\": \"wide\"}", vec!["config.json", "n_embd"]),
        ("{\"model_type\": \"gpt2\", \"n_embd\": 12, \"n_head\": 5}", vec!["n_embd", "5 heads"]),
        ("{\"model_type\": \"gpt2\", \"n_layer\": 18446744073709551615}", vec!["config.json"]),
        ("{\"model_type\": \"gpt2\", ", vec!["config.json"]),
        ("", vec!["config.json"]),
    ] {
        folder.write("model/config.json", config.as_bytes());
        all_refuse(&folder, &words);
    }
    folder.write("model/config.json", b"{\"model_type\": \"bert\"}");
    let generate = folder.emberline(&["generate", "model", "--prompt", "bad"]);
    refused(generate, 1, &["model", "BERT", "writes no text"]);
    // One of the right kind and other sizes.
    folder.gpt2_of_letters_again();
    let config = folder.read("model/config.json").replace("\"n_layer\": 2", "\"n_layer\": 3");
    folder.write("model/config.json", config.as_bytes());
    all_refuse(&folder, &["missing", "transformer.h.2."]);
}

#[test]
fn a_safetensors_file_that_is_cut_off_or_hostile_is_named() {
    let folder = letters();
    let whole = std::fs::read(folder.path("model/model.safetensors")).unwrap();
    let tensor = |shape: &str, offsets: &str| {
        format!(
            "\"wte.weight\": {{\"dtype\": \"F32\", \"shape\": {shape}, \"data_offsets\": {offsets}}}"
        )
    };
    let hostile =
        |tensors: &[String]| safetensors(&format!("{{{}}}", tensors.join(", ")), &[0; 64]);
    let other = tensor("[4]", "[8, 24]").replace("wte", "wpe");
    for (what, bytes) in [
        ("nothing", vec![]),
        ("less than a length", whole[..7].to_vec()),
        ("the header cut off", whole[..100].to_vec()),
        ("the data cut off", whole[..whole.len() - 1].to_vec()),
        ("more than the data", [&whole[..], &[0; 4]].concat()),
        (
            "a header of the length of all memory",
            [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat(),
        ),
        ("a header past the file", [&(1u64 << 40).to_le_bytes()[..], &whole[8..]].concat()),
        ("a header that is no JSON", safetensors("}{", &[])),
        ("a length past the file", hostile(&[tensor("[4096]", "[0, 16384]")])),
        ("offsets that overlap", hostile(&[tensor("[4]", "[0, 16]"), other])),
        ("offsets that go back", hostile(&[tensor("[4]", "[16, 0]")])),
        ("a shape that is not its length", hostile(&[tensor("[5]", "[0, 64]")])),
        ("a shape beyond all numbers", hostile(&[tensor("[4294967296, 4294967296]", "[0, 64]")])),
        ("a shape below zero", hostile(&[tensor("[-4]", "[0, 64]")])),
    ] {
        println!("{what}");
        folder.write("model/model.safetensors", &bytes);
        all_refuse(&folder, &["model.safetensors"]);
    }
}

#[test]
fn a_pickle_that_asks_for_anything_but_tensors_is_refused() {
    let folder = letters();
    std::fs::remove_file(folder.path("model/model.safetensors")).unwrap();
    let fixtures =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../emberline-checkpoint/tests/fixtures");
    for (file, word) in [("hostile.pt", "posix.system"), ("object.pt", "pytorch_model.bin")] {
        let bytes = std::fs::read(fixtures.join(file)).unwrap();
        folder.write("model/pytorch_model.bin", &bytes);
        all_refuse(&folder, &["pytorch_model.bin", word]);
        folder.write("model/pytorch_model.bin", &bytes[..bytes.len() / 2]);
        all_refuse(&folder, &["pytorch_model.bin"]);
    }
}

#[test]
fn weights_that_are_no_numbers_are_an_error_wherever_scores_are_asked_for() {
    let folder = letters();
    let path = folder.path("model/model.safetensors");
    let mut tensors = load_tensors(&path).unwrap();
    let norm = tensors.iter_mut().find(|(name, _)| name.ends_with("ln_f.bias")).unwrap();
    norm.1 = burn::tensor::TensorData::new(vec![f32::NAN; 12], [12]);
    save_tensors(&path, tensors).unwrap();
    let generate = |more: &[&str]| {
        folder.emberline(&[&["generate", "model", "--prompt", "bad"], more].concat())
    };
    let words = ["not numbers", "the weights may be damaged"];
    for more in [&["--temperature=0"][..], &["--temperature=1"], &["--num-beams=2"], &["--slide"]] {
        refused(generate(more), 1, &words);
    }
    refused(folder.emberline(&["evaluate", "model", "--text", "letters.txt"]), 1, &words);
    refused(folder.emberline(&["evaluate", "model", "--last-words", "letters.txt"]), 1, &words);
}

#[test]
fn prompts_and_settings_that_cannot_be_are_refused_with_a_gpt_too() {
    let folder = letters();
    let generate = |more: &[&str]| folder.emberline(&[&["generate", "model"], more].concat());
    refused(generate(&["--prompt", ""]), 2, &["--prompt is empty"]);
    refused(generate(&["--prompt", "a", "--temperature=-1"]), 2, &["temperature is -1"]);
    refused(generate(&["--prompt", "a", "--temperature=NaN"]), 2, &["temperature is NaN"]);
    refused(generate(&["--prompt", "he led a lad"]), 1, &["12 tokens", "8 positions"]);
    refused(
        generate(&["--prompt", "he led a lad", "--num-beams=2"]),
        1,
        &["12 tokens", "8 positions"],
    );
    refused(generate(&["--prompt", "zoo"]), 1, &["'z'"]);
    folder.succeed(generate(&["--prompt", "he led a lad", "--slide", "--temperature=0"]));
    let activations = |tokens: &str| {
        folder.emberline(&[
            "activations",
            "model",
            "--output=states",
            &format!("--tokens={tokens}"),
        ])
    };
    refused(activations("1,13"), 1, &["token 13", "below 13"]);
    refused(activations("4294967296"), 1, &["4294967296"]);
    refused(activations("-1"), 1, &["-1"]);
    // A tokenizer of more tokens than the model has.
    let more = emberline_text::Corpus::new("letters", "abcdefghijklmnopqrstuvwxyz").unwrap();
    folder.write("model/tokenizer.json", &emberline_text::Tokenizer::characters(&more).to_json());
    refused(generate(&["--prompt", "a"]), 1, &["26 tokens", "13"]);
}
