//! The fixtures that `tests/fixtures/attention.py` writes.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::load_tensors;
use emberline_core::parameters::ModulePath;

/// The tensors of a fixture by name, the type to compute in, and how near to come.
pub struct Fixture {
    pub tensors: BTreeMap<String, TensorData>,
    pub device: Device,
    dtype: DType,
    tolerance: f64,
}

impl Fixture {
    /// The fixture of a case in both types.
    pub fn both(case: &str) -> [Self; 2] {
        [("f64", DType::F64, 1e-9), ("f32", DType::F32, 1e-5)].map(|(suffix, dtype, tolerance)| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
            let tensors = load_tensors(folder.join(format!("{case}_{suffix}.safetensors")));
            let tensors = tensors.expect("a committed fixture").into_iter().collect();
            Self { tensors, device: test_device().autodiff(), dtype, tolerance }
        })
    }

    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        Tensor::from_data(self.tensors[name].clone(), (&self.device, self.dtype))
    }

    /// A tensor that gradients are taken of.
    pub fn tracked<const D: usize>(&self, name: &str) -> Tensor<D> {
        self.tensor(name).require_grad()
    }

    /// `None` where all rows are full.
    pub fn lengths(&self) -> Option<Vec<usize>> {
        let lengths = self.tensors.get("lengths")?;
        Some(lengths.iter::<i64>().map(|length| length as usize).collect())
    }

    /// The one number of a tensor, if there is the tensor.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.tensors.get(name)?.iter::<f64>().next()
    }

    /// The module with the parameters of the fixture, in its element type.
    pub fn filled<M: Module>(&self, module: M) -> M {
        module.map(&mut Filler { fixture: self, path: ModulePath::default() })
    }

    /// What torch has for a parameter, or with the prefix `grad.` for its gradient, as it lies here.
    fn of_parameter<const D: usize>(&self, prefix: &str, path: &str) -> Tensor<D> {
        // torch has the weights of queries, keys and values above each other.
        let packed = |index: usize, tensor: &str| {
            let tensor = self.tensor::<D>(&format!("{prefix}in_proj_{tensor}"));
            let width = tensor.dims()[0] / 3;
            tensor.narrow(0, index * width, width)
        };
        let plain = |name: &str| self.tensor::<D>(&format!("{prefix}{name}"));
        match path {
            "query.weight" => packed(0, "weight").transpose(),
            "key.weight" => packed(1, "weight").transpose(),
            "value.weight" => packed(2, "weight").transpose(),
            "query.bias" => packed(0, "bias"),
            "key.bias" => packed(1, "bias"),
            "value.bias" => packed(2, "bias"),
            "output.weight" => plain("out_proj.weight").transpose(),
            "output.bias" => plain("out_proj.bias"),
            "gamma" => plain("weight"),
            "beta" => plain("bias"),
            "running_variance" => plain("running_var"),
            other => plain(other),
        }
    }

    pub fn check(&self, name: &str, found: TensorData) {
        self.compare(name, found, &self.tensors[name]);
    }

    fn compare(&self, name: &str, found: TensorData, expected: &TensorData) {
        assert_eq!(found.shape(), expected.shape(), "{name}");
        assert_eq!(found.dtype(), self.dtype, "{name}");
        let largest = expected.iter::<f64>().fold(1.0f64, |most, value| most.max(value.abs()));
        for (index, (found, expected)) in
            found.iter::<f64>().zip(expected.iter::<f64>()).enumerate()
        {
            assert!(
                (found - expected).abs() <= self.tolerance * largest,
                "{name}[{index}] of {:?} is {found} here and {expected} in the fixture",
                self.dtype
            );
        }
    }

    /// The gradients of `Σ output·w_out`.
    pub fn backward<const D: usize>(&self, output: Tensor<D>) -> Gradients {
        (output * self.tensor("w_out")).sum().backward()
    }

    pub fn check_gradient<const D: usize>(
        &self,
        name: &str,
        tensor: &Tensor<D>,
        gradients: &Gradients,
    ) {
        let gradient = tensor.grad(gradients).expect("a tracked tensor");
        self.check(&format!("grad.{name}"), gradient.into_data());
    }

    /// Checks the gradient of every parameter that is trained.
    pub fn check_gradients<M: Module>(&self, module: &M, gradients: &Gradients) {
        let path = ModulePath::default();
        module.visit(&mut Checker { fixture: self, gradients, path });
    }
}

struct Filler<'a> {
    fixture: &'a Fixture,
    path: ModulePath,
}

impl ModuleMapper for Filler<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let tensor = self.fixture.of_parameter::<D>("", &self.path.joined());
        assert_eq!(tensor.shape(), param.lazy_shape(), "{}", self.path.joined());
        let is_trained = param.is_require_grad();
        Param::from_tensor(tensor).set_require_grad(is_trained)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

struct Checker<'a> {
    fixture: &'a Fixture,
    gradients: &'a Gradients,
    path: ModulePath,
}

impl ModuleVisitor for Checker<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.joined();
        if param.is_require_grad() {
            let expected = self.fixture.of_parameter::<D>("grad.", &path).into_data();
            let gradient = param.val().grad(self.gradients).expect("a parameter that is trained");
            self.fixture.compare(&path, gradient.into_data(), &expected);
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}
