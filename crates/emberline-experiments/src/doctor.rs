//! `emberline doctor`: what this machine can run.

use std::path::PathBuf;

use emberline_backend::device::{self, DeviceReport};
use emberline_text::datasets::PUBLIC_DATASETS;
use serde::Serialize;

use crate::cli::DoctorArguments;
use crate::datasets;
use crate::failure::Outcome;
use crate::terminal;

/// The release of Burn that the workspace pins.
pub const BURN_VERSION: &str = "0.22.1";

/// What is known of this machine and of this build.
#[derive(Serialize)]
struct Diagnosis {
    emberline: &'static str,
    burn: &'static str,
    system: String,
    processor: Option<String>,
    cores: usize,
    threads: Option<String>,
    simd: Vec<&'static str>,
    memory_gib: Option<f64>,
    memory_available_gib: Option<f64>,
    devices: Vec<DeviceReport>,
    features: Vec<&'static str>,
    cache: Option<PathBuf>,
    fetched: Vec<&'static str>,
}

/// Prints the diagnosis.
pub fn run(arguments: DoctorArguments) -> Outcome {
    let mut diagnosis = diagnose();
    if let Some(name) = arguments.device {
        diagnosis.devices.retain(|device| device.name == name);
    }
    Ok(terminal::result(match arguments.json {
        true => serde_json::to_string_pretty(&diagnosis)? + "\n",
        false => in_words(&diagnosis),
    })?)
}

fn diagnose() -> Diagnosis {
    let cache = datasets::cache().ok();
    let fetched = PUBLIC_DATASETS
        .iter()
        .filter(|dataset| {
            cache.as_ref().is_some_and(|cache| datasets::cached(cache, dataset).is_file())
        })
        .map(|dataset| dataset.name)
        .collect();
    Diagnosis {
        emberline: env!("CARGO_PKG_VERSION"),
        burn: BURN_VERSION,
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processor: proc_field("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        threads: std::env::var("RAYON_NUM_THREADS").ok(),
        simd: simd(),
        memory_gib: memory("MemTotal"),
        memory_available_gib: memory("MemAvailable"),
        devices: device::report(),
        features: features(),
        cache,
        fetched,
    }
}

/// The first value of a field of a file like `/proc/meminfo`; `None` where there is no such file.
fn proc_field(file: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == field).then(|| value.trim().to_string())
    })
}

fn memory(field: &str) -> Option<f64> {
    let bytes = proc_bytes("/proc/meminfo", field)?;
    Some((bytes as f64 / (1u64 << 30) as f64 * 10.0).round() / 10.0)
}

/// The memory of this machine; `None` where the system does not say.
pub fn memory_bytes() -> Option<u64> {
    proc_bytes("/proc/meminfo", "MemTotal")
}

/// The peak of resident memory of this process so far, in bytes; `None` where the system does not say.
pub fn peak_memory() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM")
}

/// A value like `12 kB`, in bytes.
fn proc_bytes(file: &str, field: &str) -> Option<u64> {
    let kibibytes: u64 = proc_field(file, field)?.split(' ').next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The vector instructions that the kernels can use, found at run time.
fn simd() -> Vec<&'static str> {
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let levels = [
            ("SSE4.2", std::arch::is_x86_feature_detected!("sse4.2")),
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
            ("FMA", std::arch::is_x86_feature_detected!("fma")),
            ("AVX-512F", std::arch::is_x86_feature_detected!("avx512f")),
        ];
        found.extend(levels.into_iter().filter(|(_, there)| *there).map(|(name, _)| name));
    }
    #[cfg(target_arch = "aarch64")]
    found.push("NEON");
    found
}

fn features() -> Vec<&'static str> {
    let features = [
        ("flex", cfg!(feature = "flex")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("metal", cfg!(feature = "metal")),
        ("cuda", cfg!(feature = "cuda")),
        ("tuned", cfg!(feature = "tuned")),
        ("fetch", cfg!(feature = "fetch")),
        ("dashboard", cfg!(feature = "dashboard")),
    ];
    features.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect()
}

fn in_words(diagnosis: &Diagnosis) -> String {
    let unknown = || "unknown".to_string();
    let memory = diagnosis
        .memory_gib
        .zip(diagnosis.memory_available_gib)
        .map_or_else(unknown, |(total, available)| {
            format!("{total} GiB, {available} GiB available")
        });
    let threads = diagnosis
        .threads
        .as_ref()
        .map_or_else(|| "one a core".to_string(), |count| format!("{count} (RAYON_NUM_THREADS)"));
    let cache = diagnosis.cache.as_ref().map_or_else(unknown, |path| path.display().to_string());
    let mut lines = vec![
        ("emberline", format!("{}, on Burn {}", diagnosis.emberline, diagnosis.burn)),
        ("system", diagnosis.system.clone()),
        ("processor", diagnosis.processor.clone().unwrap_or_else(unknown)),
        ("cores", diagnosis.cores.to_string()),
        ("threads", threads),
        ("vectors", or_none(&diagnosis.simd)),
        ("memory", memory),
        ("built with", or_none(&diagnosis.features)),
        ("cache", cache),
        ("fetched", or_none(&diagnosis.fetched)),
    ];
    for device in &diagnosis.devices {
        let state = match (device.compiled, device.found.as_slice()) {
            (false, _) => {
                format!("not built in: `cargo xtask doctor --device {}`", device.name)
            }
            (true, []) => "built in, but this machine has none".to_string(),
            (true, found) => format!("ready: {}", found.join(", ")),
        };
        lines.push(("device", format!("{:<7} {state}", device.name.to_string())));
    }
    lines.iter().map(|(what, value)| format!("{what:<11} {value}\n")).collect()
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_string() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_burn_is_the_one_that_the_workspace_pins() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(root).unwrap().parse().unwrap();
        let pinned = manifest["workspace"]["dependencies"]["burn"]["version"].as_str().unwrap();
        assert_eq!(pinned, format!("={BURN_VERSION}"));
    }
}
