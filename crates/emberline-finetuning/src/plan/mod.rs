//! What of a pretrained model is trained, and how fast, as a plan that is data.
//!
//! - frozen: the head alone learns, on features that stay as they are (ELMo; the feature-based BERT);
//! - fine-tuned: everything learns, from where it was (GPT, BERT);
//! - between the two: the last layers, what a pattern names, or one layer more after every so many updates, from the last
//!   one down (Howard and Ruder: "Universal language model fine-tuning for text classification", 2018).
//!
//! Lower layers hold what serves every task and may learn more slowly: `η^{l-1} = η^l / 2.6` there, and
//! `η^{l-1} = 0.95 η^l` for BERT (Sun, Qiu, Xu, Huang: "How to fine-tune BERT for text classification?", 2019).
//!
//! What is frozen has no gradient, no state of an optimizer and no decay; dropout in it is off, and what normalises a
//! batch does so by what it has learnt.

mod freezer;
mod pattern;
mod planned;

use emberline_core::{LayerGroup, LayerGroups};
use serde::{Deserialize, Serialize};

pub(crate) use pattern::Pattern;
pub use planned::{Planned, PlannedGroup};

use planned::{Listed, list};

/// How a pretrained model is adapted to a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What is trained.
    pub train: Train,
    /// How much more slowly each layer learns than the one above it.
    #[serde(default)]
    pub rates: LayerRates,
    /// What the rate of the head is multiplied with; 1 where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_rate: Option<f64>,
}

/// What of a model is trained. Layers are those of [`LayerGroups`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Train {
    /// Everything.
    #[default]
    Full,
    /// The head.
    Head,
    /// The head and the last layers.
    LastLayers {
        /// The number of layers, without the head.
        n_layers: usize,
    },
    /// What is named.
    Matching {
        /// Patterns of paths: names joined by dots, `*` for any part of a name.
        patterns: Vec<String>,
    },
    /// The head first, then one more layer each time, from the last to the first.
    Gradual {
        /// The updates until the next layer is trained too: those of an epoch, in the paper.
        updates_per_layer: u64,
    },
    /// What is named, in groups with rates of their own.
    Groups {
        /// The groups, which share no parameter.
        groups: Vec<RatedGroup>,
    },
}

/// Parameters that learn at a rate of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatedGroup {
    /// What it is called in tables.
    pub name: String,
    /// Patterns of paths, as in [`Train::Matching`].
    pub patterns: Vec<String>,
    /// What the rate of the schedule is multiplied with.
    pub rate: f64,
}

/// The rate of a layer against that of the one above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerRates {
    /// The same.
    #[default]
    Equal,
    /// So many times smaller: ULMFiT's discriminative fine-tuning.
    Discriminative {
        /// 2.6 in the paper.
        #[serde(default = "discriminative_factor")]
        factor: f64,
    },
    /// That part of it: layer-wise decay.
    LayerWise {
        /// 0.95 for BERT.
        #[serde(default = "layer_wise_decay")]
        decay: f64,
    },
}

/// Why a plan does not fit a model, or itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A pattern names nothing.
    #[error("the pattern {pattern:?} matches no parameter of the model; there are {}", .known.join(", "))]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// The layers of the model.
        known: Vec<String>,
    },
    /// Nothing would be trained.
    #[error("the plan freezes everything: {why}")]
    NothingTrained {
        /// Which of its parts says so.
        why: String,
    },
    /// Two groups name one parameter.
    #[error("the groups {first} and {second} overlap in {parameter}")]
    Overlap {
        /// The parameter.
        parameter: String,
        /// One group.
        first: String,
        /// The other.
        second: String,
    },
    /// A number cannot be used.
    #[error("{field} must be {expected}, but is {found}")]
    Number {
        /// The field.
        field: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl Plan {
    /// A plan of what is trained, at one rate.
    pub fn new(train: Train) -> Self {
        Self { train, ..Self::default() }
    }

    /// The plan for the parameters of a model, which was loaded and is to be trained. What has no gradient before, such as
    /// the running statistics of a norm, is no part of it.
    ///
    /// # Errors
    /// [`PlanError`].
    ///
    /// # Panics
    /// If a parameter is in no layer of the model.
    pub fn of<M: LayerGroups>(&self, model: &M) -> Result<Planned, PlanError> {
        self.rates.validate()?;
        let head_rate = self.head_rate.unwrap_or(1.0);
        require_rate("head_rate", head_rate)?;
        let layers = model.layer_groups();
        let parameters = list(model);
        let groups = match &self.train {
            Train::Groups { groups } => rated(groups, &parameters, &layers)?,
            train => self.by_layers(train, head_rate, &parameters, &layers)?,
        };
        if groups.iter().all(|group| group.n_trained() == 0) {
            return Err(PlanError::NothingTrained { why: self.train.reason() });
        }
        Ok(Planned::new(groups, layers))
    }

    /// A group for each layer.
    fn by_layers(
        &self,
        train: &Train,
        head_rate: f64,
        parameters: &[Listed],
        layers: &[LayerGroup],
    ) -> Result<Vec<PlannedGroup>, PlanError> {
        let n_heads = layers.iter().filter(|layer| layer.is_head).count();
        let n_layers = layers.len() - n_heads;
        match train {
            Train::LastLayers { n_layers: asked } if *asked > n_layers => {
                let expected = format!("at most the {n_layers} of the model");
                return Err(number("n_layers", expected, asked));
            }
            Train::Gradual { updates_per_layer: 0 } => {
                return Err(number("updates_per_layer", "at least 1".into(), 0));
            }
            Train::Matching { patterns } => require_matches(patterns, parameters, layers)?,
            _ => {}
        }
        let group = |(index, layer): (usize, &LayerGroup)| {
            let (from_top, from_head) = (layers.len() - 1 - index, n_layers.saturating_sub(index));
            let is_trained = |path: &str| match train {
                Train::Head => layer.is_head,
                Train::LastLayers { n_layers } => layer.is_head || from_head <= *n_layers,
                Train::Matching { patterns } => matches_any(patterns, path),
                Train::Full | Train::Gradual { .. } | Train::Groups { .. } => true,
            };
            let from = match train {
                Train::Gradual { updates_per_layer } => from_top as u64 * updates_per_layer,
                _ => 0,
            };
            let head_rate = if layer.is_head { head_rate } else { 1.0 };
            let rate = self.rates.at(from_top) * head_rate;
            let inside = parameters.iter().filter(|parameter| layer.holds(&parameter.path));
            PlannedGroup::new(layer.name.clone(), rate, from, inside, is_trained)
        };
        let groups: Vec<PlannedGroup> = layers.iter().enumerate().map(group).collect();
        for Listed { path, .. } in parameters {
            let is_inside = layers.iter().any(|layer| layer.holds(path));
            assert!(is_inside, "{path} is in no layer of the model");
        }
        Ok(groups)
    }
}

impl Train {
    fn reason(&self) -> String {
        match self {
            Self::Head => "it trains the head, and the model has none".to_string(),
            Self::LastLayers { .. } => "it trains none of the layers, and no head".to_string(),
            Self::Matching { .. } => "it has no pattern".to_string(),
            Self::Groups { .. } => "it has no group".to_string(),
            Self::Full | Self::Gradual { .. } => "the model has no parameter".to_string(),
        }
    }
}

impl LayerRates {
    fn validate(self) -> Result<(), PlanError> {
        match self {
            Self::Equal => Ok(()),
            Self::Discriminative { factor } => require_rate("rates.factor", factor),
            Self::LayerWise { decay } => require_rate("rates.decay", decay),
        }
    }

    /// The part of the rate that a layer has, by how many are above it.
    fn at(self, from_top: usize) -> f64 {
        match self {
            Self::Equal => 1.0,
            Self::Discriminative { factor } => factor.recip().powi(from_top as i32),
            Self::LayerWise { decay } => decay.powi(from_top as i32),
        }
    }
}

fn discriminative_factor() -> f64 {
    2.6
}

fn layer_wise_decay() -> f64 {
    0.95
}

/// The groups that a plan names, and the rest, which is frozen.
fn rated(
    groups: &[RatedGroup],
    parameters: &[Listed],
    layers: &[LayerGroup],
) -> Result<Vec<PlannedGroup>, PlanError> {
    for RatedGroup { name, patterns, rate } in groups {
        require_rate(&format!("the rate of {name}"), *rate)?;
        require_matches(patterns, parameters, layers)?;
    }
    for Listed { path, .. } in parameters {
        let mut holders = groups.iter().filter(|group| matches_any(&group.patterns, path));
        if let (Some(first), Some(second)) = (holders.next(), holders.next()) {
            let [first, second] = [first, second].map(|group| group.name.clone());
            return Err(PlanError::Overlap { parameter: path.clone(), first, second });
        }
    }
    let named = groups.iter().map(|RatedGroup { name, patterns, rate }| {
        let inside = parameters.iter().filter(|parameter| matches_any(patterns, &parameter.path));
        PlannedGroup::new(name.clone(), *rate, 0, inside, |_| true)
    });
    let rest = parameters.iter().filter(|parameter| {
        !groups.iter().any(|group| matches_any(&group.patterns, &parameter.path))
    });
    let rest = PlannedGroup::new("rest".to_string(), 1.0, 0, rest, |_| false);
    Ok(named.chain([rest]).filter(|group| group.n_parameters() > 0).collect())
}

fn matches_any(patterns: &[String], path: &str) -> bool {
    patterns.iter().any(|pattern| Pattern(pattern).matches(path))
}

fn require_matches(
    patterns: &[String],
    parameters: &[Listed],
    layers: &[LayerGroup],
) -> Result<(), PlanError> {
    let names_none = |pattern: &&String| {
        !parameters.iter().any(|parameter| Pattern(pattern).matches(&parameter.path))
    };
    match patterns.iter().find(names_none) {
        None => Ok(()),
        Some(pattern) => {
            let known = layers.iter().flat_map(|layer| layer.modules.clone()).collect();
            Err(PlanError::NoMatch { pattern: pattern.clone(), known })
        }
    }
}

fn require_rate(field: &str, rate: f64) -> Result<(), PlanError> {
    match rate.is_finite() && rate > 0.0 {
        true => Ok(()),
        false => Err(number(field, "a number above 0".to_string(), rate)),
    }
}

fn number(field: &str, expected: String, found: impl ToString) -> PlanError {
    PlanError::Number { field: field.to_string(), expected, found: found.to_string() }
}

#[cfg(test)]
mod tests;
