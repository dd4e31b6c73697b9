//! The experiments: each is a function that returns its whole config, with one sentence on what it shows.

pub mod char_lstm;

use anyhow::{Context, Result};

use crate::config::RunConfig;
use crate::names;

/// One experiment.
pub struct Experiment {
    /// The name to run it by.
    pub name: &'static str,
    /// What it trains.
    pub system: &'static str,
    /// What it trains on.
    pub data: &'static str,
    /// How long it takes on two cores.
    pub minutes: u32,
    /// What it shows.
    pub shows: &'static str,
    /// Its config.
    pub config: fn() -> RunConfig,
}

/// Every experiment, in the order of the lineage.
pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "char-lstm",
        system: "LSTM, 1 layer of 256",
        data: "shakespeare",
        minutes: 3,
        shows: "a memory with gates learns spelling, names and the form of a play from characters alone",
        config: || RunConfig::LanguageModelling(char_lstm::char_lstm()),
    },
    Experiment {
        name: "char-lstm-deep",
        system: "LSTM, 3 layers of 256",
        data: "shakespeare",
        minutes: 12,
        shows: "depth, with dropout between the layers, against char-lstm on the same text",
        config: || RunConfig::LanguageModelling(char_lstm::char_lstm_deep()),
    },
];

/// The experiment of that name.
///
/// # Errors
/// If there is none, with the nearest.
pub fn find(name: &str) -> Result<&'static Experiment> {
    let names = EXPERIMENTS.iter().map(|experiment| experiment.name);
    let found = EXPERIMENTS.iter().find(|experiment| experiment.name == name);
    found.with_context(|| format!("there is no experiment `{name}`; {}", names::hint(name, names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_run_and_survives_its_config_file() {
        for experiment in EXPERIMENTS {
            let config = (experiment.config)();
            assert_eq!(config.experiment(), experiment.name);
            config.validate().unwrap();
            let written = toml::to_string(&config).unwrap();
            assert!(written.starts_with(&format!("task = \"{}\"\n", config.task())), "{written}");
            assert_eq!(RunConfig::parse(&written).unwrap(), config);
        }
    }
}
