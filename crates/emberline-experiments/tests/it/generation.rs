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
}
