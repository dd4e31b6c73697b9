//! GPT-1 and GPT-2 against those of `transformers`, with the directories that `tests/fixtures/gpt.py` writes.

use std::path::Path;
use std::process::Command;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy, test_device};
use emberline_checkpoint::{
    CheckpointError, PublishedNames, Stored, Weights, load_tensors, load_weights, read_config,
    save_tensors, save_weights, write_config,
};
use emberline_core::{HiddenStates, Incremental, Stream, TokenBatch};
use emberline_models::gpt1::{Gpt1, Gpt1Config};
use emberline_models::gpt2::{Gpt2, Gpt2Config};
use emberline_training::{AdamWConfig, OptimizerConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fixture;
use crate::values::Values;

const WEIGHTS: &str = "model.safetensors";

/// What the tests need of a model: how its config makes it, and its names.
trait Published: Module + Incremental + HiddenStates {
    type Config: DeserializeOwned + Serialize;
    const CASES: [&str; 2];
    const NAMES: PublishedNames;
    const TOKENS: &str;

    fn init(config: &Self::Config, device: &Device) -> Self;

    fn name(path: &str) -> Stored;

    fn open(directory: &Path) -> Result<Self, CheckpointError> {
        let model = Self::init(&read_config(directory)?, &test_device());
        load_weights(model, &Weights::open_published(directory, &Self::NAMES)?, &Self::name)
    }

    fn logits(&self, batch: &TokenBatch) -> Tensor<3> {
        let hidden = self.encode(batch);
        let [batch_size, seq_length, d_model] = hidden.dims();
        let logits = self.head(hidden.reshape([batch_size * seq_length, d_model]));
        logits.reshape([batch_size, seq_length, self.vocab_size()])
    }

    /// The mean cross-entropy of each next token.
    fn loss(&self, batch: &TokenBatch) -> Tensor<1> {
        let [batch_size, seq_length] = batch.dims();
        let n = batch_size * (seq_length - 1);
        let hidden = self.encode(batch).narrow(1, 0, seq_length - 1);
        let hidden = hidden.reshape([n, self.d_model()]);
        let targets = batch.tokens.clone().narrow(1, 1, seq_length - 1).reshape([n]);
        let options = CrossEntropyOptions::default();
        // Burn's gradient of a quotient has the divisor in f32.
        linear_cross_entropy(hidden, self.head_weights(), targets, options) * (1.0 / n as f64)
    }
}

impl Published for Gpt1 {
    type Config = Gpt1Config;
    const CASES: [&str; 2] = ["gpt1_of_three_heads", "gpt1_of_five_heads"];
    const NAMES: PublishedNames = Gpt1::PUBLISHED_NAMES;
    const TOKENS: &str = "transformer.tokens_embed.weight";

    fn init(config: &Gpt1Config, device: &Device) -> Self {
        config.init(Stream::new(1), device)
    }

    fn name(path: &str) -> Stored {
        Self::stored_name(path)
    }
}

impl Published for Gpt2 {
    type Config = Gpt2Config;
    const CASES: [&str; 2] = ["gpt2_of_three_heads", "gpt2_of_five_heads"];
    const NAMES: PublishedNames = Gpt2::PUBLISHED_NAMES;
    const TOKENS: &str = "transformer.wte.weight";

    fn init(config: &Gpt2Config, device: &Device) -> Self {
        config.init(Stream::new(1), device)
    }

    fn name(path: &str) -> Stored {
        Self::stored_name(path)
    }
}

/// Hidden states, logits, loss, gradients, and the losses of AdamW.
fn agrees_with_transformers<M: Published>() {
    for case in M::CASES {
        let directory = fixture(case);
        let config: M::Config = read_config(&directory).unwrap();
        let weights = Weights::open_published(&directory, &M::NAMES).unwrap();
        for values in Values::both(&directory.join("values")) {
            let model = values.cast(M::init(&config, &test_device().autodiff()));
            let mut model = load_weights(model, &weights, &M::name).unwrap();
            let batch = TokenBatch::new(values.tokens("tokens"));
            let states = model.hidden_states(&batch);
            let known = values.tensors.keys().filter(|name| name.starts_with("hidden."));
            assert_eq!(states.len(), known.count());
            for (layer, hidden) in states.into_iter().enumerate() {
                values.check(&format!("hidden.{layer}"), hidden.into_data());
            }
            values.check("logits", model.logits(&batch).into_data());
            let loss = model.loss(&batch);
            values.check("loss", loss.to_data());
            values.check_gradients(&model, &loss.backward(), &M::name);

            let adamw = AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() };
            let mut optimizer = OptimizerConfig::AdamW(adamw).init(&model);
            for expected in values.tensors["losses"].iter::<f64>() {
                let loss = model.loss(&batch);
                let found = loss.clone().into_scalar::<f64>();
                assert!((found - expected).abs() < 1e-4, "{found} is not torch's {expected}");
                let gradients = GradientsParams::from_grads(loss.backward(), &model);
                model = optimizer.step(1e-2, model, gradients);
            }
        }
    }
}

/// What is loaded is saved with the same names, shapes and bits, and loads again.
fn comes_back<M: Published>() {
    for case in M::CASES {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let model = M::open(&fixture(case)).unwrap();
        save_weights(&model, first.path().join(WEIGHTS), &M::name).unwrap();
        let config: M::Config = read_config(fixture(case)).unwrap();
        write_config(first.path(), &config).unwrap();

        let published = Weights::open(fixture(case)).unwrap();
        let saved = Weights::open(first.path()).unwrap();
        assert_eq!(saved.names().collect::<Vec<_>>(), published.names().collect::<Vec<_>>());
        for name in published.names() {
            let expected = published.read(name).unwrap().unwrap().convert::<f32>();
            assert_eq!(saved.read(name).unwrap().unwrap(), expected, "{name}");
        }

        let again = M::open(first.path()).unwrap();
        save_weights(&again, second.path().join(WEIGHTS), &M::name).unwrap();
        let bytes = |folder: &Path| std::fs::read(folder.join(WEIGHTS)).unwrap();
        assert_eq!(bytes(first.path()), bytes(second.path()));
    }
}

/// The tensors of a case, with other names.
fn renamed(case: &str, rename: impl Fn(String) -> String) -> Vec<(String, TensorData)> {
    let tensors = load_tensors(fixture(case).join(WEIGHTS)).unwrap();
    tensors.into_iter().map(|(name, data)| (rename(name), data)).collect()
}

/// What opens as a directory with these tensors and the config of a case.
fn opened<M: Published>(
    case: &str,
    tensors: Vec<(String, TensorData)>,
) -> Result<M, CheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture(case).join("config.json"), folder.path().join("config.json")).unwrap();
    save_tensors(folder.path().join(WEIGHTS), tensors).unwrap();
    M::open(folder.path())
}

/// Files without the prefix, with buffers, and with the head as a tensor of its own.
fn opens_every_dialect<M: Published>() {
    let case = M::CASES[0];
    let batch = TokenBatch::from_rows(&[&[1, 2, 3, 4]], &test_device());
    let expected = M::open(&fixture(case)).unwrap().logits(&batch).into_data();
    let bare = |name: String| name.trim_start_matches("transformer.").to_string();
    let table = M::TOKENS.trim_start_matches("transformer.");

    let mut tensors = renamed(case, bare);
    let (_, head) = tensors.iter().find(|(name, _)| name == table).unwrap().clone();
    tensors.push(("lm_head.weight".to_string(), head));
    let mask = TensorData::new(vec![1.0f32; 16], [1, 1, 4, 4]);
    tensors.extend([0, 1].map(|layer| (format!("h.{layer}.attn.bias"), mask.clone())));
    let model = opened::<M>(case, tensors.clone()).unwrap();
    assert_eq!(model.logits(&batch).into_data(), expected);

    let head = tensors.iter_mut().find(|(name, _)| name == "lm_head.weight").unwrap();
    head.1 = TensorData::new(vec![0.0f64; head.1.num_elements()], head.1.shape().clone());
    let error = opened::<M>(case, tensors).expect_err("two heads").to_string();
    let complaint = format!("lm_head.weight is not the {} that it is tied to", M::TOKENS);
    assert!(error.ends_with(&complaint), "{error}");
}

/// A file of another model is refused, with all that is wrong with it.
fn refuses_what_does_not_fit<M: Published>() {
    let case = M::CASES[0];
    let other = |name: String| name.replace("h.1.mlp.c_fc.bias", "h.1.mlp.c_fc.extra");
    let error = opened::<M>(case, renamed(case, other)).expect_err("a mismatch").to_string();
    for part in
        ["1 missing: transformer.h.1.mlp.c_fc.bias", "1 unexpected: transformer.h.1.mlp.c_fc.extra"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn gpt_1_computes_and_learns_as_that_of_transformers() {
    agrees_with_transformers::<Gpt1>();
}

#[test]
fn gpt_2_computes_and_learns_as_that_of_transformers() {
    agrees_with_transformers::<Gpt2>();
}

#[test]
fn weights_come_back_bit_for_bit() {
    comes_back::<Gpt1>();
    comes_back::<Gpt2>();
}

#[test]
fn files_open_with_and_without_prefix_buffers_and_head() {
    opens_every_dialect::<Gpt1>();
    opens_every_dialect::<Gpt2>();
}

#[test]
fn files_of_other_models_are_refused_with_what_does_not_fit() {
    refuses_what_does_not_fit::<Gpt1>();
    refuses_what_does_not_fit::<Gpt2>();
}

/// Writes a directory of each case, with what `gpt.py check` compares.
fn written<M: Published>(folder: &Path) -> Vec<String> {
    let write = |case: &str| {
        let directory = folder.join(case);
        std::fs::create_dir(&directory).unwrap();
        let config: M::Config = read_config(fixture(case)).unwrap();
        write_config(&directory, &config).unwrap();
        let model = M::open(&fixture(case)).unwrap();
        save_weights(&model, directory.join(WEIGHTS), &M::name).unwrap();
        let tokens = load_tensors(fixture(case).join("values_f32.safetensors")).unwrap();
        let (_, tokens) = tokens.into_iter().find(|(name, _)| name == "tokens").unwrap();
        let batch = TokenBatch::new(Tensor::from_data(tokens.clone(), &test_device()));
        let logits = model.logits(&batch).into_data();
        let expected = vec![("tokens".to_string(), tokens), ("logits".to_string(), logits)];
        save_tensors(directory.join("expected.safetensors"), expected).unwrap();
        directory.display().to_string()
    };
    M::CASES.map(write).to_vec()
}

#[test]
fn transformers_opens_what_is_saved_here() {
    let Some(python) = std::env::var_os("EMBERLINE_PYTHON") else {
        println!("skipped: EMBERLINE_PYTHON names no Python that has transformers");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let directories = [written::<Gpt1>(folder.path()), written::<Gpt2>(folder.path())].concat();
    let script = fixture("gpt.py");
    let output = Command::new(python).arg(script).arg("check").args(directories).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
