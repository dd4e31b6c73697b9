//! Label smoothing (Szegedy and others, 2016) in its three published forms.

use serde::{Deserialize, Serialize};

/// How a target's weight is spread over V classes. The Transformer's paper says only `ε = 0.1`, and the codes that
/// followed it differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSmoothing {
    /// PyTorch's and Burn's: ε/V for every class, and `1 - ε` more for the target.
    Uniform(f64),
    /// tensor2tensor's: `1 - ε` for the target and `ε / (V - 1)` for every other class. The loss is divergence from
    /// this distribution, so that its minimum is zero.
    Others(f64),
    /// The Annotated Transformer's: `1 - ε` for the target, `ε / (V - 2)` for every other class but the padding. The
    /// loss is divergence too.
    OthersBut {
        /// ε.
        smoothing: f64,
        /// The class that is padding. It gets no weight, and targets that are padding are ignored.
        padding: u32,
    },
}

/// The distribution that scores are compared with: `q_c = peak · [c = target] + floor · [c ≠ padding]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Distribution {
    pub(super) peak: f64,
    pub(super) floor: f64,
    pub(super) padding: Option<usize>,
    /// What is subtracted from each row's cross-entropy.
    pub(super) entropy: f64,
}

impl Distribution {
    /// # Panics
    /// If a smoothing is not in `[0, 1)`, or there are too few classes to share it.
    pub(super) fn new(smoothing: Option<LabelSmoothing>, n_classes: usize) -> Self {
        let (epsilon, sharing, padding) = match smoothing {
            None => (0.0, n_classes, None),
            Some(LabelSmoothing::Uniform(epsilon)) => (epsilon, n_classes, None),
            Some(LabelSmoothing::Others(epsilon)) => (epsilon, n_classes - 1, None),
            Some(LabelSmoothing::OthersBut { smoothing, padding }) => {
                let padding = padding as usize;
                assert!(padding < n_classes, "padding of {padding} among {n_classes} classes");
                (smoothing, n_classes.saturating_sub(2), Some(padding))
            }
        };
        assert!((0.0..1.0).contains(&epsilon), "a label smoothing of {epsilon}");
        assert!(sharing > 0, "label smoothing over {n_classes} classes");
        let floor = epsilon / sharing as f64;
        let information = |weight: f64| if weight == 0.0 { 0.0 } else { -weight * weight.ln() };
        match smoothing {
            None | Some(LabelSmoothing::Uniform(_)) => {
                Self { peak: 1.0 - epsilon, floor, padding, entropy: 0.0 }
            }
            _ => Self {
                peak: 1.0 - epsilon - floor,
                floor,
                padding,
                entropy: information(1.0 - epsilon) + sharing as f64 * information(floor),
            },
        }
    }
}
