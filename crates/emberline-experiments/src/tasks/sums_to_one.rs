//! An autoregressive model is a distribution over sequences: `log p(x) = Σ log p(x_t | x_<t)`, and the probabilities of
//! all sequences of a length sum to one, trained or not.
//!
//! Over few symbols and places all sequences can be written down. A small GPT learns those of a known source, and what
//! it says of each is summed, and compared with what the source says.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};
use emberline_backend::device::DeviceName;
use emberline_checkpoint::write_config;
use emberline_core::{Incremental, Stream, TokenBatch};
use emberline_generation::log_probabilities;
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_pretraining::{NextToken, NextTokenWindows};
use emberline_text::Windows;
use emberline_training::{Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::gpt::ModelConfig;
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::result::{Figure, Scale, Table};

/// The symbol that all sequences follow.
const FIRST: u32 = 0;
/// How many sequences are encoded at a time.
const ROWS: usize = 256;
/// How many sequences there may be.
const MAX_SEQUENCES: usize = 1 << 16;
/// The least that a symbol's share of all chances is, before they are made to sum to one.
const LEAST_CHANCE: f64 = 0.05;

/// A GPT-2 on symbols of a Markov chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SumsToOneConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: SourceConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How it learns; its seed is that of the whole run.
    pub training: TrainingConfig,
}

/// A source whose next symbol depends on the last one, by chances that are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The number of symbols.
    pub n_symbols: usize,
    /// The symbols of the longest sequences whose probabilities are summed.
    pub length: usize,
    /// The symbols to learn from; a tenth as many are validated on.
    pub n_tokens: usize,
    /// The rows of an update.
    pub batch_size: usize,
}

impl Kind for SumsToOneConfig {
    fn data_sha256(&self) -> Option<&str> {
        None
    }

    fn validate(&self) -> Result<()> {
        let SourceConfig { n_symbols, length, n_tokens, batch_size } = self.data;
        check_sizes(&[
            ("data.n_symbols", n_symbols),
            ("data.length", length),
            ("data.n_tokens", n_tokens),
            ("data.batch_size", batch_size),
        ])?;
        let n_sequences =
            u32::try_from(length).ok().and_then(|length| n_symbols.checked_pow(length));
        ensure!(
            n_sequences.is_some_and(|n_sequences| n_sequences <= MAX_SEQUENCES),
            "`data.length` {length} of `data.n_symbols` {n_symbols} gives more than {MAX_SEQUENCES} sequences"
        );
        self.model.validate().context("`model` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// Symbols of which each depends on the one before.
struct Source {
    /// What follows each symbol, with which chance.
    chances: Vec<Vec<f64>>,
}

impl Source {
    fn new(n_symbols: usize, random: Stream) -> Self {
        let row = |symbol: usize| {
            let random = random.at(symbol as u64);
            let weights: Vec<f64> =
                (0..n_symbols as u64).map(|next| LEAST_CHANCE + random.uniform(next)).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / sum).collect()
        };
        Self { chances: (0..n_symbols).map(row).collect() }
    }

    fn symbols(&self, count: usize, random: Stream) -> Vec<u32> {
        let mut last = FIRST;
        let mut next = |place: usize| {
            let mut rest = random.uniform(place as u64);
            let row = &self.chances[last as usize];
            // What rounding leaves over falls to the last symbol.
            let reached = row.iter().position(|chance| {
                rest -= chance;
                rest < 0.0
            });
            last = reached.unwrap_or(row.len() - 1) as u32;
            last
        };
        (0..count).map(&mut next).collect()
    }

    /// How probable a sequence is after the first symbol.
    fn probability(&self, sequence: &[u32]) -> f64 {
        let befores = [FIRST].into_iter().chain(sequence.iter().copied());
        let steps = befores.zip(sequence);
        steps.map(|(before, symbol)| self.chances[before as usize][*symbol as usize]).product()
    }
}

/// All sequences of a length, in the order of counting.
fn sequences(n_symbols: usize, length: usize) -> Vec<Vec<u32>> {
    let mut all = vec![Vec::new()];
    for _ in 0..length {
        let longer = |sequence: Vec<u32>| {
            (0..n_symbols as u32).map(move |symbol| [&sequence[..], &[symbol]].concat())
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// The logarithm of the probability of each sequence after the first symbol, from one pass over all of it.
fn likelihoods<M: Incremental>(
    model: &M,
    sequences: &[Vec<u32>],
    device: &Device,
) -> Result<Vec<f64>> {
    let prompts = vec![&[FIRST][..]; sequences.len()];
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let rows = log_probabilities(model, &prompts, &sequences, ROWS, device)?;
    Ok(rows.into_iter().map(|row| row.iter().sum()).collect())
}

/// The same by the chain rule: a symbol after the other, each from what the model keeps of those before.
fn chained<M: Incremental>(model: &M, sequences: &[Vec<u32>], device: &Device) -> Vec<f64> {
    let n_rows = sequences.len();
    let column = |symbols: Vec<i32>| Tensor::<1, Int>::from_data(symbols.as_slice(), device);
    let mut sums = vec![0.0; n_rows];
    let (mut last, mut cache) = (vec![FIRST as i32; n_rows], None);
    for place in 0..sequences.first().map_or(0, Vec::len) {
        let batch = TokenBatch::new(column(last).reshape([n_rows, 1]));
        let (hidden, next) = model.encode_from(&batch, cache);
        cache = Some(next);
        last = sequences.iter().map(|sequence| sequence[place] as i32).collect();
        let logits = model.head(hidden.reshape([n_rows, model.d_model()]));
        let chosen = log_softmax(logits, 1).gather(1, column(last.clone()).reshape([n_rows, 1]));
        let logarithms = chosen.into_data();
        sums.iter_mut().zip(logarithms.iter::<f64>()).for_each(|(sum, number)| *sum += number);
    }
    sums
}

fn sum_of_probabilities(logarithms: &[f64]) -> f64 {
    logarithms.iter().map(|logarithm| logarithm.exp()).sum()
}

/// The source as windows, the model, the device.
struct PreparedSums {
    config: SumsToOneConfig,
    source: Source,
    data: NextTokenWindows,
    model_config: Gpt2Config,
    trainee: Trainee<Gpt2>,
}

/// Draws the symbols, opens the device and makes the model; writes nothing.
///
/// # Errors
/// If there are too few symbols, the device cannot be opened, or the model does not fit.
fn prepare(config: SumsToOneConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let SourceConfig { n_symbols, length, n_tokens, batch_size } = config.data;
    let source = Source::new(n_symbols, random.named("source"));
    let training = source.symbols(n_tokens, random.named("training"));
    let validation = source.symbols(n_tokens / 10, random.named("validation"));
    let device = config.device.open()?.autodiff();
    let windows = Windows::new(training, batch_size, length)?.drawn(random.named("windows"));
    let data =
        NextTokenWindows::new(windows, &validation, &device).context("the validation part")?;
    let model_config = config.model.for_texts(n_symbols, length);
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init(random.named("model"), device),
        Gpt2::stored_name,
        device,
    )?;
    Ok(Box::new(PreparedSums { config, source, data, model_config, trainee }))
}

impl Prepared for PreparedSums {
    fn config(&self) -> RunConfig {
        RunConfig::SumsToOne(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &NextToken,
            &self.data,
            &|directory| write_config(directory, &self.model_config),
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let device = self.trainee.device.clone().inner();
        let models = [
            ("before training", self.trainee.model.valid()),
            ("trained", self.trainee.best(directory)?.valid()),
        ];
        let SourceConfig { n_symbols, length, .. } = self.config.data;
        let mut errors: BTreeMap<&str, f64> = BTreeMap::new();
        let mut keep = |name, error: f64| {
            let greatest = errors.entry(name).or_default();
            *greatest = greatest.max(error.abs());
        };
        let mut rows = Vec::new();
        let mut lines = Vec::new();
        for (name, model) in &models {
            let mut sums = Vec::new();
            for length in 1..=length {
                let sequences = sequences(n_symbols, length);
                let whole = likelihoods(model, &sequences, &device)?;
                let steps = chained(model, &sequences, &device);
                for (whole, steps) in whole.iter().zip(&steps) {
                    keep("greatest_difference_from_the_chain_rule", whole - steps);
                }
                sums.push(sum_of_probabilities(&whole));
                keep("greatest_difference_from_one", sums[length - 1] - 1.0);
            }
            rows.push((name.to_string(), sums));
            let sequences = sequences(n_symbols, length);
            let logarithms = likelihoods(model, &sequences, &device)?;
            lines.push((*name, logarithms.iter().map(|logarithm| logarithm.exp()).collect()));
        }
        let sequences = sequences(n_symbols, length);
        let truth: Vec<f64> = sequences.iter().map(|row| self.source.probability(row)).collect();
        lines.push(("source", truth.clone()));

        let mut metrics: BTreeMap<String, f64> =
            errors.into_iter().map(|(name, error)| (name.to_string(), error)).collect();
        for (name, key) in [("before training", "before"), ("trained", "trained")] {
            let (_, line) = lines.iter().find(|(other, _)| *other == name).context("a line")?;
            metrics.insert(format!("total_variation_{key}"), total_variation(line, &truth));
        }
        Ok(Findings {
            metrics,
            tables: vec![Table {
                title: "sum of the probabilities of all sequences against their length".into(),
                columns: (1..=length).map(|length| length.to_string()).collect(),
                rows,
            }],
            figures: vec![by_rank(&lines, &truth)],
            ..Findings::default()
        })
    }
}

/// Half of the sum of all differences: by how much the chance of any event differs at most.
fn total_variation(found: &[f64], truth: &[f64]) -> f64 {
    found.iter().zip(truth).map(|(found, truth)| (found - truth).abs()).sum::<f64>() / 2.0
}

/// The probabilities of all sequences, the most probable of the source first.
fn by_rank(lines: &[(&str, Vec<f64>)], truth: &[f64]) -> Figure {
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order.sort_by(|a, b| truth[*b].total_cmp(&truth[*a]));
    let line = |(name, line): &(&str, Vec<f64>)| {
        let points = order.iter().enumerate();
        (name.to_string(), points.map(|(rank, row)| (rank as f64 + 1.0, line[*row])).collect())
    };
    Figure {
        title: "probability of a sequence".into(),
        x_label: "rank of the sequence in the source".into(),
        scale: Scale::Logarithmic,
        lines: lines.iter().map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_models::gpt1::Gpt1Config;
    use emberline_models::gpt3::Gpt3Config;
    use emberline_models::rnn_language_model::{CellKind, RnnLanguageModelConfig};

    use super::*;

    #[test]
    fn there_are_as_many_sequences_as_numbers() {
        assert_eq!(sequences(2, 2), [[0, 0], [0, 1], [1, 0], [1, 1]]);
        assert_eq!(sequences(3, 4).len(), 81);
        assert_eq!(sequences(3, 0), [[0; 0]]);
    }

    #[test]
    fn a_source_says_how_probable_its_sequences_are() {
        let source = Source::new(3, Stream::new(1));
        let all = sequences(3, 3);
        let sum: f64 = all.iter().map(|row| source.probability(row)).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        // Four standard deviations of the most frequent pair.
        let symbols = source.symbols(20_000, Stream::new(2));
        let after_1: Vec<u32> =
            symbols.windows(2).filter(|pair| pair[0] == 1).map(|pair| pair[1]).collect();
        for next in 0..3 {
            let found = after_1.iter().filter(|symbol| **symbol == next).count() as f64;
            let expected = source.chances[1][next as usize];
            assert!((found / after_1.len() as f64 - expected).abs() < 0.04, "{found}");
        }
    }

    fn check<M: Incremental>(model: &M) {
        for length in 1..=3 {
            let all = sequences(3, length);
            let whole = likelihoods(model, &all, &test_device()).unwrap();
            let sum = sum_of_probabilities(&whole);
            assert!((sum - 1.0).abs() < 1e-6, "{sum} for a length of {length}");
            for (whole, steps) in whole.iter().zip(chained(model, &all, &test_device())) {
                assert!((whole - steps).abs() < 1e-4, "{whole} at once, {steps} step by step");
            }
        }
    }

    #[test]
    fn every_autoregressive_model_sums_to_one_and_follows_the_chain_rule() {
        let (device, random) = (test_device(), Stream::new(1));
        let (vocab_size, n_positions, d_model, n_layers, n_heads) = (3, 4, 6, 2, 3);
        let sizes = Gpt1Config {
            vocab_size,
            n_positions,
            d_model,
            n_layers,
            n_heads,
            deviation: 0.5,
            ..Gpt1Config::default()
        };
        check(&sizes.init(random, &device));
        let sizes = Gpt2Config {
            vocab_size,
            n_positions,
            d_model,
            n_layers,
            n_heads,
            deviation: 0.5,
            ..Gpt2Config::default()
        };
        check(&sizes.init(random, &device));
        let [(_, small), ..] = Gpt3Config::presets();
        let sizes = Gpt3Config {
            vocab_size,
            n_positions,
            d_model,
            n_layers,
            n_heads,
            d_head: 5,
            band: Some(2),
            ..small
        };
        check(&sizes.init(random, &device));
        let sizes = RnnLanguageModelConfig {
            model_type: Default::default(),
            vocab_size,
            cell: CellKind::Lstm,
            d_embedding: 4,
            d_hidden: 5,
            n_layers: 1,
            dropout: 0.0,
        };
        check(&sizes.init(random, &device));
    }
}
