//! A run that was stopped in any way and resumed is the run that was not.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use emberline_training::{Metrics, Outcome, TrainingError, latest_checkpoint};

use crate::support::{DIE_SAVING, Experiment, timeless_metrics};

const STEPS: u64 = 12;

fn experiment() -> Experiment {
    let mut experiment = Experiment::new(STEPS);
    experiment.objective.dropout = 0.2;
    experiment
}

fn whole_run() -> (Vec<f32>, Vec<Metrics>) {
    let directory = tempfile::tempdir().unwrap();
    let trained = experiment().start(directory.path()).unwrap();
    (trained.model.numbers(), timeless_metrics(directory.path()))
}

#[test]
fn a_run_interrupted_after_any_update_goes_on_bit_for_bit() {
    let whole = whole_run();
    for step in 1..STEPS {
        let directory = tempfile::tempdir().unwrap();
        let mut interrupted = experiment();
        interrupted.data.interrupt_at = Some(step - 1);
        let trained = interrupted.start(directory.path()).unwrap();
        assert_eq!((trained.outcome, trained.step), (Outcome::Interrupted, step));
        let resumed = experiment().resume(directory.path()).unwrap();
        assert_eq!(resumed.outcome, Outcome::Finished);
        assert_eq!((resumed.model.numbers(), timeless_metrics(directory.path())), whole);
    }
}

#[test]
fn a_run_that_trains_a_parameter_from_some_update_on_goes_on_bit_for_bit() {
    const FROZEN: u64 = 5;
    let run = |directory: &Path, interrupt_at| {
        let mut experiment = experiment();
        experiment.data.interrupt_at = interrupt_at;
        experiment.resume_thawing(directory, FROZEN).unwrap()
    };
    let initial = {
        let mut experiment = Experiment::new(FROZEN);
        experiment.objective.dropout = 0.2;
        let directory = tempfile::tempdir().unwrap();
        experiment.resume_thawing(directory.path(), FROZEN).unwrap().model.input()
    };
    let directory = tempfile::tempdir().unwrap();
    let whole = run(directory.path(), None);
    assert_ne!(whole.model.input(), initial);
    for step in [3, FROZEN, 8] {
        let directory = tempfile::tempdir().unwrap();
        let interrupted = run(directory.path(), Some(step - 1));
        assert_eq!((interrupted.outcome, interrupted.step), (Outcome::Interrupted, step));
        assert_eq!(interrupted.model.input() == initial, step <= FROZEN);
        let resumed = run(directory.path(), None);
        assert_eq!(resumed.model.numbers(), whole.model.numbers());
    }
}

#[test]
fn a_run_without_a_checkpoint_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("metrics.jsonl"), "{\"step\":1,").unwrap();
    let resumed = experiment().resume(directory.path()).unwrap();
    assert_eq!((resumed.model.numbers(), timeless_metrics(directory.path())), whole_run());
}

#[test]
fn a_checkpoint_of_another_config_is_refused_by_the_name_of_the_field() {
    let directory = tempfile::tempdir().unwrap();
    let mut experiment = Experiment::new(4);
    experiment.start(directory.path()).unwrap();
    experiment.config.seed = 2;
    let error = experiment.resume(directory.path()).unwrap_err();
    assert!(matches!(error, TrainingError::OtherRun { .. }));
    assert!(error.to_string().contains("training.seed is 1 there, but 2 here"), "{error}");
}

#[test]
fn every_damaged_file_of_a_checkpoint_is_an_error_that_names_it() {
    for file in ["state.json", "optimizer.bpk", "carry.safetensors", "model.safetensors"] {
        let directory = tempfile::tempdir().unwrap();
        let experiment = Experiment::new(4);
        experiment.start(directory.path()).unwrap();
        let path = latest_checkpoint(directory.path()).unwrap().unwrap().join(file);
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = experiment.resume(directory.path()).expect_err(file);
            assert!(error.to_string().contains(file), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        experiment.resume(directory.path()).unwrap_err();
    }
}

/// Not a test of its own: the run that the tests below start in another process.
#[test]
#[ignore = "started by other tests"]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let mut experiment = experiment();
    if std::env::var(SIZE).is_ok_and(|size| size == "large") {
        // Products of this size are shared by the threads.
        (experiment.d_hidden, experiment.data.batch_size) = (512, 64);
    }
    experiment.resume(Path::new(&directory)).unwrap();
}

const DIRECTORY: &str = "EMBERLINE_TEST_RUN";
const SIZE: &str = "EMBERLINE_TEST_SIZE";

fn child_process(directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "resuming::child", "--include-ignored"]);
    command.env(DIRECTORY, directory);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_run_that_is_killed_again_and_again_is_the_run_that_was_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut kills = 0;
    // The moments differ from machine to machine; that they do not matter is the point.
    for milliseconds in [3, 20, 30, 40, 50, 60, 70, 80] {
        let mut child = child_process(directory.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "no run was killed before its end");
    let resumed = experiment().resume(directory.path()).unwrap();
    assert_eq!((resumed.model.numbers(), timeless_metrics(directory.path())), whole_run());
}

#[test]
fn a_run_that_dies_in_the_middle_of_every_save_is_the_run_that_did_not() {
    let directory = tempfile::tempdir().unwrap();
    for step in ["2", "4", "6", "10", "12"] {
        let mut child = child_process(directory.path());
        assert!(!child.env(DIE_SAVING, step).status().unwrap().success(), "died at {step}");
    }
    let last = latest_checkpoint(directory.path()).unwrap().unwrap();
    assert!(last.ends_with("step-00000010"), "{}", last.display());
    let resumed = experiment().resume(directory.path()).unwrap();
    assert_eq!((resumed.model.numbers(), timeless_metrics(directory.path())), whole_run());
    let left = std::fs::read_dir(directory.path().join("checkpoints")).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let runs = ["1", "2"].map(|threads| {
        let directory = tempfile::tempdir().unwrap();
        let mut child = child_process(directory.path());
        child.env(SIZE, "large").env("RAYON_NUM_THREADS", threads);
        assert!(child.status().unwrap().success());
        let weights = latest_checkpoint(directory.path()).unwrap().unwrap();
        let weights = std::fs::read(weights.join("model.safetensors")).unwrap();
        (weights, timeless_metrics(directory.path()))
    });
    assert!(runs[0] == runs[1], "the runs differ");
}
