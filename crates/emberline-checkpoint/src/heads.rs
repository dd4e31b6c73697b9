//! Loading a model whose head is not that of the file: an encoder of pretraining, to be trained for a task.

use burn::module::Module;

use crate::error::{CheckpointError, Mismatch};
use crate::module::{filled, mismatch};
use crate::names::Stored;
use crate::published::PublishedNames;
use crate::weights::Weights;

/// The tensors in which the heads of a module and of a file differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherHeads {
    /// Tensors of a head that the file does not have: their values are those that the module had.
    pub new: Vec<String>,
    /// Tensors of a head that the module does not have: they are not read.
    pub unused: Vec<String>,
}

/// [`load_weights`](crate::load_weights), but heads of which the file has nothing stay as they are, and heads of which
/// the module has nothing are left out. What both have a part of must fit whole.
///
/// A new head is of random numbers: who loads says so, or refuses it.
///
/// # Errors
/// As [`load_weights`](crate::load_weights).
///
/// # Panics
/// As [`load_weights`](crate::load_weights).
pub fn load_weights_but_heads<M: Module>(
    module: M,
    weights: &Weights,
    names: &PublishedNames,
    table: &dyn Fn(&str) -> Stored,
) -> Result<(M, OtherHeads), CheckpointError> {
    let mut mismatch = mismatch(&module, weights, table);
    let other = other_heads(&mut mismatch, weights, names);
    if !mismatch.is_empty() {
        return Err(Box::new(mismatch).into());
    }
    Ok((filled(module, weights, table), other))
}

/// Takes from what does not fit what is of a head that only one of the two has.
fn other_heads(mismatch: &mut Mismatch, weights: &Weights, names: &PublishedNames) -> OtherHeads {
    let any = |tensors: &[String], head: &str| tensors.iter().any(|name| name.starts_with(head));
    let unexpected = |name: &str| mismatch.unexpected.iter().any(|other| other == name);
    let (mut new, mut unused) = (Vec::new(), Vec::new());
    for head in names.heads {
        let mut in_file = weights.names().filter(|name| name.starts_with(head)).peekable();
        if in_file.peek().is_none() {
            new.push(*head);
        } else if in_file.all(unexpected) && !any(&mismatch.missing, head) {
            unused.push(*head);
        }
    }
    let take = |tensors: &mut Vec<String>, heads: &[&str]| {
        let is_of_one = |name: &String| heads.iter().any(|head| name.starts_with(head));
        let (taken, kept) = std::mem::take(tensors).into_iter().partition(is_of_one);
        *tensors = kept;
        taken
    };
    OtherHeads {
        new: take(&mut mismatch.missing, &new),
        unused: take(&mut mismatch.unexpected, &unused),
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Tensor, TensorData};
    use emberline_backend::test_device;

    use super::*;
    use crate::tensors::save_tensors;

    const NAMES: PublishedNames = PublishedNames {
        prefix: "bert.",
        buffers: &[],
        renamed: &[],
        heads: &["score.", "cls."],
        tied: &[],
    };

    #[derive(Module, Debug)]
    struct Model {
        encoder: Param<Tensor<1>>,
        weight: Param<Tensor<1>>,
        bias: Param<Tensor<1>>,
    }

    fn table(path: &str) -> Stored {
        match path {
            "encoder" => Stored::same("bert.encoder"),
            _ => Stored::same(&format!("score.{path}")),
        }
    }

    /// A model of zeros that is loaded from a file of ones, with these names.
    fn loaded(names: &[&str]) -> Result<([f32; 3], OtherHeads), CheckpointError> {
        let zeros = || Param::from_tensor(Tensor::zeros([1], &test_device()));
        let model = Model { encoder: zeros(), weight: zeros(), bias: zeros() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensor = |name: &&str| (name.to_string(), TensorData::from([1.0f32]));
        save_tensors(&path, names.iter().map(tensor).collect()).unwrap();
        let weights = Weights::open_published(path, &NAMES).unwrap();
        let (model, other) = load_weights_but_heads(model, &weights, &NAMES, &table)?;
        let values = [model.encoder, model.weight, model.bias];
        Ok((values.map(|value| value.val().into_scalar()), other))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_head_that_is_there_is_loaded() {
        let (values, other) = loaded(&["encoder", "score.weight", "score.bias"]).unwrap();
        assert_eq!((values, other), ([1.0; 3], OtherHeads::default()));
    }

    #[test]
    fn a_head_that_is_not_there_is_new_and_another_one_unused() {
        let (values, other) = loaded(&["bert.encoder", "cls.bias"]).unwrap();
        assert_eq!(values, [1.0, 0.0, 0.0]);
        assert_eq!(other.new, names(&["score.weight", "score.bias"]));
        assert_eq!(other.unused, names(&["cls.bias"]));
    }

    #[test]
    fn a_part_of_a_head_or_of_the_encoder_is_refused() {
        for (file, complaint) in [
            (&["encoder", "score.weight"][..], "1 missing: score.bias"),
            (
                &["encoder", "score.other"],
                "2 missing: score.weight, score.bias; 1 unexpected: score.other",
            ),
            (&["score.weight", "score.bias"], "1 missing: bert.encoder"),
            (&["encoder", "other", "score.weight", "score.bias"], "1 unexpected: bert.other"),
        ] {
            let error = loaded(file).unwrap_err().to_string();
            assert!(error.ends_with(complaint), "{error}");
        }
    }
}
