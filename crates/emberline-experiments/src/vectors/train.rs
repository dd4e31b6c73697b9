//! word2vec, trained on a corpus on disk.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use emberline_checkpoint::{complete_steps, latest_complete, remove_directory, step_directory};
use emberline_embeddings::word2vec::{
    Corpus, Progress, Vocabulary, Word2Vec, Word2VecConfig, faithful, train,
};
use emberline_embeddings::write_vectors;
use toml::Table;

use super::arguments::TrainArguments;
use super::{format_of, note_written};
use crate::failure::{Failure, Outcome};
use crate::result::grouped;
use crate::{interrupt, overrides, terminal};

/// Lines of progress in an epoch.
const LINES: u64 = 10;

/// Trains, and writes the vectors.
pub fn run(arguments: &TrainArguments) -> Outcome {
    let format = format_of(&arguments.output)?;
    let vectors = if arguments.faithful {
        let config = config(arguments).map_err(Failure::Usage)?;
        faithful::train(&arguments.corpus, &config)?
    } else {
        let threads = arguments.threads.unwrap_or(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        pool.install(|| trained(arguments))?.into_vectors()
    };
    write_vectors(&arguments.output, &vectors, format)?;
    note_written(&vectors, &arguments.output);
    Ok(())
}

fn config(arguments: &TrainArguments) -> Result<Word2VecConfig> {
    let base = match arguments.cbow {
        false => Word2VecConfig::skip_gram(),
        true => Word2VecConfig::cbow(),
    };
    let mut table = Table::try_from(base).context("a config has a TOML form")?;
    for text in &arguments.overrides {
        overrides::set(&mut table, text)?;
    }
    let mut config: Word2VecConfig = overrides::from_table(table)?;
    config.seed = arguments.seed.unwrap_or(config.seed);
    config.validate()?;
    Ok(config)
}

fn trained(arguments: &TrainArguments) -> Result<Word2Vec, Failure> {
    let corpus = Corpus::open(&arguments.corpus)?;
    let (mut model, mut progress) = start(arguments, &corpus)?;
    let interrupt = interrupt::listen()?;
    let mut shown =
        Shown { started: Instant::now(), words: done(&progress), lines: 0, epoch: progress.epoch };
    train::<Failure>(&mut model, &corpus, &mut progress, |model, progress| {
        shown.show(progress, &model.config);
        let is_epoch = progress.words == 0;
        match (&arguments.checkpoints, interrupt.load(Ordering::SeqCst)) {
            (Some(folder), is_interrupted) if is_epoch || is_interrupted => {
                save(folder, model, progress)?;
                match is_interrupted {
                    true => Err(Failure::Interrupted(format!(
                        "stopped; --checkpoints {} --resume goes on",
                        folder.display()
                    ))),
                    false => Ok(ControlFlow::Continue(())),
                }
            }
            (None, true) => Err(Failure::Failed(anyhow::anyhow!(
                "stopped, and nothing is saved: --checkpoints keeps what training needs to go on"
            ))),
            _ => Ok(ControlFlow::Continue(())),
        }
    })?;
    interrupt::training_is_over();
    Ok(model)
}

/// The model and how far it has come: new, as it was, or of another training.
fn start(arguments: &TrainArguments, corpus: &Corpus) -> Result<(Word2Vec, Progress), Failure> {
    if arguments.resume {
        let folder = arguments.checkpoints.as_deref().unwrap_or(Path::new("."));
        let Some(latest) = latest_complete(folder)? else {
            return Err(Failure::usage(format!("{} holds no checkpoint", folder.display())));
        };
        terminal::note(format_args!("going on from {}", latest.display()));
        return Ok(Word2Vec::load(latest)?);
    }
    if let Some(directory) = &arguments.start {
        let (model, _) = Word2Vec::load(directory)?;
        let progress = model.start_on(corpus)?;
        return Ok((model, progress));
    }
    let config = config(arguments).map_err(Failure::Usage)?;
    let vocabulary = Vocabulary::count(corpus, config.min_count)?;
    let (words, total) = (vocabulary.words.len() as u64, vocabulary.total());
    terminal::note(format_args!("{} words, {} times", grouped(words), grouped(total)));
    Ok((Word2Vec::init(config, vocabulary), Progress::start(total)))
}

/// Words read in all epochs.
fn done(progress: &Progress) -> u64 {
    progress.epoch as u64 * progress.corpus_words + progress.words
}

/// Keeps a checkpoint, and the one before it.
fn save(folder: &Path, model: &Word2Vec, progress: &Progress) -> Result<()> {
    let directory = step_directory(folder, done(progress));
    if directory.exists() {
        bail!("{} is there already", directory.display());
    }
    model.save(&directory, progress)?;
    let steps = complete_steps(folder)?;
    for (_, old) in &steps[..steps.len().saturating_sub(2)] {
        remove_directory(old)?;
    }
    Ok(())
}

/// What was said of the progress.
struct Shown {
    started: Instant,
    /// Words read before this session.
    words: u64,
    /// Lines written for the epoch.
    lines: u64,
    epoch: usize,
}

impl Shown {
    fn show(&mut self, progress: &Progress, config: &Word2VecConfig) {
        let speed = (done(progress) - self.words) as f64 / self.started.elapsed().as_secs_f64();
        let (loss, is_due) = if progress.epoch > self.epoch {
            (self.epoch, self.lines) = (progress.epoch, 0);
            (progress.last_loss, true)
        } else {
            let lines = progress.words * LINES / progress.corpus_words.max(1);
            (progress.loss, std::mem::replace(&mut self.lines, lines) < lines)
        };
        if let Some(loss) = loss.mean().filter(|_| is_due) {
            terminal::note(format_args!(
                "{:5.1} %  loss {loss:.4}  rate {:.5}  {} words/s",
                100.0 * progress.share(config),
                progress.learning_rate(config),
                grouped(speed.round() as u64)
            ));
        }
    }
}
