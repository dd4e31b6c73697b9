//! In-context learning that can be seen: small GPTs read sequences of examples, each of a task that was drawn for it, and
//! are asked for tasks that they have never read (Garg and others 2022; associative recall as of Olsson and others 2022).
//!
//! Nothing but the examples tells what the task is, so a model can only be right by learning it from them, within its
//! activations. Models of different depths are one module, so that one training is that of each.

mod sequences;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use emberline_backend::device::DeviceName;
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy};
use emberline_checkpoint::{Stored, complete_steps};
use emberline_core::{Count, Loss, Stream, Term, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_training::{Objective, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use sequences::SequencesConfig;
use sequences::{EXAMPLE, Family, SequenceBatch, Sequences};

use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::result::{Figure, Scale, Table};

/// The name of the only term of the loss.
const TERM: &str = "answers";

/// GPT-2s of different depths on sequences of examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManyTasksConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: SequencesConfig,
    /// What learns.
    pub model: DepthsConfig,
    /// How each learns; its seed is that of the whole run. Gradients are not clipped: their norm would be that of all
    /// models together, and tie them to each other.
    pub training: TrainingConfig,
}

/// The sizes of the models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthsConfig {
    /// The width between the layers.
    pub d_model: usize,
    /// The heads of every attention.
    pub n_heads: usize,
    /// The layers of each model, in rising order.
    pub n_layers: Vec<usize>,
}

impl Kind for ManyTasksConfig {
    fn data_sha256(&self) -> Option<&str> {
        None
    }

    fn validate(&self) -> Result<()> {
        let SequencesConfig { n_symbols, n_examples, batch_size, validation_batches } = self.data;
        check_sizes(&[
            ("data.n_examples", n_examples),
            ("data.batch_size", batch_size),
            ("data.validation_batches", validation_batches),
        ])?;
        let is_prime =
            n_symbols > 2 && (2..n_symbols).all(|factor| !n_symbols.is_multiple_of(factor));
        ensure!(is_prime, "`data.n_symbols` must be a prime number above 2, but is {n_symbols}");
        let norm = self.training.max_grad_norm;
        ensure!(
            norm.is_none(),
            "`training.max_grad_norm` must be absent: it would tie the models to each other"
        );
        let depths = &self.model.n_layers;
        let is_rising = depths.is_sorted_by(|a, b| a < b) && depths.first().is_some_and(|n| *n > 0);
        ensure!(is_rising, "`model.n_layers` must be numbers above 0 that rise, but is {depths:?}");
        for config in self.models() {
            config.validate().context("`model` cannot be used")?;
        }
        Ok(())
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl ManyTasksConfig {
    fn models(&self) -> impl Iterator<Item = Gpt2Config> + '_ {
        self.model.n_layers.iter().map(|n_layers| Gpt2Config {
            vocab_size: self.data.vocab_size(),
            n_positions: self.data.seq_length(),
            d_model: self.model.d_model,
            n_layers: *n_layers,
            n_heads: self.model.n_heads,
            residual_dropout: 0.0,
            embedding_dropout: 0.0,
            attention_dropout: 0.0,
            ..Gpt2Config::default()
        })
    }
}

/// A model of each depth.
#[derive(Module, Debug)]
pub struct Depths {
    models: Vec<Gpt2>,
}

/// Every model answers every question of a sequence, after the examples before it.
struct Answers;

/// The vectors of the last tokens of all questions, `[batch_size, n_examples, d_model]`.
fn asked(model: &Gpt2, tokens: Tensor<2, Int>) -> Tensor<3> {
    let hidden = model.encode(&TokenBatch::new(tokens));
    let [_, seq_length, _] = hidden.dims();
    let last: Vec<i32> = (EXAMPLE as i32 - 2..seq_length as i32).step_by(EXAMPLE).collect();
    let last = Tensor::<1, Int>::from_data(last.as_slice(), &hidden.device().inner());
    hidden.select(1, last)
}

impl Objective<Depths> for Answers {
    type Batch = SequenceBatch;
    type Carry = ();

    fn counts(&self, batch: &SequenceBatch) -> Vec<Count> {
        vec![Count { term: TERM, count: batch.answers.dims().iter().product::<usize>() as f64 }]
    }

    fn loss(
        &self,
        model: &Depths,
        batch: &SequenceBatch,
        _carry: Option<()>,
        _dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let n_answers = batch.answers.dims().iter().product();
        let answers = batch.answers.clone().reshape([n_answers]);
        let losses = model.models.iter().map(|model| {
            let asked = asked(model, batch.tokens.clone()).reshape([n_answers, model.d_model()]);
            let options = CrossEntropyOptions::default();
            linear_cross_entropy(asked, model.head_weights(), answers.clone(), options)
        });
        let sum = losses.reduce(|a, b| a + b).expect("there is a model");
        let weight = 1.0 / model.models.len() as f64;
        (Loss { terms: vec![Term { name: TERM, weight, sum }] }, ())
    }

    fn tokens(&self, batch: &SequenceBatch) -> u64 {
        batch.tokens.dims().iter().product::<usize>() as u64
    }
}

/// The share of right answers after 0, 1, 2 … examples.
fn accuracies(model: &Gpt2, batches: impl Iterator<Item = SequenceBatch>) -> Vec<f64> {
    let (mut right, mut count) = (Vec::new(), 0);
    for SequenceBatch { tokens, answers } in batches {
        let [batch_size, n_examples] = answers.dims();
        let asked = asked(model, tokens).reshape([batch_size * n_examples, model.d_model()]);
        let named = model.head(asked).argmax(1).reshape([batch_size, n_examples]);
        let equal = named.equal(answers).into_data();
        right.resize(n_examples, 0);
        for (place, equal) in equal.iter::<bool>().enumerate() {
            right[place % n_examples] += usize::from(equal);
        }
        count += batch_size;
    }
    right.into_iter().map(|right| right as f64 / count as f64).collect()
}

/// The sequences and the models.
struct PreparedTasks {
    config: ManyTasksConfig,
    data: Sequences,
    trainee: Trainee<Depths>,
}

/// Opens the device and makes the models; writes nothing.
///
/// # Errors
/// If the device cannot be opened, or the models do not fit.
fn prepare(config: ManyTasksConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let data = Sequences::new(config.data.clone(), random.named("data"), &device.clone().inner());
    let models: Vec<Gpt2Config> = config.models().collect();
    let init = |device: &Device| Depths {
        models: models.iter().map(|model| model.init(random.named("model"), device)).collect(),
    };
    let parameters = models.iter().map(Gpt2Config::parameter_count).sum();
    let trainee = Trainee::new(parameters, init, Stored::same, device)?;
    Ok(Box::new(PreparedTasks { config, data, trainee }))
}

impl Prepared for PreparedTasks {
    fn config(&self) -> RunConfig {
        RunConfig::ManyTasks(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &Answers,
            &self.data,
            &|_| Ok(()),
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let last = self.trainee.last(directory)?.valid();
        let n_examples = self.config.data.n_examples;
        let shown: Vec<usize> =
            [0, 1, 2, 4, 8, 16, 32].into_iter().filter(|n| n + 1 < n_examples).collect();
        let shown = [shown, vec![n_examples - 1]].concat();
        let (mut rows, mut by_examples, mut metrics) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (model, n_layers) in last.models.iter().zip(&self.config.model.n_layers) {
            for family in Family::ALL {
                let found = accuracies(model, self.data.new_tasks(family));
                let name = format!("{}, {n_layers} layers", family.name());
                rows.push((name.clone(), shown.iter().map(|n| found[*n]).collect()));
                let key = format!("{}_{n_layers}_layers", family.name());
                metrics.insert(format!("accuracy_{key}_without_examples"), found[0]);
                metrics.insert(format!("accuracy_{key}"), found[n_examples - 1]);
                let points = found.iter().enumerate().map(|(n, share)| (n as f64, *share));
                by_examples.push((name, points.collect()));
            }
        }
        let chance = |family: Family| {
            let row = vec![family.chance(self.config.data.n_symbols); shown.len()];
            (format!("{}, guessed", family.name()), row)
        };
        rows.extend(Family::ALL.map(chance));
        Ok(Findings {
            metrics,
            tables: vec![Table {
                title: "right answers in new tasks against the examples before".into(),
                columns: shown.iter().map(ToString::to_string).collect(),
                rows,
            }],
            figures: vec![
                Figure {
                    title: "right answers in new tasks".into(),
                    x_label: "examples in the prompt".into(),
                    scale: Scale::Linear,
                    lines: by_examples,
                },
                self.by_updates(directory)?,
            ],
            ..Findings::default()
        })
    }
}

impl PreparedTasks {
    /// What each kept checkpoint answers after all other examples.
    fn by_updates(&self, directory: &Path) -> Result<Figure> {
        let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        for (step, checkpoint) in complete_steps(directory.join("checkpoints"))? {
            let depths = self.trainee.load(&checkpoint)?.valid();
            for (model, n_layers) in depths.models.iter().zip(&self.config.model.n_layers) {
                for family in Family::ALL {
                    let found = accuracies(model, self.data.new_tasks(family));
                    let share = found.last().copied().unwrap_or_default();
                    let name = format!("{}, {n_layers} layers", family.name());
                    match lines.iter_mut().find(|(other, _)| *other == name) {
                        Some((_, points)) => points.push((step as f64, share)),
                        None => lines.push((name, vec![(step as f64, share)])),
                    }
                }
            }
        }
        Ok(Figure {
            title: "right answers after all examples but the last".into(),
            x_label: "updates".into(),
            scale: Scale::Linear,
            lines,
        })
    }
}
