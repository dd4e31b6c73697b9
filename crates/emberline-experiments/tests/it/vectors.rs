//! `vectors`, as a user meets it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Folder, finish};

const SMALL: [&str; 6] =
    ["--set", "d_embedding=8", "--set", "min_count=2", "--set", "block_words=50"];

fn train<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["vectors", "train", "text.txt", "--output", output][..], &SMALL, more].concat()
}

fn words_of(json: &str) -> Vec<String> {
    let found: Vec<Value> = serde_json::from_str(json).unwrap();
    found.iter().map(|answer| answer["word"].as_str().unwrap().into()).collect()
}

#[test]
fn vectors_are_trained_converted_asked_scored_and_drawn() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| folder.succeed(folder.emberline(arguments)).stdout;
    run(&train("one.bin", &["--threads", "1"]));
    run(&train("two.bin", &["--threads", "2"]));
    let read = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(read("one.bin"), read("two.bin"), "another number of threads, other vectors");
    run(&train("cbow.vec", &["--cbow"]));
    run(&train("faithful.bin", &["--faithful"]));

    run(&["vectors", "convert", "one.bin", "one.safetensors"]);
    run(&["vectors", "convert", "one.safetensors", "one.txt"]);
    run(&["vectors", "convert", "one.txt", "again.bin"]);
    assert_eq!(read("one.bin"), read("again.bin"));

    let nearest = run(&["vectors", "nearest", "one.txt", "quick", "--count", "3", "--json"]);
    let nearest = words_of(&nearest);
    assert!(nearest.len() == 3 && !nearest.contains(&"quick".to_string()), "{nearest:?}");
    let answers = run(&["vectors", "analogy", "one.bin", "quick", "brown", "lazy", "--json"]);
    assert!(!words_of(&answers).contains(&"lazy".to_string()));

    folder.write("questions.txt", b": animals\nquick brown lazy over\nquick brown red over\n");
    folder.write("pairs.tsv", b"quick\tbrown\t3\nlazy\tover\t2\nfox\tred\t1\nsea\tshells\t9\n");
    let tests = ["--questions", "questions.txt", "--pairs", "pairs.tsv", "--json"];
    let scores = run(&[&["vectors", "evaluate", "one.bin"][..], &tests].concat());
    let scores: Value = serde_json::from_str(&scores).unwrap();
    assert_eq!(
        (&scores["analogies"][1]["asked"], &scores["analogies"][1]["unknown"]),
        (&1.into(), &1.into())
    );
    assert_eq!(scores["similarities"][0]["compared"], 3);

    run(&["vectors", "plot", "one.bin", "sea", "shells", "fox", "--output", "map.svg"]);
    assert!(folder.read("map.svg").contains(">shells</text>"));
}

#[test]
fn a_killed_training_resumes_to_the_same_vectors() {
    let folder = Folder::new();
    folder.write("text.txt", crate::program::text().repeat(60).as_bytes());
    let started = Instant::now();
    folder.succeed(folder.emberline(&train("whole.bin", &["--set", "epochs=12"])));
    let duration = started.elapsed();
    for part in [3, 6] {
        let kept = format!("kept{part}");
        let first = train("killed.bin", &["--set", "epochs=12", "--checkpoints", &kept]);
        let mut child = folder.emberline(&first).spawn().unwrap();
        std::thread::sleep(duration * part / 8 + Duration::from_millis(5));
        child.kill().unwrap();
        child.wait().unwrap();
        let resume = ["--checkpoints", &kept, "--resume"];
        let resume =
            [&["vectors", "train", "text.txt", "--output", "killed.bin"][..], &resume].concat();
        let resumed = finish(&mut folder.emberline(&resume));
        // Killed before the end of the first epoch it has nothing to go on from.
        match resumed.code {
            Some(0) => {}
            Some(2) => {
                assert!(resumed.stderr.contains("holds no checkpoint"), "{}", resumed.stderr);
                continue;
            }
            _ => panic!("{}", resumed.stderr),
        }
        let read = |name: &str| std::fs::read(folder.path(name)).unwrap();
        assert_eq!(read("whole.bin"), read("killed.bin"));
    }
}

#[test]
fn what_is_wrong_is_named() {
    let folder = Folder::new();
    let failed = |arguments: &[&str], code: i32| {
        let finished = finish(&mut folder.emberline(arguments));
        assert_eq!(finished.code, Some(code), "{}", finished.stderr);
        finished.stderr
    };
    folder.write("vectors.txt", b"a 1 2\nb 3 4\n");
    let error = failed(&["vectors", "nearest", "vectors.txt", "c"], 1);
    assert!(error.contains("there is no vector of the word \"c\""), "{error}");
    let error = failed(&["vectors", "convert", "vectors.txt", "vectors.xyz"], 2);
    assert!(error.contains("tells no format"), "{error}");
    let error = failed(&train("v.bin", &["--set", "widow=3"]), 2);
    assert!(error.contains("there is no key `widow`; did you mean `window`?"), "{error}");
    let error = failed(&train("v.bin", &["--set", "min_count=10000"]), 1);
    assert!(error.contains("(min_count): the most frequent comes"), "{error}");
    folder.write("empty.txt", b"\n");
    let error = failed(&["vectors", "train", "empty.txt", "--output", "v.bin"], 1);
    assert!(error.contains("empty.txt holds no word"), "{error}");
}
