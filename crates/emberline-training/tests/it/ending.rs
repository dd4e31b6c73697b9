use std::path::Path;

use emberline_training::{
    EarlyStopping, Metrics, OptimizerConfig, Outcome, Schedule, TrainingError, best_checkpoint,
    latest_checkpoint, read_metrics,
};

use crate::support::{Experiment, Recorder, timeless_metrics};

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_spares_the_last_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let mut experiment = Experiment::new(10);
    experiment.data.poisoned_from = Some(4);
    let error = experiment.start(directory.path()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("the loss squared_error is inf at step 5"), "{message}");
    assert!(message.contains("step-00000004"), "{message}");
    let last = latest_checkpoint(directory.path()).unwrap().unwrap();
    assert!(last.ends_with("step-00000004"));
    assert_eq!(timeless_metrics(directory.path()).last().unwrap().step(), 4);

    // With the cause gone, the run goes on as if nothing had been.
    experiment.data.poisoned_from = None;
    let trained = experiment.resume(directory.path()).unwrap();
    assert_eq!(trained.outcome, Outcome::Finished);
}

#[test]
fn a_learning_rate_that_explodes_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut experiment = Experiment::new(200);
    experiment.config.max_grad_norm = None;
    experiment.config.optimizer = OptimizerConfig::Sgd(Default::default());
    experiment.config.schedule = Schedule::Constant { learning_rate: 1e30, warmup_steps: 0 };
    let error = experiment.start(directory.path()).unwrap_err();
    assert!(matches!(error, TrainingError::NonFinite { .. }), "{error}");
}

#[test]
fn weights_that_explode_in_one_update_never_replace_the_last_good_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let mut experiment = Experiment::new(10);
    let config = &mut experiment.config;
    config.optimizer = OptimizerConfig::Sgd(Default::default());
    // Nothing is changed by the first update; the second begins with a small loss and gradient.
    config.schedule = Schedule::Constant { learning_rate: 1e30, warmup_steps: 1 };
    (config.evaluate_every, config.checkpoint_every, config.keep_checkpoints) = (1000, 1, 1);
    let message = experiment.start(directory.path()).unwrap_err().to_string();
    assert!(message.contains("the sum of the squares of input is inf at step 2"), "{message}");
    let last = latest_checkpoint(directory.path()).unwrap().unwrap();
    assert!(last.ends_with("step-00000001"), "{}", last.display());
}

#[test]
fn training_stops_when_the_validation_loss_does_not_fall() {
    let directory = tempfile::tempdir().unwrap();
    let mut experiment = Experiment::new(100);
    // No loss falls by a thousand.
    experiment.config.early_stopping = Some(EarlyStopping { patience: 2, min_delta: 1000.0 });
    let mut recorder = Recorder::default();
    let trained = experiment.start_observed(directory.path(), &mut recorder).unwrap();
    assert_eq!((trained.outcome, trained.step), (Outcome::StoppedEarly, 9));
    assert_eq!(recorder.0.last().unwrap(), "StoppedEarly");

    let again = experiment.resume(directory.path()).unwrap();
    assert_eq!((again.outcome, again.step), (Outcome::StoppedEarly, 9));
}

#[test]
fn the_best_is_the_lowest_loss_also_where_patience_asks_for_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut experiment = Experiment::new(100);
    experiment.config.early_stopping = Some(EarlyStopping { patience: 5, min_delta: 1000.0 });
    let trained = experiment.start(directory.path()).unwrap();
    assert_eq!((trained.outcome, trained.step), (Outcome::StoppedEarly, 18));
    let evaluations = read_metrics(directory.path()).unwrap().into_iter().filter_map(|line| {
        let Metrics::Validation(line) = line else { return None };
        Some((line.validation_loss, line.step))
    });
    let lowest = evaluations.min_by(|one, other| one.0.total_cmp(&other.0)).unwrap();
    let best = trained.best.unwrap();
    assert_eq!((best.validation_loss, best.step), lowest);
    assert!(best.step > 3, "the loss never fell");
    let checkpoint = best_checkpoint(directory.path()).unwrap().unwrap();
    assert!(checkpoint.ends_with(format!("step-{:08}", best.step)));
}

#[test]
fn the_best_checkpoint_and_the_latest_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut experiment = Experiment::new(11);
    // Too small to change any loss, so the first evaluation stays the best.
    experiment.config.schedule = Schedule::Constant { learning_rate: 1e-30, warmup_steps: 0 };
    experiment.start(directory.path()).unwrap();
    let checkpoints = directory.path().join("checkpoints");
    assert_eq!(names(&checkpoints), ["best", "step-00000003", "step-00000010", "step-00000011"]);
    let best = best_checkpoint(directory.path()).unwrap().unwrap();
    assert!(best.ends_with("step-00000003"));
    assert_eq!(
        names(&best),
        ["DONE", "carry.safetensors", "model.safetensors", "optimizer.bpk", "state.json"]
    );
}

#[test]
fn a_directory_with_a_run_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(4);
    experiment.start(directory.path()).unwrap();
    let before = std::fs::read(directory.path().join("metrics.jsonl")).unwrap();
    let error = experiment.start(directory.path()).unwrap_err();
    assert!(matches!(error, TrainingError::AlreadyStarted { .. }), "{error}");
    assert_eq!(std::fs::read(directory.path().join("metrics.jsonl")).unwrap(), before);
}

#[test]
fn a_config_that_cannot_be_is_an_error_before_anything_is_written() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("run");
    let error = Experiment::new(0).start(&directory).unwrap_err();
    assert!(matches!(error, TrainingError::Config(_)), "{error}");
    assert!(!directory.exists());
}
