//! Adagrad (Duchi, Hazan and Singer: "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
//! 2011): a parameter that has moved much moves little.

use burn::optim::{Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// The name of the only tensor of the state.
const ACCUMULATOR: &str = "accumulator";

/// `a ← a + g²`, `p ← p - η g / (√a + ε)`; as `torch.optim.Adagrad` without a decay of the learning rate.
///
/// With the accumulator that TensorFlow starts with and `ε = 0` it is TensorFlow's. Gradients times s, with an
/// accumulator that starts at s² times the number, move the parameters as before: ELMo's code multiplies its loss by
/// the steps of a window and starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdagradConfig {
    /// What a starts with; with 0, the first update is the sign of the gradient.
    pub initial_accumulator: f64,
    /// Added to the root of a.
    pub epsilon: f64,
}

impl Default for AdagradConfig {
    /// Those of torch.
    fn default() -> Self {
        Self { initial_accumulator: 0.0, epsilon: 1e-10 }
    }
}

/// Adagrad.
#[derive(Clone, Debug)]
pub(crate) struct Adagrad(pub AdagradConfig);

/// The sum of the squares of a parameter's gradients.
#[derive(Clone)]
pub(crate) struct AdagradState<const D: usize> {
    accumulator: Tensor<D>,
}

/// By hand: Burn's derive names its own crate's root.
impl<const D: usize> RecordState for AdagradState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, ACCUMULATOR, self.accumulator.to_data());
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let data = src.take_tensor(prefix, ACCUMULATOR)?;
        let dtype = data.dtype();
        Some(Self { accumulator: Tensor::from_data(data, (device, dtype)) })
    }
}

impl Optimizer for Adagrad {
    type State<const D: usize> = AdagradState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdagradState<D>>,
    ) -> (Tensor<D>, Option<AdagradState<D>>) {
        let AdagradConfig { initial_accumulator, epsilon } = self.0;
        let accumulator = match state {
            Some(state) => state.accumulator,
            None => parameter.full_like(initial_accumulator),
        };
        let accumulator = accumulator + gradient.clone().square();
        let root = accumulator.clone().sqrt() + epsilon;
        let parameter = parameter - gradient / root * learning_rate;
        (parameter, Some(AdagradState { accumulator }))
    }

    fn to_device<const D: usize>(state: AdagradState<D>, device: &Device) -> AdagradState<D> {
        AdagradState { accumulator: state.accumulator.to_device(device) }
    }
}
