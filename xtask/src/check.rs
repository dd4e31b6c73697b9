//! `cargo xtask check`: everything CI checks besides the tests. All of it runs; what failed is listed at the end.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::Failure;
use crate::cargo::{cargo_at_root, is_library, output, packages, text};
use crate::layers::{self, FACADE};

/// Crates whose presence means that a build compiles C or looks for system libraries.
const C_BUILDERS: [&str; 7] =
    ["cc", "cmake", "pkg-config", "bindgen", "vcpkg", "autotools", "nasm-rs"];

/// Burn's backends.
const BACKENDS: [&str; 5] = ["burn-flex", "burn-wgpu", "burn-cuda", "burn-cubecl", "burn-ndarray"];

type Check = fn() -> Result<()>;

/// Runs every check; fails if one did.
pub fn run(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    if let Some(argument) = arguments.first() {
        return Err(Failure::Usage(format!("check takes no argument, and got {argument:?}")));
    }
    let checks: [(&str, Check); 7] = [
        ("format", || succeed(cargo_at_root().args(["fmt", "--all", "--check"]))),
        ("layer table", layer_table),
        ("no C in the default build", no_c),
        ("lints", lints),
        ("lints of what is off by default", lints_of_features),
        ("documentation", documentation),
        ("libraries without a backend", libraries_without_backend),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        eprintln!("\ncheck: {name}");
        if let Err(error) = check() {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    eprintln!();
    if failed.is_empty() {
        println!("every check passed");
        return Ok(ExitCode::SUCCESS);
    }
    Err(anyhow::anyhow!("these checks failed: {}", failed.join(", ")).into())
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

fn lints() -> Result<()> {
    succeed(cargo_at_root().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The features that need no GPU; `cargo xtask test --device` builds those that do.
fn lints_of_features() -> Result<()> {
    succeed(cargo_at_root().args([
        "clippy",
        "--package=emberline-experiments",
        "--package=emberline-training",
        "--all-targets",
        "--features=emberline-experiments/fetch,emberline-experiments/dashboard",
        "--",
        "-D",
        "warnings",
    ]))
}

fn documentation() -> Result<()> {
    succeed(
        cargo_at_root()
            .args(["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn layer_table() -> Result<()> {
    let violations = layers::violations()?;
    ensure!(violations.is_empty(), "{}", violations.join("\n"));
    Ok(())
}

fn no_c() -> Result<()> {
    let found: BTreeSet<String> = dependency_names(&["--workspace", "--edges=normal,build,dev"])?
        .into_iter()
        .filter(|name| C_BUILDERS.contains(&name.as_str()))
        .collect();
    ensure!(found.is_empty(), "the default build reaches {found:?}");
    Ok(())
}

/// Each library by itself, so that none lives on features that another switches on.
fn libraries_without_backend() -> Result<()> {
    for package in packages()?.iter().filter(|package| is_library(package)) {
        let name = text(package, "name");
        let mut selection = vec!["--package", name];
        if name == FACADE {
            // Its default is the CPU, for those who take all of it.
            selection.extend(["--no-default-features", "--features=complete"]);
        }
        let backends: Vec<String> =
            dependency_names(&[&selection[..], &["--edges=normal"]].concat())?
                .into_iter()
                .filter(|name| BACKENDS.contains(&name.as_str()))
                .collect();
        ensure!(backends.is_empty(), "{name} brings the backends {backends:?}");
        succeed(cargo_at_root().arg("check").args(&selection))?;
    }
    Ok(())
}

/// The names of the crates in a dependency tree.
fn dependency_names(selection: &[&str]) -> Result<BTreeSet<String>> {
    let tree =
        output(cargo_at_root().args(["tree", "--prefix=none", "--format={p}"]).args(selection))?;
    Ok(tree.lines().filter_map(|line| line.split(' ').next()).map(String::from).collect())
}
