//! How far back recurrent cells see: "information decays with distance", measured in two ways.
//!
//! The norm of ∂h_T/∂x_t against T − t, before any training; and recall: the first symbol of a random sequence
//! is to be named after so many more symbols, by a model that was trained on that very distance. Beside
//! the plain RNN, the GRU and the LSTM there are two LSTMs whose forget gate is forced: one that never
//! forgets, and one that always does.

mod gradient;
mod learners;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use burn::module::Module;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::Stored;
use emberline_core::Stream;
use emberline_training::{Data, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::gradient::gradient_norms;
use self::learners::{Learner, Memory, learners};
use super::recall::{BRIDGED, Learners, Recall, Sequences, SequencesConfig, accuracy};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::result::{Figure, Scale};

/// Cells against distances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryHorizonConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: SequencesConfig,
    /// What learns.
    pub model: LearnerConfig,
    /// What is measured before.
    pub gradient: GradientConfig,
    /// How each learns; its seed is that of the whole run. There should be no norm of gradients to clip at:
    /// it would be that of all models together, and tie them to each other.
    pub training: TrainingConfig,
}

/// The sizes of a model, the same for every cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerConfig {
    /// The width of the embedding.
    pub d_embedding: usize,
    /// The width of the state.
    pub d_hidden: usize,
}

/// The sequences whose gradients are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientConfig {
    /// The longest distance.
    pub distance: usize,
    /// The sequences that norms are averaged over.
    pub rows: usize,
}

impl Kind for MemoryHorizonConfig {
    fn data_sha256(&self) -> Option<&str> {
        None
    }

    fn validate(&self) -> Result<()> {
        let distances = &self.data.distances;
        check_sizes(&[
            ("data.n_symbols", self.data.n_symbols),
            ("data.batch_size", self.data.batch_size),
            ("data.validation_batches", self.data.validation_batches),
            ("model.d_embedding", self.model.d_embedding),
            ("model.d_hidden", self.model.d_hidden),
            ("gradient.distance", self.gradient.distance),
            ("gradient.rows", self.gradient.rows),
            ("data.distances", distances.last().copied().unwrap_or(0)),
        ])?;
        ensure!(
            distances.is_sorted_by(|a, b| a < b),
            "`data.distances` must rise, but is {distances:?}"
        );
        Ok(())
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// The sequences and the models.
struct PreparedHorizon {
    config: MemoryHorizonConfig,
    data: Sequences,
    trainee: Trainee<Learners<Learner>>,
}

/// Opens the device and makes the models; writes nothing.
///
/// # Errors
/// If the device cannot be opened, or the models do not fit into memory.
fn prepare(config: MemoryHorizonConfig) -> Result<Box<dyn Prepared>> {
    let device = config.device.open()?.autodiff();
    let random = Stream::new(config.training.seed);
    let data = Sequences::new(&config.data, random.named("sequences"), &device.clone().inner());
    let trainee = Trainee::new(
        learners::parameters_of(&config),
        |device| learners(&config, random.named("model"), device),
        Stored::same,
        device,
    )?;
    Ok(Box::new(PreparedHorizon { config, data, trainee }))
}

impl Prepared for PreparedHorizon {
    fn config(&self) -> RunConfig {
        RunConfig::MemoryHorizon(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        let distances = &self.config.data.distances;
        self.trainee.train(
            session,
            &Recall { distances, n_kinds: Memory::ALL.len() },
            &self.data,
            &|_| Ok(()),
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let trained = self.trainee.last(directory)?.valid();
        let recall = self.recall(&trained);
        let gradients = self.gradients();

        let mut metrics = BTreeMap::new();
        for (memory, accuracies) in &recall {
            let bridged = accuracies.iter().filter(|(_, accuracy)| *accuracy >= BRIDGED);
            let horizon = bridged.map(|(distance, _)| *distance).fold(0.0, f64::max);
            metrics.insert(format!("horizon_{}", memory.key()), horizon);
        }
        for (memory, norms) in &gradients {
            let (here, far) = (norms[0].1, norms[norms.len() - 1].1);
            metrics.insert(format!("gradient_{}", memory.key()), far / here);
        }
        let longest = self.config.gradient.distance as f64;
        let recall = figure("right answers", Scale::Linear, &recall);
        let gradients = figure("norm of the gradient", Scale::Logarithmic, &gradients);
        let is_shown = |distance: f64| {
            distance == longest || distance == 0.0 || (distance as usize).is_power_of_two()
        };
        Ok(Findings {
            metrics,
            tables: vec![recall.table(|_| true), gradients.table(is_shown)],
            figures: vec![recall, gradients],
            ..Findings::default()
        })
    }
}

/// A line for each memory: distances with what was measured there.
type Lines = Vec<(Memory, Vec<(f64, f64)>)>;

impl PreparedHorizon {
    /// The share of right answers.
    fn recall(&self, trained: &Learners<Learner>) -> Lines {
        let distances = &self.config.data.distances;
        let line = |memory| {
            let accuracy = |distance: &usize| {
                let learner = trained.learner(memory as usize, *distance, distances);
                (*distance as f64, accuracy(learner, self.data.validation(), *distance))
            };
            (memory, distances.iter().map(accuracy).collect())
        };
        Memory::ALL.map(line).into()
    }

    /// The norms of the gradients at the initial weights, which do not depend on the distance of a learner.
    fn gradients(&self) -> Lines {
        let distances = &self.config.data.distances;
        let GradientConfig { distance, rows } = self.config.gradient;
        let random = Stream::new(self.config.training.seed).named("gradient");
        let symbols = self.data.symbols(rows, distance + 1, random);
        let line = |memory| {
            let learner = self.trainee.model.learner(memory as usize, distances[0], distances);
            let norms = gradient_norms(learner, symbols.clone());
            let points = norms.into_iter().enumerate();
            (memory, points.map(|(distance, norm)| (distance as f64, norm)).collect())
        };
        Memory::ALL.map(line).into()
    }
}

fn figure(title: &str, scale: Scale, lines: &Lines) -> Figure {
    Figure {
        title: title.into(),
        x_label: "distance".into(),
        scale,
        lines: lines.iter().map(|(memory, line)| (memory.name().into(), line.clone())).collect(),
    }
}
