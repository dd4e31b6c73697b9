//! A plan for the parameters of one model.

use std::collections::{BTreeMap, HashSet};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::ModuleOptimizer;
use burn::tensor::Tensor;
use emberline_core::LayerGroup;
use emberline_core::parameters::ModulePath;
use emberline_training::{OptimizerConfig, RateGroup};

use super::freezer::Freezer;

/// What a [`Plan`](super::Plan) means for one model.
#[derive(Clone, Debug)]
pub struct Planned {
    groups: Vec<PlannedGroup>,
    layers: Vec<LayerGroup>,
}

/// Parameters that are planned together.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedGroup {
    /// What it is called.
    pub name: String,
    /// What the rate of the schedule is multiplied with.
    pub rate: f64,
    /// The number of updates before the first in which it is trained.
    pub from: u64,
    /// Whether each parameter is trained.
    parameters: BTreeMap<String, (Listed, bool)>,
}

/// A parameter that can be trained.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    pub path: String,
    pub shape: Vec<usize>,
}

/// The parameters of a model that have gradients.
pub(super) fn list<M: Module>(model: &M) -> Vec<Listed> {
    struct Lister(ModulePath, Vec<Listed>);
    impl ModuleVisitor for Lister {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            // One that is not made yet is not looked at, which would make it.
            if !parameter.is_initialized() || is_trainable(parameter) {
                let shape = parameter.lazy_shape().to_vec();
                self.1.push(Listed { path: self.0.joined(), shape });
            }
        }

        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
    }
    let mut lister = Lister(ModulePath::default(), Vec::new());
    model.visit(&mut lister);
    lister.1
}

/// Whether a parameter that was made has gradients where it is trained.
fn is_trainable<const D: usize>(parameter: &Param<Tensor<D>>) -> bool {
    match parameter.lazy_device().is_autodiff() {
        true => parameter.base().is_require_grad(),
        false => parameter.clone().train().base().is_require_grad(),
    }
}

impl PlannedGroup {
    pub(super) fn new<'a>(
        name: String,
        rate: f64,
        from: u64,
        inside: impl Iterator<Item = &'a Listed>,
        is_trained: impl Fn(&str) -> bool,
    ) -> Self {
        let entry = |parameter: &Listed| {
            let is_trained = is_trained(&parameter.path);
            (parameter.path.clone(), (parameter.clone(), is_trained))
        };
        Self { name, rate, from, parameters: inside.map(entry).collect() }
    }

    /// The numbers in all its parameters.
    pub fn n_parameters(&self) -> usize {
        self.parameters.values().map(|(parameter, _)| parameter.size()).sum()
    }

    /// The numbers in those that are trained at some time.
    pub fn n_trained(&self) -> usize {
        self.trained().map(Listed::size).sum()
    }

    fn trained(&self) -> impl Iterator<Item = &Listed> {
        self.parameters.values().filter(|(_, is_trained)| *is_trained).map(|(listed, _)| listed)
    }

    fn trained_column(&self) -> String {
        match (self.n_trained(), self.from) {
            (0, _) => "no".to_string(),
            (n, 0) if n == self.n_parameters() => "yes".to_string(),
            (_, 0) => format!("{} of them", with_commas(self.n_trained())),
            (_, from) => format!("from update {}", from + 1),
        }
    }
}

impl Listed {
    fn size(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Planned {
    pub(super) fn new(groups: Vec<PlannedGroup>, layers: Vec<LayerGroup>) -> Self {
        Self { groups, layers }
    }

    /// The groups, the one nearest to the input first.
    pub fn groups(&self) -> &[PlannedGroup] {
        &self.groups
    }

    /// The numbers in all parameters.
    pub fn n_parameters(&self) -> usize {
        self.groups.iter().map(PlannedGroup::n_parameters).sum()
    }

    /// The numbers in the parameters that are trained at some time.
    pub fn n_trained(&self) -> usize {
        self.groups.iter().map(PlannedGroup::n_trained).sum()
    }

    /// The model as it is trained in the update after `step` others: what
    /// [`Trainer::start_with`](emberline_training::Trainer::start_with) calls.
    pub fn prepare<M: Module>(&self, step: u64, model: M) -> M {
        let groups = self.groups.iter();
        let trained = groups.clone().filter(|group| group.from <= step);
        let trained: HashSet<&str> =
            trained.flat_map(|group| group.trained().map(|listed| &listed.path[..])).collect();
        let known = groups.flat_map(|group| group.parameters.keys().map(String::as_str)).collect();
        model.map(&mut Freezer::new(trained, known, &self.layers))
    }

    /// An optimizer with the rates of the plan.
    pub fn optimizer<M: Module>(&self, config: &OptimizerConfig, model: &M) -> ModuleOptimizer {
        let groups = self.groups.iter().filter(|group| group.n_trained() > 0 && group.rate != 1.0);
        let groups = groups.map(|group| RateGroup {
            parameters: group.trained().map(|listed| listed.path.clone()).collect(),
            factor: group.rate,
        });
        config.init_with_rates(model, &groups.collect::<Vec<_>>())
    }

    /// A table of the groups: parameters, whether they are trained, the rate at the peak of the schedule, and the decay of
    /// their matrices.
    pub fn table(&self, learning_rate: f64, weight_decay: f64) -> String {
        let mut rows = vec![["group", "parameters", "trained", "rate", "decay"].map(String::from)];
        for group in &self.groups {
            let is_trained = group.n_trained() > 0;
            let has_matrix = group.trained().any(|listed| listed.shape.len() >= 2);
            let decay = if has_matrix { weight_decay } else { 0.0 };
            let shown = |number: f64| match is_trained {
                true => short(number),
                false => "-".to_string(),
            };
            rows.push([
                group.name.clone(),
                with_commas(group.n_parameters()),
                group.trained_column(),
                shown(group.rate * learning_rate),
                shown(decay),
            ]);
        }
        let share = 100.0 * self.n_trained() as f64 / self.n_parameters() as f64;
        rows.push([
            "together".to_string(),
            with_commas(self.n_parameters()),
            format!("{} ({share:.2} %)", with_commas(self.n_trained())),
            String::new(),
            String::new(),
        ]);
        aligned(&rows)
    }
}

/// Four digits at most, and an exponent where it is shorter.
fn short(number: f64) -> String {
    let (plain, exponent) = (format!("{number:.4}"), format!("{number:.3e}"));
    let plain = plain.trim_end_matches('0').trim_end_matches('.');
    match plain.parse() == Ok(number) {
        true => plain.to_string(),
        false => exponent,
    }
}

fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Columns as wide as their widest cell, the first one to the left.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}
