//! Directories of published models, as the program reads them.

use std::path::{Path, PathBuf};

use emberline_checkpoint::load_tensors;
use emberline_text::Tokenizer;

use crate::bad_input::refused;
use crate::program::Folder;

/// A GPT-2 of random weights, as `transformers` saved it, with what it makes of some tokens.
fn gpt2() -> PathBuf {
    let fixtures = "../emberline-models/tests/fixtures/gpt2_of_three_heads";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(fixtures)
}

#[test]
fn activations_of_a_gpt2_are_those_of_transformers() {
    let (folder, model) = (Folder::new(), gpt2());
    let expected = load_tensors(model.join("values_f32.safetensors")).unwrap();
    let tensor = |name: &str| &expected.iter().find(|(other, _)| other == name).unwrap().1;
    let tokens: Vec<String> = tensor("tokens").iter::<i64>().map(|id| id.to_string()).collect();
    let rows: Vec<String> = tokens.chunks(7).map(|row| row.join(",")).collect();
    let mut arguments = vec!["activations", model.to_str().unwrap(), "--output", "found"];
    arguments.extend(rows.iter().flat_map(|row| ["--tokens", row.as_str()]));
    let stdout = folder.succeed(folder.emberline(&arguments)).stdout;
    assert_eq!(stdout, "hidden.0 hidden.1 hidden.2 logits in found\n");
    let found = load_tensors(folder.path("found")).unwrap();
    assert_eq!(found.len(), 4);
    for (name, found) in found {
        let expected = tensor(&name);
        assert_eq!(found.shape(), expected.shape(), "{name}");
        let largest = expected.iter::<f64>().fold(1.0f64, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
            assert!((found - expected).abs() < 1e-5 * largest, "{name}: {found} for {expected}");
        }
    }
}

#[test]
fn what_a_gpt2_cannot_read_is_refused() {
    let (folder, model) = (Folder::new(), gpt2());
    let model = model.to_str().unwrap();
    let activations = |tokens: &str| {
        folder.emberline(&["activations", model, "--output", "found", "--tokens", tokens])
    };
    refused(activations("1,13"), 1, &["row 0 has token 13", "below 13"]);
    refused(activations("1,2,3,4,5,6,7,8,9"), 1, &["row 0 has 9 tokens", "8 positions"]);
    refused(activations("1,x"), 1, &["--tokens 1,x", "expected a token id", "\"x\""]);
    refused(folder.emberline(&["generate", model, "--prompt", "a"]), 1, &["tokenizer.json"]);
}

/// A folder with a GPT-2 of letters in `model`.
fn with_letters() -> Folder {
    let folder = Folder::new();
    let model = folder.path("model");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(gpt2().join(file), model.join(file)).unwrap();
    }
    let letters = emberline_text::Corpus::new("letters", "abcdefghijklm").unwrap();
    std::fs::write(model.join("tokenizer.json"), Tokenizer::characters(&letters).to_json())
        .unwrap();
    folder
}

#[test]
fn int8_tells_what_it_costs_in_perplexity_which_is_little() {
    let folder = with_letters();
    folder.write("text", "abcdefghijklmmlkjihgfedcba".as_bytes());
    let generate = |more: &[&str]| {
        let generate = ["generate", "model", "--prompt", "abc", "--int8", "--max-new-tokens=4"];
        folder.emberline(&[&generate, more].concat())
    };
    let written = folder.succeed(generate(&["--perplexity-of", "text"]));
    assert!(written.stdout.starts_with("abc") && written.stdout.len() == 8, "{}", written.stdout);
    let line = written.stderr.lines().find(|line| line.contains("int8")).unwrap();
    let numbers: Vec<f64> = line.split([' ', ':']).filter_map(|word| word.parse().ok()).collect();
    let &[int8, f32, percent] = &numbers[..] else { panic!("{line}") };
    assert!(int8 > 1.0 && f32 > 1.0 && (int8 / f32 - 1.0).abs() < 0.03, "{line}");
    assert!((percent - (int8 / f32 - 1.0) * 100.0).abs() < 0.01, "{line}");
    let written = folder.succeed(generate(&[]));
    assert!(written.stderr.contains("a token of the prompt"), "{}", written.stderr);
    refused(generate(&["--perplexity-of", "absent"]), 1, &["absent"]);
    refused(generate(&["--device", "wgpu"]), 2, &["--int8", "CPU"]);
}

#[test]
fn a_prompt_without_room_for_what_follows_is_refused() {
    let folder = with_letters();
    let generate = |prompt: &str| {
        folder.emberline(&["generate", "model", "--prompt", prompt, "--max-new-tokens=4"])
    };
    let written = folder.succeed(generate("abcdef"));
    assert!(written.stderr.contains("end after 2 new tokens"), "{}", written.stderr);
    refused(generate("abcdefgh"), 1, &["prompt 0 has 8 tokens", "8 positions"]);
}

/// A BERT of random weights, as `transformers` saved it, with what it makes of some tokens.
fn bert(case: &str) -> PathBuf {
    let fixtures = "../emberline-models/tests/fixtures";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(fixtures).join(case)
}

#[test]
fn activations_of_berts_are_named_as_those_of_transformers() {
    let folder = Folder::new();
    for (case, names) in [
        ("bert_alone", "hidden.0 hidden.1 hidden.2 pooled"),
        ("bert_pretraining", "hidden.0 hidden.1 hidden.2 pooled logits seq_relationship_logits"),
        ("bert_words", "hidden.0 hidden.1 hidden.2 hidden.3 logits"),
        ("bert_classes", "hidden.0 hidden.1 hidden.2 pooled logits"),
        ("bert_tags", "hidden.0 hidden.1 hidden.2 logits"),
        ("bert_answers", "hidden.0 hidden.1 hidden.2 hidden.3 start_logits end_logits"),
        ("bert_sentences", "hidden.0 hidden.1 hidden.2 pooled"),
    ] {
        let model = bert(case);
        let model = model.to_str().unwrap();
        let arguments =
            ["activations", model, "--tokens", "1,2,3", "--tokens", "4", "--output", "found"];
        let stdout = folder.succeed(folder.emberline(&arguments)).stdout;
        assert_eq!(stdout, format!("{names} in found\n"), "{case}");
        let found = load_tensors(folder.path("found")).unwrap();
        let shape = |name: &str| {
            let found = found.iter().find(|(other, _)| other == name);
            found.map(|(_, data)| data.shape().to_vec())
        };
        match case {
            "bert_pretraining" => {
                assert_eq!(shape("logits"), Some(vec![2, 3, 13]));
                assert_eq!(shape("seq_relationship_logits"), Some(vec![2, 2]));
            }
            "bert_classes" => assert_eq!(shape("logits"), Some(vec![2, 3])),
            "bert_answers" => assert_eq!(shape("start_logits"), Some(vec![2, 3])),
            _ => assert_eq!(shape("hidden.0").unwrap()[..2], [2, 3]),
        }
    }
}

#[test]
fn activations_of_pairs_are_those_of_transformers() {
    let (folder, model) = (Folder::new(), bert("bert_pretraining"));
    let expected = load_tensors(model.join("values_f32.safetensors")).unwrap();
    let tensor = |name: &str| &expected.iter().find(|(other, _)| other == name).unwrap().1;
    // The first row, which has no padding.
    let row = |name: &str| {
        let numbers = tensor(name).iter::<i64>().take(7).map(|number| number.to_string());
        numbers.collect::<Vec<_>>().join(",")
    };
    let (tokens, segments) = (row("tokens"), row("segments"));
    let activations = |more: &[&str]| {
        let model = model.to_str().unwrap();
        let arguments = ["activations", model, "--output", "found", "--tokens", &tokens];
        folder.emberline(&[&arguments, more].concat())
    };
    folder.succeed(activations(&["--segments", &segments]));
    for (name, found) in load_tensors(folder.path("found")).unwrap() {
        let name = if name == "logits" { "prediction_logits" } else { &name };
        for (found, expected) in found.iter::<f64>().zip(tensor(name).iter::<f64>()) {
            let tolerance = 1e-5 * expected.abs().max(1.0);
            assert!((found - expected).abs() < tolerance, "{name}: {found} for {expected}");
        }
    }
    refused(activations(&["--segments", "0,1"]), 1, &["row 0 has 7 tokens and 2 segments"]);
    let letters = gpt2();
    let letters = letters.to_str().unwrap();
    let of_gpt = ["activations", letters, "--output=found", "--tokens=1,2", "--segments=0,1"];
    refused(folder.emberline(&of_gpt), 1, &["--segments are for a BERT"]);
}

#[test]
fn heads_that_a_config_does_not_name_are_left_out_and_a_pooler_stays() {
    // So the first published models are: words by their config, pairs too by their weights.
    let folder = Folder::new();
    let model = folder.path("model");
    std::fs::create_dir(&model).unwrap();
    let weights = bert("bert_pretraining").join("model.safetensors");
    std::fs::copy(weights, model.join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(bert("bert_pretraining").join("config.json")).unwrap();
    let config = config.replace("BertForPreTraining", "BertForMaskedLM");
    std::fs::write(model.join("config.json"), config).unwrap();
    let arguments = ["activations", "model", "--tokens", "1,2,3", "--output", "found"];
    let stdout = folder.succeed(folder.emberline(&arguments)).stdout;
    assert_eq!(stdout, "hidden.0 hidden.1 hidden.2 pooled logits in found\n");
}

#[test]
fn what_a_bert_does_not_have_or_cannot_do_is_refused() {
    let folder = Folder::new();
    let model = folder.path("model");
    std::fs::create_dir(&model).unwrap();
    let weights = bert("bert_alone").join("model.safetensors");
    std::fs::copy(weights, model.join("model.safetensors")).unwrap();
    let activations =
        || folder.emberline(&["activations", "model", "--output", "found", "--tokens", "1,2"]);
    let config = std::fs::read_to_string(bert("bert_words").join("config.json")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "{config}");
        std::fs::write(model.join("config.json"), config.replace(from, to)).unwrap();
    };
    with("BertForMaskedLM", "BertLMHeadModel");
    refused(activations(), 1, &["names BertLMHeadModel", "expected one of BertModel"]);
    let config = std::fs::read_to_string(bert("bert_alone").join("config.json")).unwrap();
    let config = config.replace("BertModel", "BertForMaskedLM");
    std::fs::write(model.join("config.json"), config).unwrap();
    refused(activations(), 1, &["read as a BertForMaskedLM", "have no cls.predictions"]);
    let words = bert("bert_words");
    let generate = ["generate", words.to_str().unwrap(), "--prompt", "a"];
    refused(folder.emberline(&generate), 1, &["holds a BERT, which writes no text"]);
}
