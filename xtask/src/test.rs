//! `cargo xtask test`: cargo's tests, with the skipped ones counted aloud.
//!
//! A test that cannot run here (no data, no device) prints `skipped: <why>` and returns. Cargo
//! counts it as passed; we ask for the output of successful tests too, keep those lines, and drop the rest.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};

use anyhow::Context;
use lexopt::{Arg, ValueExt};

use crate::Failure;
use crate::cargo::cargo_at_root;
use crate::experiment::device_features;

#[derive(Debug, Default, PartialEq)]
struct Options {
    device: Option<String>,
    kills: Option<u32>,
}

/// Runs the tests; fails if one failed or the build did.
pub fn run(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let options = parse(arguments)?;
    let mut command = cargo_at_root();
    command.args(["test", "--no-fail-fast"]).args(selection(&options)?);
    if let Some(device) = &options.device {
        command.env("EMBERLINE_TEST_DEVICE", device);
    }
    if let Some(kills) = options.kills {
        command.env("EMBERLINE_KILLS", kills.to_string());
    }

    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let mut tally = Tally::default();
    let stdout = child.stdout.take().expect("the output is piped");
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what the tests print")?;
        if tally.read(&line) {
            println!("{line}");
        }
    }
    let succeeded = child.wait().context("cannot wait for the tests")?.success();

    println!("\n{}", tally.closing_line());
    if !succeeded && tally.failed == 0 {
        return Err(anyhow::anyhow!("the tests could not be built, or a test process died").into());
    }
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(arguments: Vec<OsString>) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("device") => options.device = Some(parser.value()?.string()?),
            Arg::Long("kills") => options.kills = Some(parser.value()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.device.is_some() && options.kills.is_some() {
        let message = "--kills is of a test on the CPU, and cannot be combined with --device";
        return Err(Failure::Usage(message.into()));
    }
    Ok(options)
}

/// Which tests cargo builds and runs.
fn selection(options: &Options) -> Result<Vec<String>, Failure> {
    let arguments: &[&str] = match (options.kills, options.device.as_deref()) {
        (Some(_), _) => &[
            "--package=emberline-experiments",
            "--test=it",
            "--",
            "--show-output",
            "a_killed_run_resumes_to_the_same_bits",
        ],
        (None, None | Some("flex")) => &["--workspace", "--", "--show-output"],
        (None, Some(device)) => {
            let features = device_features(device)?;
            let plain: Vec<_> = features.into_iter().filter(|name| *name != "tuned").collect();
            return Ok(vec![
                "--package=emberline-experiments".into(),
                "--test=it".into(),
                format!("--features={}", plain.join(",")),
                "--".into(),
                "--show-output".into(),
                "gpu".into(),
            ]);
        }
    };
    Ok(arguments.iter().map(|argument| argument.to_string()).collect())
}

/// What the output of cargo's test programs adds up to.
#[derive(Debug, Default)]
struct Tally {
    /// With those that skipped themselves.
    succeeded: u64,
    failed: u64,
    ignored: u64,
    skipped: u64,
    in_successes: bool,
    test_has_skipped: bool,
}

impl Tally {
    /// Takes one line of output; whether it is to be shown.
    fn read(&mut self, line: &str) -> bool {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.succeeded += count(counts, " passed");
            self.failed += count(counts, " failed");
            self.ignored += count(counts, " ignored");
        }
        if line == "successes:" {
            self.in_successes = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.in_successes = false;
        }
        if line.starts_with("---- ") {
            self.test_has_skipped = false;
        }
        if self.in_successes && line.starts_with("skipped: ") {
            self.skipped += u64::from(!self.test_has_skipped);
            self.test_has_skipped = true;
            return true;
        }
        !self.in_successes
    }

    fn closing_line(&self) -> String {
        let passed = self.succeeded.saturating_sub(self.skipped);
        format!("{passed} passed, {} failed, {} skipped", self.failed, self.skipped + self.ignored)
    }
}

/// The number before `what` in libtest's summary.
fn count(summary: &str, what: &str) -> u64 {
    summary
        .split_once(what)
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test a ... ok
test b ... ok
test c ... ignored
test d ... FAILED

successes:

---- a stdout ----
skipped: no GPU
skipped: and no time

---- b stdout ----
a long story

successes:
    a
    b

failures:

---- d stdout ----
skipped: not this one, it failed

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";

    #[test]
    fn a_test_that_says_skipped_is_not_counted_as_passed() {
        let mut tally = Tally::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| tally.read(line)).collect();
        assert_eq!(tally.closing_line(), "1 passed, 1 failed, 2 skipped");
        assert!(shown.contains(&"skipped: no GPU"));
        assert!(shown.contains(&"skipped: not this one, it failed"));
        assert!(!shown.contains(&"a long story"));
    }

    #[test]
    fn flags_that_are_unknown_or_exclude_each_other_are_usage_errors() {
        let parsed = |flags: &[&str]| parse(flags.iter().map(OsString::from).collect());
        assert!(matches!(parsed(&["--klils=3"]), Err(Failure::Usage(_))));
        assert!(matches!(parsed(&["--kills=3", "--device=wgpu"]), Err(Failure::Usage(_))));
        assert_eq!(parsed(&["--kills=3"]).unwrap(), Options { device: None, kills: Some(3) });
    }
}
