//! What `cargo xtask` can do, as one table.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{Failure, bench, check, names, test};

/// Who does the work of a verb.
pub enum Action {
    /// The program `emberline`, which gets the verb and its arguments.
    Program,
    /// xtask itself.
    Here(fn(Vec<OsString>) -> Result<ExitCode, Failure>),
}

/// One verb.
pub struct Verb {
    pub name: &'static str,
    pub summary: &'static str,
    pub usage: &'static str,
    pub example: &'static str,
    pub action: Action,
}

/// Every verb, in the order of the help.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "list",
        summary: "the experiments: data, minutes, what each shows",
        usage: "[--json]",
        example: "cargo xtask list",
        action: Action::Program,
    },
    Verb {
        name: "run",
        summary: "train and evaluate an experiment, ending with samples and a report",
        usage: "<experiment> [--device NAME] [--set key=value]… [--config FILE] [--resume] [--dry-run] …",
        example: "cargo xtask run char-lstm --set training.steps=500",
        action: Action::Program,
    },
    Verb {
        name: "generate",
        summary: "continue a prompt with a trained model",
        usage: "<run or model dir> [--prompt TEXT] [--max-new-tokens N] [--temperature T] …",
        example: "cargo xtask generate runs/char-lstm/1 --prompt \"To be\"",
        action: Action::Program,
    },
    Verb {
        name: "evaluate",
        summary: "how well a model tells what comes next in a text",
        usage: "<run or model dir> --text FILE [--stride N] [--window N] | --last-words FILE [--json] …",
        example: "cargo xtask evaluate gpt2 --text wiki.txt --stride 512",
        action: Action::Program,
    },
    Verb {
        name: "predict",
        summary: "ask a trained model about lines of text",
        usage: "translation <run or model dir> [--text TEXT] [--num-beams N] [--json] …",
        example: "cargo xtask predict translation runs/bible-translate/1 --text \"God is love.\"",
        action: Action::Program,
    },
    Verb {
        name: "activations",
        summary: "what every layer of a model makes of some tokens, as a safetensors file",
        usage: "<model dir> --tokens IDS… --output FILE",
        example: "cargo xtask activations gpt2 --tokens 15496,995 --output states.safetensors",
        action: Action::Program,
    },
    Verb {
        name: "plan",
        summary: "what a model takes before there is one: parameters, memory, work, time",
        usage: "<preset, config.json or model dir> [--batch-size N] [--seq-length N] [--tokens N] [--json] …",
        example: "cargo xtask plan gpt3-175b --tokens 300e9 --devices 1000 --tflops 30",
        action: Action::Program,
    },
    Verb {
        name: "vectors",
        summary: "vectors of words: trained, asked, scored, converted, drawn",
        usage: "train <corpus> | nearest | analogy | evaluate | convert | plot <vectors> …",
        example: "cargo xtask vectors train corpus.txt --output vectors.bin",
        action: Action::Program,
    },
    Verb {
        name: "report",
        summary: "one self-contained report.html of one run, or of several compared",
        usage: "<run dir>… [--output FILE]",
        example: "cargo xtask report runs/char-lstm/1 runs/char-lstm-deep/1",
        action: Action::Program,
    },
    Verb {
        name: "data",
        summary: "fetch a data set into the cache and check it",
        usage: "<name> [--from FILE]",
        example: "cargo xtask data tinyshakespeare",
        action: Action::Program,
    },
    Verb {
        name: "doctor",
        summary: "what this machine can run",
        usage: "[--device NAME] [--json]",
        example: "cargo xtask doctor --json",
        action: Action::Program,
    },
    Verb {
        name: "test",
        summary: "the tests of the workspace, with the skipped ones counted",
        usage: "[--device NAME | --kills N]\n\n  \
                --device NAME   only the tests of that device (wgpu takes a software device too)\n  \
                --kills N       only kill-and-resume equality, with N kills",
        example: "cargo xtask test --device wgpu",
        action: Action::Here(test::run),
    },
    Verb {
        name: "check",
        summary: "everything CI checks besides tests: format, lints, docs, layers, no C",
        usage: "",
        example: "cargo xtask check",
        action: Action::Here(check::run),
    },
    Verb {
        name: "bench",
        summary: "the benchmarks, as a table or as JSON",
        usage: "[NAME]… [--json]",
        example: "cargo xtask bench recurrent",
        action: Action::Here(bench::run),
    },
];

impl Verb {
    /// What `cargo xtask <verb> --help` prints.
    pub fn help(&self) -> String {
        format!(
            "{}\n\nUsage: cargo xtask {} {}\n\nExample: {}",
            self.summary, self.name, self.usage, self.example
        )
    }
}

/// The verb of that name.
pub fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// What to say about a verb that does not exist.
pub fn unknown(name: &str) -> String {
    names::unknown("verb", name, VERBS.iter().map(|verb| verb.name))
}

/// What `cargo xtask --help` prints.
pub fn help() -> String {
    let mut text = String::from("Usage: cargo xtask <verb> …\n");
    for verb in VERBS {
        text += &format!("\n  {:<9} {}\n            {}\n", verb.name, verb.summary, verb.example);
    }
    text + "\n`cargo xtask <verb> --help` says more.\n\
            Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted with a checkpoint saved."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_shows_an_example_of_every_verb() {
        for verb in VERBS {
            assert!(verb.example.starts_with(&format!("cargo xtask {}", verb.name)));
            assert!(help().contains(verb.example));
        }
    }
}
