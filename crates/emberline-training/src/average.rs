//! The mean of the last checkpoints of a run as a model of its own: of 5 for the base Transformer, of 20 for the big one
//! (Vaswani and others, 2017).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use emberline_checkpoint::{PendingDirectory, average_weights, complete_steps, verify};

use crate::checkpoint::{CARRY, CHECKPOINTS, OPTIMIZER, STATE};
use crate::error::TrainingError;

const WEIGHTS: &str = "model.safetensors";

/// Makes the directory `target` a model: the mean of the weights of the last `n` checkpoints of a run, and all other
/// files of the model as the last of them has them. The weights are those in `model.safetensors`.
///
/// Returns the steps of the checkpoints, earliest first. A run keeps as many as its config says, and the best one.
///
/// # Errors
/// [`TrainingError::TooFewCheckpoints`]; [`TrainingError::Checkpoint`] if one of them is damaged, their tensors differ
/// in names or shapes, or `target` is taken; [`TrainingError::Io`].
///
/// # Panics
/// If `n` is 0.
pub fn average_checkpoints(
    directory: &Path,
    n: usize,
    target: &Path,
) -> Result<Vec<u64>, TrainingError> {
    assert!(n > 0, "a mean is that of at least one checkpoint");
    let complete = complete_steps(directory.join(CHECKPOINTS))?;
    let Some(first) = complete.len().checked_sub(n) else {
        let (directory, found) = (directory.to_path_buf(), complete.len());
        return Err(TrainingError::TooFewCheckpoints { directory, found, expected: n });
    };
    let (steps, checkpoints): (Vec<u64>, Vec<PathBuf>) = complete[first..].iter().cloned().unzip();
    for checkpoint in &checkpoints {
        verify(checkpoint)?;
    }
    let pending = PendingDirectory::create(target)?;
    let latest = &checkpoints[n - 1];
    copy_model_files(latest, pending.path()).map_err(TrainingError::io(latest))?;
    average_weights(&checkpoints, pending.path().join(WEIGHTS))?;
    pending.commit()?;
    Ok(steps)
}

/// Copies what a model saved beside its weights. What seals the checkpoint goes with it, and is written anew.
fn copy_model_files(checkpoint: &Path, target: &Path) -> io::Result<()> {
    let not_copied = [WEIGHTS, OPTIMIZER, CARRY, STATE].map(OsStr::new);
    for entry in fs::read_dir(checkpoint)? {
        let entry = entry?;
        if !not_copied.contains(&&*entry.file_name()) {
            fs::copy(entry.path(), target.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_checkpoint::{
        CheckpointError, is_complete, load_tensors, save_tensors, step_directory,
    };

    use super::*;

    fn checkpoint(run: &Path, step: u64, weight: TensorData) {
        let pending =
            PendingDirectory::create(step_directory(run.join(CHECKPOINTS), step)).unwrap();
        save_tensors(pending.path().join(WEIGHTS), vec![("w".into(), weight)]).unwrap();
        for name in ["vocabulary.json", OPTIMIZER, CARRY, STATE] {
            fs::write(pending.path().join(name), format!("{name} of {step}")).unwrap();
        }
        pending.commit().unwrap();
    }

    #[test]
    fn the_mean_of_the_last_checkpoints_is_a_model_with_the_files_of_the_last() {
        let run = tempfile::tempdir().unwrap();
        for (step, number) in [(10, 100.0f32), (20, 1.0), (30, 4.0)] {
            checkpoint(run.path(), step, TensorData::from([number]));
        }
        let target = run.path().join("average");
        assert_eq!(average_checkpoints(run.path(), 2, &target).unwrap(), [20, 30]);
        assert!(is_complete(&target));
        verify(&target).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["DONE", "model.safetensors", "vocabulary.json"]);
        let vocabulary = fs::read_to_string(target.join("vocabulary.json")).unwrap();
        assert_eq!(vocabulary, "vocabulary.json of 30");
        let weights = load_tensors(target.join(WEIGHTS)).unwrap();
        weights[0].1.assert_eq(&TensorData::from([2.5f32]), true);
    }

    #[test]
    fn too_few_checkpoints_and_those_of_other_models_or_damaged_are_errors_and_leave_nothing() {
        let run = tempfile::tempdir().unwrap();
        checkpoint(run.path(), 10, TensorData::from([1.0f32]));
        checkpoint(run.path(), 20, TensorData::from([1.0f32, 2.0]));
        let target = run.path().join("average");
        let error = average_checkpoints(run.path(), 3, &target).unwrap_err().to_string();
        let expected =
            format!("{} has 2 complete checkpoints, but 3 are asked for", run.path().display());
        assert_eq!(error, expected);
        let error = average_checkpoints(run.path(), 2, &target).unwrap_err();
        let is_mismatch =
            matches!(error, TrainingError::Checkpoint(CheckpointError::Mismatch { .. }));
        assert!(is_mismatch && error.to_string().contains("step-00000020"), "{error}");
        let first = step_directory(run.path().join(CHECKPOINTS), 10);
        fs::write(first.join(STATE), "other").unwrap();
        let error = average_checkpoints(run.path(), 2, &target).unwrap_err();
        let is_damaged =
            matches!(error, TrainingError::Checkpoint(CheckpointError::Damaged { .. }));
        assert!(is_damaged, "{error}");
        assert!(!target.exists());
    }
}
