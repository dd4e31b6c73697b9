//! The parameters of a module, into a file and back.

use std::collections::HashMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bytes, DType, Tensor, TensorData};
use emberline_core::parameters::ModulePath;

use crate::elements;
use crate::error::{CheckpointError, Mismatch, Misshapen};
use crate::names::Stored;
use crate::tensors::{Entry, write_entries};
use crate::weights::Weights;

/// Writes the float parameters of a module into one safetensors file, atomically; equal parameters
/// give equal bytes, and Python's tools read the file.
///
/// `table` gives each parameter's name and layout in the file: `&Stored::same` for our own paths.
///
/// # Errors
/// [`Write`](CheckpointError::Write), and [`ElementType`](CheckpointError::ElementType) for quantized parameters.
///
/// # Panics
/// If `table` gives two parameters one name, or asks to transpose what is not a matrix.
pub fn save_weights<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    table: &dyn Fn(&str) -> Stored,
) -> Result<(), CheckpointError> {
    let mut saver = Saver { path: ModulePath::default(), table, entries: Vec::new() };
    module.visit(&mut saver);
    write_entries(path.as_ref(), saver.entries)
}

/// Gives a module the values of `weights`: every float parameter exactly one tensor, and every tensor
/// exactly one parameter.
///
/// Values are converted to the parameter's own element type, so half-precision files load into `f32`
/// models. Those of that type already stay in the file on the CPU of a Unix, mapped into memory, until somebody changes
/// them: the file must not be truncated or written to in place, as Python does where it saves to the same directory, while
/// the module lives. Ids, devices and whether a parameter is trained stay as they are; parameters that have not
/// been initialised never are.
///
/// # Errors
/// [`Mismatch`](CheckpointError::Mismatch) with every missing, unexpected and mis-shaped tensor.
///
/// # Panics
/// As [`save_weights`].
pub fn load_weights<M: Module>(
    module: M,
    weights: &Weights,
    table: &dyn Fn(&str) -> Stored,
) -> Result<M, CheckpointError> {
    let mismatch = mismatch(&module, weights, table);
    if !mismatch.is_empty() {
        return Err(Box::new(mismatch).into());
    }
    Ok(filled(module, weights, table))
}

/// What does not fit.
pub(crate) fn mismatch<M: Module>(
    module: &M,
    weights: &Weights,
    table: &dyn Fn(&str) -> Stored,
) -> Mismatch {
    let mut comparison = Comparison {
        path: ModulePath::default(),
        weights,
        table,
        path_of: HashMap::new(),
        mismatch: Mismatch { path: weights.path().to_path_buf(), ..Mismatch::default() },
    };
    module.visit(&mut comparison);
    comparison.finish()
}

/// The module with the values of `weights`, where there are any; they fit.
pub(crate) fn filled<M: Module>(module: M, weights: &Weights, table: &dyn Fn(&str) -> Stored) -> M {
    module.map(&mut Loader { path: ModulePath::default(), weights, table })
}

/// The shape in the file of a parameter of the given shape.
fn stored_shape(stored: &Stored, path: &str, shape: &[usize]) -> Vec<usize> {
    match (stored.transposed, shape) {
        (false, _) => shape.to_vec(),
        (true, [rows, columns]) => vec![*columns, *rows],
        (true, _) => panic!("{path} is to be transposed, but its shape is {shape:?}"),
    }
}

struct Saver<'a> {
    path: ModulePath,
    table: &'a dyn Fn(&str) -> Stored,
    entries: Vec<Entry>,
}

impl ModuleVisitor for Saver<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.joined();
        let stored = (self.table)(&path);
        let tensor = param.transform_for_save().val();
        let dtype = tensor.dtype();
        let shape = stored_shape(&stored, &path, &tensor.dims());
        let data: Box<dyn FnOnce() -> TensorData> = match (stored.transposed, shape.as_slice()) {
            (true, &[columns, rows]) => Box::new(move || {
                let data = tensor.into_data();
                let bytes = elements::transposed(data.as_bytes(), [rows, columns], dtype.size());
                TensorData::from_bytes_vec(bytes, [columns, rows], dtype)
            }),
            _ => Box::new(move || tensor.into_data()),
        };
        self.entries.push(Entry { name: stored.name, dtype, shape, data });
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

/// Collects what does not fit, looking at shapes alone: looking at values would initialise them.
struct Comparison<'a> {
    path: ModulePath,
    weights: &'a Weights,
    table: &'a dyn Fn(&str) -> Stored,
    /// The parameter of each name in the file.
    path_of: HashMap<String, String>,
    mismatch: Mismatch,
}

impl Comparison<'_> {
    fn compare(&mut self, name: &str, expected: Vec<usize>) {
        let Some(tensor) = self.weights.tensor(name) else {
            return self.mismatch.missing.push(name.to_string());
        };
        if tensor.shape != expected {
            let found = tensor.shape.to_vec();
            self.mismatch.misshapen.push(Misshapen { tensor: name.to_string(), expected, found });
        } else if !tensor.is_float() {
            self.mismatch.not_float.push((name.to_string(), tensor.dtype.to_string()));
        }
    }

    fn finish(mut self) -> Mismatch {
        let unexpected = self.weights.names().filter(|name| !self.path_of.contains_key(*name));
        self.mismatch.unexpected = unexpected.map(str::to_string).collect();
        self.mismatch
    }
}

impl ModuleVisitor for Comparison<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.joined();
        let stored = (self.table)(&path);
        self.compare(&stored.name, stored_shape(&stored, &path, &param.lazy_shape()));
        if let Some(other) = self.path_of.insert(stored.name.clone(), path) {
            let path = self.path.joined();
            panic!("the table gives {other} and {path} the one name {}", stored.name);
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

/// Loads what [`Comparison`] found to fit.
struct Loader<'a> {
    path: ModulePath,
    weights: &'a Weights,
    table: &'a dyn Fn(&str) -> Stored,
}

impl ModuleMapper for Loader<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let stored = (self.table)(&self.path.joined());
        let Some(tensor) = self.weights.tensor(&stored.name) else { return param };
        let dtype = elements::from_file(tensor.dtype).expect("every tensor was compared");
        let bytes = match (stored.transposed, tensor.shape) {
            (true, &[rows, columns]) => {
                let turned = elements::transposed(&tensor.bytes(), [rows, columns], dtype.size());
                Bytes::from_bytes_vec(turned)
            }
            _ => tensor.lent(),
        };
        let device = param.lazy_device();
        let wanted = wanted_dtype(&param);
        let data = TensorData::from_bytes(bytes, param.lazy_shape(), dtype).convert_dtype(wanted);
        let value = device
            .memory_persistent_allocations(data, |data| Tensor::from_data(data, (&device, wanted)));
        let id = param.id;
        param.transform_for_load(value, id)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

/// The element type of a parameter, found without initialising it.
fn wanted_dtype<const D: usize>(param: &Param<Tensor<D>>) -> DType {
    if param.is_initialized() {
        param.base().dtype()
    } else {
        param.lazy_device().settings().float_dtype.into()
    }
}

#[cfg(test)]
mod tests {
    use burn::module::ParamId;
    use burn::tensor::{Device, f16};
    use emberline_backend::{storage_address, test_device};
    use emberline_core::parameters::parameters;

    use super::*;
    use crate::tensors::save_tensors;

    #[derive(Module, Debug)]
    struct Model {
        weight: Param<Tensor<2>>,
        layers: Vec<Layer>,
    }

    #[derive(Module, Debug)]
    struct Layer {
        bias: Param<Tensor<1>>,
    }

    impl Model {
        /// A `[2, 3]` matrix counting from `first`, and two layers of a bias.
        fn new(first: f32, device: &Device) -> Self {
            let numbers =
                |count: u8| (0..count).map(|i| first + f32::from(i) / 3.0).collect::<Vec<f32>>();
            let layer =
                || Layer { bias: Param::from_data(TensorData::new(numbers(2), [2]), device) };
            Self {
                weight: Param::from_data(TensorData::new(numbers(6), [2, 3]), device),
                layers: vec![layer(), layer()],
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let biases = self.layers.iter().map(|layer| layer.bias.val().into_data());
            let data = std::iter::once(self.weight.val().into_data()).chain(biases);
            data.flat_map(|data| data.as_bytes().to_vec()).collect()
        }
    }

    /// As PyTorch would name and turn them.
    fn foreign(path: &str) -> Stored {
        match path {
            "weight" => Stored::transposed("encoder.kernel"),
            path => Stored::same(&format!("encoder.{path}")),
        }
    }

    fn load(tensors: Vec<(String, TensorData)>) -> Result<Model, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        save_tensors(folder.path().join("model.safetensors"), tensors).unwrap();
        let weights = Weights::open(folder.path()).unwrap();
        load_weights(Model::new(0.0, &test_device()), &weights, &foreign)
    }

    fn fitting() -> Vec<(String, TensorData)> {
        vec![
            ("encoder.kernel".into(), TensorData::from([[1.0f32, 4.0], [2.0, 5.0], [3.0, 6.0]])),
            ("encoder.layers.0.bias".into(), TensorData::from([7.0f32, 8.0])),
            ("encoder.layers.1.bias".into(), TensorData::from([9.0f32, 10.0])),
        ]
    }

    #[test]
    fn a_saved_module_comes_back_bit_for_bit_and_gives_the_same_file_again() {
        let (device, folder) = (test_device(), tempfile::tempdir().unwrap());
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let table: [&dyn Fn(&str) -> Stored; 2] = [&Stored::same, &foreign];
        for table in table {
            let model = Model::new(1.0, &device);
            save_weights(&model, &first, table).unwrap();
            let weights = Weights::open(&first).unwrap();
            let loaded = load_weights(Model::new(0.0, &device), &weights, table).unwrap();
            assert_eq!(loaded.bytes(), model.bytes());
            save_weights(&loaded, &second, table).unwrap();
            assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        }
    }

    #[test]
    fn a_transposed_tensor_is_turned() {
        let model = load(fitting()).unwrap();
        let weight = model.weight.val().into_data();
        assert_eq!(weight, TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]));
        assert_eq!(model.layers[1].bias.val().into_data(), TensorData::from([9.0f32, 10.0]));
    }

    #[test]
    fn everything_that_does_not_fit_is_named_at_once() {
        let mut tensors = fitting();
        tensors[0].1 = TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        tensors[1].0 = "encoder.layers.0.beta".into();
        tensors[2].1 = TensorData::from([9i64, 10]);
        let Err(CheckpointError::Mismatch(mismatch)) = load(tensors) else { panic!("a mismatch") };
        assert_eq!(mismatch.missing, ["encoder.layers.0.bias"]);
        assert_eq!(mismatch.unexpected, ["encoder.layers.0.beta"]);
        let misshapen =
            Misshapen { tensor: "encoder.kernel".into(), expected: vec![3, 2], found: vec![2, 3] };
        assert_eq!(mismatch.misshapen, [misshapen]);
        assert_eq!(mismatch.not_float, [("encoder.layers.1.bias".to_string(), "I64".to_string())]);
    }

    #[test]
    fn half_precision_is_widened_to_the_element_type_of_the_parameter() {
        let mut tensors = fitting();
        tensors[1].1 = TensorData::from([f16::from_f32(0.1), f16::from_f32(-2.0)]);
        tensors[2].1 = tensors[2].1.clone().convert_dtype(DType::BF16);
        let model = load(tensors).unwrap();
        let expected = TensorData::from([f16::from_f32(0.1).to_f32(), -2.0]);
        assert_eq!(model.layers[0].bias.val().into_data(), expected);
        assert_eq!(model.layers[1].bias.val().into_data(), TensorData::from([9.0f32, 10.0]));
    }

    #[cfg(unix)]
    #[test]
    fn what_needs_no_change_is_not_copied_and_its_change_does_not_reach_the_file() {
        let (device, folder) = (test_device(), tempfile::tempdir().unwrap());
        let path = folder.path().join("weights");
        save_weights(&Model::new(1.0, &device), &path, &Stored::same).unwrap();
        let before = std::fs::read(&path).unwrap();
        let weights = Weights::open(&path).unwrap();
        let load = || load_weights(Model::new(0.0, &device), &weights, &Stored::same).unwrap();
        let (one, other) = (load(), load());
        let address = |model: &Model| storage_address(&model.weight.val()).unwrap();
        assert_eq!(address(&one), address(&other));
        drop(weights);
        let changed = Model { weight: one.weight.map(|weight| weight * 2.0), ..one };
        let doubled: Vec<f32> =
            other.weight.val().into_data().iter::<f32>().map(|x| 2.0 * x).collect();
        assert_eq!(changed.weight.val().into_data().try_into_vec::<f32>().unwrap(), doubled);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn loading_keeps_ids_and_what_is_trained() {
        let (device, folder) = (test_device().autodiff(), tempfile::tempdir().unwrap());
        let path = folder.path().join("weights");
        let mut model = Model::new(1.0, &device);
        save_weights(&model, &path, &Stored::same).unwrap();
        model.layers[0] = model.layers[0].clone().no_grad();
        let before = parameters(&model);
        let loaded = load_weights(model, &Weights::open(&path).unwrap(), &Stored::same).unwrap();
        assert_eq!(parameters(&loaded), before);
        assert!(
            loaded.weight.val().is_require_grad() && !loaded.layers[0].bias.val().is_require_grad()
        );
    }

    #[test]
    fn loading_does_not_initialise_what_it_replaces() {
        let (device, folder) = (test_device().autodiff(), tempfile::tempdir().unwrap());
        let path = folder.path().join("weights");
        let model = Model::new(1.0, &device);
        save_weights(&model, &path, &Stored::same).unwrap();
        let lazy = Model {
            weight: Param::uninitialized(
                ParamId::new(),
                |_, _| panic!("initialised"),
                device.clone(),
                true,
                [2, 3].into(),
            ),
            layers: Model::new(0.0, &device).layers,
        };
        let loaded = load_weights(lazy, &Weights::open(&path).unwrap(), &Stored::same).unwrap();
        assert_eq!(loaded.bytes(), model.bytes());
        assert!(loaded.weight.val().is_require_grad());
    }

    #[test]
    #[should_panic = "gives layers.0.bias and layers.1.bias the one name bias"]
    fn a_table_with_one_name_for_two_parameters_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        save_tensors(folder.path().join("model.safetensors"), fitting()).unwrap();
        let table = |path: &str| Stored::same(if path == "weight" { "weight" } else { "bias" });
        let weights = Weights::open(folder.path()).unwrap();
        let _ = load_weights(Model::new(0.0, &test_device()), &weights, &table);
    }
}
