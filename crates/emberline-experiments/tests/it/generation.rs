//! `emberline generate` with the flags of `transformers`.

use std::process::Stdio;

use serde_json::Value;

use crate::bad_input::refused;
use crate::program::Folder;

/// The objects that a folder's model writes with some flags.
fn lines(folder: &Folder, more: &[&str]) -> Vec<Value> {
    let generate = ["generate", "run", "--prompt", "she ", "--max-new-tokens=30", "--json"];
    let stdout = folder.succeed(folder.emberline(&[&generate, more].concat())).stdout;
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(line: &Value) -> &str {
    line["generated_text"].as_str().unwrap()
}

fn trained() -> Folder {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("run", &[]));
    folder
}

#[test]
fn several_texts_are_drawn_or_found() {
    let folder = trained();
    let (one, three) = (lines(&folder, &[]), lines(&folder, &["--num_return_sequences", "3"]));
    assert_eq!((three.len(), text(&three[0])), (3, text(&one[0])));
    assert!(text(&three[1]) != text(&three[0]) && three[2]["sequence"] == 2);

    let beams = ["--num-beams=3", "--num-return-sequences=2", "--no-repeat-ngram-size=4"];
    let found = lines(&folder, &beams);
    let score = |line: &Value| line["score"].as_f64().unwrap();
    assert!(found.len() == 2 && score(&found[0]) >= score(&found[1]), "{found:?}");
    let plain = ["generate", "run", "--prompt", "she ", "--max-new-tokens=30"];
    let plain = folder.succeed(folder.emberline(&[&plain[..], &beams].concat())).stdout;
    let both = [text(&found[0]), text(&found[1])].map(|text| format!("she {text}\n"));
    assert_eq!(plain, both.join("\n\n--------\n\n"));
}

#[test]
fn a_text_ends_before_a_stop_string_and_has_no_bad_word() {
    let folder = trained();
    let whole = lines(&folder, &[]);
    let whole = text(&whole[0]);
    let stop = &whole[10..12];
    let stopped = lines(&folder, &["--stop", "not there", "--stop", stop]);
    assert_eq!(text(&stopped[0]), &whole[..whole.find(stop).unwrap()]);
    let clean = lines(&folder, &["--bad-words", "e", "--bad-words", "th", "--seed=3"]);
    assert!(!text(&clean[0]).contains('e') && !text(&clean[0]).contains("th"), "{clean:?}");
}

#[test]
fn scores_are_told_of_every_token() {
    let folder = trained();
    let line = lines(&folder, &["--scores=2", "--top-k=5"]).remove(0);
    let scores = line["scores"].as_array().unwrap();
    let tokens: String = scores.iter().map(|score| score["token"].as_str().unwrap()).collect();
    assert_eq!((scores.len(), &tokens[..]), (30, text(&line)));
    for score in scores {
        let log = |score: &Value| score["log_probability"].as_f64().unwrap();
        let likely = score["most_probable"].as_array().unwrap();
        assert_eq!(likely.len(), 2);
        assert!(log(score) <= log(&likely[0]) && log(&likely[1]) <= log(&likely[0]), "{score}");
        assert!(score["processed_log_probability"].as_f64().unwrap() <= 0.0);
    }
}

#[test]
fn every_line_of_stdin_is_continued_until_it_ends() {
    let folder = trained();
    folder.write("prompts.txt", "she \nΩ\nshe ".as_bytes());
    let mut command =
        folder.emberline(&["generate", "run", "--interactive", "--max-new-tokens=20"]);
    command.stdin(Stdio::from(std::fs::File::open(folder.path("prompts.txt")).unwrap()));
    let finished = folder.succeed(command);
    let alone = ["0", "2"].map(|seed| {
        let arguments =
            ["generate", "run", "--prompt", "she ", "--max-new-tokens=20", "--seed", seed];
        folder.succeed(folder.emberline(&arguments)).stdout
    });
    assert_eq!(finished.stdout, alone.concat());
    assert!(finished.stderr.contains("'Ω'"), "{}", finished.stderr);
}

/// The objects that the GPT-2 of letters writes for the lines of a file.
fn continued(folder: &Folder, more: &[&str]) -> Vec<Value> {
    let generate = ["generate", "model", "--prompts", "prompts.txt", "--json"];
    let stdout = folder.succeed(folder.emberline(&[&generate, more].concat())).stdout;
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn prompts_of_mixed_lengths_are_continued_together_as_transformers_continues_each() {
    let folder = Folder::new();
    let expected = folder.gpt2_of_letters();
    let prompts = expected["prompts"].as_array().unwrap();
    let text: String = prompts.iter().map(|p| format!("{}\n", p.as_str().unwrap())).collect();
    folder.write("prompts.txt", text.as_bytes());
    let found = continued(&folder, &["--temperature=0", "--scores"]);
    assert_eq!(found.len(), prompts.len());
    let greedy = expected["greedy"].as_array().unwrap();
    for ((found, prompt), expected) in found.iter().zip(prompts).zip(greedy) {
        assert_eq!((&found["prompt"], &found["generated_text"]), (prompt, &expected["text"]));
        let expected = expected["log_probabilities"].as_array().unwrap();
        let found = found["scores"].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let found = found["log_probability"].as_f64().unwrap();
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }
}

#[test]
fn prompts_are_drawn_for_together_and_one_by_one_with_the_same_chance() {
    let folder = Folder::new();
    folder.gpt2_of_letters();
    folder.write("prompts.txt", b"a\nbad lad\nhe\nhe\ncabal\n");
    let drawn = ["--temperature=1.5", "--num-return-sequences=2", "--seed=4"];
    let together = continued(&folder, &[&drawn[..], &["--slide", "--max-new-tokens=20"]].concat());
    let one_by_one = ["--slide", "--max-new-tokens=20", "--batch-size=1"];
    assert_eq!(continued(&folder, &[&drawn[..], &one_by_one].concat()), together);
    assert_eq!((together.len(), together[7]["index"].as_u64()), (10, Some(3)));
    assert!(text(&together[4]) != text(&together[6]), "equal prompts have chances of their own");
}

#[test]
fn a_text_slides_on_where_it_would_end_or_be_refused() {
    let folder = Folder::new();
    folder.gpt2_of_letters();
    let generate = |more: &[&str]| {
        let greedy = ["generate", "model", "--temperature=0"];
        folder.succeed(folder.emberline(&[&greedy, more].concat())).stdout
    };
    let whole = ["--prompt", "bad", "--max-new-tokens=9"];
    assert_eq!(generate(&whole).trim_end_matches('\n').len(), 8);
    let slid = generate(&[&whole[..], &["--slide"]].concat());
    assert_eq!(slid.trim_end_matches('\n').len(), 12, "{slid:?}");
    // The ninth token is one too many, and the model reads the last four: what follows them follows these.
    let end = generate(&["--prompt", &slid[5..9], "--max-new-tokens=3"]);
    assert_eq!(end.trim_end_matches('\n')[4..], slid[9..12]);
    // Of a long prompt it reads the last eight.
    let long = generate(&["--prompt", "he led a bad lad", "--slide", "--max-new-tokens=1"]);
    let short = generate(&["--prompt", " bad lad", "--slide", "--max-new-tokens=1"]);
    assert_eq!(long.trim_end_matches('\n')[16..], short.trim_end_matches('\n')[8..]);
}

#[test]
fn a_text_ends_with_the_token_that_the_directory_says() {
    let folder = Folder::new();
    folder.gpt2_of_letters();
    let greedy = ["generate", "model", "--prompt", "bad", "--temperature=0", "--json"];
    let written = |more: &[&str]| {
        let stdout = folder.succeed(folder.emberline(&[&greedy, more].concat())).stdout;
        text(&serde_json::from_str(&stdout).unwrap()).to_string()
    };
    let whole = written(&[]);
    let end = whole.chars().nth(2).unwrap();
    let id = " abcdefghijkl".find(end).unwrap();
    let ends = format!("{{\"eos_token_id\": [{id}, 50256]}}");
    folder.write("model/generation_config.json", ends.as_bytes());
    assert_eq!(written(&[]), whole[..whole.find(end).unwrap()]);
    assert!(written(&["--min-new-tokens=4"]).len() >= 4);
    folder.write("model/generation_config.json", b"{\"eos_token_id\": \"the end\"}");
    refused(folder.emberline(&greedy), 1, &["eos_token_id", "generation_config.json"]);
}

#[test]
fn a_small_top_p_of_openai_is_greedy_and_goes_with_no_other() {
    let folder = Folder::new();
    folder.gpt2_of_letters();
    folder.write("prompts.txt", b"bad\nhe\n");
    // Nothing but the most probable token stays within a probability below its own.
    let greedy: Vec<Value> = continued(&folder, &["--temperature=0"]);
    let texts = |lines: &[Value]| lines.iter().map(|l| text(l).to_string()).collect::<Vec<_>>();
    let within = continued(&folder, &["--temperature=1", "--openai-top-p=0.01"]);
    assert_eq!(texts(&within), texts(&greedy));
    let both = ["generate", "model", "--top-p=0.5", "--openai-top-p=0.5"];
    refused(folder.emberline(&both), 2, &["--top-p", "--openai-top-p"]);
    let above = ["generate", "model", "--openai-top-p=1.5"];
    refused(folder.emberline(&above), 2, &["top_p", "1.5"]);
}

#[test]
fn a_line_that_cannot_be_continued_is_named_with_its_place() {
    let folder = Folder::new();
    folder.gpt2_of_letters();
    let generate = ["generate", "model", "--prompts", "prompts.txt"];
    for (lines, words) in [
        ("a\n\nhe\n", ["prompts.txt:2", "empty"]),
        ("a\nzoo\n", ["prompts.txt:2", "'z'"]),
        ("a\nhe led a bad lad\n", ["prompts.txt:2", "8 positions"]),
        ("", ["prompts.txt", "empty"]),
    ] {
        folder.write("prompts.txt", lines.as_bytes());
        refused(folder.emberline(&generate), 1, &words);
    }
    let mut command = folder.emberline(&["generate", "model", "--prompts=-", "--temperature=0"]);
    folder.write("prompts.txt", b"a\nhe\n");
    command.stdin(Stdio::from(std::fs::File::open(folder.path("prompts.txt")).unwrap()));
    let from_stdin = folder.succeed(command).stdout;
    let from_file = [&generate[..], &["--temperature=0"]].concat();
    assert_eq!(folder.succeed(folder.emberline(&from_file)).stdout, from_stdin);
    let missing = ["generate", "model", "--prompts", "missing.txt"];
    refused(folder.emberline(&missing), 1, &["missing.txt"]);
}

#[test]
fn flags_that_cannot_be_are_refused() {
    let folder = trained();
    let refuse = |more: &[&str], words: &[&str]| {
        refused(folder.emberline(&[&["generate", "run"], more].concat()), 2, words);
    };
    refuse(&["--num-beams", "0"], &["--num-beams is 0"]);
    refuse(&["--num-beams", "2", "--num-return-sequences", "3"], &["--num-return-sequences is 3"]);
    refuse(&["--num-beams", "2", "--temperature", "1"], &["--num-beams", "--temperature"]);
    refuse(&["--num-return-sequences", "0"], &["--num-return-sequences is"]);
    refuse(&["--num-return-sequences", "2", "--temperature", "0"], &["--num-return-sequences is"]);
    refuse(&["--repetition-penalty", "0"], &["repetition_penalty"]);
    refuse(&["--repetition-penalty", "-1"], &["repetition_penalty"]);
    refuse(&["--no-repeat-ngram-size", "0"], &["no_repeat_ngram_size"]);
    refuse(&["--min-new-tokens", "501"], &["min_new_tokens"]);
    refuse(&["--bad-words", ""], &["--bad-words"]);
    refuse(&["--stop", ""], &["stop string"]);
    refuse(&["--scores", "3"], &["3"]);
    refuse(&["--interactive", "--prompt", "a"], &["--interactive"]);
    refuse(&["--prompts", "text.txt", "--prompt", "a"], &["--prompts"]);
    refuse(&["--slide", "--num-beams", "2"], &["--slide"]);
    refuse(&["--batch-size", "0"], &["batch_size"]);
}
