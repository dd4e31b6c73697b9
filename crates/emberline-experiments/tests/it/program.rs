//! Starting the program in a folder of its own, on a model and a text as small as can be.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use emberline_text::{Corpus, Tokenizer};
use serde_json::Value;
use tempfile::TempDir;

/// Some 2,000 characters to learn.
pub fn text() -> String {
    "the quick brown fox jumps over the lazy dog;\nshe sells sea shells by the sea shore.\n"
        .repeat(24)
}

/// A folder to run in, with `text.txt` in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("text.txt", text().as_bytes());
        folder.write("poems.txt", text().replace('\n', "\n\n").as_bytes());
        // Names of one class end in a, those of the other do not.
        let letters = |i: usize| "bdfgklmnprst".chars().cycle().skip(i).step_by(3).take(3);
        let names = (0..120).map(|i| {
            let (end, class) = if i % 2 == 0 { ('a', "one") } else { ('o', "two") };
            format!("{}{}{end}\t{class}\n", letters(i).collect::<String>(), i % 7)
        });
        folder.write(
            "names.tsv",
            ("name\tlabel\n".to_string() + &names.collect::<String>()).as_bytes(),
        );
        let chapter = |n| {
            format!("Chapter {n}\n\nThe cat sat. It slept well.\n\n\"A dog ran!\" Who saw it?\n\n")
        };
        folder.write("book.txt", (1..=12).map(chapter).collect::<String>().as_bytes());
        std::fs::create_dir(folder.path("tagged")).unwrap();
        let sentence = "he\tO\nmet\tO\nann\tB-person\nlee\tI-person\n\nin\tO\nrome\tB-place\n\n";
        for file in ["train.tsv", "dev.tsv", "test.tsv"] {
            folder.write(&format!("tagged/{file}"), sentence.repeat(6).as_bytes());
        }
        std::fs::create_dir(folder.path("authors")).unwrap();
        let sentences = "label\tsentence\nfox\tthe quick brown fox\nsea\tshe sells sea shells\n";
        for file in ["train.tsv", "dev.tsv", "test.tsv"] {
            folder.write(
                &format!("authors/{file}"),
                (sentences.to_string() + "fox\tthe lazy dog\n").as_bytes(),
            );
        }
        let question = r#"{"id": "q", "question": "Who sat?", "answers": [{"text": "cat", "answer_start": 4}]}"#;
        let passage = format!(r#"{{"context": "The cat sat. A dog ran.", "qas": [{question}]}}"#);
        let articles = vec![format!(r#"{{"title": "Cats", "paragraphs": [{passage}]}}"#); 10];
        folder.write("squad.json", format!(r#"{{"data": [{}]}}"#, articles.join(", ")).as_bytes());
        std::fs::create_dir(folder.path("parallel")).unwrap();
        for part in ["train", "val", "test_2016_flickr"] {
            let (de, en) = ("Ein Hund läuft.\nEine Frau!\n", "A dog runs.\nA woman!\n");
            folder.write(&format!("parallel/{part}.de"), de.repeat(6).as_bytes());
            folder.write(&format!("parallel/{part}.en"), en.repeat(6).as_bytes());
        }
        // A bar at a height of its own for each digit, in six widths.
        let digits = (0..60).map(|image| {
            let (digit, width) = (image % 10, 3 + image / 10);
            let pixel =
                |place| if place / 8 * 10 / 8 == digit && place % 8 < width { 16 } else { digit };
            let pixels = (0..64).map(|place| format!("{},", pixel(place)));
            format!("{}{digit}\n", pixels.collect::<String>())
        });
        folder.write("digits.csv", digits.collect::<String>().as_bytes());
        folder
    }

    /// The same once more, as it was.
    pub fn gpt2_of_letters_again(&self) {
        std::fs::remove_dir_all(self.path("model")).unwrap();
        self.gpt2_of_letters();
    }

    /// The directory `model` of a GPT-2 of 13 letters and 8 positions, which `transformers` wrote, with a tokenizer, and
    /// what is known of it: see `tests/fixtures/gpt2_of_letters.py`.
    pub fn gpt2_of_letters(&self) -> Value {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2_of_letters");
        let read = |file: &str| std::fs::read(source.join(file)).unwrap();
        std::fs::create_dir(self.path("model")).unwrap();
        for file in ["config.json", "model.safetensors"] {
            self.write(&format!("model/{file}"), &read(file));
        }
        let expected: Value = serde_json::from_slice(&read("expected.json")).unwrap();
        let letters = Corpus::new("letters", expected["letters"].as_str().unwrap()).unwrap();
        self.write("model/tokenizer.json", &Tokenizer::characters(&letters).to_json());
        expected
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The program with these arguments, in this folder, with a cache of its own.
    pub fn emberline(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emberline"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("EMBERLINE_CACHE", self.path("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The tiny run into the directory `out`, with more arguments.
    pub fn tiny_run(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.emberline(&["run", "char-lstm", "--out", out]);
        command.args(TINY.iter().flat_map(|change| ["--set", change])).args(more);
        command
    }

    /// A tiny run of an experiment besides `char-lstm` into the directory `out`, with more arguments.
    pub fn tiny_run_of(&self, experiment: &str, out: &str, more: &[&str]) -> Command {
        let (_, changes) = TINY_OTHERS.iter().find(|(name, _)| *name == experiment).unwrap();
        let mut command = self.emberline(&["run", experiment, "--out", out]);
        let books: &[&str] = if FINETUNED.contains(&experiment) { &TINY_BOOKS } else { &[] };
        let changes = SHORT.iter().chain(books).chain(*changes);
        command.args(changes.flat_map(|change| ["--set", change])).args(more);
        command
    }

    /// Runs to the end, which must be a good one.
    pub fn succeed(&self, mut command: Command) -> Finished {
        let finished = finish(&mut command);
        assert_eq!(finished.code, Some(0), "{command:?}\n{}", finished.stderr);
        finished
    }
}

/// What makes every training of 24 updates tiny.
const SHORT: [&str; 5] = [
    "training.steps=24",
    "training.schedule.warmup_steps=2",
    "training.log_every=1",
    "training.evaluate_every=6",
    "training.checkpoint_every=3",
];

/// The experiments in which a BERT reads books before its task.
const FINETUNED: [&str; 4] = ["bert-classify", "bert-ner", "bert-qa", "bert-sentences"];

/// What makes that reading tiny.
const TINY_BOOKS: [&str; 7] = [
    "pretraining.data={ books = [\"book.txt\"], vocab_size = 60, batch_size = 4, masking_time = \"static\", \
     masking = {}, pairs = { max_seq_length = 16, n_duplicates = 2 } }",
    "pretraining.model={ d_model = 8, n_layers = 1, n_heads = 2, dropout = 0.1 }",
    "pretraining.training.steps=12",
    "pretraining.training.schedule.warmup_steps=2",
    "pretraining.training.log_every=1",
    "pretraining.training.evaluate_every=6",
    "pretraining.training.checkpoint_every=6",
];

/// What makes an experiment besides `char-lstm` tiny; some of them read what [`Folder::new`] wrote.
const TINY_OTHERS: [(&str, &[&str]); 23] = [
    (
        "poem-gru",
        &[
            "data.text=poems.txt",
            "data.batch_size=4",
            "data.seq_length=8",
            "model.d_hidden=12",
            "samples.prompts=[\"\\n\\nthe \"]",
        ],
    ),
    (
        "name-classifier",
        &["data.path=names.tsv", "data.batch_size=4", "model.d_embedding=6", "model.d_hidden=8"],
    ),
    (
        "tagger",
        &["data.path=tagged", "data.batch_size=4", "model.d_embedding=6", "model.d_hidden=8"],
    ),
    (
        "memory-horizon",
        &[
            "data.n_symbols=2",
            "data.batch_size=4",
            "data.distances=[1, 3]",
            "data.validation_batches=2",
            "model.d_hidden=6",
            "gradient.distance=5",
            "gradient.rows=2",
        ],
    ),
    (
        "long-range",
        &[
            "data.n_symbols=2",
            "data.batch_size=4",
            "data.distances=[1, 3]",
            "data.validation_batches=2",
            "model.d_model=8",
            "model.cnn={ n_layers = 2, kernel_size = 2 }",
            "model.transformer={ n_layers = 1, n_heads = 2, d_ff = 8 }",
            "jacobian={ distance = 5, rows = 2, seeds = 2 }",
            "timing={ lengths = [3, 6], rows = 2, runs = 1 }",
        ],
    ),
    (
        "char-gpt",
        &[
            "data.text=[\"text.txt\", \"poems.txt\"]",
            "data.batch_size=4",
            "data.seq_length=8",
            "data.batch_ramp={ first_batch_size = 1, tokens = 24 }",
            "model={ d_model = 8, n_layers = 1, n_heads = 2, dropout = 0.0 }",
            "samples.prompts=[\"she \"]",
        ],
    ),
    (
        "gpt3-banded",
        &[
            "data.text=[\"text.txt\", \"poems.txt\"]",
            "data.batch_size=4",
            "data.seq_length=8",
            "data.batch_ramp={ first_batch_size = 1, tokens = 24 }",
            "model={ d_model = 8, n_layers = 2, n_heads = 2, d_head = 3, band = 2, dropout = 0.1 }",
            "training.schedule={ name = \"cosine_by_tokens\", learning_rate = 1e-2, warmup_tokens = 24, decay_tokens = 400 }",
        ],
    ),
    (
        "ar-sums-to-one",
        &[
            "data={ n_symbols = 2, length = 3, n_tokens = 400, batch_size = 8 }",
            "model={ d_model = 8, n_layers = 1, n_heads = 2, dropout = 0.0 }",
            "training.schedule.learning_rate=0.03",
        ],
    ),
    (
        "icl-emerges",
        &[
            "data={ n_symbols = 3, n_examples = 4, batch_size = 6, validation_batches = 2 }",
            "model={ d_model = 8, n_heads = 2, n_layers = [1, 2] }",
            "training.schedule.learning_rate=0.03",
        ],
    ),
    (
        "gpt1-classify",
        &[
            "data.path=authors",
            "data.batch_size=2",
            "pretraining.data.text=text.txt",
            "pretraining.data.byte_pairs=260",
            "pretraining.data.batch_size=4",
            "pretraining.data.seq_length=24",
            "pretraining.model={ d_model = 8, n_layers = 1, n_heads = 2, dropout = 0.1 }",
            "pretraining.training.steps=12",
            "pretraining.training.schedule.warmup_steps=2",
            "pretraining.training.log_every=1",
            "pretraining.training.evaluate_every=6",
            "pretraining.training.checkpoint_every=6",
        ],
    ),
    (
        "copy",
        &[
            "data.n_symbols=4",
            "data.max_length=5",
            "data.training=80",
            "data.validation=8",
            "data.test=12",
            "batches.size={sentences=4}",
            "model.d_model=8",
            "model.d_ff=8",
        ],
    ),
    (
        "multi30k-lstm",
        &[
            "data.path=parallel",
            "batches.size={sentences=4}",
            "model.d_embedding=6",
            "model.d_hidden=8",
        ],
    ),
    (
        "multi30k-transformer",
        &[
            "data.path=parallel",
            "batches.size={sentences=4}",
            "model.d_model=8",
            "model.d_ff=8",
            "model.n_heads=2",
        ],
    ),
    (
        "masking-ablation",
        &[
            "data.books=[\"book.txt\"]",
            "data.vocab_size=60",
            "data.pairs.max_seq_length=16",
            "data.pairs.n_duplicates=2",
            "data.batch_size=4",
            "model.d_model=8",
            "texts.path=authors",
        ],
    ),
    ("bert-sentences", &["data.path=authors", "data.batch_size=2", "data.max_length=16"]),
    ("bert-classify", &["data.path=authors", "data.batch_size=2", "data.max_length=16"]),
    (
        "bert-ner",
        &[
            "data.path=tagged",
            "data.training=train.tsv",
            "data.validation=dev.tsv",
            "data.test=test.tsv",
            "data.batch_size=4",
            "data.max_length=16",
        ],
    ),
    (
        "bert-qa",
        &["data.path=squad.json", "data.batch_size=4", "data.max_length=16", "data.stride=2"],
    ),
    (
        "bert-pretrain-tiny",
        &[
            "data.books=[\"book.txt\"]",
            "data.vocab_size=60",
            "data.pairs.max_seq_length=16",
            "data.pairs.n_duplicates=2",
            "data.batch_size=4",
            "model.d_model=8",
            "gaps=[\"the [MASK] sat.\"]",
        ],
    ),
    (
        "digits-transfer",
        &[
            "data.path=digits.csv",
            "data.batch_size=4",
            "data.n_test=2",
            "model.channels=[2, 3]",
            "transfer.n_images=[1, 3]",
            "transfer.n_seeds=2",
            "transfer.steps=6",
        ],
    ),
    (
        "transfer-text",
        &[
            "data.books=[\"book.txt\"]",
            "data.vocab_size=60",
            "data.pairs={ max_seq_length = 16, n_duplicates = 2 }",
            "data.batch_size=2",
            "model.gpt1={ d_model = 8, n_layers = 1, n_heads = 2, dropout = 0.1 }",
            "model.bert={ d_model = 8, n_layers = 1, n_heads = 2, dropout = 0.1 }",
            "model.elmo.d_hidden=8",
            "model.elmo.d_output=4",
            "model.elmo.characters.d_character=3",
            "model.elmo.characters.filters=[{ width = 1, count = 4 }, { width = 3, count = 6 }]",
            "model.predicted={ min_count = 2, n_sampled = 5 }",
            "texts.path=authors",
            "texts.batch_size=2",
            "transfer.sizes=[{ n_texts = 2, steps = 10, n_seeds = 2 }]",
            "transfer.lora={ rank = 2, alpha = 2.0 }",
        ],
    ),
    (
        "elmo-books",
        &[
            "data.books=[\"book.txt\"]",
            "data.batch_size=2",
            "data.seq_length=6",
            "n_sampled=5",
            "model.d_hidden=8",
            "model.d_output=4",
            "model.characters.d_character=3",
            "model.characters.filters=[{ width = 1, count = 4 }, { width = 3, count = 6 }]",
            "meanings={ word = \"cat\", sentences = [\"The cat sat.\", \"Who saw the cat?\"] }",
        ],
    ),
    (
        "elmo-features",
        &[
            "data.path=authors",
            "data.min_count=1",
            "data.batch_size=2",
            "elmo.path=elmo-books",
            "model.d_embedding=4",
            "model.d_hidden=5",
        ],
    ),
];

/// What makes `char-lstm` tiny.
const TINY: [&str; 13] = [
    "data.text=text.txt",
    "data.batch_size=4",
    "data.seq_length=8",
    "data.micro_batches=2",
    "model.d_embedding=8",
    "model.d_hidden=16",
    "training.steps=24",
    "training.schedule.warmup_steps=2",
    "training.log_every=1",
    "training.evaluate_every=6",
    "training.checkpoint_every=3",
    "samples.max_new_tokens=20",
    "samples.prompts=[\"the \"]",
];

/// A program that has ended.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Finished {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Finished {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// The metrics of a run directory without what depends on the clock.
pub fn metrics(directory: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(directory.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut metrics: Value = serde_json::from_str(line).unwrap();
            for clock in ["elapsed_s", "tokens_per_s"] {
                metrics.as_object_mut().unwrap().remove(clock);
            }
            metrics
        })
        .collect()
}

/// The bytes of the weights of the best checkpoint and of the last.
pub fn weights(directory: &Path) -> Vec<Vec<u8>> {
    let checkpoints = directory.join("checkpoints");
    let best = std::fs::read_to_string(checkpoints.join("best")).unwrap();
    [best.trim(), "step-00000024"]
        .map(|name| std::fs::read(checkpoints.join(name).join("model.safetensors")).unwrap())
        .into()
}
