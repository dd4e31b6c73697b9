//! Learning rates of their own for groups of parameters.

use std::collections::HashSet;

use burn::module::ParamGroup;
use burn::optim::{ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};

/// Parameters with a learning rate of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct RateGroup {
    /// Their paths.
    pub parameters: Vec<String>,
    /// What the rate of the schedule is multiplied with for them.
    pub factor: f64,
}

/// An optimizer of the parameters in no group, and one of each group, which is that of the undecayed for some.
pub(crate) fn with_rates<O: Optimizer>(
    optimizer: O,
    without_decay: O,
    undecayed: Vec<String>,
    groups: &[RateGroup],
) -> ModuleOptimizer {
    let undecayed: HashSet<String> = undecayed.into_iter().collect();
    let all = ParamGroup::from_paths(undecayed.iter().cloned().collect());
    let rest =
        ModuleOptimizer::from(optimizer.clone()).with_group(all, without_decay.clone(), None);
    groups.iter().fold(rest, |optimizers, RateGroup { parameters, factor }| {
        let (plain, decayed): (Vec<String>, Vec<String>) =
            parameters.iter().cloned().partition(|path| undecayed.contains(path));
        [(decayed, &optimizer), (plain, &without_decay)].into_iter().fold(
            optimizers,
            |optimizers, (paths, optimizer)| {
                let scaled = Scaled { optimizer: optimizer.clone(), factor: *factor };
                optimizers.with_group(ParamGroup::from_paths(paths), scaled, None)
            },
        )
    })
}

/// An optimizer at a part or a multiple of the learning rate.
#[derive(Clone, Debug)]
struct Scaled<O> {
    optimizer: O,
    factor: f64,
}

impl<O: Optimizer> Optimizer for Scaled<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<O::State<D>>,
    ) -> (Tensor<D>, Option<O::State<D>>) {
        self.optimizer.step(learning_rate * self.factor, parameter, gradient, state)
    }

    fn to_device<const D: usize>(state: O::State<D>, device: &Device) -> O::State<D> {
        O::to_device(state, device)
    }
}
