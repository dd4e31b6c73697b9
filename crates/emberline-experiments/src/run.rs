//! `emberline run`: an experiment from its config to its report.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use emberline_training::{
    Metrics, Observer, Outcome as TrainingOutcome, Trained, TrainingConfig, TrainingMetrics,
    read_metrics,
};

use crate::cli::RunArguments;
use crate::config::RunConfig;
use crate::doctor::{BURN_VERSION, peak_memory};
use crate::failure::{Failure, Outcome};
use crate::result::{RunResult, grouped, median};
use crate::run_directory::{self, RESULT_FILE, RunDirectory, SAMPLES_FILE};
use crate::tasks::trainee::Session;
use crate::tasks::{Findings, Prepared, Stage};
use crate::{dry_run, experiments, interrupt, progress, report, terminal};

/// Trains, samples and reports.
pub fn run(arguments: RunArguments) -> Outcome {
    if arguments.resume {
        return resume(&arguments);
    }
    let config = config_of(&arguments).map_err(Failure::Usage)?;
    let prepared = config.prepare()?;
    if arguments.dry_run {
        return dry_run::run(prepared.as_ref(), arguments.json);
    }
    let (out, name) = (arguments.out.as_deref(), arguments.name.as_deref());
    let directory = RunDirectory::create(&prepared.config(), out, name)?;
    train(&arguments, &directory, prepared.as_ref())
}

fn resume(arguments: &RunArguments) -> Outcome {
    let experiment = arguments.experiment.as_deref();
    if let Some(name) = experiment {
        experiments::find(name).map_err(Failure::Usage)?;
    }
    let (out, name) = (arguments.out.as_deref(), arguments.name.as_deref());
    let (directory, config) = RunDirectory::open(experiment, out, name)?;
    if let Some(device) = arguments.device.filter(|device| *device != config.device()) {
        let path = directory.path().display();
        return Err(Failure::usage(format!("{path} runs on {}, not on {device}", config.device())));
    }
    train(arguments, &directory, config.prepare()?.as_ref())
}

/// The config that the command line asks for.
fn config_of(arguments: &RunArguments) -> Result<RunConfig> {
    let config = match (&arguments.config, &arguments.experiment) {
        (Some(file), experiment) => {
            let config = run_directory::read_config_file(file)?;
            let other = experiment.as_ref().filter(|name| *name != config.experiment());
            ensure!(
                other.is_none(),
                "{} is of the experiment {}, not of {}",
                file.display(),
                config.experiment(),
                other.map_or("", String::as_str)
            );
            config
        }
        (None, Some(name)) => (experiments::find(name)?.config)(),
        (None, None) => anyhow::bail!("run needs an experiment, or a file by --config"),
    };
    let mut overrides = arguments.overrides.clone();
    overrides.extend(arguments.device.map(|device| format!("device={device}")));
    if let Some(seed) = arguments.seed {
        // The numbers of TOML end there, and the run must be repeatable by its file.
        let largest = i64::MAX as u64;
        ensure!(seed <= largest, "the seed must be at most {largest}, but is {seed}");
        overrides.push(format!("training.seed={seed}"));
    }
    let mut config = config.with_overrides(&overrides)?;
    if arguments.skip_bad {
        config.skip_bad_lines()?;
    }
    experiments::find(config.experiment())?;
    config.validate()?;
    Ok(config)
}

fn train(arguments: &RunArguments, directory: &RunDirectory, prepared: &dyn Prepared) -> Outcome {
    let (path, config) = (directory.path(), prepared.config());
    terminal::note(format_args!(
        "{} in {}: {} parameters on {}",
        config.experiment(),
        path.display(),
        grouped(prepared.parameters() as u64),
        config.device()
    ));
    let interrupt = interrupt::listen()?;
    let note = |name: &str, training: &TrainingConfig| {
        terminal::note(format_args!("{name}, {} updates", grouped(training.steps)));
    };
    let stages = prepared.stages();
    for Stage { folder, training, train } in &stages {
        note(folder, training);
        let mut observer = observer(arguments, interrupt);
        let directory = &path.join(folder);
        let observer = observer.as_mut();
        let trained = train(Session { directory, training, observer, interrupt })?;
        ensure_finished(&trained, path)?;
    }
    if !stages.is_empty() {
        note("training", config.training());
    }
    let mut observer = observer(arguments, interrupt);
    let training = config.training();
    let session = Session { directory: path, training, observer: observer.as_mut(), interrupt };
    let trained = prepared.train(session)?;
    drop(observer);
    ensure_finished(&trained, path)?;
    interrupt::training_is_over();
    let findings = prepared.finish(path, &trained)?;
    let samples = findings.samples.clone();
    directory.write(SAMPLES_FILE, samples.as_bytes())?;
    let result = result(prepared, path, &trained, findings)?;
    directory
        .write(RESULT_FILE, format!("{}\n", serde_json::to_string_pretty(&result)?).as_bytes())?;
    let report = report::write(&[path.to_path_buf()], None)?;

    if arguments.json {
        return Ok(terminal::result(serde_json::to_string_pretty(&result)? + "\n")?);
    }
    // A run that writes nothing shows its first table.
    let shown = match result.tables.first().filter(|_| samples.is_empty()) {
        Some(table) => table.text(),
        None => samples,
    };
    let mut text = format!("{shown}\n");
    let mut rows = result.rows();
    rows.push(("report".into(), report.display().to_string()));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        text += &format!("{name:<width$} {value}\n");
    }
    Ok(terminal::result(text)?)
}

/// Ends the program where a training was interrupted.
fn ensure_finished(trained: &Trained<()>, path: &Path) -> Outcome {
    if trained.outcome == TrainingOutcome::Interrupted {
        return Err(Failure::Interrupted(format!(
            "interrupted at step {}; go on with --resume --out {}",
            trained.step,
            path.display()
        )));
    }
    Ok(())
}

#[cfg(feature = "dashboard")]
fn observer(arguments: &RunArguments, interrupt: &'static AtomicBool) -> Box<dyn Observer> {
    if arguments.dashboard {
        Box::new(emberline_training::dashboard::Dashboard::new(interrupt))
    } else {
        progress::observer()
    }
}

#[cfg(not(feature = "dashboard"))]
fn observer(_arguments: &RunArguments, _interrupt: &'static AtomicBool) -> Box<dyn Observer> {
    progress::observer()
}

fn result(
    prepared: &dyn Prepared,
    directory: &Path,
    trained: &Trained<()>,
    findings: Findings,
) -> Result<RunResult> {
    let config = prepared.config();
    let metrics = read_metrics(directory)?;
    let training: Vec<&TrainingMetrics> = metrics
        .iter()
        .filter_map(|metrics| match metrics {
            Metrics::Training(metrics) => Some(metrics),
            Metrics::Validation(_) => None,
        })
        .collect();
    let last = training.last().context("a run logs its first update")?;
    let best = trained.best.context("a run is evaluated at its end")?;
    Ok(RunResult {
        experiment: config.experiment().to_string(),
        task: config.task().to_string(),
        seed: config.training().seed,
        device: config.device(),
        data_sha256: config.data_sha256().map(str::to_string),
        parameters: prepared.parameters(),
        steps: trained.step,
        tokens_seen: last.tokens_seen,
        training_loss: last.loss,
        validation_loss: best.validation_loss,
        best_step: best.step,
        final_validation_loss: trained.validation_loss.unwrap_or(best.validation_loss),
        metrics: findings.metrics,
        tokens_per_s: median(training.iter().map(|metrics| metrics.tokens_per_s).collect()),
        seconds: metrics.iter().map(elapsed).fold(0.0, f64::max),
        peak_memory_bytes: peak_memory(),
        emberline: env!("CARGO_PKG_VERSION").to_string(),
        burn: BURN_VERSION.to_string(),
        tables: findings.tables,
        figures: findings.figures,
        heatmaps: findings.heatmaps,
    })
}

fn elapsed(metrics: &Metrics) -> f64 {
    match metrics {
        Metrics::Training(metrics) => metrics.elapsed_s,
        Metrics::Validation(metrics) => metrics.elapsed_s,
    }
}
