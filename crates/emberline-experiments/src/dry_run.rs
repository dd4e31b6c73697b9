//! `emberline run --dry-run`: what a run would take, measured on a few updates whose result is thrown away.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use emberline_training::{Event, Observer, Schedule, Trained, TrainingConfig};
use serde::Serialize;

use crate::doctor::peak_memory;
use crate::failure::Outcome;
use crate::result::{duration, grouped, mebibytes};
use crate::tasks::trainee::Session;
use crate::tasks::{Prepared, Stage};
use crate::terminal;

/// Updates that are not timed: the first ones fill caches and compile kernels.
const N_WARM_UP: u64 = 3;
/// Updates that are.
const N_TIMED: u64 = 10;

#[derive(Serialize)]
struct Estimate {
    experiment: String,
    steps: u64,
    parameters: usize,
    peak_memory_bytes: Option<u64>,
    update_s: f64,
    evaluation_s: f64,
    checkpoint_s: f64,
    total_s: f64,
}

/// Measures, and prints what the whole run would take.
pub fn run(prepared: &dyn Prepared, json: bool) -> Outcome {
    let estimate = estimate(prepared)?;
    if json {
        terminal::result(serde_json::to_string_pretty(&estimate)? + "\n")?;
        return Ok(());
    }
    let text = format!(
        "experiment   {}\nparameters   {}\nmemory       {}\nan update    {:.1} ms\n\
         a run        {} ({} updates)\n",
        estimate.experiment,
        grouped(estimate.parameters as u64),
        mebibytes(estimate.peak_memory_bytes),
        estimate.update_s * 1e3,
        duration(estimate.total_s),
        grouped(estimate.steps),
    );
    Ok(terminal::result(text)?)
}

fn estimate(prepared: &dyn Prepared) -> Result<Estimate> {
    let config = prepared.config();
    let training = config.training();
    let Timing { update_s, evaluation_s, checkpoint_s, total_s } =
        measure(training, &|session| prepared.train(session))?;
    let mut before_s = 0.0;
    for Stage { training, train, .. } in prepared.stages() {
        before_s += measure(training, &*train)?.total_s;
    }
    Ok(Estimate {
        experiment: config.experiment().to_string(),
        steps: training.steps,
        parameters: prepared.parameters(),
        peak_memory_bytes: peak_memory(),
        update_s,
        evaluation_s,
        checkpoint_s,
        total_s: before_s + total_s,
    })
}

/// The seconds of a training.
struct Timing {
    update_s: f64,
    evaluation_s: f64,
    checkpoint_s: f64,
    total_s: f64,
}

/// Makes a few updates of a training.
fn measure(
    whole: &TrainingConfig,
    train: &dyn Fn(Session<'_>) -> Result<Trained<()>>,
) -> Result<Timing> {
    let short = TrainingConfig {
        steps: N_WARM_UP + N_TIMED,
        // The warm-up may be longer than these few updates, whose time does not depend on the rate.
        schedule: Schedule::Constant { learning_rate: 1e-3, warmup_steps: 0 },
        evaluate_every: u64::MAX,
        checkpoint_every: u64::MAX,
        ..whole.clone()
    };
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let mut stopwatch = Stopwatch::default();
    train(Session {
        directory: directory.path(),
        training: &short,
        observer: &mut stopwatch,
        interrupt: &AtomicBool::new(false),
    })?;

    let (begin, end, evaluated, saved) = stopwatch.laps().context("the updates were not timed")?;
    let seconds = |from: Instant, to: Instant| (to - from).as_secs_f64();
    let update_s = seconds(begin, end) / N_TIMED as f64;
    let (evaluation_s, checkpoint_s) = (seconds(end, evaluated), seconds(evaluated, saved));
    let times = |every: u64| whole.steps.div_ceil(every) as f64;
    Ok(Timing {
        update_s,
        evaluation_s,
        checkpoint_s,
        // Nearly every evaluation is a new best at first, and is saved.
        total_s: whole.steps as f64 * update_s
            + times(whole.evaluate_every) * (evaluation_s + checkpoint_s)
            + times(whole.checkpoint_every) * checkpoint_s,
    })
}

/// When what happened.
#[derive(Default)]
struct Stopwatch {
    updates: Vec<Instant>,
    evaluated: Option<Instant>,
    saved: Option<Instant>,
}

impl Stopwatch {
    /// The end of the warm-up, of the updates, of the evaluation and of the checkpoint.
    fn laps(&self) -> Option<(Instant, Instant, Instant, Instant)> {
        let begin = self.updates.get(N_WARM_UP as usize - 1)?;
        Some((*begin, *self.updates.last()?, self.evaluated?, self.saved?))
    }
}

impl Observer for Stopwatch {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Updated { .. } => self.updates.push(Instant::now()),
            Event::Evaluated { .. } => self.evaluated = Some(Instant::now()),
            Event::Checkpointed { .. } => self.saved = Some(Instant::now()),
            _ => {}
        }
    }
}
