//! The program `emberline`: every run as a preset, its report, and what follows from a trained model.

// wgpu's types nest more deeply than the compiler's default admits.
#![recursion_limit = "256"]
// They panic when the reader has gone; `terminal` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod activations;
mod cli;
mod config;
mod continuations;
mod data;
mod datasets;
mod doctor;
mod documents;
mod dry_run;
mod evaluate;
mod experiments;
mod failure;
mod generate;
mod in_context;
mod int8;
mod interrupt;
mod known_answers;
mod list;
mod model_directory;
mod names;
mod overrides;
mod plan;
mod predict;
mod progress;
mod report;
mod result;
mod run;
mod run_directory;
mod tasks;
mod terminal;
mod vectors;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};

fn main() -> ExitCode {
    emberline_backend::memory::keep_freed_memory();
    let outcome = match Cli::parse().verb {
        Verb::List(arguments) => list::run(arguments),
        Verb::Run(arguments) => run::run(arguments),
        Verb::Generate(arguments) => generate::run(arguments),
        Verb::Evaluate(arguments) => evaluate::run(arguments),
        Verb::Predict(task) => predict::run(task),
        Verb::Activations(arguments) => activations::run(arguments),
        Verb::Plan(arguments) => plan::run(arguments),
        Verb::Vectors(verb) => vectors::run(verb),
        Verb::Report(arguments) => report::run(arguments),
        Verb::Data(arguments) => data::run(arguments),
        Verb::Doctor(arguments) => doctor::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
