//! CNN, RNN and Transformer over long distances: what each sees, what reaches the end of a row, and what it costs.
//!
//! Measured are the inputs that an output depends on; the norm of ∂y_n/∂x_{n−d} against d, before training and after
//! it; recall over a distance, by a model that was trained on that very distance; the steps that have to wait for each
//! other; and the time of a pass against the length.

mod kinds;
mod learner;
mod mixer;
mod timing;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use burn::module::Module;
use burn::tensor::Tensor;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::Stored;
use emberline_core::Stream;
use emberline_training::{Data, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::kinds::{CnnConfig, EncoderConfig, MixerKind, MixersConfig};
use self::learner::{Learner, learners};
use self::mixer::Work;
use super::jacobian::jacobian_norms;
use super::recall::{BRIDGED, Learners, Recall, Sequences, SequencesConfig, accuracy};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::result::{Figure, Scale, Table};

/// The longest row that is timed: the weights of attention, which are counted, are as many as its square.
const LONGEST: usize = 1 << 13;

/// Token mixers against distances and lengths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongRangeConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: SequencesConfig,
    /// What learns.
    pub model: MixersConfig,
    /// What the outputs depend on.
    pub jacobian: JacobianConfig,
    /// What a pass takes.
    pub timing: TimingConfig,
    /// How each learns; its seed is that of the whole run. There should be no norm of gradients to clip at:
    /// it would be that of all models together, and tie them to each other.
    pub training: TrainingConfig,
}

/// The rows whose Jacobians are taken before any training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JacobianConfig {
    /// The longest distance.
    pub distance: usize,
    /// The rows that norms are averaged over.
    pub rows: usize,
    /// The initial weights that norms are averaged over.
    pub seeds: usize,
}

/// The passes that are timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimingConfig {
    /// The lengths of a row, in rising order.
    pub lengths: Vec<usize>,
    /// The rows of a pass.
    pub rows: usize,
    /// The passes of which the middle one counts.
    pub runs: usize,
}

impl Kind for LongRangeConfig {
    fn data_sha256(&self) -> Option<&str> {
        None
    }

    fn validate(&self) -> Result<()> {
        let (model, rising) = (&self.model, |values: &[usize]| values.is_sorted_by(|a, b| a < b));
        let (distances, lengths) = (&self.data.distances, &self.timing.lengths);
        check_sizes(&[
            ("data.n_symbols", self.data.n_symbols),
            ("data.batch_size", self.data.batch_size),
            ("data.validation_batches", self.data.validation_batches),
            ("data.distances", distances.last().copied().unwrap_or(0)),
            ("model.d_model", model.d_model),
            ("model.cnn.n_layers", model.cnn.n_layers),
            ("model.cnn.kernel_size", model.cnn.kernel_size),
            ("model.transformer.n_layers", model.transformer.n_layers),
            ("model.transformer.n_heads", model.transformer.n_heads),
            ("model.transformer.d_ff", model.transformer.d_ff),
            ("jacobian.distance", self.jacobian.distance),
            ("jacobian.rows", self.jacobian.rows),
            ("jacobian.seeds", self.jacobian.seeds),
            ("timing.lengths", lengths.first().copied().unwrap_or(0)),
            ("timing.rows", self.timing.rows),
            ("timing.runs", self.timing.runs),
        ])?;
        ensure!(rising(distances), "`data.distances` must rise, but is {distances:?}");
        ensure!(rising(lengths), "`timing.lengths` must rise, but is {lengths:?}");
        let longest = lengths[lengths.len() - 1];
        ensure!(longest <= LONGEST, "`timing.lengths` must end by {LONGEST}, but has {longest}");
        let (d_model, n_heads) = (model.d_model, model.transformer.n_heads);
        ensure!(
            d_model.is_multiple_of(2) && d_model.is_multiple_of(n_heads),
            "`model.d_model` must be even, for sines and cosines, and divisible by \
             `model.transformer.n_heads`, but is {d_model} with {n_heads} heads"
        );
        Ok(())
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// The sequences and the models.
struct PreparedRange {
    config: LongRangeConfig,
    data: Sequences,
    trainee: Trainee<Learners<Learner>>,
}

/// Opens the device and makes the models; writes nothing.
///
/// # Errors
/// If the device cannot be opened, or the models do not fit into memory.
fn prepare(config: LongRangeConfig) -> Result<Box<dyn Prepared>> {
    let device = config.device.open()?.autodiff();
    let random = Stream::new(config.training.seed);
    let data = Sequences::new(&config.data, random.named("sequences"), &device.clone().inner());
    let trainee = Trainee::new(
        learner::parameters_of(&config),
        |device| learners(&config, random.named("model"), device),
        Stored::same,
        device,
    )?;
    Ok(Box::new(PreparedRange { config, data, trainee }))
}

impl Prepared for PreparedRange {
    fn config(&self) -> RunConfig {
        RunConfig::LongRange(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        let distances = &self.config.data.distances;
        self.trainee.train(
            session,
            &Recall { distances, n_kinds: MixerKind::ALL.len() },
            &self.data,
            &|_| Ok(()),
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let trained = self.trainee.last(directory)?;
        let recall = self.recall(&trained);
        let [initial, learned] = [self.initial_norms(), self.learned_norms(&trained)];
        let seen = MixerKind::ALL.map(|kind| self.seen(kind));
        let work = MixerKind::ALL.map(|kind| self.work(kind));
        let [forward, both] = self.times()?;

        let facts = facts(&recall, &initial, &seen, &work);
        let metric = |kind: MixerKind, (name, value): &(&str, f64)| {
            (format!("{name}_{}", kind.key()), *value)
        };
        let metrics = MixerKind::ALL.into_iter().zip(&facts);
        let metrics =
            metrics.flat_map(|(kind, facts)| facts.iter().map(move |fact| metric(kind, fact)));
        let farthest = self.config.jacobian.distance as f64;
        let is_shown =
            |distance: f64| distance == farthest || (distance as usize).is_power_of_two();
        Ok(Findings {
            metrics: metrics.collect::<BTreeMap<_, _>>(),
            tables: vec![
                self.overview(&facts, &forward, &both),
                recall.table(|_| true),
                initial.table(is_shown),
                learned.table(|_| true),
                forward.table(|_| true),
                both.table(|_| true),
            ],
            figures: vec![recall, initial, learned, forward, both],
            ..Findings::default()
        })
    }
}

impl PreparedRange {
    /// The share of right answers.
    fn recall(&self, trained: &Learners<Learner>) -> Figure {
        let trained = trained.clone().valid();
        let distances = &self.config.data.distances;
        let line = |kind| {
            let right = |distance: &usize| {
                let learner = trained.learner(kind as usize, *distance, distances);
                (*distance as f64, accuracy(learner, self.data.validation(), *distance))
            };
            distances.iter().map(right).collect()
        };
        figure("right answers", "distance", Scale::Linear, line)
    }

    /// Rows of random symbols for the Jacobians.
    fn rows(&self, learner: &Learner, seq_length: usize, index: u64) -> Tensor<3> {
        let random = Stream::new(self.config.training.seed).named("jacobian").at(index);
        learner.embed(self.data.symbols(self.config.jacobian.rows, seq_length, random))
    }

    /// A learner with initial weights of its own.
    fn initial(&self, kind: MixerKind, seed: u64) -> Learner {
        let random = Stream::new(self.config.training.seed).named("initial").at(seed);
        Learner::new(&self.config, kind, random, &self.trainee.device)
    }

    /// The norms of ∂y_n/∂x_{n−d} for every d, at some initial weights: the mean over these.
    fn initial_norms(&self) -> Figure {
        let JacobianConfig { distance: farthest, seeds, .. } = self.config.jacobian;
        let line = |kind| {
            let mut sums = vec![0.0; farthest + 1];
            for seed in 0..seeds as u64 {
                let learner = self.initial(kind, seed);
                let rows = self.rows(&learner, farthest + 1, seed);
                let norms = jacobian_norms(rows, farthest, |x| learner.mixer.forward(x));
                sums.iter_mut().zip(norms.iter().rev()).for_each(|(sum, norm)| *sum += norm);
            }
            let points = sums.into_iter().enumerate();
            points.map(|(distance, sum)| (distance as f64, sum / seeds as f64)).collect()
        };
        figure("norm of the initial Jacobian", "distance", Scale::Logarithmic, line)
    }

    /// The norm of ∂y_n/∂x_{n−d} of the learner that was trained on d, for every d.
    fn learned_norms(&self, trained: &Learners<Learner>) -> Figure {
        let distances = &self.config.data.distances;
        let line = |kind| {
            let norm = |distance: &usize| {
                let learner = trained.learner(kind as usize, *distance, distances);
                let rows = self.rows(learner, distance + 1, 0);
                let norms = jacobian_norms(rows, *distance, |x| learner.mixer.forward(x));
                (*distance as f64, norms[0])
            };
            distances.iter().map(norm).collect()
        };
        figure("norm of the learned Jacobian", "distance", Scale::Logarithmic, line)
    }

    /// How many inputs the output in the middle depends on, of those before it and of those after it.
    fn seen(&self, kind: MixerKind) -> [usize; 2] {
        let farthest = self.config.jacobian.distance;
        let learner = self.initial(kind, 0);
        let rows = self.rows(&learner, 2 * farthest + 1, 0);
        let norms = jacobian_norms(rows, farthest, |x| learner.mixer.forward(x));
        let count = |norms: &[f64]| norms.iter().filter(|norm| **norm > 0.0).count();
        [count(&norms[..farthest]), count(&norms[farthest + 1..])]
    }

    /// What a pass over one row of the longest length takes.
    fn work(&self, kind: MixerKind) -> Work {
        let learner = self.initial(kind, 0).valid();
        let random = Stream::new(self.config.training.seed).named("work");
        let symbols = self.data.symbols(1, self.longest(), random);
        learner.mixer.forward_counted(learner.embed(symbols)).1
    }

    fn longest(&self) -> usize {
        self.config.timing.lengths.iter().copied().max().unwrap_or(1)
    }

    /// Milliseconds of a pass forward, and of one forward and back.
    fn times(&self) -> Result<[Figure; 2]> {
        let TimingConfig { lengths, rows, runs } = &self.config.timing;
        let random = Stream::new(self.config.training.seed).named("timing");
        let (mut forward, mut both) = (Vec::new(), Vec::new());
        for kind in MixerKind::ALL {
            let learner = self.initial(kind, 0);
            let without_gradients = learner.clone().valid();
            let (mut line, mut line_of_both) = (Vec::new(), Vec::new());
            for length in lengths {
                let symbols = self.data.symbols(*rows, *length, random);
                let time = |learner, pass: fn(&Learner, _)| {
                    timing::milliseconds(
                        learner,
                        symbols.clone(),
                        pass,
                        *runs,
                        &self.trainee.device,
                    )
                };
                line.push((*length as f64, time(&without_gradients, timing::forward)?));
                line_of_both.push((*length as f64, time(&learner, timing::forward_and_back)?));
            }
            forward.push((kind.name().to_string(), line));
            both.push((kind.name().to_string(), line_of_both));
        }
        let figure = |title: &str, lines| Figure {
            title: title.into(),
            x_label: "length".into(),
            scale: Scale::Logarithmic,
            lines,
        };
        Ok([figure("milliseconds forward", forward), figure("milliseconds forward and back", both)])
    }

    /// What was found of every kind in one table, with the times over the longest rows.
    fn overview(&self, facts: &[Facts; 4], forward: &Figure, both: &Figure) -> Table {
        let (farthest, longest) = (self.config.jacobian.distance, self.longest());
        let names = [
            format!("words seen of {farthest} before"),
            format!("words seen of {farthest} after"),
            format!("recalls over, of {:?}", self.config.data.distances),
            format!("initial Jacobian, {farthest} back against 1"),
            format!("sequential steps over {longest}"),
            format!("positions read over {longest}"),
        ];
        let of_facts = names
            .into_iter()
            .enumerate()
            .map(|(fact, name)| (name, facts.iter().map(|facts| facts[fact].1).collect()));
        let last = |figure: &Figure| {
            let values = figure.lines.iter().map(|(_, line)| line[line.len() - 1].1);
            (format!("{} over {longest}", figure.title), values.collect())
        };
        Table {
            title: "CNN, RNN and Transformer".into(),
            columns: MixerKind::ALL.map(|kind| kind.name().to_string()).into(),
            rows: of_facts.chain([last(forward), last(both)]).collect(),
        }
    }
}

/// What was found of a kind and is the same each time, by name.
type Facts = [(&'static str, f64); 6];

fn facts(
    recall: &Figure,
    initial: &Figure,
    seen: &[[usize; 2]; 4],
    work: &[Work; 4],
) -> [Facts; 4] {
    std::array::from_fn(|kind| {
        let bridged = recall.lines[kind].1.iter().filter(|(_, right)| *right >= BRIDGED);
        let norms = &initial.lines[kind].1;
        let [before, after] = seen[kind];
        let Work { sequential_steps, reads } = work[kind];
        [
            ("seen_before", before as f64),
            ("seen_after", after as f64),
            ("horizon", bridged.map(|(distance, _)| *distance).fold(0.0, f64::max)),
            ("jacobian", norms[norms.len() - 1].1 / norms[1].1),
            ("sequential_steps", sequential_steps as f64),
            ("reads", reads as f64),
        ]
    })
}

/// A line for each kind.
fn figure(
    title: &str,
    x_label: &str,
    scale: Scale,
    line: impl Fn(MixerKind) -> Vec<(f64, f64)>,
) -> Figure {
    Figure {
        title: title.into(),
        x_label: x_label.into(),
        scale,
        lines: MixerKind::ALL.map(|kind| (kind.name().to_string(), line(kind))).into(),
    }
}
