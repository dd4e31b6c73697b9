//! Adapters against those of PEFT, with the directories that `tests/fixtures/peft_adapters.py` writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{PeftConfig, Weights, load_tensors, load_weights, read_config};
use emberline_core::parameters::ModulePath;
use emberline_core::{Stream, TaskModel, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_finetuning::{LoraAdapter, LoraConfig, LoraError, PeftNames, attach};
use emberline_models::bert::{Bert, BertConfig, BertForSequenceClassification};
use emberline_models::gpt2::{Gpt2, Gpt2Config};

const GPT2: PeftNames = PeftNames { table: &Gpt2::stored_name, left_out: "" };
const BERT: PeftNames = PeftNames { table: &Bert::stored_name, left_out: "" };

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn gpt2(device: &Device) -> Gpt2 {
    let base = fixture("gpt2_lora/base");
    let config: Gpt2Config = read_config(&base).unwrap();
    let weights = Weights::open_published(&base, &Gpt2::PUBLISHED_NAMES).unwrap();
    load_weights(config.init(Stream::new(1), device), &weights, &Gpt2::stored_name).unwrap()
}

fn bert(device: &Device) -> BertForSequenceClassification {
    let base = fixture("bert_lora/base");
    let config: BertConfig = read_config(&base).unwrap();
    let weights = Weights::open_published(&base, &Bert::PUBLISHED_NAMES).unwrap();
    load_weights(config.init_for(Stream::new(1), device), &weights, &Bert::stored_name).unwrap()
}

struct Expected(BTreeMap<String, TensorData>);

impl Expected {
    fn of(name: &str) -> Self {
        let tensors = load_tensors(fixture(name).join("values.safetensors")).unwrap();
        Self(tensors.into_iter().collect())
    }

    fn tokens(&self) -> TokenBatch {
        let rows: Vec<u32> = self.0["tokens"].iter::<i64>().map(|id| id as u32).collect();
        let rows: Vec<&[u32]> = rows.chunks(5).collect();
        TokenBatch::from_rows(&rows, &test_device())
    }

    fn check<const D: usize>(&self, name: &str, found: Tensor<D>) {
        let (found, expected) = (found.into_data(), &self.0[name]);
        assert_eq!(found.shape(), expected.shape(), "{name}");
        let largest = expected.iter::<f32>().fold(1.0f32, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter::<f32>().zip(expected.iter::<f32>()) {
            let near = (found - expected).abs() <= 2e-5 * largest;
            assert!(near, "{name} has {found} for torch's {expected}");
        }
    }
}

fn gpt2_logits(model: &Gpt2, batch: &TokenBatch) -> Tensor<3> {
    let hidden = model.encode(batch); // [2, 5, 6]
    model.head(hidden.reshape([10, 6])).reshape([2, 5, 11])
}

#[test]
fn gpt2_with_an_adapter_of_peft_computes_what_it_does_there() {
    let (device, expected) = (test_device(), Expected::of("gpt2_lora"));
    let model = gpt2(&device);
    expected.check("base", gpt2_logits(&model, &expected.tokens()));
    let adapter = LoraAdapter::load(fixture("gpt2_lora"), &model, GPT2).unwrap();
    assert_eq!(adapter.config.targets.len(), 4);
    assert_eq!(adapter.config.scale(), 6.0 / 2f64.sqrt());
    let adapted = attach(model, &[&adapter], None).unwrap();
    expected.check("adapted", gpt2_logits(&adapted, &expected.tokens()));
}

#[test]
fn bert_with_an_adapter_of_peft_computes_what_it_does_there() {
    let (device, expected) = (test_device(), Expected::of("bert_lora"));
    let model = bert(&device);
    expected.check("base", model.logits(&expected.tokens()));
    let adapter = LoraAdapter::load(fixture("bert_lora"), &model, BERT).unwrap();
    assert_eq!(adapter.config.saved_modules, ["head.classifier"]);
    let adapted = attach(model, &[&adapter], None).unwrap();
    expected.check("adapted", adapted.logits(&expected.tokens()));
}

/// Compares the gradients of adapters, which lie transposed in the fixture.
struct Gradients<'a> {
    expected: &'a Expected,
    names: PeftNames<'a>,
    gradients: GradientsParams,
    path: ModulePath,
    n_checked: usize,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let path = self.path.joined();
        let Some((weight, factor)) = path.split_once(".lora.adapters.0.") else { return };
        let name = (self.names.table)(weight).name;
        let module = name.strip_suffix(".weight").expect("the weight of a linear layer");
        let factor = if factor == "a" { "lora_A" } else { "lora_B" };
        let gradient = self.gradients.get::<D>(parameter.id).expect("an adapter is trained");
        let gradient = gradient.swap_dims(0, 1);
        self.expected.check(&format!("gradient.{module}.{factor}.weight"), gradient);
        self.n_checked += 1;
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

fn check_gradients<M: Module, const D: usize>(
    name: &str,
    model: M,
    names: PeftNames,
    logits: impl Fn(&M, &TokenBatch) -> Tensor<D>,
) {
    let expected = Expected::of(name);
    let adapter = LoraAdapter::load(fixture(name), &model, names).unwrap();
    let model = attach(model, &[&adapter], None).unwrap();
    let gradients = logits(&model, &expected.tokens()).square().sum().backward();
    let gradients = GradientsParams::from_grads(gradients, &model);
    let path = ModulePath::default();
    let mut check = Gradients { expected: &expected, names, gradients, path, n_checked: 0 };
    model.visit(&mut check);
    assert_eq!(check.n_checked, 8, "two of each of four matrices");
}

#[test]
fn gradients_of_adapters_are_those_of_peft() {
    let device = test_device().autodiff();
    check_gradients("gpt2_lora", gpt2(&device), GPT2, gpt2_logits);
    check_gradients("bert_lora", bert(&device), BERT, |model, batch| model.logits(batch));
}

/// Reads an adapter of PEFT, writes it, and finds the same tensors, and a config that says the same.
fn round_trip<M: Module>(name: &str, model: &M, names: PeftNames) -> [PeftConfig; 2] {
    let written = tempfile::tempdir().unwrap();
    let adapter = LoraAdapter::load(fixture(name), model, names).unwrap();
    adapter.save(written.path(), names, Some("base")).unwrap();
    let of = |folder: &Path| {
        let file = folder.join("adapter_model.safetensors");
        load_tensors(file).unwrap().into_iter().collect::<BTreeMap<_, _>>()
    };
    let (found, expected) = (of(written.path()), of(&fixture(name)));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, data) in &expected {
        assert_eq!(&found[name], data, "{name}");
    }
    // For `peft_adapters.py check`, by hand.
    if let Ok(kept) = std::env::var("EMBERLINE_TEST_KEEP_ADAPTERS") {
        let kept = Path::new(&kept).join(name.trim_end_matches("_lora"));
        std::fs::create_dir_all(&kept).unwrap();
        adapter.save(&kept, names, None).unwrap();
    }
    let config = |folder: &Path| {
        let text = std::fs::read(folder.join("adapter_config.json")).unwrap();
        serde_json::from_slice::<PeftConfig>(&text).unwrap()
    };
    [config(written.path()), config(&fixture(name))]
}

#[test]
fn an_adapter_of_peft_is_written_as_it_was_read() {
    let device = test_device();
    for [found, expected] in [
        round_trip("gpt2_lora", &gpt2(&device), GPT2),
        round_trip("bert_lora", &bert(&device), BERT),
    ] {
        let numbers = |config: &PeftConfig| (config.r, config.lora_alpha, config.lora_dropout);
        assert_eq!(numbers(&found), numbers(&expected));
        let flags =
            |config: &PeftConfig| (config.bias.clone(), config.use_rslora, config.fan_in_fan_out);
        assert_eq!(flags(&found), flags(&expected));
        assert_eq!(found.modules_to_save, expected.modules_to_save);
        assert_eq!(found.base_model_name_or_path.as_deref(), Some("base"));
    }
}

#[test]
fn an_adapter_of_another_model_is_refused_with_what_does_not_fit() {
    let device = test_device();
    let message = |error: LoraError| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    let of_bert = LoraAdapter::load(fixture("bert_lora"), &gpt2(&device), GPT2).unwrap_err();
    let text = message(of_bert);
    assert!(text.starts_with("the adapter is for another model: "), "{text}");
    assert!(text.contains("unexpected: base_model.model.bert.encoder.layer.0."), "{text}");

    let config: Gpt2Config = read_config(fixture("gpt2_lora/base")).unwrap();
    let wider = Gpt2Config { d_model: 12, ..config }.init(Stream::new(1), &device);
    let text = message(LoraAdapter::load(fixture("gpt2_lora"), &wider, GPT2).unwrap_err());
    assert!(text.contains("c_attn.lora_A.weight is [2, 6], expected [2, 12]"), "{text}");
}

/// r = 8 for queries and values of BERT base, as in PEFT's own defaults, and of what makes both in GPT-2.
#[test]
fn adapters_of_published_models_have_few_parameters() {
    let device = test_device();
    let count = |found: Result<LoraAdapter, LoraError>| found.unwrap().n_parameters();
    let bert = BertConfig::default().init(Stream::new(1), &device);
    let queries_and_values = LoraConfig::new(8, 8.0, &["attention.query", "attention.value"]);
    assert_eq!(count(queries_and_values.init(&bert, Stream::new(1))), 294_912);
    let gpt2 = Gpt2Config::default().init(Stream::new(1), &device);
    let paper = LoraConfig::new(4, 32.0, &["attention.input"]);
    assert_eq!(count(paper.init(&gpt2, Stream::new(1))), 12 * (768 + 3 * 768) * 4);
    assert!(!bert.blocks[0].attention.query.weight.is_initialized(), "no weight is made for it");
}
