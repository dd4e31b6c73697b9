//! `emberline list`: the experiments.

use serde_json::json;

use crate::cli::ListArguments;
use crate::experiments::{EXPERIMENTS, Experiment};
use crate::failure::Outcome;
use crate::terminal;

/// Prints them, one a paragraph.
pub fn run(arguments: ListArguments) -> Outcome {
    if arguments.json {
        let list: Vec<_> = EXPERIMENTS
            .iter()
            .map(|experiment| {
                json!({
                    "name": experiment.name,
                    "system": experiment.system,
                    "data": experiment.data,
                    "minutes": experiment.minutes,
                    "shows": experiment.shows,
                })
            })
            .collect();
        return Ok(terminal::result(serde_json::to_string_pretty(&list)? + "\n")?);
    }
    let paragraphs = EXPERIMENTS.iter().map(|experiment| {
        let Experiment { name, system, data, minutes, shows, .. } = experiment;
        format!(
            "{name:<16} {system} on {data}, about {minutes} min on two cores\n{:<16} {shows}\n",
            ""
        )
    });
    Ok(terminal::result(paragraphs.collect::<String>())?)
}
