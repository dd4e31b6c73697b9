//! The parameters of a module, by their path.
//!
//! Burn gives every parameter a random id. Emberline derives the id from the path instead
//! ([`with_ids_from_paths`]), so that an optimizer's state fits the model of another process, and
//! nothing depends on the order of random numbers.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// Where a parameter is and what it looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The field names from the root, joined by dots: `lstm.layers.0.weight_input`.
    pub path: String,
    /// Burn's id.
    pub id: ParamId,
    /// The shape of the tensor.
    pub shape: Vec<usize>,
    /// Whether training changes it.
    pub trained: bool,
}

/// Every float parameter in the order of declaration.
pub fn parameters<M: Module>(module: &M) -> Vec<Parameter> {
    let mut lister = Lister { path: ModulePath::default(), found: Vec::new() };
    module.visit(&mut lister);
    lister.found
}

/// The number of numbers that training can change or has frozen.
pub fn parameter_count<M: Module>(module: &M) -> usize {
    parameters(module).iter().map(|p| p.shape.iter().product::<usize>()).sum()
}

/// The same module with ids that are a hash of each parameter's path.
///
/// # Panics
/// If two paths have one hash, which no list of names below some billions should show.
pub fn with_ids_from_paths<M: Module>(module: M) -> M {
    let module = module.map(&mut IdFromPath { path: ModulePath::default() });
    let mut ids: Vec<u64> = parameters(&module).iter().map(|p| p.id.val()).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "two parameters have one id");
    module
}

/// The stack of names that a visitor or mapper of modules is at.
#[derive(Clone, Debug, Default)]
pub struct ModulePath {
    names: Vec<String>,
}

impl ModulePath {
    /// To be called from `enter_module`.
    pub fn enter(&mut self, name: &str) {
        self.names.push(name.to_string());
    }

    /// To be called from `exit_module`.
    pub fn exit(&mut self) {
        self.names.pop();
    }

    /// The names joined by dots.
    pub fn joined(&self) -> String {
        self.names.join(".")
    }
}

struct Lister {
    path: ModulePath,
    found: Vec<Parameter>,
}

impl ModuleVisitor for Lister {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push(Parameter {
            path: self.path.joined(),
            id: param.id,
            shape: param.lazy_shape().to_vec(),
            trained: param.is_require_grad(),
        });
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

struct IdFromPath {
    path: ModulePath,
}

impl ModuleMapper for IdFromPath {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = crate::random::Stream::new(0).named(&self.path.joined()).bits(0);
        let (_, tensor, mapper) = param.consume();
        Param::from_mapped_value(ParamId::from(id), tensor, mapper)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}
