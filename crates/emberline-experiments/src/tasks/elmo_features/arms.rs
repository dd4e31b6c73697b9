//! The classifier without the layers of an ELMo and the one with them, and what both learn.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::{Dropout, Embedding, Linear, LinearConfig, cross_entropy};
use emberline_core::{Count, Loss, Stream, Term};
use emberline_embeddings::elmo::ScalarMix;
use emberline_recurrent::{AnyBidirectional, AnyConfig};
use emberline_training::Objective;

use super::features::FeatureBatch;
use crate::tasks::labelled::ModelConfig;

/// The arms, and the terms of their loss.
pub const ARMS: [&str; 2] = ["without", "with"];

/// The sizes of both classifiers.
pub struct Sizes {
    /// Those that the config gives.
    pub model: ModelConfig,
    pub vocab_size: usize,
    pub n_classes: usize,
    /// The width of a layer of the frozen model, and the number of its layers.
    pub d_features: usize,
    pub n_layers: usize,
}

impl Sizes {
    fn recurrent(&self, is_with: bool) -> AnyConfig {
        let ModelConfig { cell, d_embedding, d_hidden, n_layers, dropout, .. } = self.model;
        let d_input = d_embedding + if is_with { self.d_features } else { 0 };
        AnyConfig { cell, d_input, d_hidden, n_layers, dropout }
    }

    /// Both, at the same initial weights where they have the same.
    pub fn init(&self, random: Stream, device: &Device) -> Arms {
        Arms {
            without: self.init_reader(false, random, device),
            with: self.init_reader(true, random, device),
        }
    }

    fn init_reader(&self, is_with: bool, random: Stream, device: &Device) -> Reader {
        let ModelConfig { merge, d_embedding, d_hidden, dropout, .. } = self.model;
        let embedding = random.named("embedding");
        Reader {
            embedding: Embedding::init(self.vocab_size, d_embedding, 1.0, embedding, device),
            mix: is_with.then(|| ScalarMix::init(self.n_layers, false, device)),
            recurrent: self.recurrent(is_with).init_bidirectional(
                merge,
                random.named("recurrent"),
                device,
            ),
            dropout: Dropout::new(dropout),
            head: LinearConfig::new(merge.d_output(d_hidden), self.n_classes)
                .init(random.named("head"), device),
        }
    }

    /// Those of both, but for the head and the mix, which are few.
    pub fn parameter_count(&self) -> u64 {
        let embedding = (self.vocab_size as u64).saturating_mul(self.model.d_embedding as u64);
        let layers = [false, true]
            .map(|is_with| self.recurrent(is_with).bidirectional_parameter_count(self.model.merge));
        layers.into_iter().fold(embedding.saturating_mul(2), u64::saturating_add)
    }
}

/// Vectors of words, mixed layers beside them or not, bidirectional layers, and a score for each class.
#[derive(Module, Debug)]
pub struct Reader {
    embedding: Embedding,
    pub mix: Option<ScalarMix>,
    recurrent: AnyBidirectional,
    dropout: Dropout,
    head: Linear,
}

/// Both arms.
#[derive(Module, Debug)]
pub struct Arms {
    without: Reader,
    pub with: Reader,
}

impl Reader {
    /// `[batch_size, n_classes]`
    pub fn logits(&self, batch: &FeatureBatch, dropout: Option<Stream>) -> Tensor<2> {
        let random = |part| dropout.map(|random| random.named(part));
        let lengths = batch.tokens.right_padded_lengths();
        let mut vectors = self.embedding.forward(batch.tokens.tokens.clone());
        if let Some(mix) = &self.mix {
            vectors = Tensor::cat(vec![vectors, mix.forward(&batch.layers, lengths)], 2);
        }
        let vectors = self.dropout.forward(vectors, random("vectors"));
        let (_, state) = self.recurrent.forward(vectors, None, lengths, random("recurrent"));
        let last = self.recurrent.last_output(&state);
        self.head.forward(self.dropout.forward(last, random("head")))
    }
}

impl Arms {
    pub fn readers(&self) -> [&Reader; 2] {
        [&self.without, &self.with]
    }
}

/// Both give each sentence its class; the loss is the sum of theirs, and of the penalty on the mix.
pub struct BothClassify {
    pub mix_penalty: f64,
}

/// The term of the penalty.
const MIX: &str = "mix";

impl Objective<Arms> for BothClassify {
    type Batch = FeatureBatch;
    type Carry = ();

    fn counts(&self, batch: &FeatureBatch) -> Vec<Count> {
        let count = batch.labels.dims()[0] as f64;
        let mut counts: Vec<Count> = ARMS.map(|term| Count { term, count }).into();
        if self.mix_penalty > 0.0 {
            counts.push(Count { term: MIX, count: 1.0 });
        }
        counts
    }

    fn loss(
        &self,
        model: &Arms,
        batch: &FeatureBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let terms = ARMS.into_iter().zip(model.readers()).map(|(name, reader)| {
            let logits = reader.logits(batch, dropout);
            Term { name, weight: 1.0, sum: cross_entropy(logits, batch.labels.clone()) }
        });
        let mut terms: Vec<Term> = terms.collect();
        if let Some(mix) = model.with.mix.as_ref().filter(|_| self.mix_penalty > 0.0) {
            terms.push(Term { name: MIX, weight: self.mix_penalty, sum: mix.penalty() });
        }
        (Loss { terms }, ())
    }

    fn tokens(&self, batch: &FeatureBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}
