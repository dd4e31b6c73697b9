//! Adapters on a model, and off it again.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param, Reparameterizer};
use burn::tensor::{Tensor, TensorData};
use emberline_backend::{Draws, Dropout, LowRank, LowRankFactors, without_adapters};
use emberline_core::Stream;
use emberline_core::parameters::ModulePath;

use super::parameters::list;
use super::{LoraAdapter, LoraError};

/// A model with these adapters, whose outputs add up, and with no other. What they hold whole becomes the model's own.
///
/// In training the adapters drop what their dropout draws from `random`; every update begins with
/// [`Draws::begin`].
///
/// # Errors
/// [`LoraError::OtherModel`], [`LoraError::Both`].
pub fn attach<M: Module>(
    model: M,
    adapters: &[&LoraAdapter],
    random: Option<(Stream, Draws)>,
) -> Result<M, LoraError> {
    attach_scaled(model, adapters, random, 1.0)
}

/// A model with its adapters added to its matrices: it is as fast as before.
#[must_use]
pub fn merge<M: Module>(model: M) -> M {
    model.materialize()
}

/// A model that was merged with an adapter, with the adapter beside its matrices again, which are what they were but
/// for rounding.
///
/// # Errors
/// As [`attach`].
pub fn unmerge<M: Module>(model: M, adapter: &LoraAdapter) -> Result<M, LoraError> {
    let without = merge(attach_scaled(model, &[adapter], None, -1.0)?);
    attach(without, &[adapter], None)
}

fn attach_scaled<M: Module>(
    model: M,
    adapters: &[&LoraAdapter],
    random: Option<(Stream, Draws)>,
    factor: f64,
) -> Result<M, LoraError> {
    let model = without_adapters(model);
    let listed = list(&model).into_iter().map(|parameter| (parameter.path, parameter.shape));
    let listed: BTreeMap<String, Vec<usize>> = listed.collect();
    let mut whole = BTreeMap::new();
    for adapter in adapters {
        adapter.check(&listed)?;
        for (path, data) in &adapter.whole {
            if whole.insert(path.clone(), data.clone()).is_some() {
                return Err(LoraError::Both { parameter: path.clone() });
            }
        }
    }
    let model = model.map(&mut Fill { path: ModulePath::default(), values: whole });
    Ok(model.apply_reparameterization(Attach { adapters, random, factor }))
}

struct Attach<'a> {
    adapters: &'a [&'a LoraAdapter],
    random: Option<(Stream, Draws)>,
    factor: f64,
}

impl Reparameterizer for Attach<'_> {
    type Reparam = LowRank;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LowRank>) {
        let (device, random) = (param.lazy_device(), self.random.as_ref());
        let factors = |(index, adapter): (usize, &&LoraAdapter)| {
            let [a, b] = adapter.factors.get(path)?;
            let stream = |(stream, draws): &(Stream, Draws)| {
                (stream.named(path).at(index as u64), draws.clone())
            };
            Some(LowRankFactors {
                a: Param::from_data(a.clone(), &device),
                b: Param::from_data(b.clone(), &device),
                scale: adapter.config.scale() * self.factor,
                dropout: Dropout::new(adapter.config.dropout),
                random: random.map(stream),
            })
        };
        let adapters: Vec<_> = self.adapters.iter().enumerate().filter_map(factors).collect();
        if adapters.is_empty() { (param, None) } else { (param, Some(LowRank { adapters })) }
    }
}

/// Gives parameters the values at their paths.
struct Fill {
    path: ModulePath,
    values: BTreeMap<String, TensorData>,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(data) = self.values.remove(&self.path.joined()) else { return param };
        let (device, id) = (param.lazy_device(), param.id);
        param.transform_for_load(Tensor::from_data(data, &device), id)
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}
