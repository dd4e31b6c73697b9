//! The parameters of a model, as adapters look at them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use emberline_core::parameters::ModulePath;

/// A parameter of a model.
pub(super) struct Listed {
    pub path: String,
    pub shape: Vec<usize>,
    /// Whether it is the weight of a [`Linear`](emberline_backend::Linear).
    pub is_linear: bool,
}

/// Where a parameter is.
pub(super) fn module_of(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or("", |(module, _)| module)
}

/// Every float parameter in the order of declaration.
pub(super) fn list<M: Module>(model: &M) -> Vec<Listed> {
    #[derive(Default)]
    struct Lister {
        path: ModulePath,
        containers: Vec<String>,
        found: Vec<Listed>,
    }
    impl ModuleVisitor for Lister {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let is_inside_linear =
                self.containers.last().is_some_and(|name| name == "Struct:Linear");
            let shape = param.lazy_shape().to_vec();
            let is_linear = is_inside_linear && shape.len() == 2;
            self.found.push(Listed { path: self.path.joined(), shape, is_linear });
        }

        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name);
            self.containers.push(container.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
            self.containers.pop();
        }
    }
    let mut lister = Lister::default();
    model.visit(&mut lister);
    lister.found
}

/// The values of the parameters at these paths.
pub(super) fn values<M: Module>(model: &M, paths: &[String]) -> BTreeMap<String, TensorData> {
    struct Reader<'a> {
        path: ModulePath,
        wanted: &'a [String],
        found: BTreeMap<String, TensorData>,
    }
    impl ModuleVisitor for Reader<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.path.joined();
            if self.wanted.contains(&path) {
                self.found.insert(path, param.base().into_data());
            }
        }

        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.exit();
        }
    }
    let mut reader = Reader { path: ModulePath::default(), wanted: paths, found: BTreeMap::new() };
    model.visit(&mut reader);
    reader.found
}
