//! Adapters of a model of two linear layers and a table.

use burn::tensor::{Device, Tensor};
use emberline_backend::{Embedding, Linear, LinearConfig, test_device, without_adapters};
use emberline_core::parameters::parameters;
use emberline_core::{LayerGroup, LayerGroups};

use super::*;

#[derive(Module, Debug)]
struct Small {
    table: Embedding,
    query: Linear,
    head: Linear,
}

impl LayerGroups for Small {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        vec![
            LayerGroup::body("table", &["table"]),
            LayerGroup::body("query", &["query"]),
            LayerGroup::head(&["head"]),
        ]
    }
}

impl Small {
    fn init(device: &Device) -> Self {
        let linear = |d_output: usize, name: &str| {
            LinearConfig::new(6, d_output).init(Stream::new(1).named(name), device)
        };
        Self {
            table: Embedding::init(5, 6, 1.0, Stream::new(1), device),
            query: linear(6, "query"),
            head: linear(3, "head"),
        }
    }

    fn run(&self) -> Tensor<2> {
        self.head.forward(self.query.forward(self.table.weight.val()))
    }
}

fn config() -> LoraConfig {
    LoraConfig { saved_modules: vec!["head".into()], ..LoraConfig::new(2, 6.0, &["query"]) }
}

/// An adapter whose B is not zero any more.
fn trained(seed: u64, config: &LoraConfig, model: &Small) -> LoraAdapter {
    let mut adapter = config.init(model, Stream::new(seed)).unwrap();
    for (path, [_, b]) in &mut adapter.factors {
        let n = b.shape().num_elements();
        let values = Stream::new(seed).named(path).normals(n, 0.5);
        *b = TensorData::new(values, b.shape());
    }
    adapter
}

fn difference(a: Tensor<2>, b: Tensor<2>) -> f32 {
    (a - b).abs().max().into_scalar()
}

#[test]
fn a_new_adapter_changes_no_bit() {
    let model = Small::init(&test_device());
    let adapter = config().init(&model, Stream::new(1)).unwrap();
    let expected = model.run().into_data();
    let adapted = attach(model, &[&adapter], None).unwrap();
    assert_eq!(adapted.run().into_data(), expected);
    let paths: Vec<String> = parameters(&adapted).into_iter().map(|p| p.path).collect();
    assert!(paths.contains(&"query.weight.lora.adapters.0.a".to_string()), "{paths:?}");
}

#[test]
fn a_is_as_peft_draws_it_and_the_scale_is_that_of_the_config() {
    let adapter = config().init(&Small::init(&test_device()), Stream::new(1)).unwrap();
    let [a, b] = &adapter.factors["query.weight"];
    assert_eq!((a.shape().to_vec(), b.shape().to_vec()), (vec![6, 2], vec![2, 6]));
    let bound = 1.0 / 6f32.sqrt();
    assert!(a.iter::<f32>().all(|value| value.abs() <= bound) && b.iter::<f32>().all(|b| b == 0.0));
    assert!(a.iter::<f32>().any(|value| value.abs() > bound / 2.0));
    assert_eq!(config().scale(), 3.0);
    assert_eq!(LoraConfig { rank: 4, rank_stabilized: true, ..config() }.scale(), 3.0);
    // Two matrices of the adapter, and the head with its bias.
    assert_eq!(adapter.n_parameters(), 12 + 12 + 18 + 3);
}

#[test]
fn merging_changes_nothing_and_can_be_undone() {
    let model = Small::init(&test_device());
    let adapter = trained(2, &config(), &model);
    let adapted = attach(model.clone(), &[&adapter], None).unwrap();
    let expected = adapted.run();
    assert!(difference(expected.clone(), model.run()) > 0.1);
    let merged = merge(adapted);
    assert!(merged.query.weight.reparameterization::<LowRank>().is_none());
    assert!(difference(merged.run(), expected.clone()) < 1e-5);
    let unmerged = unmerge(merged, &adapter).unwrap();
    assert!(difference(unmerged.run(), expected) < 1e-5);
    let base = without_adapters(unmerged).query.weight.val();
    assert!(difference(base, model.query.weight.val()) < 1e-6);
}

#[test]
fn adapters_are_swapped_and_added_up() {
    let model = Small::init(&test_device());
    let config = LoraConfig::new(2, 6.0, &["query"]);
    let [one, two] = [2, 3].map(|seed| trained(seed, &config, &model));
    let with = |model: Small, adapters: &[&LoraAdapter]| attach(model, adapters, None).unwrap();
    let plain = model.run();
    let of_one = with(model.clone(), &[&one]);
    let of_two = with(of_one.clone(), &[&two]);
    let both = with(of_two.clone(), &[&one, &two]).run();
    let sum = of_one.run() + of_two.run() - plain.clone();
    assert!(difference(both, sum) < 1e-5);
    assert_eq!(with(of_two, &[&one]).run().into_data(), of_one.run().into_data());
    assert_eq!(without_adapters(of_one).run().into_data(), plain.into_data());
}

#[test]
fn training_moves_the_adapter_and_what_is_saved_with_it_alone() {
    let device = test_device().autodiff();
    let model = Small::init(&device);
    let adapter = config().init(&model, Stream::new(1)).unwrap();
    let model = attach(model, &[&adapter], None).unwrap();
    let planned = adapter.plan().of(&model).unwrap();
    assert_eq!(planned.n_trained(), adapter.n_parameters());
    let mut model = planned.prepare(0, model);
    let optimizer = emberline_training::OptimizerConfig::AdamW(Default::default());
    let mut optimizer = planned.optimizer(&optimizer, &model);
    let before = values(&model, &["query.weight".into(), "query.bias".into()]);
    for _ in 0..2 {
        let gradients = model.run().square().sum().backward();
        let gradients = burn::optim::GradientsParams::from_grads(gradients, &model);
        assert_eq!(gradients.len(), 4, "A, B, and the head with its bias");
        model = optimizer.step(0.01, model, gradients);
    }
    let after = values(&model, &["query.weight".into(), "query.bias".into()]);
    assert_eq!(before, after);
    let now = adapter.read(&model, 0);
    for (path, factors) in &now.factors {
        for (now, then) in factors.iter().zip(&adapter.factors[path]) {
            assert_ne!(now, then, "{path}");
        }
    }
    assert_ne!(now.whole["head.weight"], adapter.whole["head.weight"]);
    // The adapter that was read is the model again.
    let again = attach(Small::init(&device), &[&now], None).unwrap();
    assert_eq!(again.run().into_data(), model.run().into_data());
}

#[test]
fn biases_are_trained_as_the_config_says() {
    let model = Small::init(&test_device());
    let whole = |bias| {
        let config = LoraConfig { bias, ..LoraConfig::new(1, 1.0, &["query"]) };
        config.init(&model, Stream::new(1)).unwrap().whole.into_keys().collect::<Vec<_>>()
    };
    assert!(whole(TrainedBiases::None).is_empty());
    assert_eq!(whole(TrainedBiases::LoraOnly), ["query.bias"]);
    assert_eq!(whole(TrainedBiases::All), ["head.bias", "query.bias"]);
}

#[test]
fn what_cannot_be_adapted_says_why() {
    let model = Small::init(&test_device());
    let error = |config: LoraConfig| config.init(&model, Stream::new(1)).unwrap_err().to_string();
    assert_eq!(
        error(LoraConfig::new(2, 1.0, &["query", "value"])),
        "the pattern \"value\" matches no linear layer of the model; there are query, head"
    );
    // A table is no linear layer.
    assert!(
        error(LoraConfig::new(2, 1.0, &["table"])).contains("\"table\" matches no linear layer")
    );
    let saved_modules = vec!["tail".to_string()];
    assert!(error(LoraConfig { saved_modules, ..config() }).contains("matches no parameter"));
    assert_eq!(error(LoraConfig::new(0, 1.0, &["query"])), "rank must be at least 1, but is 0");
    assert_eq!(
        error(LoraConfig::new(1, 0.0, &["query"])),
        "alpha must be a number above 0, but is 0"
    );
    assert!(error(LoraConfig { dropout: 1.0, ..config() }).starts_with("dropout must be"));
    assert!(error(LoraConfig::new(1, 1.0, &[])).starts_with("targets must be at least one"));

    let adapter = config().init(&model, Stream::new(1)).unwrap();
    let twice = attach(model.clone(), &[&adapter, &adapter], None).unwrap_err().to_string();
    assert_eq!(twice, "two adapters hold head.bias whole");
    let mut other = model;
    other.query = LinearConfig::new(6, 4).init(Stream::new(1), &test_device());
    let shape = attach(other, &[&adapter], None).unwrap_err().to_string();
    assert_eq!(
        shape,
        "the adapter is for another model: query.weight is [6, 6] in it, but [6, 4] here"
    );
}
