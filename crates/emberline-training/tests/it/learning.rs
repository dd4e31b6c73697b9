use emberline_training::{Metrics, Outcome, RateFinder};

use crate::support::{Experiment, Recorder, timeless_metrics};

#[test]
fn the_loss_falls_and_every_event_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut experiment = Experiment::new(200);
    let config = &mut experiment.config;
    (config.log_every, config.evaluate_every, config.checkpoint_every) = (10, 100, 1000);
    let mut recorder = Recorder::default();
    let trained = experiment.start_observed(directory.path(), &mut recorder).unwrap();
    assert_eq!((trained.outcome, trained.step), (Outcome::Finished, 200));

    let losses: Vec<f64> = timeless_metrics(directory.path())
        .iter()
        .filter_map(|line| match line {
            Metrics::Training(line) => Some(line.loss),
            Metrics::Validation(_) => None,
        })
        .collect();
    assert_eq!(losses.len(), 21);
    assert!(losses[20] < losses[0] / 10.0, "the loss went from {} to {}", losses[0], losses[20]);
    assert!(trained.best.unwrap().validation_loss < losses[0] / 10.0);

    let count = |name: &str| recorder.0.iter().filter(|event| *event == name).count();
    let counts = ["Started", "Updated", "Evaluated", "Checkpointed", "Finished"].map(count);
    assert_eq!(counts, [1, 200, 2, 2, 1]);
}

#[test]
fn accumulated_gradients_are_those_of_the_big_batch() {
    let weights = |micro_batches: usize| {
        let directory = tempfile::tempdir().unwrap();
        let mut experiment = Experiment::new(6);
        experiment.data.micro_batches = micro_batches;
        experiment.start(directory.path()).unwrap().model.numbers()
    };
    let whole = weights(1);
    for parts in [2, 4] {
        for (part, whole) in weights(parts).into_iter().zip(&whole) {
            assert!((part - whole).abs() <= 1e-6 * whole.abs().max(1.0), "{part} is not {whole}");
        }
    }
}

#[test]
fn metrics_count_tokens_epochs_and_the_learning_rate_of_the_schedule() {
    let directory = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(4);
    experiment.start(directory.path()).unwrap();
    let lines = timeless_metrics(directory.path());
    let training: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Metrics::Training(line) => Some(line),
            Metrics::Validation(_) => None,
        })
        .collect();
    for (index, line) in training.iter().enumerate() {
        let step = index as u64 + 1;
        // 8 rows of 3 numbers an update, 5 updates an epoch.
        assert_eq!((line.step, line.tokens_seen), (step, 24 * step));
        assert_eq!(line.epoch, step as f64 / 5.0);
        assert_eq!(line.learning_rate, experiment.config.schedule.learning_rate(step - 1, 0, 4));
    }
    let steps: Vec<u64> = lines.iter().map(Metrics::step).collect();
    assert_eq!(steps, [1, 2, 3, 3, 4, 4]);
}

#[test]
fn a_test_of_rates_learns_at_some_bursts_at_larger_ones_and_is_repeatable() {
    let find = || {
        let finder = RateFinder { first: 1e-4, last: 1e4, ..RateFinder::default() };
        Experiment::new(1).find_rate(finder)
    };
    let curve = find();
    assert_eq!(curve, find());
    assert!((curve.rates[0] - 1e-4).abs() < 1e-12);
    assert!(curve.rates.len() < 100, "the loss bursts at some rate below 10,000");
    assert!(curve.losses.last().unwrap() > &(2.0 * curve.losses[0]), "{:?}", curve.losses);
    let steepest = curve.steepest().unwrap();
    assert!((1e-3..1e2).contains(&steepest), "{steepest}");
}
