//! `cargo xtask bench`: the benchmarks of the crates, as a table or as JSON.
//!
//! A benchmark is a file `benches/<name>.rs` with `harness = false` that prints one flat JSON object a line:
//! a `name`, and numbers. What else it prints is shown and not read.

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use lexopt::{Arg, ValueExt};
use serde_json::{Map, Value};

use crate::cargo::{cargo_at_root, packages, targets, text};
use crate::{Failure, names};

type Measurement = Map<String, Value>;

/// Runs the benchmarks named, or all.
pub fn run(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let (wanted, json) = parse(arguments)?;
    let benches = benches()?;
    for name in &wanted {
        if !benches.iter().any(|bench| bench.name == *name) {
            let known = benches.iter().map(|bench| bench.name.as_str());
            return Err(Failure::Usage(names::unknown("benchmark", name, known)));
        }
    }
    let mut measurements = Vec::new();
    for bench in benches {
        if wanted.is_empty() || wanted.contains(&bench.name) {
            measurements.extend(measure(&bench)?);
        }
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&measurements)?);
    } else {
        print!("{}", table(&measurements));
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(arguments: Vec<OsString>) -> Result<(Vec<String>, bool), Failure> {
    let (mut names, mut json) = (Vec::new(), false);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("json") => json = true,
            Arg::Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((names, json))
}

/// A benchmark of a crate.
struct Bench {
    package: String,
    name: String,
    /// The cargo features that it cannot be built without.
    features: String,
}

/// Every benchmark of the workspace.
fn benches() -> Result<Vec<Bench>> {
    let mut benches = Vec::new();
    for package in &packages()? {
        for target in targets(package).filter(|target| target["kind"][0] == "bench") {
            let features = target["required-features"].as_array().into_iter().flatten();
            benches.push(Bench {
                package: text(package, "name").into(),
                name: text(target, "name").into(),
                features: features.filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            });
        }
    }
    Ok(benches)
}

fn measure(Bench { package, name, features }: &Bench) -> Result<Vec<Measurement>> {
    let output = cargo_at_root()
        .args(["bench", "--package", package, "--bench", name, "--features", features])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo bench")?;
    ensure!(output.status.success(), "benchmark {name} ended with {}", output.status);
    let mut measurements = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match serde_json::from_str(line) {
            Ok(measurement) => measurements.push(measurement),
            Err(_) => eprintln!("{line}"),
        }
    }
    Ok(measurements)
}

/// One row a measurement, one column a key; the name first.
fn table(measurements: &[Measurement]) -> String {
    let mut columns = vec!["name"];
    for key in measurements.iter().flat_map(|measurement| measurement.keys()) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let mut rows = vec![columns.iter().map(|column| column.replace('_', " ")).collect::<Vec<_>>()];
    for measurement in measurements {
        rows.push(columns.iter().map(|column| cell(measurement.get(*column))).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_f64() => {
            format!("{:.3}", number.as_f64().unwrap_or(f64::NAN))
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_a_column_for_every_key_and_the_name_first() {
        let measurements: Vec<Measurement> = [
            json!({ "median_ms": 5.25, "name": "lstm forward" }),
            json!({ "name": "gru", "bytes": 12 }),
        ]
        .map(|value| value.as_object().unwrap().clone())
        .into();
        assert_eq!(
            table(&measurements),
            "name          median ms  bytes\nlstm forward      5.250\ngru                         12\n"
        );
    }
}
