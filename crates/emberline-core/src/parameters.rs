//! The parameters of a module, by their path.
//!
//! Burn gives every parameter a random id. Emberline derives the id from the path instead
//! ([`with_ids_from_paths`]), so that an optimizer's state fits the model of another process, and
//! nothing depends on the order of random numbers.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

/// Where a parameter is and what it looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The field names from the root, joined by dots: `lstm.layers.0.weight_input`.
    pub path: String,
    /// Burn's id.
    pub id: ParamId,
    /// The shape of the tensor.
    pub shape: Vec<usize>,
}

/// Every float parameter in the order of declaration. Initialises none of them.
pub fn parameters<M: Module>(module: &M) -> Vec<Parameter> {
    let mut lister = Lister { path: ModulePath::default(), found: Vec::new() };
    module.visit(&mut lister);
    lister.found
}

/// The number of numbers in all parameters.
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

/// A parameter that is made when it is first asked for. Loading replaces it unmade, and to count it needs no memory.
pub fn lazy<const D: usize>(
    shape: [usize; D],
    device: &Device,
    values: impl FnOnce() -> Vec<f32> + Send + Sync + 'static,
) -> Param<Tensor<D>> {
    let make = move |device: &Device, is_trained: bool| {
        let values = TensorData::new(values(), shape);
        device
            .memory_persistent_allocations(values, |values| Tensor::<D>::from_data(values, device))
            .set_require_grad(is_trained)
    };
    Param::uninitialized(ParamId::new(), make, device.clone(), true, shape.into())
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

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    #[derive(Module, Debug)]
    struct Layer {
        weight: Param<Tensor<2>>,
        bias: Option<Param<Tensor<1>>>,
    }

    #[derive(Module, Debug)]
    struct Network {
        layers: Vec<Layer>,
    }

    fn network() -> Network {
        let device = test_device();
        let layer = |bias: bool| Layer {
            weight: Param::from_tensor(Tensor::ones([2, 3], &device)),
            bias: bias.then(|| Param::from_tensor(Tensor::zeros([3], &device))),
        };
        Network { layers: vec![layer(true), layer(false)] }
    }

    #[test]
    fn parameters_are_listed_by_path_in_the_order_of_declaration() {
        let paths: Vec<String> = parameters(&network()).into_iter().map(|p| p.path).collect();
        assert_eq!(paths, ["layers.0.weight", "layers.0.bias", "layers.1.weight"]);
        assert_eq!(parameter_count(&network()), 6 + 3 + 6);
    }

    #[test]
    fn a_lazy_parameter_is_counted_unmade_and_trained_once_made() {
        let device = test_device().autodiff();
        let layer = Layer {
            weight: lazy([usize::MAX, 1], &device, || panic!("made")),
            bias: Some(lazy([3], &device, || vec![1.0, 2.0, 3.0])),
        };
        assert_eq!(parameters(&layer)[0].shape, [usize::MAX, 1]);
        let bias = layer.bias.expect("a bias").val();
        assert!(bias.is_require_grad());
        assert_eq!(bias.into_data(), TensorData::from([1.0f32, 2.0, 3.0]));
    }

    #[test]
    fn ids_from_paths_are_equal_in_two_models_and_keep_the_values() {
        let (first, second) = (with_ids_from_paths(network()), with_ids_from_paths(network()));
        assert_ne!(parameters(&network()), parameters(&network()));
        assert_eq!(parameters(&first), parameters(&second));
        let bias = first.layers[0].bias.as_ref().unwrap();
        assert_eq!(bias.val().into_data().iter::<f32>().sum::<f32>(), 0.0);
    }
}
