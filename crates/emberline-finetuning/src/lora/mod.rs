//! LoRA: a pretrained model stays as it is, and learns what a task adds to some of its matrices as products of two narrow
//! ones (Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen: "LoRA: Low-rank adaptation of large language models", 2021).
//!
//! An adapter is data, as small as it is: [`LoraConfig::init`] makes a new one for a model, [`LoraAdapter::read`] takes it
//! from a model that was trained, and a directory of PEFT holds it. [`attach`] gives a model adapters, in place of those
//! that it had; [`merge`] adds them to its matrices, and `emberline_backend::without_adapters` takes them away.

mod attach;
mod files;
mod parameters;

use std::collections::BTreeMap;

use burn::module::{Module, Reparameterization};
use burn::tensor::TensorData;
use emberline_backend::LowRank;
use emberline_checkpoint::CheckpointError;
use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::plan::{Pattern, Plan, Train};

pub use attach::{attach, merge, unmerge};
pub use files::PeftNames;

use parameters::{Listed, list, module_of, values};

/// How a model gets adapters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// The width between the two matrices of an adapter.
    pub rank: usize,
    /// What an adapter adds is scaled by `alpha / rank`.
    pub alpha: f64,
    /// The linear layers with an adapter: patterns of the ends of their paths, as `attention.query`.
    pub targets: Vec<String>,
    /// The probability with which an input of an adapter is dropped in training.
    #[serde(default)]
    pub dropout: f64,
    /// The biases that are trained too.
    #[serde(default)]
    pub bias: TrainedBiases,
    /// The modules that are trained whole, and saved with the adapter: patterns of paths, as `head`.
    #[serde(default)]
    pub saved_modules: Vec<String>,
    /// Whether the scale is `alpha / √rank`, with which higher ranks learn no more slowly (Kalajdzievski: "A rank
    /// stabilization scaling factor for fine-tuning with LoRA", 2023).
    #[serde(default)]
    pub rank_stabilized: bool,
}

/// Which biases of a model are trained beside its adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainedBiases {
    /// None.
    #[default]
    None,
    /// Those of layers with an adapter.
    LoraOnly,
    /// All.
    All,
}

/// An adapter for a model.
#[derive(Clone, Debug)]
pub struct LoraAdapter {
    /// How it is made.
    pub config: LoraConfig,
    /// A, `[d_input, rank]`, and B, `[rank, d_output]`, by the path of the weight.
    factors: BTreeMap<String, [TensorData; 2]>,
    /// The parameters that are trained whole, by their paths.
    whole: BTreeMap<String, TensorData>,
}

/// Why an adapter cannot be made, or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// A pattern names nothing.
    #[error("the pattern {pattern:?} matches no {what} of the model; there are {}", .known.join(", "))]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// What it should name.
        what: &'static str,
        /// Some of those that there are.
        known: Vec<String>,
    },
    /// A number cannot be used.
    #[error("{field} must be {expected}, but is {found}")]
    Number {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The adapter is for a model of other parameters.
    #[error(
        "the adapter is for another model: {parameter} is {expected:?} in it, but {found} here"
    )]
    OtherModel {
        /// The parameter.
        parameter: String,
        /// Its shape there.
        expected: Vec<usize>,
        /// Its shape here, or that there is none.
        found: String,
    },
    /// Two adapters have trained the same parameter whole.
    #[error("two adapters hold {parameter} whole")]
    Both {
        /// The parameter.
        parameter: String,
    },
    /// The files of an adapter cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The files of an adapter are those of another model.
    #[error("the adapter is for another model")]
    OtherFiles(#[source] CheckpointError),
}

impl LoraConfig {
    /// The adapters of the paper for GPT-2 and BERT: of queries and values alone, or of what makes both.
    pub fn new(rank: usize, alpha: f64, targets: &[&str]) -> Self {
        Self {
            rank,
            alpha,
            targets: targets.iter().map(|target| target.to_string()).collect(),
            dropout: 0.0,
            bias: TrainedBiases::None,
            saved_modules: Vec::new(),
            rank_stabilized: false,
        }
    }

    /// What the products are multiplied with.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }

    /// A new adapter, which changes nothing yet: A is uniform in `±1/√d_input`, and B is zero.
    ///
    /// # Errors
    /// [`LoraError::NoMatch`], [`LoraError::Number`].
    pub fn init<M: Module>(&self, model: &M, random: Stream) -> Result<LoraAdapter, LoraError> {
        self.validate()?;
        let listed = list(model);
        let targets = |pattern: &str, weight: &Listed| {
            weight.is_linear && Pattern(pattern).matches_end(module_of(&weight.path))
        };
        let linear = listed.iter().filter(|parameter| parameter.is_linear);
        let known = || linear.clone().map(|weight| module_of(&weight.path)).collect();
        require_each(&self.targets, "linear layer", &listed, &targets, known)?;
        let saves = |pattern: &str, parameter: &Listed| Pattern(pattern).matches(&parameter.path);
        let known = || listed.iter().map(|parameter| &parameter.path[..]).collect();
        require_each(&self.saved_modules, "parameter", &listed, &saves, known)?;

        let mut adapter =
            LoraAdapter { config: self.clone(), factors: BTreeMap::new(), whole: BTreeMap::new() };
        for weight in &listed {
            if !self.targets.iter().any(|pattern| targets(pattern, weight)) {
                continue;
            }
            let (d_input, d_output) = (weight.shape[0], weight.shape[1]);
            let bound = 1.0 / (d_input as f64).sqrt();
            let a = random.named(&weight.path).uniforms(d_input * self.rank, -bound, bound);
            let b = vec![0.0f32; self.rank * d_output];
            let factors = [
                TensorData::new(a, [d_input, self.rank]),
                TensorData::new(b, [self.rank, d_output]),
            ];
            adapter.factors.insert(weight.path.clone(), factors);
        }
        let is_whole = |path: &str| {
            let is_saved = self.saved_modules.iter().any(|pattern| Pattern(pattern).matches(path));
            is_saved || adapter.trains_bias(path)
        };
        let whole = listed.iter().filter(|parameter| is_whole(&parameter.path));
        let whole: Vec<String> = whole.map(|parameter| parameter.path.clone()).collect();
        adapter.whole = values(model, &whole);
        Ok(adapter)
    }

    fn validate(&self) -> Result<(), LoraError> {
        let require = |holds: bool, field, expected, found: String| match holds {
            true => Ok(()),
            false => Err(LoraError::Number { field, expected, found }),
        };
        let Self { rank, alpha, dropout, .. } = *self;
        require(rank > 0, "rank", "at least 1", rank.to_string())?;
        let is_positive = alpha.is_finite() && alpha > 0.0;
        require(is_positive, "alpha", "a number above 0", alpha.to_string())?;
        let is_fraction = (0.0..1.0).contains(&dropout);
        require(is_fraction, "dropout", "at least 0 and below 1", dropout.to_string())
    }
}

impl LoraAdapter {
    /// What is trained of a model with this adapter: what it adds, and what it holds whole.
    pub fn plan(&self) -> Plan {
        let patterns = [LowRank::NAME.to_string()].into_iter().chain(self.whole.keys().cloned());
        Plan::new(Train::Matching { patterns: patterns.collect() })
    }

    /// The numbers in it.
    pub fn n_parameters(&self) -> usize {
        let size = |data: &TensorData| data.shape().num_elements();
        let factors = self.factors.values().flatten().map(size).sum::<usize>();
        factors + self.whole.values().map(size).sum::<usize>()
    }

    /// The same adapter with the values that a model has, of which it is the adapter at `index`.
    ///
    /// # Panics
    /// If the model does not have it.
    #[must_use]
    pub fn read<M: Module>(&self, model: &M, index: usize) -> Self {
        let place = |path: &str, factor: &str| {
            format!("{path}.{}.adapters.{index}.{factor}", LowRank::NAME)
        };
        let places = self.factors.keys().flat_map(|path| [place(path, "a"), place(path, "b")]);
        let mut factors = values(model, &places.collect::<Vec<_>>());
        let mut of = |place: String| match factors.remove(&place) {
            Some(data) => data,
            None => panic!("the model has no {place}"),
        };
        let factors = self.factors.keys().map(|path| {
            let pair = [of(place(path, "a")), of(place(path, "b"))];
            (path.clone(), pair)
        });
        let factors = factors.collect();
        let whole = values(model, &self.whole.keys().cloned().collect::<Vec<_>>());
        Self { config: self.config.clone(), factors, whole }
    }

    fn trains_bias(&self, path: &str) -> bool {
        let is_bias = matches!(path.rsplit('.').next(), Some("bias" | "beta"));
        is_bias
            && match self.config.bias {
                TrainedBiases::None => false,
                TrainedBiases::All => true,
                TrainedBiases::LoraOnly => {
                    self.factors.contains_key(&format!("{}.weight", module_of(path)))
                }
            }
    }

    /// Whether every parameter that it is for is in a model, with its shape.
    fn check(&self, listed: &BTreeMap<String, Vec<usize>>) -> Result<(), LoraError> {
        let factors = self
            .factors
            .iter()
            .map(|(path, [a, b])| (path, vec![a.shape().to_vec()[0], b.shape().to_vec()[1]]));
        let whole = self.whole.iter().map(|(path, data)| (path, data.shape().to_vec()));
        for (path, expected) in factors.chain(whole) {
            let found = listed.get(path);
            if found != Some(&expected) {
                let found = match found {
                    Some(shape) => format!("{shape:?}"),
                    None => "not there".to_string(),
                };
                return Err(LoraError::OtherModel { parameter: path.clone(), expected, found });
            }
        }
        Ok(())
    }
}

fn require_each<'a>(
    patterns: &[String],
    what: &'static str,
    listed: &[Listed],
    matches: &dyn Fn(&str, &Listed) -> bool,
    known: impl Fn() -> Vec<&'a str>,
) -> Result<(), LoraError> {
    const SHOWN: usize = 8;
    if what == "linear layer" && patterns.is_empty() {
        let (field, expected) = ("targets", "at least one pattern");
        return Err(LoraError::Number { field, expected, found: "none".to_string() });
    }
    let names_none =
        |pattern: &&String| !listed.iter().any(|parameter| matches(pattern, parameter));
    match patterns.iter().find(names_none) {
        None => Ok(()),
        Some(pattern) => {
            let known = known().into_iter().take(SHOWN).map(str::to_string).collect();
            Err(LoraError::NoMatch { pattern: pattern.clone(), what, known })
        }
    }
}

#[cfg(test)]
mod tests;
