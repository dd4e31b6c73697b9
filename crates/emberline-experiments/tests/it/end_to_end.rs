//! From a text to samples, a result and a report.

use crate::program::{Folder, metrics, weights};

#[test]
fn a_run_ends_with_samples_a_result_and_a_report() {
    let folder = Folder::new();
    let finished = folder.succeed(folder.tiny_run("run", &[]));
    for file in [
        "config.toml",
        "metrics.jsonl",
        "result.json",
        "report.html",
        "samples.txt",
        "plots/loss.svg",
        "checkpoints/step-00000024/model.safetensors",
        "checkpoints/step-00000024/config.json",
        "checkpoints/step-00000024/tokenizer.json",
        "checkpoints/step-00000024/DONE",
    ] {
        assert!(folder.path("run").join(file).is_file(), "{file}");
    }
    assert!(finished.stdout.contains("validation loss"), "{}", finished.stdout);
    assert!(finished.stdout.contains(folder.read("run/samples.txt").trim_end()));
    // Without a terminal there is no control character, only lines.
    assert!(
        finished.stderr.contains("step 6  validation loss") && !finished.stderr.contains('\u{1b}')
    );

    let result: serde_json::Value = serde_json::from_str(&folder.read("run/result.json")).unwrap();
    let metrics = metrics(&folder.path("run"));
    assert_eq!(result["steps"], 24);
    assert_eq!(result["tokens_seen"], 24 * 4 * 8);
    let mut losses = metrics.iter().filter_map(|line| line["validation_loss"].as_f64());
    assert_eq!(result["validation_loss"], losses.clone().fold(f64::MAX, f64::min));
    assert_eq!(result["final_validation_loss"], losses.next_back().unwrap());
    assert!(folder.read("run/report.html").contains("<svg"));
}

#[test]
fn a_config_file_repeats_its_run_bit_for_bit_at_any_number_of_threads() {
    let folder = Folder::new();
    let mut one = folder.tiny_run("one", &[]);
    folder.succeed({
        one.env("RAYON_NUM_THREADS", "1");
        one
    });
    let arguments = ["run", "--config", "one/config.toml", "--out", "two"];
    folder.succeed({
        let mut two = folder.emberline(&arguments);
        two.env("RAYON_NUM_THREADS", "2");
        two
    });
    assert_eq!(folder.read("one/config.toml"), folder.read("two/config.toml"));
    assert_eq!(metrics(&folder.path("one")), metrics(&folder.path("two")));
    assert_eq!(weights(&folder.path("one")), weights(&folder.path("two")));
    assert_eq!(folder.read("one/samples.txt"), folder.read("two/samples.txt"));
}

#[test]
fn another_seed_is_another_run() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("one", &[]));
    folder.succeed(folder.tiny_run("two", &["--seed", "7"]));
    assert_ne!(metrics(&folder.path("one"))[0]["loss"], metrics(&folder.path("two"))[0]["loss"]);
}

#[test]
fn a_trained_model_continues_a_prompt_and_repeats_itself_with_its_seed() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("run", &[]));
    let continued = |seed: &str| {
        let arguments =
            ["generate", "run", "--prompt", "she ", "--max-new-tokens", "30", "--seed", seed];
        folder.succeed(folder.emberline(&arguments)).stdout
    };
    assert!(continued("1").starts_with("she "));
    assert_eq!(continued("1"), continued("1"));
    assert_ne!(continued("1"), continued("2"));

    let arguments = ["generate", "run/checkpoints/step-00000024", "--max-new-tokens=5", "--json"];
    let json = folder.succeed(folder.emberline(&arguments)).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["generated_text"].as_str().unwrap().chars().count(), 5);
}

#[test]
fn a_dry_run_estimates_and_leaves_nothing() {
    let folder = Folder::new();
    let finished = folder.succeed(folder.tiny_run("run", &["--dry-run", "--json"]));
    let estimate: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    // 30 characters; an embedding of 8, an LSTM of 8 to 16 with two biases, a head.
    let parameters = 30 * 8 + 4 * 16 * (8 + 16 + 2) + 30 * 16 + 30;
    assert_eq!(estimate["parameters"], parameters);
    assert!(estimate["total_s"].as_f64().unwrap() > 0.0);
    assert!(!folder.path("run").exists());
}

#[test]
fn runs_without_a_name_are_numbered_and_reports_compare_them() {
    let folder = Folder::new();
    for seed in ["1", "2"] {
        let mut arguments = vec!["run", "char-lstm", "--seed", seed];
        arguments.extend(["--set", "data.text=text.txt", "--set", "data.batch_size=4"]);
        arguments.extend(["--set", "data.seq_length=8", "--set", "model.d_hidden=8"]);
        arguments.extend([
            "--set",
            "training.steps=2",
            "--set",
            "training.schedule.warmup_steps=0",
        ]);
        arguments.extend(["--set", "samples.prompts=[]"]);
        folder.succeed(folder.emberline(&arguments));
    }
    let (one, two) = ("runs/char-lstm/1", "runs/char-lstm/2");
    let arguments = ["report", one, two, "--output", "both.html"];
    assert_eq!(folder.succeed(folder.emberline(&arguments)).stdout, "both.html\n");
    assert!(folder.read("both.html").contains("<th>training.seed</th><td>1</td><td>2</td>"));
}

#[test]
fn lists_and_the_doctor_speak_json_too() {
    let folder = Folder::new();
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&folder.succeed(folder.emberline(arguments)).stdout).unwrap()
    };
    assert_eq!(json(&["list", "--json"])[1]["name"], "char-lstm");
    let doctor = json(&["doctor", "--json"]);
    assert_eq!(doctor["devices"][0]["name"], "flex");
    assert_eq!(doctor["devices"][0]["compiled"], true);
    let words = folder.succeed(folder.emberline(&["doctor"])).stdout;
    assert!(words.contains("flex    ready"), "{words}");
}
