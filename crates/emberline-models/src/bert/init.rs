//! How a new BERT is made of its sizes.

use burn::tensor::Device;
use emberline_attention::{
    Activation, FeedForwardConfig, LayerNorm, MultiHeadAttentionConfig, PositionKind,
};
use emberline_backend::{Dropout, Embedding, Gelu, LinearConfig};
use emberline_core::Stream;

use super::heads::Head;
use super::{ActivationName, Architecture, Bert, BertConfig, BertFor, Block};

impl BertConfig {
    /// A model without a head, which has a pooler.
    ///
    /// Weights of the normal distribution, embeddings and positions too; biases zero. So `transformers` draws them;
    /// Google's code draws again what lies more than two standard deviations off.
    ///
    /// # Panics
    /// If the heads cannot share the width.
    pub fn init(&self, random: Stream, device: &Device) -> Bert {
        let pooler = LinearConfig::new(self.d_model, self.d_model);
        let pooler = pooler.init_normal(self.deviation, random.named("pooler"), device);
        Bert { pooler: Some(pooler), ..self.init_without_pooler(random, device) }
    }

    /// A model without a head, and without a pooler: for those who read the vectors of all tokens.
    ///
    /// # Panics
    /// As [`init`](Self::init).
    pub fn init_without_pooler(&self, random: Stream, device: &Device) -> Bert {
        let Self { d_model, deviation, .. } = *self;
        let table =
            |rows, name| Embedding::init(rows, d_model, deviation, random.named(name), device);
        let positions = PositionKind::Learned { max_positions: self.n_positions };
        let block = |layer| self.block(random.named("blocks").at(layer as u64), device);
        Bert {
            tokens: table(self.vocab_size, "tokens"),
            segments: table(self.n_segments, "segments"),
            positions: positions.init(d_model, deviation, random.named("positions"), device),
            norm: LayerNorm::init(d_model, self.epsilon, device),
            blocks: (0..self.n_layers).map(block).collect(),
            pooler: None,
            dropout: Dropout::new(self.dropout),
        }
    }

    /// A model with a head.
    ///
    /// # Panics
    /// As [`init`](Self::init).
    pub fn init_for<H: Head>(&self, random: Stream, device: &Device) -> BertFor<H> {
        let bert = match H::READS_POOLER {
            true => self.init(random, device),
            false => self.init_without_pooler(random, device),
        };
        BertFor { bert, head: H::init(self, random.named("head"), device) }
    }

    fn block(&self, random: Stream, device: &Device) -> Block {
        let norm = || LayerNorm::init(self.d_model, self.epsilon, device);
        let deviations = [self.deviation; 2];
        let (attention, feed_forward) = (random.named("attention"), random.named("feed_forward"));
        Block {
            attention: self.attention().init_normal(self.deviation, attention, device),
            attention_norm: norm(),
            feed_forward: self.feed_forward().init_normal(deviations, feed_forward, device),
            feed_forward_norm: norm(),
            dropout: Dropout::new(self.dropout),
        }
    }

    /// The parameters of [`init`](Self::init), which is not called for it; `u64::MAX` if there are more.
    ///
    /// # Panics
    /// If the heads cannot share the width.
    pub fn parameter_count(&self) -> u64 {
        let [d_model, n_layers] = [self.d_model, self.n_layers].map(|size| size as u64);
        let norm = d_model.saturating_mul(2);
        let block = self
            .attention()
            .parameter_count()
            .saturating_add(self.feed_forward().parameter_count())
            .saturating_add(norm.saturating_mul(2));
        let rows = [self.vocab_size, self.n_positions, self.n_segments].map(|size| size as u64);
        let rows = rows.into_iter().fold(0u64, u64::saturating_add);
        let pooler = d_model.saturating_add(1).saturating_mul(d_model);
        rows.saturating_mul(d_model)
            .saturating_add(norm)
            .saturating_add(block.saturating_mul(n_layers))
            .saturating_add(pooler)
    }

    /// The parameters of [`init_any`](Self::init_any), which is not called for it; `u64::MAX` if there are more.
    ///
    /// # Panics
    /// If the heads cannot share the width.
    pub fn parameter_count_for(&self, architecture: Architecture) -> u64 {
        let [d_model, vocab_size, n_classes] =
            [self.d_model, self.vocab_size, self.n_classes()].map(|size| size as u64);
        let scores = |n: u64| d_model.saturating_add(1).saturating_mul(n);
        let pooler = scores(d_model);
        // The layer before the table, its norm, and the bias after it.
        let words = pooler.saturating_add(d_model.saturating_mul(2)).saturating_add(vocab_size);
        let with_pooler = self.parameter_count();
        let without_pooler = with_pooler.saturating_sub(pooler);
        let (below, head) = match architecture {
            Architecture::Model => (with_pooler, 0),
            Architecture::PreTraining => (with_pooler, words.saturating_add(scores(2))),
            Architecture::MaskedLm => (without_pooler, words),
            Architecture::NextSentence => (with_pooler, scores(2)),
            Architecture::SequenceClassification => (with_pooler, scores(n_classes)),
            Architecture::TokenClassification => (without_pooler, scores(n_classes)),
            Architecture::QuestionAnswering => (without_pooler, scores(2)),
            Architecture::MultipleChoice => (with_pooler, scores(1)),
        };
        below.saturating_add(head)
    }

    fn attention(&self) -> MultiHeadAttentionConfig {
        let dropout = self.attention_dropout;
        MultiHeadAttentionConfig {
            dropout,
            ..MultiHeadAttentionConfig::new(self.d_model, self.n_heads)
        }
    }

    fn feed_forward(&self) -> FeedForwardConfig {
        let Self { d_model, d_ff, .. } = *self;
        FeedForwardConfig { d_model, d_ff, activation: self.activation() }
    }

    pub(super) fn activation(&self) -> Activation {
        match self.activation {
            ActivationName::Gelu | ActivationName::GeluPython => Activation::Gelu(Gelu::Exact),
            ActivationName::GeluNew
            | ActivationName::GeluPytorchTanh
            | ActivationName::GeluFast => Activation::Gelu(Gelu::Tanh),
            ActivationName::QuickGelu => Activation::Gelu(Gelu::Quick),
            ActivationName::Relu => Activation::Relu,
        }
    }
}
