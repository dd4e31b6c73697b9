//! The files of published models, whose names differ in ways that say nothing.

use std::path::Path;

use crate::error::CheckpointError;
use crate::weights::Weights;

/// In which ways the files of a family of models differ from each other.
///
/// The names of a weight table are those of a file with the prefix, without buffers, and with a tied tensor once.
#[derive(Clone, Copy, Debug)]
pub struct PublishedNames {
    /// What all names of some files begin with, and none of others.
    pub prefix: &'static str,
    /// The last parts of the names of tensors that are not weights, such as `attn.bias` for a mask that is stored.
    pub buffers: &'static [&'static str],
    /// Endings of names that some files have, with those that a weight table knows.
    pub renamed: &'static [(&'static str, &'static str)],
    /// What the names of a head begin with. They are the same in files with and without the prefix, and a file may be
    /// of another head, or of none: see [`load_weights_but_heads`](crate::load_weights_but_heads).
    pub heads: &'static [&'static str],
    /// Tensors that are another one under a second name, in some files there and in some not.
    pub tied: &'static [Tied],
}

/// A tensor with two names.
#[derive(Clone, Copy, Debug)]
pub struct Tied {
    /// The second name, which never has the prefix.
    pub name: &'static str,
    /// The name that a weight table knows, with the prefix.
    pub same_as: &'static str,
}

impl PublishedNames {
    /// The beginning of the head that a tensor is of, if it is of one.
    pub(crate) fn head(&self, name: &str) -> Option<&'static str> {
        self.heads.iter().find(|head| name.starts_with(**head)).copied()
    }
}

impl Weights {
    /// Opens a file or a folder of a published model, as [`open`](Self::open) does, and lets its names be those of a
    /// weight table.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`NotTied`](CheckpointError::NotTied) where a tensor with two names has two values.
    pub fn open_published(
        path: impl AsRef<Path>,
        names: &PublishedNames,
    ) -> Result<Self, CheckpointError> {
        let mut weights = Self::open(path)?;
        let is_buffer = |name: &str| names.buffers.iter().any(|buffer| ends_in(name, buffer));
        weights.retain(|name| !is_buffer(name));
        for (ending, known) in names.renamed {
            let renamed = |name: &str| {
                ends_in(name, ending)
                    .then(|| format!("{}{known}", &name[..name.len() - ending.len()]))
            };
            // A tensor that is there under the known name too keeps its own, and is one too many.
            let taken: Vec<String> = weights.names().map(str::to_string).collect();
            weights.rename(|name| match renamed(name) {
                Some(other) if taken.binary_search(&other).is_err() => other,
                _ => name.to_string(),
            });
        }
        if !weights.names().any(|name| name.starts_with(names.prefix)) {
            let has_none = |name: &str| {
                names.tied.iter().any(|tied| tied.name == name) || names.head(name).is_some()
            };
            weights.rename(|name| match has_none(name) {
                true => name.to_string(),
                false => format!("{}{name}", names.prefix),
            });
        }
        for Tied { name, same_as } in names.tied {
            match (weights.tensor(name), weights.tensor(same_as)) {
                (Some(first), Some(second)) if !first.equals(&second) => {
                    return Err(CheckpointError::NotTied {
                        path: weights.path().to_path_buf(),
                        tensor: name.to_string(),
                        other: same_as.to_string(),
                    });
                }
                (Some(_), Some(_)) => weights.retain(|other| other != *name),
                (Some(_), None) => weights.rename(|other| match other == *name {
                    true => same_as.to_string(),
                    false => other.to_string(),
                }),
                (None, _) => {}
            }
        }
        Ok(weights)
    }
}

/// Whether the last parts of a name are these: `attn.bias` ends `h.0.attn.bias`, and not `h.0.c_attn.bias`. TensorFlow
/// has strokes between them.
fn ends_in(name: &str, parts: &str) -> bool {
    name.strip_suffix(parts).is_some_and(|before| before.is_empty() || before.ends_with(['.', '/']))
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::tensors::save_tensors;

    const NAMES: PublishedNames = PublishedNames {
        prefix: "transformer.",
        buffers: &["attn.bias", "position_ids", "adam_m"],
        renamed: &[("ln.beta", "ln.bias")],
        heads: &["score."],
        tied: &[Tied { name: "lm_head.weight", same_as: "transformer.wte.weight" }],
    };

    fn open(tensors: &[(&str, f32)]) -> Result<Weights, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let tensor = |(name, value): &(&str, f32)| (name.to_string(), TensorData::from([*value]));
        save_tensors(&path, tensors.iter().map(tensor).collect()).unwrap();
        Weights::open_published(path, &NAMES)
    }

    fn values(weights: &Weights) -> Vec<(&str, f32)> {
        let value = |name| weights.read(name).unwrap().unwrap().iter::<f32>().next().unwrap();
        weights.names().map(|name| (name, value(name))).collect()
    }

    #[test]
    fn a_prefix_is_there_or_not_for_all_names_and_a_tied_tensor_has_none() {
        let expected = [("transformer.h.0.ln.bias", 2.0), ("transformer.wte.weight", 1.0)];
        for file in [
            &[("transformer.wte.weight", 1.0), ("transformer.h.0.ln.bias", 2.0)][..],
            &[("wte.weight", 1.0), ("h.0.ln.bias", 2.0)],
            &[("wte.weight", 1.0), ("h.0.ln.bias", 2.0), ("lm_head.weight", 1.0)],
            &[
                ("transformer.wte.weight", 1.0),
                ("transformer.h.0.ln.bias", 2.0),
                ("lm_head.weight", 1.0),
            ],
            &[("lm_head.weight", 1.0), ("transformer.h.0.ln.bias", 2.0)],
        ] {
            assert_eq!(values(&open(file).unwrap()), expected, "{file:?}");
        }
    }

    #[test]
    fn buffers_go_and_weights_whose_names_end_alike_stay() {
        let weights = open(&[
            ("h.0.attn.bias", 1.0),
            ("position_ids", 1.0),
            ("h.0.attn.c_attn.bias", 2.0),
            ("h.0.xattn.bias", 3.0),
        ]);
        let expected =
            [("transformer.h.0.attn.c_attn.bias", 2.0), ("transformer.h.0.xattn.bias", 3.0)];
        assert_eq!(values(&weights.unwrap()), expected);
    }

    #[test]
    fn heads_have_no_prefix_and_old_endings_become_new_ones() {
        let weights = open(&[
            ("h.0.ln.beta", 1.0),
            ("h.1.xln.beta", 2.0),
            ("score.bias", 3.0),
            ("kernel/adam_m", 4.0),
        ]);
        let expected = [
            ("score.bias", 3.0),
            ("transformer.h.0.ln.bias", 1.0),
            ("transformer.h.1.xln.beta", 2.0),
        ];
        assert_eq!(values(&weights.unwrap()), expected);
    }

    #[test]
    fn a_tensor_under_both_its_names_is_not_dropped() {
        let weights = open(&[("h.0.ln.beta", 1.0), ("h.0.ln.bias", 2.0)]).unwrap();
        let expected = [("transformer.h.0.ln.beta", 1.0), ("transformer.h.0.ln.bias", 2.0)];
        assert_eq!(values(&weights), expected);
    }

    #[test]
    fn what_should_be_tied_and_is_not_is_an_error_that_says_so() {
        let error = open(&[("wte.weight", 1.0), ("lm_head.weight", 2.0)]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.ends_with("lm_head.weight is not the transformer.wte.weight that it is tied to"),
            "{error}"
        );
    }
}
