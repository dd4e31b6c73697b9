//! Freezing parameters, and what stands around them.

use std::collections::HashSet;

use burn::module::{Flag, ModuleMapper, Param};
use burn::tensor::Tensor;
use emberline_core::LayerGroup;
use emberline_core::layer_groups::is_within;
use emberline_core::parameters::ModulePath;

/// Gives gradients to what is trained, and to nothing else that is known; and switches dropout and the statistics of
/// batches off where nothing is trained.
pub(super) struct Freezer<'a> {
    path: ModulePath,
    trained: HashSet<&'a str>,
    known: HashSet<&'a str>,
    layers: &'a [LayerGroup],
}

impl<'a> Freezer<'a> {
    pub fn new(
        trained: HashSet<&'a str>,
        known: HashSet<&'a str>,
        layers: &'a [LayerGroup],
    ) -> Self {
        Self { path: ModulePath::default(), trained, known, layers }
    }

    /// Whether something is trained in the smallest module around a flag that has parameters and is not larger than its
    /// layer; if there is none, in its layer.
    fn is_trained_around(&self, flag: &str) -> bool {
        let trains = |holds: &dyn Fn(&str) -> bool| self.trained.iter().any(|path| holds(path));
        let Some(layer) = self.layers.iter().find(|layer| layer.holds(flag)) else {
            return !self.trained.is_empty();
        };
        let mut module = flag;
        while let Some((around, _)) = module.rsplit_once('.')
            && layer.holds(around)
        {
            if self.known.iter().any(|path| is_within(path, around)) {
                return trains(&|path| is_within(path, around));
            }
            module = around;
        }
        trains(&|path| layer.holds(path))
    }
}

impl ModuleMapper for Freezer<'_> {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.joined();
        if !self.known.contains(&path[..]) {
            return parameter;
        }
        let is_trained = self.trained.contains(&path[..]);
        let is_so = parameter.is_initialized() && parameter.base().is_require_grad() == is_trained;
        if is_so { parameter } else { parameter.set_require_grad(is_trained) }
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        let is_on = self.is_trained_around(&self.path.joined());
        flag.with_value(is_on)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}
