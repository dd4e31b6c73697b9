//! The verbs of the workspace: `cargo xtask <verb>`.
//!
//! What trains, samples and reports is the program `emberline`; xtask builds it with the features that
//! the device needs and replaces itself by it. What concerns the workspace itself (its tests, its
//! checks, its benchmarks) is done here.

mod bench;
mod cargo;
mod check;
mod experiment;
mod layers;
mod names;
mod test;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

/// Why a verb did not do what was asked.
#[derive(Debug)]
enum Failure {
    /// The command line is at fault: exit code 2.
    Usage(String),
    /// The work failed: exit code 1.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into().downcast::<lexopt::Error>() {
            Ok(usage) => Failure::Usage(usage.to_string()),
            Err(error) => Failure::Failed(error),
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let outcome = match arguments.next() {
        Some(verb) => dispatch(&verb.to_string_lossy(), arguments.collect()),
        None => Err(Failure::Usage(format!("a verb is missing\n\n{}", verbs::help()))),
    };
    match outcome {
        Ok(code) => code,
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: &str, arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    if matches!(verb, "help" | "--help" | "-h") {
        println!("{}", verbs::help());
        return Ok(ExitCode::SUCCESS);
    }
    let Some(known) = verbs::find(verb) else {
        return Err(Failure::Usage(verbs::unknown(verb)));
    };
    match known.action {
        verbs::Action::Program => experiment::become_program(verb, &arguments),
        verbs::Action::Here(run) => {
            if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
                println!("{}", known.help());
                return Ok(ExitCode::SUCCESS);
            }
            run(arguments)
        }
    }
}
