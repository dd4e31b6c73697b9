//! What a run saves, and how it goes on from there.
//!
//! `checkpoints/step-00000500/` holds the model's own files, `optimizer.bpk`, `carry.safetensors`
//! and `state.json`; `checkpoints/best` holds the name of the directory with the lowest validation
//! loss.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::tensor::Device;
use emberline_checkpoint::{
    CheckpointError, PendingDirectory, complete_steps, is_complete, latest_complete, load_tensors,
    remove_directory, save_tensors, step_directory, verify, write_atomically,
};
use emberline_core::Carry;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::TrainingConfig;
use crate::error::TrainingError;

pub(crate) const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best";
pub(crate) const OPTIMIZER: &str = "optimizer.bpk";
pub(crate) const CARRY: &str = "carry.safetensors";
pub(crate) const STATE: &str = "state.json";

/// How a model becomes the files of a directory, and comes back: weights, config, tokenizer.
pub struct ModelFiles<'a, M> {
    /// Writes the model into a directory that is there and empty.
    pub save: &'a dyn Fn(&M, &Path) -> Result<(), CheckpointError>,
    /// The model with the weights of a directory.
    pub load: &'a dyn Fn(M, &Path) -> Result<M, CheckpointError>,
}

impl<M> Clone for ModelFiles<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for ModelFiles<'_, M> {}

/// The lowest validation loss of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The number of updates before it.
    pub step: u64,
    /// The loss.
    pub validation_loss: f64,
}

/// The last complete checkpoint of a run directory.
///
/// # Errors
/// If the folder of checkpoints is there and cannot be read.
pub fn latest_checkpoint(directory: &Path) -> Result<Option<PathBuf>, TrainingError> {
    Ok(latest_complete(directory.join(CHECKPOINTS))?)
}

/// The checkpoint of a run directory with the lowest validation loss.
///
/// # Errors
/// If its name is there and cannot be read.
pub fn best_checkpoint(directory: &Path) -> Result<Option<PathBuf>, TrainingError> {
    let folder = directory.join(CHECKPOINTS);
    let pointer = folder.join(BEST);
    if !pointer.exists() {
        return Ok(None);
    }
    let name = std::fs::read_to_string(&pointer).map_err(TrainingError::io(&pointer))?;
    let best = folder.join(name.trim());
    if is_complete(&best) {
        return Ok(Some(best));
    }
    let expected = "the name of a complete checkpoint".to_string();
    Err(TrainingError::Foreign { path: pointer, expected })
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Updates made.
    pub step: u64,
    /// Tokens trained on.
    pub tokens_seen: u64,
    /// Seconds since the start, in all sessions.
    pub elapsed_s: f64,
    /// The best evaluation.
    pub best: Option<Best>,
    /// The last evaluation.
    pub validation_loss: Option<f64>,
    /// The evaluation loss that patience is counted from: the last that fell by more than
    /// `min_delta`.
    pub fallen_to: Option<f64>,
    /// Evaluations since then.
    pub evaluations_without_fall: u64,
}

/// The content of `state.json`.
#[derive(Serialize, Deserialize)]
struct State {
    progress: Progress,
    /// The number of tensors of each carry; null where there is none.
    carries: Vec<Option<usize>>,
    /// The number of tensors of the optimizer's state.
    optimizer: usize,
    run: Value,
}

/// Everything of a run that changes, but the model.
pub(crate) struct RunState<C> {
    pub progress: Progress,
    pub optimizer: ModuleOptimizer,
    pub carries: Vec<Option<C>>,
}

/// The checkpoints of one run.
pub(crate) struct Checkpoints<'a, M> {
    folder: PathBuf,
    files: ModelFiles<'a, M>,
    /// What makes the run what it is, to be found again on resume.
    run: Value,
    /// How many of the latest to keep.
    keep: usize,
}

impl<'a, M> Checkpoints<'a, M> {
    pub fn new(
        directory: &Path,
        files: ModelFiles<'a, M>,
        config: &TrainingConfig,
        identity: &Value,
    ) -> Self {
        Self {
            folder: directory.join(CHECKPOINTS),
            files,
            run: json!({ "training": config, "identity": identity }),
            keep: config.keep_checkpoints,
        }
    }

    /// Writes a checkpoint, points to the best one, and removes those that are neither late nor best.
    pub fn save<C: Carry>(&self, model: &M, run: &RunState<C>) -> Result<PathBuf, TrainingError> {
        let target = step_directory(&self.folder, run.progress.step);
        let pending = PendingDirectory::create(&target)?;
        let directory = pending.path();
        (self.files.save)(model, directory)?;

        let optimizer = save_optimizer(directory, &run.optimizer)?;
        let carries: Vec<_> =
            run.carries.iter().map(|carry| carry.as_ref().map(Carry::to_data)).collect();
        let state = State {
            progress: run.progress.clone(),
            carries: carries.iter().map(|carry| carry.as_ref().map(Vec::len)).collect(),
            optimizer,
            run: self.run.clone(),
        };
        let tensors = carries.into_iter().enumerate().flat_map(|(slot, carry)| {
            let tensors = carry.unwrap_or_default().into_iter().enumerate();
            tensors.map(move |(index, tensor)| (carry_name(slot, index), tensor))
        });
        save_tensors(directory.join(CARRY), tensors.collect())?;

        let path = directory.join(STATE);
        let text = serde_json::to_string_pretty(&state).map_err(TrainingError::json(&path))?;
        write_atomically(&path, text.as_bytes())?;
        pending.commit()?;

        self.point_to_best(&run.progress)?;
        self.prune(&run.progress)?;
        Ok(target)
    }

    /// The model and the state of a checkpoint; `optimizer` is one without state.
    pub fn load<C: Carry>(
        &self,
        checkpoint: &Path,
        model: M,
        optimizer: ModuleOptimizer,
        device: &Device,
    ) -> Result<(M, RunState<C>), TrainingError> {
        // Burn's reader of the optimizer's state panics at some files that are not its own.
        verify(checkpoint)?;
        let path = checkpoint.join(STATE);
        let text = std::fs::read_to_string(&path).map_err(TrainingError::io(&path))?;
        let state: State = serde_json::from_str(&text).map_err(TrainingError::json(&path))?;
        if let Some((field, expected, found)) = first_difference("", &self.run, &state.run) {
            let checkpoint = checkpoint.to_path_buf();
            return Err(TrainingError::OtherRun { checkpoint, field, expected, found });
        }
        let model = (self.files.load)(model, checkpoint)?;
        let optimizer = load_optimizer(checkpoint, optimizer, state.optimizer)?;
        let carries = load_carries(checkpoint, &state.carries, device)?;
        // A kill may have come between the checkpoint and what follows it.
        self.point_to_best(&state.progress)?;
        self.prune(&state.progress)?;
        Ok((model, RunState { progress: state.progress, optimizer, carries }))
    }

    fn point_to_best(&self, progress: &Progress) -> Result<(), TrainingError> {
        let Some(best) = progress.best else { return Ok(()) };
        let directory = step_directory(&self.folder, best.step);
        let name = directory.file_name().expect("a step directory has a name").to_string_lossy();
        Ok(write_atomically(self.folder.join(BEST), format!("{name}\n").as_bytes())?)
    }

    fn prune(&self, progress: &Progress) -> Result<(), TrainingError> {
        let complete = complete_steps(&self.folder)?;
        let late = complete.len().saturating_sub(self.keep);
        let best = progress.best.map(|best| best.step);
        for (_, directory) in complete.iter().take(late).filter(|(step, _)| Some(*step) != best) {
            remove_directory(directory)?;
        }
        Ok(())
    }
}

fn carry_name(slot: usize, index: usize) -> String {
    format!("carry.{slot}.{index}")
}

/// Writes the optimizer's state, and counts its tensors.
fn save_optimizer(directory: &Path, optimizer: &ModuleOptimizer) -> Result<usize, TrainingError> {
    let path = directory.join(OPTIMIZER);
    let record = optimizer.to_record();
    let tensors = record.len();
    record.save(&path).map_err(TrainingError::optimizer(&path))?;
    Ok(tensors)
}

fn load_optimizer(
    checkpoint: &Path,
    optimizer: ModuleOptimizer,
    tensors: usize,
) -> Result<ModuleOptimizer, TrainingError> {
    let path = checkpoint.join(OPTIMIZER);
    let record = OptimizerRecord::load(&path).map_err(TrainingError::optimizer(&path))?;
    let optimizer = optimizer.load_record(record);
    // Burn leaves out what it cannot make sense of.
    if optimizer.to_record().len() != tensors {
        let expected = format!("the {tensors} tensors of this optimizer's state");
        return Err(TrainingError::Foreign { path, expected });
    }
    Ok(optimizer)
}

fn load_carries<C: Carry>(
    checkpoint: &Path,
    carries: &[Option<usize>],
    device: &Device,
) -> Result<Vec<Option<C>>, TrainingError> {
    let path = checkpoint.join(CARRY);
    let mut tensors: HashMap<_, _> = load_tensors(&path)?.into_iter().collect();
    let mut load = |(slot, count): (usize, &Option<usize>)| -> Result<Option<C>, TrainingError> {
        let Some(count) = *count else { return Ok(None) };
        let data: Option<Vec<_>> =
            (0..count).map(|index| tensors.remove(&carry_name(slot, index))).collect();
        let carry = data.and_then(|data| C::from_data(data, device));
        let expected = || format!("the {count} tensors that micro-batch {slot} goes on from");
        carry
            .map(Some)
            .ok_or_else(|| TrainingError::Foreign { path: path.clone(), expected: expected() })
    };
    carries.iter().enumerate().map(&mut load).collect()
}

/// The path and both values of the first place in which two values differ.
fn first_difference(path: &str, ours: &Value, theirs: &Value) -> Option<(String, String, String)> {
    if ours == theirs {
        return None;
    }
    if let (Value::Object(our_map), Value::Object(their_map)) = (ours, theirs) {
        let below = |key: &str| match path {
            "" => key.to_string(),
            path => format!("{path}.{key}"),
        };
        let value = |map: &serde_json::Map<_, _>, key: &String| map.get(key).cloned();
        let keys = our_map.keys().chain(their_map.keys().filter(|key| !our_map.contains_key(*key)));
        return keys.into_iter().find_map(|key| {
            let (ours, theirs) = (value(our_map, key), value(their_map, key));
            first_difference(&below(key), &ours.unwrap_or_default(), &theirs.unwrap_or_default())
        });
    }
    Some((path.to_string(), ours.to_string(), theirs.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_path_with_both_values() {
        let ours = json!({"training": {"seed": 1, "steps": 3}});
        let theirs = json!({"training": {"seed": 2, "steps": 3}});
        let difference = first_difference("", &ours, &theirs).unwrap();
        assert_eq!(difference, ("training.seed".into(), "1".into(), "2".into()));

        let more = json!({"training": {"seed": 1, "steps": 3, "max_grad_norm": 1.0}});
        let difference = first_difference("", &ours, &more).unwrap();
        assert_eq!(difference, ("training.max_grad_norm".into(), "null".into(), "1.0".into()));
        assert_eq!(first_difference("", &ours, &ours.clone()), None);
    }
}
