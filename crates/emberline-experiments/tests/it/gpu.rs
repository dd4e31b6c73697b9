//! Training and generation on a device through wgpu, a software one too, against the CPU.

use serde_json::Value;

use crate::program::{Folder, metrics};

/// Whether there is a device; says so if not.
fn is_there(folder: &Folder) -> bool {
    let doctor = folder.succeed(folder.emberline(&["doctor", "--device", "wgpu", "--json"])).stdout;
    let doctor: Value = serde_json::from_str(&doctor).unwrap();
    let found = !doctor["devices"][0]["found"].as_array().unwrap().is_empty();
    if !found {
        println!("skipped: this machine has no device for wgpu");
    }
    found
}

#[test]
fn wgpu_trains_and_writes_as_the_cpu_does() {
    let folder = Folder::new();
    if !is_there(&folder) {
        return;
    }
    let short = [
        "--set",
        "training.steps=3",
        "--set",
        "training.max_grad_norm=0.5",
        "--set",
        "model.n_layers=2",
    ];
    for device in ["flex", "wgpu"] {
        folder.succeed(folder.tiny_run(device, &[&short[..], &["--device", device]].concat()));
    }
    let [ours, theirs] = ["flex", "wgpu"].map(|device| metrics(&folder.path(device)));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for number in ["loss", "grad_norm", "validation_loss"] {
            if let (Some(ours), Some(theirs)) = (ours[number].as_f64(), theirs[number].as_f64()) {
                assert!((ours - theirs).abs() < 1e-4, "{number}: {ours} on flex, {theirs} on wgpu");
            }
        }
    }
    // The most likely token each time, from the same weights.
    let greedy = |device: &str| {
        let arguments =
            ["generate", "flex", "--temperature", "0", "--prompt", "the ", "--device", device];
        let mut command = folder.emberline(&arguments);
        command.args(["--max-new-tokens", "12"]);
        folder.succeed(command).stdout
    };
    assert_eq!(greedy("flex"), greedy("wgpu"));
}
