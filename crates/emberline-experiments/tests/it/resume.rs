//! A run that was killed or interrupted goes on as if nothing had happened.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use emberline_core::Stream;

use crate::program::{Folder, finish, metrics, weights};

/// What makes a run save after every update, so that many a kill falls into a save.
const SAVE_ALWAYS: [&str; 2] = ["--set", "training.checkpoint_every=1"];

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let kills: u64 = std::env::var("EMBERLINE_KILLS").map_or(4, |kills| kills.parse().unwrap());
    let folder = Folder::new();
    let started = Instant::now();
    folder.succeed(folder.tiny_run("whole", &SAVE_ALWAYS));
    let duration = started.elapsed();

    let (mut killed, mut run, mut sessions) = (0, 0, 0);
    while killed < kills {
        run += 1;
        let out = format!("killed-{run}");
        loop {
            let is_new = !folder.path(&out).join("config.toml").is_file();
            let mut command = if is_new {
                folder.tiny_run(&out, &SAVE_ALWAYS)
            } else {
                folder.emberline(&["run", "--resume", "--out", &out])
            };
            // A session with one thread goes on where one with two stopped.
            command.env("RAYON_NUM_THREADS", if sessions % 2 == 0 { "2" } else { "1" });
            let delay = duration.mul_f64(Stream::new(11).uniform(sessions));
            sessions += 1;
            if killed == kills || !is_killed_after(&mut command, delay) {
                break;
            }
            killed += 1;
        }
        if killed == kills {
            folder.succeed(folder.emberline(&["run", "--resume", "--out", &out]));
        }
        let [whole, pieced] = [folder.path("whole"), folder.path(&out)];
        assert_eq!(metrics(&whole), metrics(&pieced), "{out} after {killed} kills");
        assert_eq!(weights(&whole), weights(&pieced), "{out} after {killed} kills");
        assert_eq!(folder.read("whole/samples.txt"), folder.read(&format!("{out}/samples.txt")));
        std::fs::remove_dir_all(pieced).unwrap();
    }
    println!("{killed} kills in {run} runs and {sessions} sessions");
}

/// Starts a program and kills it after a while; whether it had not ended before, which must be well.
fn is_killed_after(command: &mut Command, delay: Duration) -> bool {
    let mut child = command.spawn().unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let ended = output.status.code();
    assert!(
        matches!(ended, None | Some(0)),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    ended.is_none()
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_a_checkpoint_and_says_130() {
    let folder = Folder::new();
    let never = ["--set", "training.steps=1000000", "--set", "training.checkpoint_every=1000000"];
    let child = folder.tiny_run("run", &never).spawn().unwrap();
    let metrics_file = folder.path("run/metrics.jsonl");
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::read_to_string(&metrics_file).map_or(0, |text| text.lines().count()) < 3 {
        assert!(Instant::now() < deadline, "the run does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("--resume --out run"), "{stderr}");

    let step = metrics(&folder.path("run")).last().unwrap()["step"].as_u64().unwrap();
    let checkpoint = format!("run/checkpoints/step-{step:08}/DONE");
    assert!(folder.path(&checkpoint).is_file(), "{checkpoint}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_after_the_training_ends_the_program() {
    let folder = Folder::new();
    let endless = ["--set", "samples.max_new_tokens=1000000000"];
    let mut child = folder.tiny_run("run", &endless).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !folder.path("run/checkpoints/step-00000024/DONE").is_file() {
        assert!(Instant::now() < deadline, "the run does not end its training");
        std::thread::sleep(Duration::from_millis(5));
    }
    // From the checkpoint to the samples is a moment.
    std::thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
}

#[test]
fn a_killed_classifier_resumes_to_the_same_bits() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run_of("name-classifier", "whole", &SAVE_ALWAYS));
    let mut child = folder.tiny_run_of("name-classifier", "killed", &SAVE_ALWAYS).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !folder.path("killed/checkpoints/step-00000004/DONE").is_file() {
        assert!(Instant::now() < deadline, "the run does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    folder.succeed(folder.emberline(&["run", "--resume", "--out", "killed"]));
    let [whole, killed] = [folder.path("whole"), folder.path("killed")];
    assert_eq!(metrics(&whole), metrics(&killed));
    assert_eq!(weights(&whole), weights(&killed));
    assert_eq!(folder.read("whole/samples.txt"), folder.read("killed/samples.txt"));
}

#[test]
fn a_finished_run_resumes_to_itself() {
    let folder = Folder::new();
    folder.succeed(folder.tiny_run("run", &[]));
    let files = ["metrics.jsonl", "samples.txt"];
    let before = files.map(|file| folder.read(&format!("run/{file}")));
    let finished = finish(&mut folder.emberline(&["run", "--resume", "--out", "run"]));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(files.map(|file| folder.read(&format!("run/{file}"))), before);
}
