//! `emberline run`: an experiment from its config to its report.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use emberline_core::Stream;
use emberline_core::parameters::parameter_count;
use emberline_generation::GenerationConfig;
use emberline_models::rnn_language_model::{RnnLanguageModel, RnnLanguageModelConfig};
use emberline_pretraining::{CarriedNextToken, NextTokenWindows};
use emberline_text::{Corpus, Tokenizer, Windows};
use emberline_training::{
    Metrics, ModelFiles, Observer, Outcome as TrainingOutcome, Trained, Trainer, TrainingConfig,
    best_checkpoint, read_metrics,
};
use serde_json::json;

use crate::cli::RunArguments;
use crate::config::{DataConfig, RunConfig, check_memory};
use crate::doctor::{BURN_VERSION, peak_memory};
use crate::failure::{Failure, Outcome};
use crate::result::{RunResult, grouped, perplexity};
use crate::run_directory::{self, RESULT_FILE, RunDirectory, SAMPLES_FILE};
use crate::{
    datasets, dry_run, experiments, generate, interrupt, model_directory, overrides, progress,
    report, terminal,
};

/// A config with everything that it names: the text as windows, the model, the device.
pub struct Prepared {
    pub config: RunConfig,
    pub tokenizer: Tokenizer,
    pub data: NextTokenWindows,
    pub model_config: RnnLanguageModelConfig,
    pub model: RnnLanguageModel,
    pub device: Device,
    /// The characters of a token of the validation text, on average.
    pub characters_per_token: f64,
}

/// Trains, samples and reports.
pub fn run(arguments: RunArguments) -> Outcome {
    if arguments.resume {
        return resume(&arguments);
    }
    let config = config_of(&arguments).map_err(Failure::Usage)?;
    let prepared = prepare(config)?;
    if arguments.dry_run {
        return dry_run::run(&prepared, arguments.json);
    }
    let (out, name) = (arguments.out.as_deref(), arguments.name.as_deref());
    let directory = RunDirectory::create(&prepared.config, out, name)?;
    train(&arguments, &directory, prepared)
}

fn resume(arguments: &RunArguments) -> Outcome {
    let experiment = arguments.experiment.as_deref();
    if let Some(name) = experiment {
        experiments::find(name).map_err(Failure::Usage)?;
    }
    let (out, name) = (arguments.out.as_deref(), arguments.name.as_deref());
    let (directory, config) = RunDirectory::open(experiment, out, name)?;
    if let Some(device) = arguments.device.filter(|device| *device != config.device) {
        let path = directory.path().display();
        return Err(Failure::usage(format!("{path} runs on {}, not on {device}", config.device)));
    }
    train(arguments, &directory, prepare(config)?)
}

/// The config that the command line asks for.
fn config_of(arguments: &RunArguments) -> Result<RunConfig> {
    let mut config = match (&arguments.config, &arguments.experiment) {
        (Some(file), experiment) => {
            let config = run_directory::read_config_file(file)?;
            let other = experiment.as_ref().filter(|name| **name != config.experiment);
            ensure!(
                other.is_none(),
                "{} is of the experiment {}, not of {}",
                file.display(),
                config.experiment,
                other.map_or("", String::as_str)
            );
            config
        }
        (None, Some(name)) => (experiments::find(name)?.config)(),
        (None, None) => anyhow::bail!("run needs an experiment, or a file by --config"),
    };
    config = overrides::with_overrides(&config, &arguments.overrides)?;
    config.device = arguments.device.unwrap_or(config.device);
    config.training.seed = arguments.seed.unwrap_or(config.training.seed);
    experiments::find(&config.experiment)?;
    config.validate()?;
    Ok(config)
}

/// Reads the text, opens the device and makes the model; writes nothing.
fn prepare(mut config: RunConfig) -> Result<Prepared> {
    let corpus = read_text(&mut config.data)?;
    let tokenizer = Tokenizer::characters(&corpus);
    for prompt in &config.samples.prompts {
        // Better now than after the training.
        let tokens = tokenizer.encode(prompt);
        let tokens = tokens.with_context(|| {
            format!("`samples.prompts`: {prompt:?} is not of the characters of {}", corpus.name())
        })?;
        ensure!(!tokens.is_empty(), "`samples.prompts`: a model goes on from one token at least");
    }
    let splits = corpus.split(config.data.split)?;
    let (batch_size, seq_length) = (config.data.batch_size, config.data.seq_length);
    let of = |part: &str| format!("{}: its {part} part", corpus.name());
    let training = tokenizer.encode(splits.train)?;
    let training = Windows::new(training, batch_size, seq_length)
        .and_then(|windows| windows.in_micro_batches(config.data.micro_batches))
        .with_context(|| of("training"))?;
    let validation = tokenizer.encode(splits.validation)?;
    let characters_per_token =
        splits.validation.chars().count() as f64 / validation.len().max(1) as f64;

    let device = config.device.open()?.autodiff();
    let data =
        NextTokenWindows::new(training, &validation, &device).with_context(|| of("validation"))?;
    let model_config = config.model.for_vocabulary(tokenizer.vocab_size());
    // The weights, their gradients and the optimizer's two moments.
    check_memory(&model_config, 4)?;
    let model = model_config.init(Stream::new(config.training.seed).named("model"), &device);
    Ok(Prepared { config, tokenizer, data, model_config, model, device, characters_per_token })
}

/// The text of a config, which from now on names its file and its checksum.
fn read_text(data: &mut DataConfig) -> Result<Corpus> {
    let file = datasets::find(&data.text)?;
    let corpus = Corpus::from_file(&file)?;
    let found = datasets::sha256(corpus.text().as_bytes());
    let expected = data.sha256.get_or_insert_with(|| found.clone());
    ensure!(
        *expected == found,
        "{} is not the text of this config: its SHA-256 is {found}, and {expected} was expected",
        file.display()
    );
    if Path::new(&data.text).is_file() {
        data.text = file.display().to_string();
    }
    Ok(corpus)
}

fn train(arguments: &RunArguments, directory: &RunDirectory, prepared: Prepared) -> Outcome {
    let path = directory.path();
    terminal::note(format_args!(
        "{} in {}: {} parameters on {}",
        prepared.config.experiment,
        path.display(),
        grouped(parameter_count(&prepared.model) as u64),
        prepared.config.device
    ));
    let interrupt = interrupt::listen()?;
    let mut observer = observer(arguments, interrupt);
    let trained =
        prepared.train_in(path, &prepared.config.training, observer.as_mut(), interrupt)?;
    drop(observer);
    if trained.outcome == TrainingOutcome::Interrupted {
        return Err(Failure::Interrupted(format!(
            "interrupted at step {}; go on with --resume --out {}",
            trained.step,
            path.display()
        )));
    }
    interrupt::training_is_over();
    let samples = samples(path, &prepared.config)?;
    directory.write(SAMPLES_FILE, samples.as_bytes())?;
    let result = prepared.result(path, &trained)?;
    directory
        .write(RESULT_FILE, format!("{}\n", serde_json::to_string_pretty(&result)?).as_bytes())?;
    let report = report::write(&[path.to_path_buf()], None)?;

    if arguments.json {
        return Ok(terminal::result(serde_json::to_string_pretty(&result)? + "\n")?);
    }
    let mut text = format!("{samples}\n");
    for (name, value) in result.rows() {
        text += &format!("{name:<22} {value}\n");
    }
    text += &format!("{:<22} {}\n", "report", report.display());
    Ok(terminal::result(text)?)
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

impl Prepared {
    /// Trains in a run directory, from its last checkpoint if it has one.
    ///
    /// # Errors
    /// Those of [`Trainer::resume`].
    pub fn train_in(
        &self,
        directory: &Path,
        training: &TrainingConfig,
        observer: &mut dyn Observer,
        interrupt: &AtomicBool,
    ) -> Result<Trained<RnnLanguageModel>> {
        let files = ModelFiles {
            save: &|model, directory| {
                model_directory::save(model, &self.model_config, &self.tokenizer, directory)
            },
            load: &model_directory::load_weights_into,
        };
        let trainer = Trainer {
            config: training,
            objective: &CarriedNextToken,
            data: &self.data,
            optimizer: None,
            device: &self.device,
            directory,
            files,
            identity: &json!({ "model": self.config.model, "data": self.config.data }),
            observer,
            interrupt,
        };
        Ok(trainer.resume(self.model.clone())?)
    }

    fn result(&self, directory: &Path, trained: &Trained<RnnLanguageModel>) -> Result<RunResult> {
        let metrics = read_metrics(directory)?;
        let training: Vec<_> = metrics
            .iter()
            .filter_map(|metrics| match metrics {
                Metrics::Training(metrics) => Some(metrics),
                Metrics::Validation(_) => None,
            })
            .collect();
        let last = training.last().context("a run logs its first update")?;
        let best = trained.best.context("a run is evaluated at its end")?;
        let config = &self.config;
        let tokens_per_update = (config.data.batch_size * config.data.seq_length) as u64;
        Ok(RunResult {
            experiment: config.experiment.clone(),
            seed: config.training.seed,
            device: config.device,
            data_sha256: config.data.sha256.clone().unwrap_or_default(),
            parameters: parameter_count(&trained.model),
            steps: trained.step,
            tokens_seen: trained.step * tokens_per_update,
            training_loss: last.loss,
            validation_loss: best.validation_loss,
            best_step: best.step,
            final_validation_loss: trained.validation_loss.unwrap_or(best.validation_loss),
            bits_per_character: best.validation_loss
                / std::f64::consts::LN_2
                / self.characters_per_token,
            perplexity: perplexity(best.validation_loss),
            tokens_per_s: median(training.iter().map(|metrics| metrics.tokens_per_s).collect()),
            seconds: metrics.iter().map(elapsed).fold(0.0, f64::max),
            peak_memory_bytes: peak_memory(),
            emberline: env!("CARGO_PKG_VERSION").to_string(),
            burn: BURN_VERSION.to_string(),
        })
    }
}

fn elapsed(metrics: &Metrics) -> f64 {
    match metrics {
        Metrics::Training(metrics) => metrics.elapsed_s,
        Metrics::Validation(metrics) => metrics.elapsed_s,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// What the best checkpoint writes after each prompt.
fn samples(directory: &Path, config: &RunConfig) -> Result<String> {
    let best = best_checkpoint(directory)?.context("a finished run has a best checkpoint")?;
    let loaded = model_directory::load(&best, &config.device.open()?)?;
    let generation = GenerationConfig {
        sampling: generate::sampling(config.samples.temperature, None, None)?,
        max_new_tokens: config.samples.max_new_tokens,
        stop_tokens: Vec::new(),
        seed: config.training.seed,
    };
    let mut text = String::new();
    for (i, prompt) in config.samples.prompts.iter().enumerate() {
        if i > 0 {
            text += "\n\n--------\n\n";
        }
        text += prompt.trim_start_matches('\n');
        text += &loaded.continue_text(prompt, &generation, |_| ControlFlow::Continue(()))?;
    }
    Ok(text + "\n")
}
