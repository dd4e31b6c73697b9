//! What a fixture holds of a model's forward and backward pass, and the comparison with it.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Int, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{Stored, load_tensors};
use emberline_core::parameters::ModulePath;

pub struct Values {
    pub tensors: BTreeMap<String, TensorData>,
    pub dtype: DType,
    tolerance: f64,
}

impl Values {
    /// Those of a model in both types, in files that end in `f64` and `f32`.
    pub fn both(stem: &Path) -> [Self; 2] {
        [("f64", DType::F64, 1e-9), ("f32", DType::F32, 1e-5)].map(|(suffix, dtype, tolerance)| {
            let tensors = load_tensors(format!("{}_{suffix}.safetensors", stem.display()));
            Self { tensors: tensors.unwrap().into_iter().collect(), dtype, tolerance }
        })
    }

    pub fn tokens(&self, name: &str) -> Tensor<2, Int> {
        Tensor::from_data(self.tensors[name].clone(), &test_device().autodiff())
    }

    /// The model with parameters of this type.
    pub fn cast<M: Module>(&self, model: M) -> M {
        model.map(&mut Cast(self.dtype))
    }

    pub fn check(&self, name: &str, found: TensorData) {
        let expected = &self.tensors[name];
        assert_eq!((found.shape(), found.dtype()), (expected.shape(), self.dtype), "{name}");
        let largest = expected.iter::<f64>().fold(1.0f64, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
            let near = (found - expected).abs() <= self.tolerance * largest;
            assert!(near, "{name} of {:?} has {found} for torch's {expected}", self.dtype);
        }
    }

    /// Checks the gradient of every parameter.
    pub fn check_gradients<M: Module>(
        &self,
        model: &M,
        gradients: &Gradients,
        stored_name: &dyn Fn(&str) -> Stored,
    ) {
        let path = ModulePath::default();
        model.visit(&mut GradientChecker { values: self, gradients, stored_name, path });
    }
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0).detach().require_grad())
    }
}

struct GradientChecker<'a> {
    values: &'a Values,
    gradients: &'a Gradients,
    stored_name: &'a dyn Fn(&str) -> Stored,
    path: ModulePath,
}

impl ModuleVisitor for GradientChecker<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let stored = (self.stored_name)(&self.path.joined());
        let gradient = param.val().grad(self.gradients).expect("a parameter that is trained");
        let gradient = if stored.transposed { gradient.transpose() } else { gradient };
        self.values.check(&format!("grad.{}", stored.name), gradient.into_data());
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}
