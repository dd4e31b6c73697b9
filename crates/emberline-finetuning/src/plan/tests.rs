//! Plans of a model of two layers and a head, with dropout in every place where there can be one.

use burn::module::{Flag, Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use emberline_backend::{Dropout, Linear, LinearConfig, test_device};
use emberline_core::parameters::ModulePath;
use emberline_core::{LayerGroup, LayerGroups, Stream, laws};
use emberline_training::{AdamWConfig, OptimizerConfig};

use super::*;

#[derive(Module, Debug)]
struct Layer {
    linear: Linear,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct Deep {
    /// Of the input.
    dropout: Dropout,
    layers: Vec<Layer>,
    head: Linear,
    /// No parameter that is trained.
    scale: Param<Tensor<1>>,
}

impl LayerGroups for Deep {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        let mut groups: Vec<_> = LayerGroup::layers("layers", self.layers.len()).collect();
        groups[0].modules.push("dropout".to_string());
        groups.push(LayerGroup::head(&["head", "scale"]));
        groups
    }
}

fn deep(n_layers: usize, device: &Device) -> Deep {
    let linear = |d_output: usize, name: &str| {
        LinearConfig::new(3, d_output).init(Stream::new(1).named(name), device)
    };
    let layer = |_| Layer { linear: linear(3, "layer"), dropout: Dropout::new(0.5) };
    Deep {
        dropout: Dropout::new(0.5),
        layers: (0..n_layers).map(layer).collect(),
        head: linear(2, "head"),
        scale: Param::from_tensor(Tensor::ones([1], device)).set_require_grad(false),
    }
}

/// The paths of the parameters that have gradients, and of the flags that are on.
fn active<M: Module>(model: &M) -> (Vec<String>, Vec<String>) {
    #[derive(Default)]
    struct Active(ModulePath, Vec<String>, Vec<String>);
    impl ModuleVisitor for Active {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            if parameter.base().is_require_grad() {
                self.1.push(self.0.joined());
            }
        }

        fn visit_flag(&mut self, flag: &Param<Flag>) {
            if flag.is_enabled() {
                self.2.push(self.0.joined());
            }
        }

        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
    }
    let mut found = Active::default();
    model.visit(&mut found);
    (found.1, found.2)
}

fn trained(plan: &Plan, step: u64) -> (Vec<String>, Vec<String>) {
    let model = deep(2, &test_device().autodiff());
    laws::layer_groups(&model);
    active(&plan.of(&model).unwrap().prepare(step, model))
}

fn linear(module: &str) -> Vec<String> {
    ["weight", "bias"].map(|parameter| format!("{module}.{parameter}")).to_vec()
}

fn error(plan: &Plan) -> String {
    plan.of(&deep(2, &test_device().autodiff())).unwrap_err().to_string()
}

const DROPOUTS: [&str; 3] = ["dropout.is_on", "layers.0.dropout.is_on", "layers.1.dropout.is_on"];

#[test]
fn a_full_plan_trains_everything_but_what_has_no_gradient() {
    let (parameters, flags) = trained(&Plan::default(), 0);
    let expected = ["layers.0.linear", "layers.1.linear", "head"].map(linear).concat();
    assert_eq!(parameters, expected);
    assert_eq!(flags, DROPOUTS);
}

#[test]
fn a_frozen_model_has_no_gradients_and_no_dropout_below_its_head() {
    let (parameters, flags) = trained(&Plan::new(Train::Head), 0);
    assert_eq!(parameters, linear("head"));
    assert!(flags.is_empty(), "{flags:?}");
}

#[test]
fn the_last_layers_are_counted_from_the_head() {
    let (parameters, flags) = trained(&Plan::new(Train::LastLayers { n_layers: 1 }), 0);
    assert_eq!(parameters, [linear("layers.1.linear"), linear("head")].concat());
    assert_eq!(flags, [DROPOUTS[2]]);
    let (parameters, _) = trained(&Plan::new(Train::LastLayers { n_layers: 2 }), 0);
    assert_eq!(parameters.len(), 6);
}

#[test]
fn what_a_pattern_names_is_trained_with_the_dropout_beside_it() {
    let patterns = vec!["layers.0".to_string(), "head.bias".to_string()];
    let (parameters, flags) = trained(&Plan::new(Train::Matching { patterns }), 0);
    assert_eq!(parameters, [linear("layers.0.linear"), vec!["head.bias".into()]].concat());
    assert_eq!(flags, DROPOUTS[..2]);
}

#[test]
fn gradual_unfreezing_thaws_a_layer_after_every_so_many_updates_and_freezes_none_again() {
    let plan = Plan::new(Train::Gradual { updates_per_layer: 3 });
    for (step, n_trained) in [(0, 2), (2, 2), (3, 4), (5, 4), (6, 6), (100, 6)] {
        let (parameters, flags) = trained(&plan, step);
        assert_eq!(parameters.len(), n_trained, "after {step} updates");
        assert_eq!(flags.len(), [0, 1, 3][n_trained / 2 - 1], "after {step} updates");
    }
    // A layer that was frozen before is trained from there on.
    let model = deep(2, &test_device().autodiff());
    let planned = plan.of(&model).unwrap();
    let model = planned.prepare(6, planned.prepare(0, model));
    assert_eq!(active(&model).0.len(), 6);
}

#[test]
fn what_was_not_made_yet_is_frozen_unmade() {
    let device = test_device().autodiff();
    let mut model = deep(1, &device);
    model.layers[0].linear = LinearConfig::new(3, 3).init_normal(0.1, Stream::new(1), &device);
    let model = Plan::new(Train::Head).of(&model).unwrap().prepare(0, model);
    assert!(!model.layers[0].linear.weight.is_initialized());
    assert!(!model.layers[0].linear.weight.val().is_require_grad());
}

#[test]
fn rates_fall_from_the_head_down() {
    let rates = |rates, head_rate| {
        let plan = Plan { rates, head_rate, ..Plan::default() };
        let planned = plan.of(&deep(2, &test_device().autodiff())).unwrap();
        planned.groups().iter().map(|group| group.rate).collect::<Vec<_>>()
    };
    assert_eq!(rates(LayerRates::Equal, Some(10.0)), [1.0, 1.0, 10.0]);
    let near = |found: Vec<f64>, expected: [f64; 3]| {
        let far = found.iter().zip(expected).any(|(a, b)| (a - b).abs() > 1e-12);
        assert!(!far && found.len() == 3, "{found:?} for {expected:?}");
    };
    near(
        rates(LayerRates::Discriminative { factor: 2.6 }, None),
        [1.0 / 2.6 / 2.6, 1.0 / 2.6, 1.0],
    );
    near(rates(LayerRates::LayerWise { decay: 0.95 }, Some(2.0)), [0.9025, 0.95, 2.0]);
}

/// The first update of AdamW is as large as the learning rate, whatever the gradient.
#[test]
fn every_group_moves_by_its_own_rate() {
    let device = test_device().autodiff();
    let model = deep(1, &device);
    let plan = Plan { head_rate: Some(10.0), ..Plan::default() };
    let planned = plan.of(&model).unwrap();
    let config =
        OptimizerConfig::AdamW(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
    let mut optimizer = planned.optimizer(&config, &model);
    let run = |model: &Deep| {
        let hidden = model.layers[0].linear.forward(Tensor::<2>::ones([1, 3], &device));
        model.head.forward(hidden).sum()
    };
    let before = [&model.layers[0].linear, &model.head].map(|linear| linear.weight.val());
    let gradients = burn::optim::GradientsParams::from_grads(run(&model).backward(), &model);
    let model = optimizer.step(1e-3, model, gradients);
    let after = [&model.layers[0].linear, &model.head].map(|linear| linear.weight.val());
    let moved = [0, 1].map(|index| {
        (after[index].clone() - before[index].clone()).abs().max().into_scalar::<f64>()
    });
    assert!((moved[0] - 1e-3).abs() < 1e-5 && (moved[1] - 1e-2).abs() < 1e-4, "{moved:?}");
}

#[test]
fn the_table_says_what_is_trained_and_how_fast() {
    let plan = Plan {
        train: Train::LastLayers { n_layers: 1 },
        rates: LayerRates::Discriminative { factor: 2.0 },
        head_rate: None,
    };
    let planned = plan.of(&deep(2, &test_device().autodiff())).unwrap();
    let expected = "\
group     parameters       trained   rate  decay
layers.0          12            no      -      -
layers.1          12           yes  0.005   0.01
head               8           yes   0.01   0.01
together          32  20 (62.50 %)
";
    assert_eq!(planned.table(0.01, 0.01), expected);
    let plan = Plan::new(Train::Matching { patterns: vec!["bias".into()] });
    let planned = plan.of(&deep(1, &test_device().autodiff())).unwrap();
    let table = planned.table(2e-5, 0.01);
    assert!(table.contains("layers.0          12    3 of them  2.000e-5      0\n"), "{table}");
    let plan = Plan::new(Train::Gradual { updates_per_layer: 30 });
    let planned = plan.of(&deep(1, &test_device().autodiff())).unwrap();
    assert!(planned.table(1.0, 0.0).contains("from update 31"));
}

#[test]
fn named_groups_have_rates_of_their_own_and_freeze_the_rest() {
    let group = |name: &str, pattern: &str, rate| RatedGroup {
        name: name.into(),
        patterns: vec![pattern.into()],
        rate,
    };
    let groups = vec![group("biases", "layers.*.linear.bias", 0.5), group("head", "head", 2.0)];
    let plan = Plan::new(Train::Groups { groups });
    let (parameters, _) = trained(&plan, 0);
    let biases = ["layers.0.linear.bias", "layers.1.linear.bias"].map(String::from);
    assert_eq!(parameters, [&biases[..], &linear("head")].concat());
    let planned = plan.of(&deep(2, &test_device().autodiff())).unwrap();
    let rates: Vec<_> = planned.groups().iter().map(|g| (&g.name[..], g.rate)).collect();
    assert_eq!(rates, [("biases", 0.5), ("head", 2.0), ("rest", 1.0)]);
    assert_eq!((planned.n_parameters(), planned.n_trained()), (32, 14));

    let groups = vec![group("one", "layers", 1.0), group("two", "bias", 1.0)];
    let overlap = error(&Plan::new(Train::Groups { groups }));
    assert_eq!(overlap, "the groups one and two overlap in layers.0.linear.bias");
    for rate in [0.0, -1.0, f64::NAN] {
        let groups = vec![group("one", "head", rate)];
        let message = error(&Plan::new(Train::Groups { groups }));
        assert_eq!(message, format!("the rate of one must be a number above 0, but is {rate}"));
    }
}

#[test]
fn a_plan_that_cannot_be_says_why() {
    let of = |train| error(&Plan::new(train));
    assert_eq!(
        of(Train::Matching { patterns: vec!["head".into(), "blocks.*".into()] }),
        "the pattern \"blocks.*\" matches no parameter of the model; there are layers.0, dropout, \
         layers.1, head, scale"
    );
    let nothing = "the plan freezes everything: ";
    assert_eq!(of(Train::Matching { patterns: Vec::new() }), format!("{nothing}it has no pattern"));
    assert_eq!(of(Train::Groups { groups: Vec::new() }), format!("{nothing}it has no group"));
    assert_eq!(
        of(Train::LastLayers { n_layers: 3 }),
        "n_layers must be at most the 2 of the model, but is 3"
    );
    assert_eq!(
        of(Train::Gradual { updates_per_layer: 0 }),
        "updates_per_layer must be at least 1, but is 0"
    );
    let plan = Plan { head_rate: Some(0.0), ..Plan::default() };
    assert_eq!(error(&plan), "head_rate must be a number above 0, but is 0");
    let plan = Plan { rates: LayerRates::LayerWise { decay: -1.0 }, ..Plan::default() };
    assert_eq!(error(&plan), "rates.decay must be a number above 0, but is -1");

    #[derive(Module, Debug)]
    struct Headless {
        layer: Linear,
    }
    impl LayerGroups for Headless {
        fn layer_groups(&self) -> Vec<LayerGroup> {
            vec![LayerGroup::body("layer", &["layer"])]
        }
    }
    let layer = LinearConfig::new(2, 2).init(Stream::new(1), &test_device());
    let headless = Headless { layer };
    for train in [Train::Head, Train::LastLayers { n_layers: 0 }] {
        let error = Plan::new(train).of(&headless).unwrap_err().to_string();
        assert!(error.starts_with(nothing), "{error}");
    }
    // A model without gradients is planned by what it would have.
    assert_eq!(Plan::default().of(&headless).unwrap().n_trained(), 6);
}

#[test]
fn a_plan_is_data_and_unknown_keys_are_refused() {
    let read = |text: &str| toml::from_str::<Plan>(text);
    let text = r#"
        head_rate = 10.0
        train = { mode = "last_layers", n_layers = 2 }
        rates = { name = "discriminative" }
    "#;
    let expected = Plan {
        train: Train::LastLayers { n_layers: 2 },
        rates: LayerRates::Discriminative { factor: 2.6 },
        head_rate: Some(10.0),
    };
    assert_eq!(read(text).unwrap(), expected);
    assert_eq!(read(&toml::to_string(&expected).unwrap()).unwrap(), expected);
    assert_eq!(read("train = { mode = \"head\" }").unwrap(), Plan::new(Train::Head));
    let error = read("train = { mode = \"full\" }\nrate = 1.0").unwrap_err().to_string();
    assert!(error.contains("rate"), "{error}");
}
