//! The fixtures that `tests/fixtures/recurrent.py` writes.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{Stored, load_tensors};
use emberline_core::parameters::ModulePath;
use emberline_recurrent::{GruConfig, LstmConfig, RnnConfig, torch};

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

    /// A tensor that gradients are taken of; `None` where the fixture leaves it out.
    pub fn tracked<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        self.tensors.contains_key(name).then(|| self.tensor::<D>(name).require_grad())
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

    pub fn rnn(&self) -> RnnConfig {
        let [d_input, d_hidden, n_layers] = self.sizes();
        RnnConfig::new(d_input, d_hidden, n_layers)
    }

    pub fn gru(&self) -> GruConfig {
        let [d_input, columns, n_layers] = self.sizes();
        GruConfig::new(d_input, columns / 3, n_layers)
    }

    pub fn lstm(&self) -> LstmConfig {
        let [d_input, columns, n_layers] = self.sizes();
        LstmConfig {
            d_projection: self.tensors.get("weight_hr_l0").map(|weight| weight.shape()[0]),
            cell_clip: self.number("cell_clip"),
            projection_clip: self.number("projection_clip"),
            ..LstmConfig::new(d_input, columns / 4, n_layers)
        }
    }

    /// The width of the input, that of all gates together, and the number of layers.
    fn sizes(&self) -> [usize; 3] {
        let [columns, d_input] = *self.tensors["weight_ih_l0"].shape().as_slice() else {
            panic!("weight_ih_l0 is a matrix");
        };
        let is_layer = |l: &usize| self.tensors.contains_key(&format!("weight_ih_l{l}"));
        [d_input, columns, (0..).take_while(is_layer).count()]
    }

    /// The module with the parameters of the fixture, in its element type.
    pub fn filled<M: Module>(&self, module: M) -> M {
        module.map(&mut Filler { fixture: self, path: ModulePath::default() })
    }

    pub fn check(&self, name: &str, found: TensorData) {
        let expected = &self.tensors[name];
        assert_eq!(found.shape(), expected.shape(), "{name}");
        assert_eq!(found.dtype(), self.dtype, "{name}");
        let largest = expected.iter::<f64>().fold(1.0f64, |most, value| most.max(value.abs()));
        for (index, (found, expected)) in
            found.iter::<f64>().zip(expected.iter::<f64>()).enumerate()
        {
            let difference = (found - expected).abs();
            assert!(
                difference <= self.tolerance * largest,
                "{name}[{index}] of {:?} is {found} here and {expected} in the fixture",
                self.dtype
            );
        }
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

    /// Checks the gradient of every parameter.
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
        let Stored { name, transposed } = torch::stored_name(&self.path.joined());
        let tensor = self.fixture.tensor::<D>(&name);
        let tensor = if transposed { tensor.transpose() } else { tensor };
        assert_eq!(tensor.shape(), param.lazy_shape(), "{name}");
        Param::from_tensor(tensor)
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
        let Stored { name, transposed } = torch::stored_name(&self.path.joined());
        let gradient = param.val().grad(self.gradients).expect("a parameter that is trained");
        let gradient = if transposed { gradient.transpose() } else { gradient };
        self.fixture.check(&format!("grad.{name}"), gradient.into_data());
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}
