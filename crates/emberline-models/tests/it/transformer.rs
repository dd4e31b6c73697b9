//! The Transformer against the layers of torch that `tests/fixtures/transformer.py` writes down.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Int, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{Weights, load_tensors, load_weights};
use emberline_core::parameters::ModulePath;
use emberline_core::{EncoderDecoder, Stream, TokenBatch};
use emberline_models::transformer::{Transformer, TransformerConfig, Vocabulary};

use crate::fixture;

struct Values {
    tensors: BTreeMap<String, TensorData>,
    dtype: DType,
    tolerance: f64,
}

impl Values {
    fn check(&self, name: &str, found: TensorData) {
        let expected = &self.tensors[name];
        assert_eq!((found.shape(), found.dtype()), (expected.shape(), self.dtype), "{name}");
        let largest = expected.iter::<f64>().fold(1.0f64, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
            let near = (found - expected).abs() <= self.tolerance * largest;
            assert!(near, "{name} of {:?} has {found} for torch's {expected}", self.dtype);
        }
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
    path: ModulePath,
}

impl ModuleVisitor for GradientChecker<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let stored = Transformer::stored_name(&self.path.joined());
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

#[test]
fn the_transformer_is_made_of_torchs_layers() {
    let device = test_device().autodiff();
    let config = TransformerConfig {
        d_model: 8,
        d_ff: 12,
        n_heads: 2,
        n_encoder_layers: 2,
        n_decoder_layers: 2,
        dropout: 0.0,
        ..TransformerConfig::base(Vocabulary::Separate { source: 7, target: 9 })
    };
    let weights = Weights::open(fixture("transformer.safetensors")).unwrap();
    for (suffix, dtype, tolerance) in [("f64", DType::F64, 1e-9), ("f32", DType::F32, 1e-5)] {
        let tensors = load_tensors(fixture(&format!("transformer_values_{suffix}.safetensors")));
        let tensors = tensors.unwrap().into_iter().collect();
        let values = Values { tensors, dtype, tolerance };
        let model = config.init(Stream::new(1), &device).map(&mut Cast(dtype));
        let model = load_weights(model, &weights, &Transformer::stored_name).unwrap();

        let tokens =
            |name: &str| Tensor::<2, Int>::from_data(values.tensors[name].clone(), &device);
        let lengths = values.tensors["lengths"].iter::<i64>().map(|n| n as usize).collect();
        let source = TokenBatch { lengths: Some(lengths), ..TokenBatch::new(tokens("source")) };
        let target = TokenBatch::new(tokens("target"));
        let (hidden, attention, _) = model.decode_with_attention(&target, model.encode(&source));
        values.check("hidden", hidden.to_data());
        for (layer, weights) in attention.into_iter().enumerate() {
            values.check(&format!("attention.{layer}"), weights.into_data());
        }
        let w_out = Tensor::from_data(values.tensors["w_out"].clone(), (&device, dtype));
        let gradients = (hidden * w_out).sum().backward();
        let path = ModulePath::default();
        model.visit(&mut GradientChecker { values: &values, gradients: &gradients, path });
    }
}
