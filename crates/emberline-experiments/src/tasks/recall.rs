//! Recall over a distance, which several kinds of runs learn: the first symbol of a random sequence is to be named at
//! its end, by a model that was trained on that very distance.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::cross_entropy;
use emberline_core::{Count, Loss, Stream};
use emberline_training::{Data, Objective};
use serde::{Deserialize, Serialize};

/// The share of right answers from which on a distance counts as bridged.
pub const BRIDGED: f64 = 0.9;

/// The name of the only term of the loss.
const TERM: &str = "recall";

/// Sequences of random symbols.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequencesConfig {
    /// The number of symbols. Guessing is right once in so many times.
    pub n_symbols: usize,
    /// How many symbols come after the one to recall; a model of each kind for each, in rising order.
    pub distances: Vec<usize>,
    /// The rows of an update.
    pub batch_size: usize,
    /// The batches that recall is measured on.
    pub validation_batches: usize,
}

/// Names the first symbol of a sequence at its end.
///
/// [`Learners`] are generic over it. The cells of `memory_horizon` and the token mixers of `long_range` implement it.
pub trait Recaller: Module + ModuleDisplay {
    /// Scores of what the first symbol was, `[batch_size, n_symbols]`.
    ///
    /// # Shapes
    /// - symbols: `[batch_size, seq_length]`
    fn scores(&self, symbols: Tensor<2, Int>) -> Tensor<2>;
}

/// A learner for every kind and distance, none of which knows of the others: their losses are added up,
/// so that one training trains each as it would be trained alone.
#[derive(Module, Debug)]
pub struct Learners<L: Recaller> {
    /// Kind after kind, each by rising distance.
    learners: Vec<L>,
}

impl<L: Recaller> Learners<L> {
    /// The learners of a kind are made alike.
    pub fn new<K: Copy>(
        kinds: impl IntoIterator<Item = K>,
        distances: &[usize],
        learner: impl Fn(K) -> L,
    ) -> Self {
        let of_kind = |kind| distances.iter().map(move |_| kind);
        Self { learners: kinds.into_iter().flat_map(of_kind).map(learner).collect() }
    }

    /// The learner of a kind, by its number, for one of the distances.
    pub fn learner(&self, kind: usize, distance: usize, distances: &[usize]) -> &L {
        let place = distances.iter().position(|other| *other == distance);
        let place = place.expect("the distance is one of those that are learned");
        &self.learners[kind * distances.len() + place]
    }
}

/// The share of sequences whose first symbol a learner names after `distance` more.
pub fn accuracy<L: Recaller>(
    learner: &L,
    batches: impl Iterator<Item = Tensor<2, Int>>,
    distance: usize,
) -> f64 {
    let (mut right, mut count) = (0, 0);
    for symbols in batches {
        let [batch_size, _] = symbols.dims();
        let scores = learner.scores(up_to(symbols.clone(), distance));
        let named = scores.argmax(1).reshape([batch_size]);
        let equal = named.equal(first_symbols(symbols)).into_data();
        right += equal.iter::<bool>().filter(|equal| *equal).count();
        count += batch_size;
    }
    right as f64 / count as f64
}

/// The first symbol and so many more.
fn up_to(symbols: Tensor<2, Int>, distance: usize) -> Tensor<2, Int> {
    symbols.narrow(1, 0, distance + 1)
}

/// The answers, `[batch_size]`.
pub fn first_symbols(symbols: Tensor<2, Int>) -> Tensor<1, Int> {
    let [batch_size, _] = symbols.dims();
    symbols.narrow(1, 0, 1).reshape([batch_size])
}

/// Every learner names the first symbol after its own distance.
pub struct Recall<'a> {
    /// The distances.
    pub distances: &'a [usize],
    /// The number of kinds.
    pub n_kinds: usize,
}

impl<L: Recaller> Objective<Learners<L>> for Recall<'_> {
    type Batch = Tensor<2, Int>;
    type Carry = ();

    fn counts(&self, batch: &Tensor<2, Int>) -> Vec<Count> {
        let answers = batch.dims()[0] * self.n_kinds * self.distances.len();
        vec![Count { term: TERM, count: answers as f64 }]
    }

    fn loss(
        &self,
        model: &Learners<L>,
        batch: &Tensor<2, Int>,
        _carry: Option<()>,
        _dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let distances = self.distances.iter().cycle();
        let losses = model.learners.iter().zip(distances).map(|(learner, distance)| {
            let scores = learner.scores(up_to(batch.clone(), *distance));
            cross_entropy(scores, first_symbols(batch.clone()))
        });
        let sum = losses.reduce(|a, b| a + b).expect("there is a distance");
        (Loss::single(TERM, sum), ())
    }

    fn tokens(&self, batch: &Tensor<2, Int>) -> u64 {
        let steps: usize = self.distances.iter().map(|distance| distance + 1).sum();
        (batch.dims()[0] * self.n_kinds * steps) as u64
    }
}

/// Random symbols, never the same sequence twice.
pub struct Sequences {
    n_symbols: usize,
    batch_size: usize,
    seq_length: usize,
    validation_batches: usize,
    random: Stream,
    device: Device,
}

impl Sequences {
    /// Sequences as long as the longest distance needs them.
    pub fn new(config: &SequencesConfig, random: Stream, device: &Device) -> Self {
        Self {
            n_symbols: config.n_symbols,
            batch_size: config.batch_size,
            seq_length: config.distances.last().map_or(1, |distance| distance + 1),
            validation_batches: config.validation_batches,
            random,
            device: device.clone(),
        }
    }

    /// `[rows, seq_length]`.
    pub fn symbols(&self, rows: usize, seq_length: usize, random: Stream) -> Tensor<2, Int> {
        let symbol = |index| random.below(index as u64, self.n_symbols) as i32;
        let symbols: Vec<i32> = (0..rows * seq_length).map(symbol).collect();
        Tensor::from_data(TensorData::new(symbols, [rows, seq_length]), &self.device)
    }

    fn batch(&self, random: Stream) -> Tensor<2, Int> {
        self.symbols(self.batch_size, self.seq_length, random)
    }
}

impl Data for Sequences {
    type Batch = Tensor<2, Int>;

    fn update(&self, step: u64) -> Vec<Tensor<2, Int>> {
        vec![self.batch(self.random.named("training").at(step))]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = Tensor<2, Int>> {
        let random = self.random.named("validation");
        (0..self.validation_batches as u64).map(move |batch| self.batch(random.at(batch)))
    }

    fn updates_per_epoch(&self) -> u64 {
        u64::MAX
    }
}
