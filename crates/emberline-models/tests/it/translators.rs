//! Bahdanau's and Luong's models against the papers' equations, which `tests/fixtures/translators.py` writes out in
//! numpy, in both element types.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Int, Tensor, TensorData};
use emberline_attention::scores::ScoreKind;
use emberline_backend::test_device;
use emberline_checkpoint::{Stored, load_tensors};
use emberline_core::parameters::ModulePath;
use emberline_core::{EncoderDecoder, Stream, TokenBatch};
use emberline_models::attention_seq2seq::bahdanau::{self, Bahdanau, BahdanauConfig, OutputState};
use emberline_models::attention_seq2seq::luong::{self, Luong, LuongConfig};

use crate::fixture;

/// Gives every parameter the tensor of its name, in an element type.
struct Filler<'a> {
    tensors: &'a BTreeMap<String, TensorData>,
    stored_name: &'a dyn Fn(&str) -> Stored,
    dtype: DType,
    path: ModulePath,
}

impl ModuleMapper for Filler<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Stored { name, transposed } = (self.stored_name)(&self.path.joined());
        let data = self.tensors[&name].clone();
        let tensor = Tensor::<D>::from_data(data, (&test_device(), self.dtype));
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

fn check<M: Module + EncoderDecoder>(case: &str, model: M, stored_name: &dyn Fn(&str) -> Stored) {
    let tensors = load_tensors(fixture(&format!("{case}.safetensors"))).unwrap();
    let tensors: BTreeMap<String, TensorData> = tensors.into_iter().collect();
    let tokens = |name: &str| Tensor::<2, Int>::from_data(tensors[name].clone(), &test_device());
    let lengths = tensors["lengths"].iter::<i64>().map(|length| length as usize).collect();
    let source = TokenBatch { lengths: Some(lengths), ..TokenBatch::new(tokens("source")) };
    let target = TokenBatch::new(tokens("target"));
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-5)] {
        let path = ModulePath::default();
        let model = model.clone().map(&mut Filler { tensors: &tensors, stored_name, dtype, path });
        let (hidden, attention, _) = model.decode_with_attention(&target, model.encode(&source));
        let [batch_size, target_length, d_model] = hidden.dims();
        let logits = model.head(hidden.reshape([batch_size * target_length, d_model]));
        let logits = logits.reshape([batch_size, target_length, model.vocab_size()]);
        for (name, found) in [("logits", logits.into_data()), ("attention", attention[0].to_data())]
        {
            let expected = &tensors[name];
            assert_eq!((found.shape(), found.dtype()), (expected.shape(), dtype), "{case}");
            for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
                assert!(
                    (found - expected).abs() <= tolerance * expected.abs().max(1.0),
                    "{name} of {case} in {dtype:?}: {found} is not the equations' {expected}"
                );
            }
        }
    }
}

/// Finds the parameters that a loss does not move.
struct Checker<'a> {
    gradients: &'a Gradients,
    path: ModulePath,
}

impl ModuleVisitor for Checker<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.joined();
        let gradient =
            param.val().grad(self.gradients).unwrap_or_else(|| panic!("{name} is not trained"));
        let largest: f32 = gradient.abs().max().into_scalar();
        assert!(largest > 0.0 && largest.is_finite(), "the gradient of {name} is {largest}");
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

fn check_gradients<M: Module + EncoderDecoder>(model: &M) {
    let device = test_device();
    let source = TokenBatch::padded(&[&[1, 2, 3], &[4]], &device);
    let target = TokenBatch::from_rows(&[&[1, 2, 3], &[4, 5, 6]], &device);
    let (hidden, _) = model.decode(&target, model.encode(&source));
    let [batch_size, target_length, d_model] = hidden.dims();
    let logits = model.head(hidden.reshape([batch_size * target_length, d_model]));
    let gradients = logits.square().sum().backward();
    model.visit(&mut Checker { gradients: &gradients, path: ModulePath::default() });
}

fn bahdanau_config(output_state: OutputState) -> BahdanauConfig {
    BahdanauConfig {
        model_type: bahdanau::ModelType::default(),
        source_vocab_size: 7,
        target_vocab_size: 8,
        d_embedding: 4,
        d_hidden: 5,
        d_alignment: 3,
        d_maxout: 6,
        output_state,
        dropout: 0.0,
    }
}

fn luong_config() -> LuongConfig {
    LuongConfig {
        model_type: luong::ModelType::default(),
        source_vocab_size: 7,
        target_vocab_size: 8,
        d_embedding: 4,
        d_hidden: 5,
        n_layers: 2,
        score: ScoreKind::Dot,
        input_feeding: true,
        reversed_source: false,
        dropout: 0.0,
    }
}

#[test]
fn bahdanaus_model_is_its_papers_equations_with_either_state_in_the_output() {
    for (case, output_state) in
        [("bahdanau_previous", OutputState::Previous), ("bahdanau_current", OutputState::Current)]
    {
        let model = bahdanau_config(output_state).init(Stream::new(1), &test_device());
        check(case, model, &Bahdanau::stored_name);
    }
}

#[test]
fn luongs_model_is_its_papers_equations_with_every_score() {
    let config = luong_config();
    let general = LuongConfig { score: ScoreKind::General, ..config.clone() };
    for (case, config) in [
        ("luong_general", LuongConfig { reversed_source: true, ..general.clone() }),
        ("luong_unfed", LuongConfig { input_feeding: false, ..general }),
        ("luong_concat", LuongConfig { score: ScoreKind::Additive, ..config.clone() }),
        ("luong_dot", config),
    ] {
        check(case, config.init(Stream::new(1), &test_device()), &Luong::stored_name);
    }
}

#[test]
fn every_parameter_learns_also_from_rows_with_padding() {
    let (device, random) = (test_device().autodiff(), Stream::new(1));
    for output_state in [OutputState::Previous, OutputState::Current] {
        check_gradients(&bahdanau_config(output_state).init(random, &device));
    }
    let scores = [ScoreKind::Cosine, ScoreKind::General, ScoreKind::Additive];
    for (score, input_feeding) in scores.into_iter().zip([true, false, true]) {
        let config = LuongConfig { score, input_feeding, ..luong_config() };
        check_gradients(&config.init(random, &device));
    }
}
