//! What learns to recall through a mixer.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use emberline_backend::{Embedding, Linear, LinearConfig};
use emberline_core::Stream;

use super::LongRangeConfig;
use super::kinds::MixerKind;
use super::mixer::Mixer;
use crate::tasks::recall::{Learners, Recaller};

/// Names the first symbol of a sequence from the mixer's last output.
#[derive(Module, Debug)]
pub struct Learner {
    embedding: Embedding,
    /// What brings the symbols together.
    pub mixer: Mixer,
    head: Linear,
}

/// The parameters of all learners, which are not made for it.
pub fn parameters_of(config: &LongRangeConfig) -> u64 {
    let ends = config.data.n_symbols as u64 * (2 * config.model.d_model as u64 + 1);
    let learner = |kind| config.model.parameter_count(kind).saturating_add(ends);
    let all = MixerKind::ALL.map(learner).into_iter().fold(0, u64::saturating_add);
    all.saturating_mul(config.data.distances.len() as u64)
}

/// Learners of which those of one kind begin with the same weights, and those of all with the same ends.
pub fn learners(config: &LongRangeConfig, random: Stream, device: &Device) -> Learners<Learner> {
    let learner = |kind| Learner::new(config, kind, random, device);
    Learners::new(MixerKind::ALL, &config.data.distances, learner)
}

impl Learner {
    /// As it is before any training.
    pub fn new(config: &LongRangeConfig, kind: MixerKind, random: Stream, device: &Device) -> Self {
        let (d_model, n_symbols) = (config.model.d_model, config.data.n_symbols);
        let embedding = random.named("embedding");
        Self {
            embedding: Embedding::init(n_symbols, d_model, 1.0, embedding, device),
            mixer: config.model.init(kind, random.named("mixer"), device),
            head: LinearConfig::new(d_model, n_symbols).init(random.named("head"), device),
        }
    }

    /// The symbols as vectors, `[batch_size, seq_length, d_model]`.
    pub fn embed(&self, symbols: Tensor<2, Int>) -> Tensor<3> {
        self.embedding.forward(symbols)
    }
}

impl Recaller for Learner {
    fn scores(&self, symbols: Tensor<2, Int>) -> Tensor<2> {
        let [_, seq_length] = symbols.dims();
        let outputs = self.mixer.forward(self.embed(symbols));
        self.head.forward(outputs.narrow(1, seq_length - 1, 1).squeeze_dim(1))
    }
}
