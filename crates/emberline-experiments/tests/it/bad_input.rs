//! What bad input gets: an exit code of 1 or 2, a message that names the object, and nothing overwritten.

use std::process::Command;

use crate::program::{Finished, Folder, finish};

/// Ends with this code and a message with each of these words in it.
#[track_caller]
pub fn refused(mut command: Command, code: i32, words: &[&str]) -> Finished {
    let finished = finish(&mut command);
    assert_eq!(finished.code, Some(code), "{}", finished.stderr);
    for word in words {
        assert!(finished.stderr.contains(word), "no {word:?} in: {}", finished.stderr);
    }
    finished
}

#[test]
fn a_text_that_cannot_be_learned_from_is_named() {
    let folder = Folder::new();
    folder.write("empty.txt", b"");
    folder.write("latin1.txt", b"caf\xe9");
    folder.write("short.txt", b"the short");
    for (name, words) in [
        ("missing.txt", vec!["missing.txt"]),
        ("shakespaer", vec!["`shakespeare`", "datasets"]),
        ("tinyshakespeare", vec!["cargo xtask data tinyshakespeare"]),
        ("empty.txt", vec!["empty.txt", "empty"]),
        ("latin1.txt", vec!["latin1.txt", "UTF-8", "byte 3"]),
        ("short.txt", vec!["short.txt", "batch_size 4", "seq_length 8"]),
    ] {
        let text = format!("data.text={name}");
        refused(folder.tiny_run("run", &["--set", &text]), 1, &words);
        assert!(!folder.path("run").exists(), "{name}");
    }
}

#[test]
fn a_config_that_cannot_be_run_names_its_key() {
    let folder = Folder::new();
    for (change, words) in [
        ("training.step=3", ["training.step", "`training.steps`"]),
        ("trainin.steps=3", ["trainin", "`training`"]),
        ("training.steps=many", ["training.steps", "many"]),
        ("training.steps", ["training.steps", "path.to.key=value"]),
        ("training.steps=0", ["steps", "at least 1"]),
        ("training.schedule.name=sine", ["training.schedule", "sine"]),
        ("training.optimizer.momentum=1", ["training.optimizer", "momentum"]),
        ("model.cell=transformer", ["model.cell", "transformer"]),
        ("model.d_hidden=0", ["`model`", "d_hidden"]),
        ("model.dropout=1.5", ["dropout", "1.5"]),
        ("device=abacus", ["device", "abacus"]),
        ("experiment=char-lsmt", ["char-lsmt", "`char-lstm`"]),
        ("samples.temperature=-1", ["samples.temperature", "-1"]),
    ] {
        refused(folder.tiny_run("run", &["--set", change]), 2, &words);
    }
    for (experiment, change, words) in [
        ("poem-gru", "samples.stop=", ["samples.stop", "empty"]),
        ("name-classifier", "task=sorting", ["sorting", "`classification`"]),
        ("name-classifier", "model.merge=concta", ["model.merge", "concta"]),
        ("name-classifier", "model.d_hidden=0", ["`model`", "d_hidden"]),
        ("name-classifier", "data.seq_length=8", ["data.seq_length", "`data."]),
        ("tagger", "data.separator=comma", ["data.separator", "comma"]),
        ("memory-horizon", "data.distances=[4, 2]", ["data.distances", "[4, 2]"]),
        ("memory-horizon", "data.distances=[]", ["data.distances", "0"]),
        ("digits-transfer", "transfer.head_rate=0", ["transfer.head_rate", "0"]),
        ("long-range", "model.d_model=7", ["model.d_model", "7 with 2 heads"]),
        ("long-range", "model.transformer.n_heads=3", ["model.transformer.n_heads", "3 heads"]),
        ("long-range", "timing.lengths=[]", ["timing.lengths", "0"]),
        ("long-range", "timing.lengths=[8, 8]", ["timing.lengths", "[8, 8]"]),
        ("long-range", "timing.lengths=[16384]", ["timing.lengths", "8192"]),
        ("copy", "scores.name=bleurt", ["scores", "bleurt"]),
        ("copy", "beam.beam_size=0", ["`beam`", "beam_size"]),
        ("copy", "beam.stop_tokens=[1]", ["beam.stop_tokens", "[1]"]),
        ("copy", "model.n_heads=3", ["`n_heads`", "`d_model` 8"]),
        ("copy", "data.min_length=6", ["data.min_length", "data.max_length"]),
        ("copy", "smoothing={uniform=1.5}", ["smoothing", "1.5"]),
        ("copy", "averaged_checkpoints=0", ["`averaged_checkpoints`", "at least 1"]),
        ("copy", "averaged_checkpoints=2", ["`training.keep_checkpoints` 1", "is 2"]),
        ("multi30k-transformer", "training.checkpoint_every=6", ["24 updates", "4 checkpoints"]),
    ] {
        refused(folder.tiny_run_of(experiment, "run", &["--set", change]), 2, &words);
    }
    // Beyond the numbers of a config file.
    let seed = "9223372036854775808";
    refused(folder.tiny_run("run", &["--seed", seed]), 2, &["seed", seed]);
    refused(folder.tiny_run("run", &["--set", "data.micro_batches=3"]), 1, &["3 micro-batches"]);
    refused(
        folder.tiny_run("run", &["--set", "samples.prompts=[\"Ω\"]"]),
        1,
        &["samples.prompts", "Ω"],
    );
    refused(folder.tiny_run("run", &["--set", "data.split.train=2.0"]), 1, &["split into 2"]);
    assert!(!folder.path("run").exists());
}

#[test]
fn pairs_that_cannot_be_learned_from_are_named() {
    let folder = Folder::new();
    let learned = ["--set", "model.positions={learned={max_positions=4}}"];
    let words = ["random sequences:1:", "the source has 6 tokens", "room for 4"];
    refused(folder.tiny_run_of("copy", "run", &learned), 1, &words);
    let learned = [&learned[..], &["--set", "batches.max_tokens=5"]].concat();
    let words = ["`batches.max_tokens`", "5 tokens", "room for 4"];
    refused(folder.tiny_run_of("copy", "run", &learned), 1, &words);
    let run = |path: &str| {
        let path = format!("data.path={path}");
        folder.tiny_run_of("multi30k-lstm", "run", &["--set", &path])
    };
    refused(run(""), 1, &["data.path", "--set data.path="]);
    refused(run("tagged"), 1, &["train.de.gz", "tagged"]);
    folder.write("parallel/train.en", b"A dog runs.\n");
    refused(run("parallel"), 1, &["train.de", "12", "train.en", "1"]);
    assert!(!folder.path("run").exists());
}

#[test]
fn bad_lines_of_pairs_end_a_run_or_are_left_out_and_counted_in_one_warning() {
    let folder = Folder::new();
    let run = |out: &str, more: &[&str]| {
        let positions = ["--set", "model.positions={learned={max_positions=12}}"];
        let beam = ["--set", "beam.max_new_tokens=8", "--set", "beam.max_per_input_token=0"];
        folder.tiny_run_of("multi30k-transformer", out, &[&positions, &beam[..], more].concat())
    };
    let add = |file: &str, lines: &str| {
        let file = format!("parallel/{file}");
        folder.write(&file, (folder.read(&file) + lines).as_bytes());
    };
    // An empty line, one of blanks, and one that is longer than the model takes.
    add("train.de", "\nZwei\n");
    add("train.en", "Nothing.\n  \n");
    add("test_2016_flickr.de", &("lang ".repeat(12) + "\nEine Frau!\n"));
    add("test_2016_flickr.en", "A long one.\nA woman!\n");
    refused(run("run", &[]), 1, &["train.de:13: the source is empty"]);
    let finished = folder.succeed(run("run", &["--skip-bad"]));
    let warnings: Vec<&str> =
        finished.stderr.lines().filter(|line| line.contains("warning")).collect();
    let [warning] = warnings[..] else { panic!("{}", finished.stderr) };
    assert!(warning.starts_with("warning: 3 bad lines are left out, the first is "), "{warning}");
    assert!(warning.ends_with("train.de:13: the source is empty"), "{warning}");
    // Translations still stand beside their references.
    let result: serde_json::Value = serde_json::from_str(&folder.read("run/result.json")).unwrap();
    assert_eq!(result["metrics"]["test_count"], 13.0);
    let samples = folder.read("run/samples.txt");
    assert!(samples.contains("source      Eine Frau!\nreference   A woman!\n"), "{samples}");
    // The config repeats the run.
    assert!(folder.read("run/config.toml").contains("bad_lines = \"skip\""));
    folder.succeed(folder.emberline(&["run", "--resume", "--out", "run"]));

    folder.write("parallel/train.en", b"A dog runs.\n");
    refused(run("other", &["--skip-bad"]), 1, &["train.de", "14", "train.en", "line 2"]);
    let blank = "\n".repeat(12);
    folder.write("parallel/train.de", blank.as_bytes());
    folder.write("parallel/train.en", blank.as_bytes());
    refused(run("other", &["--skip-bad"]), 1, &["train.de", "has no example"]);
    let tagger = folder.tiny_run_of("tagger", "other", &["--skip-bad"]);
    refused(tagger, 2, &["--skip-bad", "tagging"]);
    assert!(!folder.path("other").exists());
}

#[test]
fn labelled_data_that_cannot_be_learned_from_is_named_with_its_line() {
    let folder = Folder::new();
    let names = folder.read("names.tsv");
    folder.write("columns.tsv", names.replace("a\tone\n", "a one\n").as_bytes());
    folder.write("empty.tsv", b"name\tlabel\n");
    folder.write("few.tsv", b"name\tlabel\nann\tone\n");
    for (name, words) in [
        ("missing.tsv", vec!["missing.tsv"]),
        ("columns.tsv", vec!["columns.tsv:2", "2 columns"]),
        ("empty.tsv", vec!["empty.tsv"]),
        ("few.tsv", vec!["few.tsv"]),
    ] {
        let path = format!("data.path={name}");
        let run = folder.tiny_run_of("name-classifier", "run", &["--set", &path]);
        refused(run, 1, &words);
        assert!(!folder.path("run").exists(), "{name}");
    }
    // Of many classes of one name each, some are in the test part alone.
    let classes = (0..60).map(|i| format!("name{i}\tclass{i}\n")).collect::<String>();
    folder.write("classes.tsv", (names + &classes).as_bytes());
    let run = folder.tiny_run_of("name-classifier", "run", &["--set", "data.path=classes.tsv"]);
    refused(run, 1, &["test part", "classes.tsv:", "class"]);
}

#[test]
fn tagged_data_that_cannot_be_learned_from_is_named_with_its_line() {
    let folder = Folder::new();
    let train = folder.read("tagged/train.tsv");
    for (test, words) in [
        ("he\tO\nmet\n", ["test.tsv:2", "2 columns"]),
        ("he\tO\nann\tB-robot\n", ["test.tsv:2", "B-robot"]),
        ("\n\n", ["test.tsv", "test.tsv"]),
    ] {
        folder.write("tagged/test.tsv", test.as_bytes());
        refused(folder.tiny_run_of("tagger", "run", &[]), 1, &words);
        assert!(!folder.path("run").exists(), "{words:?}");
    }
    folder.write("tagged/test.tsv", train.as_bytes());
    let nowhere = ["--set", "data.path=no/where"];
    refused(folder.tiny_run_of("tagger", "run", &nowhere), 1, &["no folder no/where"]);
    let missing = ["--set", "data.test=missing.tsv"];
    refused(folder.tiny_run_of("tagger", "run", &missing), 1, &["missing.tsv"]);

    folder.succeed(folder.tiny_run_of("tagger", "run", &[]));
    folder.write("tagged/test.tsv", train.repeat(2).as_bytes());
    let resume = folder.emberline(&["run", "--resume", "--out", "run"]);
    refused(resume, 1, &["test.tsv", "SHA-256"]);
}

#[test]
fn a_config_file_that_is_none_is_named() {
    let folder = Folder::new();
    folder.write("broken.toml", b"experiment = ");
    folder.write("binary.toml", b"\xff\xfe");
    folder.write("partial.toml", b"experiment = \"char-lstm\"\n");
    let task = b"task = \"language_modelling\"\nexperiment = \"char-lstm\"\n";
    folder.write("partial-task.toml", task);
    for (name, word) in [
        ("missing.toml", "cannot read"),
        ("broken.toml", "line 1"),
        ("binary.toml", "cannot read"),
        ("partial.toml", "the key `task` is missing"),
        ("partial-task.toml", "missing field `device`"),
    ] {
        refused(folder.emberline(&["run", "--config", name]), 2, &[name, word]);
    }
    assert!(!folder.path("runs").exists());
}

#[test]
fn an_unknown_name_gets_the_nearest_one() {
    let folder = Folder::new();
    refused(folder.emberline(&["run", "char-lsmt"]), 2, &["char-lsmt", "`char-lstm`"]);
    refused(folder.emberline(&["reprot"]), 2, &["reprot", "report"]);
    refused(folder.emberline(&["run", "char-lstm", "--dveice", "flex"]), 2, &["--device"]);
    refused(folder.emberline(&["run", "char-lstm", "--device", "abacus"]), 2, &["abacus", "flex"]);
    refused(folder.emberline(&["data", "tinyshakespear"]), 2, &["`tinyshakespeare`"]);
    refused(folder.emberline(&["run"]), 2, &["EXPERIMENT"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_built_in_says_which_work() {
    let folder = Folder::new();
    refused(folder.tiny_run("run", &["--device", "cuda"]), 1, &["cuda", "What works here: flex"]);
    assert!(!folder.path("run").exists());
}

#[test]
fn nothing_is_written_over() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("run")).unwrap();
    folder.write("run/notes.txt", b"mine");
    refused(folder.tiny_run("run", &[]), 1, &["run is not empty", "--resume"]);
    assert_eq!(folder.read("run/notes.txt"), "mine");
    assert_eq!(folder.path("run").read_dir().unwrap().count(), 1);

    refused(folder.tiny_run("text.txt/run", &[]), 1, &["text.txt/run"]);
    refused(folder.emberline(&["run", "char-lstm", "--name", "../x"]), 1, &["../x"]);
}

#[test]
fn there_must_be_something_to_resume() {
    let folder = Folder::new();
    let resume = |more: &[&str]| folder.emberline(&[&["run", "--resume"], more].concat());
    refused(resume(&["char-lstm"]), 1, &["no run to resume"]);
    refused(resume(&["--out", "nowhere"]), 1, &["nowhere is no run directory"]);
    refused(resume(&["char-lsmt"]), 2, &["`char-lstm`"]);
    refused(resume(&["char-lstm", "--seed", "3"]), 2, &["--seed"]);
}

#[test]
fn a_run_is_resumed_only_with_its_own_text() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("run", &[]));
    let before = folder.read("run/metrics.jsonl");
    folder.write("text.txt", "another text, as long as it needs to be. ".repeat(50).as_bytes());
    let resume = folder.emberline(&["run", "--resume", "--out", "run"]);
    refused(resume, 1, &["text.txt", "SHA-256"]);
    assert_eq!(folder.read("run/metrics.jsonl"), before);
}

#[test]
fn a_checkpoint_that_is_damaged_or_foreign_is_named() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("run", &["--set", "training.keep_checkpoints=1"]));
    folder.write("digits.txt", "0123456789\n".repeat(99).as_bytes());
    let digits = ["--set", "data.text=digits.txt", "--set", "samples.prompts=[]"];
    folder.succeed(folder.tiny_run("other", &digits));

    // A plain model directory: a complete checkpoint would be known to be damaged by its checksums alone.
    let last = "run/checkpoints/step-00000024";
    let model = "model";
    std::fs::create_dir(folder.path(model)).unwrap();
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        std::fs::copy(folder.path(last).join(file), folder.path(model).join(file)).unwrap();
    }
    let generate = || folder.emberline(&["generate", model, "--prompt", "the"]);
    let with = |file: &str, bytes: &[u8], words: &[&str]| {
        let path = folder.path(model).join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        refused(generate(), 1, words);
        std::fs::write(&path, whole).unwrap();
    };
    let of_other = |file: &str| {
        std::fs::read(folder.path("other/checkpoints/step-00000024").join(file)).unwrap()
    };
    let mut weights = std::fs::read(folder.path(model).join("model.safetensors")).unwrap();
    with("model.safetensors", &weights[..weights.len() / 2], &["model.safetensors"]);
    with("model.safetensors", b"not safetensors", &["model.safetensors"]);
    with(
        "model.safetensors",
        &of_other("model.safetensors"),
        &["the tensors of model do not fit", "head.weight"],
    );
    with("config.json", b"{\"model_type\": \"t5\"}", &["config.json"]);
    let config = folder.read(&format!("{model}/config.json"));
    let no_layer = config.replace("\"n_layers\": 1", "\"n_layers\": 0");
    assert_ne!(no_layer, config);
    with("config.json", no_layer.as_bytes(), &["config.json", "n_layers"]);
    let huge = config.replace("\"d_hidden\": 16", "\"d_hidden\": 1000000");
    with("config.json", huge.as_bytes(), &["config.json", "this machine has"]);
    with("tokenizer.json", &of_other("tokenizer.json"), &["11 tokens", "30"]);
    with("tokenizer.json", b"{}", &["tokenizer.json"]);
    folder.succeed(generate());

    // One bit of one weight.
    *weights.last_mut().unwrap() ^= 1;
    std::fs::write(folder.path(last).join("model.safetensors"), &weights).unwrap();
    let generate = folder.emberline(&["generate", last, "--prompt", "the"]);
    refused(generate, 1, &["step-00000024/model.safetensors"]);
    let resume = folder.emberline(&["run", "--resume", "--out", "run"]);
    refused(resume, 1, &["step-00000024/model.safetensors"]);
}

#[test]
fn a_prompt_that_cannot_be_continued_is_refused() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("run", &[]));
    let generate = |more: &[&str]| folder.emberline(&[&["generate", "run"], more].concat());
    refused(generate(&["--prompt", "Ωmega"]), 1, &["'Ω'", "vocabulary"]);
    refused(generate(&["--prompt", ""]), 2, &["--prompt"]);
    refused(generate(&["--temperature", "-1"]), 2, &["temperature"]);
    refused(generate(&["--temperature", "NaN"]), 2, &["temperature"]);
    refused(generate(&["--top-p", "1.5"]), 2, &["top_p"]);
    refused(generate(&["--top-k", "0"]), 2, &["top_k"]);
    refused(generate(&["--top-p", "2", "--temperature", "0"]), 2, &["top_p"]);
    refused(folder.emberline(&["generate", "nowhere"]), 1, &["nowhere"]);
    refused(folder.emberline(&["generate", "."]), 1, &["config.json"]);
}

#[test]
fn data_that_is_not_what_it_should_be_does_not_enter_the_cache() {
    let folder = Folder::new();
    let from = |file: &str| folder.emberline(&["data", "tinyshakespeare", "--from", file]);
    refused(from("text.txt"), 1, &["text.txt is not tinyshakespeare", "86c4e6aa"]);
    refused(from("missing.txt"), 1, &["missing.txt"]);
    assert!(!folder.path("cache").exists());
}

#[test]
fn data_that_was_changed_in_the_cache_is_not_trained_on() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("cache/tinyshakespeare")).unwrap();
    folder.write("cache/tinyshakespeare/input.txt", folder.read("text.txt").as_bytes());
    let run = folder.tiny_run("run", &["--set", "data.text=tinyshakespeare"]);
    refused(run, 1, &["input.txt is not tinyshakespeare", "86c4e6aa", "fetches it again"]);
    assert!(!folder.path("run").exists());
}

#[test]
fn a_report_needs_a_run() {
    let folder = Folder::new();
    refused(folder.emberline(&["report", "nowhere"]), 1, &["nowhere is no run directory"]);
    refused(folder.emberline(&["report"]), 2, &["RUN"]);
    folder.succeed(folder.tiny_run("run", &[]));
    refused(
        folder.emberline(&["report", "run", "--output", "no/such/report.html"]),
        1,
        &["report.html"],
    );
    folder.write("run/result.json", b"{}");
    refused(folder.emberline(&["report", "run"]), 1, &["result.json"]);
}

#[test]
fn a_model_that_fits_no_memory_is_refused() {
    let folder = Folder::new();
    let huge = folder.tiny_run("run", &["--set", "model.d_hidden=1000000"]);
    refused(huge, 1, &["parameters", "this machine has"]);
    assert!(!folder.path("run").exists());
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_with_the_last_checkpoint_whole() {
    let folder = Folder::new();
    let wild = [
        "training.schedule={name=\"constant\", learning_rate=1e30, warmup_steps=5}",
        "training.optimizer={name=\"sgd\"}",
        "training.checkpoint_every=1",
    ];
    let wild: Vec<&str> = wild.iter().flat_map(|change| ["--set", change]).collect();
    let finished =
        refused(folder.tiny_run("run", &wild), 1, &["at step", "the last good checkpoint"]);
    let checkpoint = finished.stderr.trim().rsplit(' ').next().unwrap();
    folder.succeed(folder.emberline(&["generate", checkpoint, "--prompt", "the"]));
}

/// A limit on the size of files fails writes as a full disk does.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_ends_a_run_with_the_last_checkpoint_whole() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("whole", &[]));
    let mut command = Command::new("sh");
    // 8 blocks of 512 bytes, or of 1024: the config fits, the weights do not.
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_emberline"))
        .args(["run", "--config", "whole/config.toml", "--out", "full"])
        .args(["--set", "model.d_hidden=64"])
        .current_dir(folder.path(""));
    refused(command, 1, &["full/checkpoints"]);
    assert!(folder.path("full/config.toml").is_file());
    let left = folder.path("full/checkpoints").read_dir().unwrap().count();
    assert_eq!(left, 0, "something half is left");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let mut child = folder.emberline(&["list"]).spawn().unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
