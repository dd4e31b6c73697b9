//! Becoming the program `emberline`, built with the features that the arguments ask for.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::cargo::{cargo, workspace};
use crate::{Failure, names};

/// The devices and the cargo features of `emberline-experiments` that each needs. The CPU is always there.
///
/// Real GPUs want fusion and autotuned kernels; a software device dies of them, so tests leave `tuned` out.
const DEVICES: [(&str, &[&str]); 5] = [
    ("flex", &["flex"]),
    ("wgpu", &["flex", "wgpu", "tuned"]),
    ("vulkan", &["flex", "vulkan", "tuned"]),
    ("metal", &["flex", "metal", "tuned"]),
    ("cuda", &["flex", "cuda", "tuned"]),
];

/// The cargo features of a device.
pub fn device_features(device: &str) -> Result<Vec<&'static str>, Failure> {
    if let Some((_, features)) = DEVICES.iter().find(|(name, _)| *name == device) {
        return Ok(features.to_vec());
    }
    let known = DEVICES.iter().map(|(name, _)| *name);
    Err(Failure::Usage(names::unknown("device", device, known)))
}

/// Replaces this process by the program, so that signals and exit codes are the program's.
pub fn become_program(verb: &str, arguments: &[OsString]) -> Result<ExitCode, Failure> {
    let mut command = cargo();
    command
        .args(["run", "--release", "--package", "emberline-experiments"])
        .arg("--manifest-path")
        .arg(workspace().join("Cargo.toml"))
        .args(["--no-default-features", "--features"])
        .arg(features(verb, arguments)?.join(","))
        .arg("--")
        .arg(verb)
        .args(arguments);
    replace_by(command)
}

/// The cargo features that a command line needs.
fn features(verb: &str, arguments: &[OsString]) -> Result<Vec<&'static str>, Failure> {
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let has = |name: &str| {
        arguments
            .iter()
            .any(|argument| argument == name || argument.starts_with(&format!("{name}=")))
    };
    let device = arguments.iter().enumerate().find_map(|(i, argument)| match argument.as_ref() {
        "--device" => arguments.get(i + 1).map(|name| name.as_ref()),
        other => other.strip_prefix("--device="),
    });
    let mut features = device_features(device.unwrap_or("flex"))?;
    if verb == "data" && !has("--from") {
        features.push("fetch");
    }
    if has("--dashboard") {
        features.push("dashboard");
    }
    Ok(features)
}

#[cfg(unix)]
fn replace_by(mut command: Command) -> Result<ExitCode, Failure> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(anyhow::Error::new(error).context(format!("cannot start {command:?}")).into())
}

#[cfg(not(unix))]
fn replace_by(mut command: Command) -> Result<ExitCode, Failure> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features_of(verb: &str, arguments: &[&str]) -> Vec<&'static str> {
        features(verb, &arguments.iter().map(OsString::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_device_decides_the_features() {
        assert_eq!(features_of("run", &["char-lstm"]), ["flex"]);
        assert_eq!(
            features_of("run", &["char-lstm", "--device", "wgpu"]),
            ["flex", "wgpu", "tuned"]
        );
        assert_eq!(features_of("doctor", &["--device=cuda"]), ["flex", "cuda", "tuned"]);
    }

    #[test]
    fn only_a_download_brings_tls() {
        assert_eq!(features_of("data", &["tinyshakespeare"]), ["flex", "fetch"]);
        assert_eq!(features_of("data", &["tinyshakespeare", "--from", "input.txt"]), ["flex"]);
        assert_eq!(features_of("data", &["tinyshakespeare", "--from=input.txt"]), ["flex"]);
    }

    #[test]
    fn an_unknown_device_is_refused_before_anything_is_built() {
        let Err(Failure::Usage(message)) = device_features("vulcan") else {
            panic!("vulcan was accepted")
        };
        assert!(message.contains("did you mean `vulkan`?"), "{message}");
    }
}
