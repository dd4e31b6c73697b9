//! What is promised of any model holds for this one.

use std::collections::BTreeMap;

use burn::module::{ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use emberline_backend::test_device;
use emberline_core::parameters::ModulePath;
use emberline_core::{TokenBatch, TokenEncoder, VocabularyHead, laws};
use emberline_evaluation::encode_continuation;
use emberline_evaluation::in_context::{Answer, Item};

use super::*;

const TEXT: &str = "said Mr. Darcy to Miss Bennet, and Mrs. Bennet said that it was so. ";

fn learner() -> (GatedConvolutions, Tokenizer, NextTokenWindows) {
    let device = test_device();
    let tokenizer = Tokenizer::byte_pair(&Corpus::new("text", TEXT).unwrap(), 300).unwrap();
    let vocab_size = tokenizer.vocab_size();
    let model = GatedConvolutions::init(vocab_size, Stream::new(1), &device.clone().autodiff());
    let data = windows(&tokenizer, &TEXT.repeat(400), &device).unwrap();
    (model, tokenizer, data)
}

/// The bits of every parameter, by its path.
fn bits(model: &GatedConvolutions) -> BTreeMap<String, Vec<u32>> {
    #[derive(Default)]
    struct Bits(ModulePath, BTreeMap<String, Vec<u32>>);
    impl ModuleVisitor for Bits {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let bits = parameter.base().into_data().iter::<f32>().map(f32::to_bits).collect();
            self.1.insert(self.0.joined(), bits);
        }

        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
    }
    let mut bits = Bits::default();
    model.visit(&mut bits);
    bits.1
}

/// `log p` of each token that follows the first of a row.
fn log_probabilities(model: &GatedConvolutions, row: &[u32]) -> Vec<f64> {
    let hidden = model.encode(&TokenBatch::from_rows(&[row], &test_device())).squeeze_dim::<2>(0);
    let scores: Vec<f64> = log_softmax(model.head(hidden), 1).into_data().iter().collect();
    let scores = scores.chunks(model.vocab_size()).zip(&row[1..]);
    scores.map(|(scores, token)| scores[*token as usize]).collect()
}

#[test]
fn the_laws_of_its_traits_hold() {
    let (model, ..) = learner();
    let (model, device) = (model.valid(), test_device());
    laws::causal(&model, &device);
    laws::incremental(&model, &device);
    laws::rows_are_independent(&model, &device);
    laws::layer_groups(&model);
}

#[test]
fn what_is_frozen_stays_to_the_last_bit() {
    let (model, _, data) = learner();
    let before = bits(&model);
    let planned = Plan::new(Train::LastLayers { n_layers: 1 }).of(&model).unwrap();
    let after = bits(&train(model, &data, 5, Some(&planned)).unwrap());
    for (path, before) in before {
        let is_trained = path.starts_with("layers.1") || path.starts_with("head");
        assert_eq!(before != after[&path], is_trained, "{path}");
    }
}

#[test]
fn an_adapter_is_kept_in_files_and_merged_it_changes_nothing() {
    let (model, _, data) = learner();
    let adapter = adapt(&model, &data, 20).unwrap();
    let folder = tempfile::tempdir().unwrap();
    adapter.save(folder.path(), NAMES, None).unwrap();
    let loaded = LoraAdapter::load(folder.path(), &model, NAMES).unwrap();
    let row = [1, 200, 3, 40, 5];
    let plain = log_probabilities(&model.valid(), &row);
    let attached = attach(model, &[&loaded], None).unwrap();
    let expected = log_probabilities(&attached.valid(), &row);
    let merged = log_probabilities(&merge(attached).valid(), &row);
    let difference = |other: &[f64]| {
        let pairs = expected.iter().zip(other);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    assert!(difference(&merged) < 1e-4 && difference(&plain) > 0.01, "{expected:?} {plain:?}");
}

#[test]
fn scores_of_answers_are_sums_of_log_probabilities() {
    let (model, tokenizer, _) = learner();
    let model = model.valid();
    let found = ask(&model, &tokenizer, &test_device()).unwrap();
    let task = toml_task("the task", TASK).unwrap();
    for (sample, item) in found.samples.iter().zip(&task.items) {
        let (Answer::Scored(scored), Item::Choice { choices, .. }) = (&sample.answer, item) else {
            panic!("{sample:?}")
        };
        for (scored, choice) in scored.iter().zip(choices) {
            let (before, answer) =
                encode_continuation(&tokenizer, &sample.prompt, &choice.text).unwrap();
            let all = log_probabilities(&model, &[&before[..], &answer].concat());
            let expected: f64 = all[before.len() - 1..].iter().sum();
            let found = scored.log_likelihood.sum;
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }
}

#[test]
fn it_learns_and_writes_the_most_probable_token_each_time() {
    let (model, tokenizer, data) = learner();
    let model = train(model, &data, 200, None).unwrap().valid();
    let device = test_device();
    let text = tokenizer.encode(TEXT).unwrap();
    let likelihood: f64 = log_probabilities(&model, &text).iter().sum();
    assert!(likelihood > -2.0 * text.len() as f64, "{likelihood}");
    let (greedy, go_on) = (GenerationConfig::default(), |_: &str| ControlFlow::Continue(()));
    let written = generate_text(&model, &tokenizer, "said Mr.", &greedy, &device, go_on).unwrap();
    let mut row = tokenizer.encode("said Mr.").unwrap();
    for _ in 0..greedy.max_new_tokens {
        let hidden = model.encode(&TokenBatch::from_rows(&[&row], &device)).squeeze_dim::<2>(0);
        let next = model.head(hidden.narrow(0, row.len() - 1, 1)).argmax(1);
        row.push(next.into_scalar::<i64>() as u32);
    }
    assert_eq!(["said Mr.", &written].concat(), tokenizer.decode(&row).unwrap());
}
