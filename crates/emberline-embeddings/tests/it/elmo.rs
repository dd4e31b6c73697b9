//! ELMo against its twin in torch, `tests/fixtures/elmo.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Int, Tensor, TensorData};
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy, test_device};
use emberline_checkpoint::{Stored, Weights, load_tensors, load_weights, save_weights};
use emberline_core::parameters::ModulePath;
use emberline_core::{
    BidirectionalLanguageModel, BothWays, Carry, CharacterBatch, CharacterEncoder, Stream,
    VocabularyHead, laws,
};
use emberline_embeddings::elmo::{Elmo, ElmoConfig, ElmoLanguageModel, ScalarMix, load_published};
use emberline_text::{Lexicon, WORD_LENGTH};

const BATCHES: [[&str; 2]; 2] = [
    ["she sat on the bank of the river", "he put money in the bank"],
    ["naïve readers met it again", "no"],
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn stand_in(device: &Device) -> (ElmoConfig, Elmo) {
    load_published(fixture("elmo/options.json"), fixture("elmo/weights.hdf5"), device).unwrap()
}

pub fn words(sentences: &[&str]) -> Vec<Vec<String>> {
    let split = |sentence: &&str| sentence.split(' ').map(str::to_string).collect();
    sentences.iter().map(split).collect()
}

/// What the twin computed in one type.
struct Values {
    tensors: BTreeMap<String, TensorData>,
    dtype: DType,
    tolerance: f64,
}

impl Values {
    fn both() -> [Self; 2] {
        [("f64", DType::F64, 1e-9), ("f32", DType::F32, 1e-5)].map(|(suffix, dtype, tolerance)| {
            let tensors = load_tensors(fixture(&format!("elmo_{suffix}.safetensors"))).unwrap();
            Self { tensors: tensors.into_iter().collect(), dtype, tolerance }
        })
    }

    fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.tensors[name].clone(), (device, self.dtype))
    }

    fn cast<M: Module>(&self, model: M) -> M {
        model.map(&mut Cast(self.dtype))
    }

    fn check(&self, name: &str, found: TensorData) {
        let expected = &self.tensors[name];
        assert_eq!((found.shape(), found.dtype()), (expected.shape(), self.dtype), "{name}");
        let largest = expected.iter::<f64>().fold(1.0f64, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter::<f64>().zip(expected.iter::<f64>()) {
            let near = (found - expected).abs() <= self.tolerance * largest;
            assert!(near, "{name} of {:?} has {found} for torch's {expected}", self.dtype);
        }
    }

    /// Checks layers, which have zeros beyond the end of a row here and in the fixture.
    fn check_layers(&self, stem: &str, layers: Vec<Tensor<3>>, lengths: &[usize]) {
        for (index, layer) in layers.into_iter().enumerate() {
            let [batch_size, seq_length, d_model] = layer.dims();
            let padding = emberline_core::mask::padding(lengths, seq_length, &layer.device());
            let padding = padding.unsqueeze_dim::<3>(2).expand([batch_size, seq_length, d_model]);
            self.check(&format!("{stem}.{index}"), layer.mask_fill(padding, 0.0).into_data());
        }
    }
}

/// What is trained stays so.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let is_trained = param.is_require_grad();
        param.map(|tensor| tensor.cast(self.0).detach().set_require_grad(is_trained))
    }
}

struct GradientChecker<'a> {
    values: &'a Values,
    gradients: &'a Gradients,
    path: ModulePath,
    checked: usize,
}

impl ModuleVisitor for GradientChecker<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.joined();
        let Some(gradient) = param.val().grad(self.gradients) else {
            assert!(path.ends_with("bias_hidden"), "{path} has no gradient");
            return;
        };
        self.values.check(&format!("grad.{path}"), gradient.into_data());
        self.checked += 1;
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

#[test]
fn layers_are_those_of_torch_with_the_state_of_the_batch_before_and_without() {
    let device = test_device();
    for values in Values::both() {
        let elmo = values.cast(stand_in(&device).1);
        let mut state = None;
        for (index, sentences) in BATCHES.iter().enumerate() {
            let batch = Lexicon::sentences(&words(sentences), &device);
            let lengths = batch.lengths.clone().unwrap();
            let (layers, after) = elmo.layers_from(&batch, state);
            values.check_layers(&format!("layers.{index}"), layers, &lengths);
            state = Some(after);
        }
        let batch = Lexicon::sentences(&words(&BATCHES[1]), &device);
        values.check_layers("alone", elmo.layers(&batch), &batch.lengths.clone().unwrap());
    }
}

#[test]
fn a_mix_and_its_gradients_are_those_of_torch() {
    let device = test_device().autodiff();
    for values in Values::both() {
        let layers: Vec<Tensor<3>> =
            (0..3).map(|layer| values.tensor(&format!("layers.0.{layer}"), &device)).collect();
        let lengths = [10, 8];
        let param = |numbers: &[f64]| {
            let numbers = TensorData::new(numbers.to_vec(), [numbers.len()]);
            Param::from_tensor(Tensor::from_data(numbers, (&device, values.dtype)))
        };
        let (weights, gamma) = (param(&[0.3, -0.7, 0.5]), param(&[1.7]));
        let mix = ScalarMix { weights, gamma, ..ScalarMix::init(3, true, &device) };
        let mixed = mix.forward(&layers, Some(&lengths));
        values.check("normalised_mix", mixed.into_data());
        let mix = ScalarMix { normalizes: false, ..mix };
        let mixed = mix.forward(&layers, Some(&lengths));
        values.check("mix", mixed.to_data());
        let gradients = (mixed * values.tensor("w_mix", &device)).sum().backward();
        let gradient = |param: &Param<Tensor<1>>| param.val().grad(&gradients).unwrap().into_data();
        values.check("grad.mix.weights", gradient(&mix.weights));
        values.check("grad.mix.gamma", gradient(&mix.gamma));
    }
}

fn language_model(device: &Device) -> ElmoLanguageModel {
    let (_, elmo) = stand_in(device);
    let head = load_tensors(fixture("elmo/head.safetensors")).unwrap();
    let head: BTreeMap<String, TensorData> = head.into_iter().collect();
    ElmoLanguageModel {
        elmo,
        head: Param::from_data(head["head"].clone(), device),
        bias: Param::from_data(head["bias"].clone(), device),
    }
}

type Window = [[i32; 3]; 2];

fn window(forward: Window, reverse: Window) -> BothWays {
    let device = test_device();
    let mut lexicon = Lexicon::default();
    let numbers = ["the", "bank", "holds", "money"].map(|word| lexicon.add(word));
    let (table, _) = lexicon.table(&[&[0, 1][..], &numbers].concat(), &device);
    let words = |words: Window| Tensor::<2, Int>::from_data(words, &device);
    BothWays { table, forward: words(forward), reverse: words(reverse), dropout: None }
}

#[test]
fn a_window_that_goes_on_from_another_has_the_loss_and_the_gradients_of_torch() {
    let device = test_device().autodiff();
    let first = window([[0, 2, 3], [4, 5, 0]], [[0, 5, 4], [3, 2, 0]]);
    let second = window([[4, 5, 0], [2, 3, 4]], [[3, 2, 0], [2, 4, 3]]);
    let targets = [[3, 0, 1, 2, 6, 3], [1, 0, 4, 4, 6, 5]];
    for values in Values::both() {
        let model = values.cast(language_model(&device));
        let (_, cache) = model.encode_both(&first, None);
        let (hidden, _) = model.encode_both(&second, Some(cache.detach()));
        let sums = hidden.into_iter().zip(targets).map(|(hidden, targets)| {
            let hidden = hidden.reshape([6, 6]);
            let targets = Tensor::from_data(targets, &test_device());
            let options = CrossEntropyOptions::default();
            linear_cross_entropy(hidden, model.head_weights(), targets, options)
        });
        let sums = Tensor::cat(sums.collect(), 0);
        values.check("loss", sums.to_data());
        let gradients = (sums.sum() * 0.5).backward();
        let path = ModulePath::default();
        let mut checker =
            GradientChecker { values: &values, gradients: &gradients, path, checked: 0 };
        model.visit(&mut checker);
        let of_fixture = values.tensors.keys().filter(|name| name.starts_with("grad."));
        assert_eq!(checker.checked + 2, of_fixture.count(), "with the two of the mix");
    }
}

#[test]
fn the_laws_of_its_traits_hold() {
    let device = test_device();
    let (_, elmo) = stand_in(&device);
    laws::padding_is_hidden_from_words(&elmo, WORD_LENGTH, &device);
    laws::bidirectional(&language_model(&device), WORD_LENGTH, &device);
    laws::layer_groups(&elmo);
}

#[test]
fn sentences_that_are_trained_on_lose_what_their_stream_says_and_others_nothing() {
    let device = test_device();
    let (config, _) = stand_in(&device);
    let elmo = ElmoConfig { dropout: 0.5, ..config }.init(Stream::new(1), &device);
    let batch = Lexicon::sentences(&words(&["he put money in the bank"]), &device);
    let layers = |dropout| -> Vec<TensorData> {
        let layers = elmo.layers(&CharacterBatch { dropout, ..batch.clone() });
        layers.into_iter().map(Tensor::into_data).collect()
    };
    let (whole, one) = (layers(None), layers(Some(Stream::new(1))));
    assert_eq!(whole, layers(None));
    assert_eq!(one, layers(Some(Stream::new(1))));
    assert_ne!(one, layers(Some(Stream::new(2))));
    // The words alone are no layer's input yet.
    assert!(one[0] == whole[0] && one[1] != whole[1] && one[2] != whole[2]);
}

/// The largest difference of the vectors of `bank` in two sentences, layer by layer.
pub fn differences_of_bank(elmo: &Elmo, device: &Device) -> Vec<f32> {
    let sentences = words(&["she sat on the bank of the river", "he put money in the bank"]);
    let layers = elmo.layers(&Lexicon::sentences(&sentences, device));
    let difference = |layer: Tensor<3>| {
        let [_, _, d_model] = layer.dims();
        let bank = |row, place| layer.clone().slice([row..row + 1, place..place + 1, 0..d_model]);
        // A mark stands before each sentence.
        (bank(0, 5) - bank(1, 6)).abs().max().into_scalar::<f32>()
    };
    layers.into_iter().map(difference).collect()
}

#[test]
fn bank_has_one_vector_as_a_word_and_two_in_its_sentences() {
    let device = test_device();
    let differences = differences_of_bank(&stand_in(&device).1, &device);
    assert_eq!(differences[0], 0.0);
    assert!(differences[1..].iter().all(|difference| *difference > 0.01), "{differences:?}");
}

#[test]
fn a_model_is_written_as_safetensors_and_read_to_the_same_bits() {
    let device = test_device();
    let folder = tempfile::tempdir().unwrap();
    let (config, elmo) = stand_in(&device);
    let path = folder.path().join("model.safetensors");
    save_weights(&elmo, &path, &Stored::same).unwrap();
    let read = config.init(Stream::new(1), &device);
    let read = load_weights(read, &Weights::open(&path).unwrap(), &Stored::same).unwrap();
    let batch = Lexicon::sentences(&words(&BATCHES[0]), &device);
    for (ours, theirs) in elmo.layers(&batch).into_iter().zip(read.layers(&batch)) {
        assert_eq!(ours.into_data(), theirs.into_data());
    }
}
