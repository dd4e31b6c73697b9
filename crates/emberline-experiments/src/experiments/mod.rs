//! The experiments: each is a function that returns its whole config, with one sentence on what it shows.

pub mod char_lstm;
pub mod char_rnn;
pub mod memory_horizon;
pub mod name_classifier;
pub mod poem_gru;
pub mod tagger;

use anyhow::{Context, Result};

use crate::config::RunConfig::{self, Classification, LanguageModelling, MemoryHorizon, Tagging};
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
        name: "char-rnn",
        system: "RNN, 1 layer of 550",
        data: "shakespeare",
        minutes: 3,
        shows: "the plain recurrent cell at the parameters and updates of char-lstm",
        config: || LanguageModelling(char_rnn::char_rnn()),
    },
    Experiment {
        name: "char-lstm",
        system: "LSTM, 1 layer of 256",
        data: "shakespeare",
        minutes: 3,
        shows: "a memory with gates learns spelling, names and the form of a play from characters alone",
        config: || LanguageModelling(char_lstm::char_lstm()),
    },
    Experiment {
        name: "char-lstm-deep",
        system: "LSTM, 3 layers of 256",
        data: "shakespeare",
        minutes: 8,
        shows: "depth, with dropout between the layers, against char-lstm on the same text",
        config: || LanguageModelling(char_lstm::char_lstm_deep()),
    },
    Experiment {
        name: "char-gru",
        system: "GRU, 1 layer of 302",
        data: "shakespeare",
        minutes: 3,
        shows: "two gates and no separate memory, at the parameters and updates of char-lstm",
        config: || LanguageModelling(char_rnn::char_gru()),
    },
    Experiment {
        name: "poem-gru",
        system: "GRU, 1 layer of 256",
        data: "tang300",
        minutes: 1,
        shows: "one title becomes many characters: each output is the next input until an empty line ends the poem",
        config: || LanguageModelling(poem_gru::poem_gru()),
    },
    Experiment {
        name: "name-classifier",
        system: "bidirectional GRU, 2 layers of 96",
        data: "names",
        minutes: 1,
        shows: "many letters become one class, with a confusion matrix",
        config: || Classification(name_classifier::name_classifier()),
    },
    Experiment {
        name: "tagger",
        system: "bidirectional LSTM, 2 layers of 128",
        data: "punctuation",
        minutes: 2,
        shows: "a tag for each word in step: the punctuation of a novel from its bare words",
        config: || Tagging(tagger::tagger()),
    },
    Experiment {
        name: "memory-horizon",
        system: "RNN, GRU and LSTM of 32, forget gate free, open and shut",
        data: "random symbols",
        minutes: 2,
        shows: "information decays with distance: gradient and recall of each cell against it",
        config: || MemoryHorizon(memory_horizon::memory_horizon()),
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
