//! The heads of pretraining: over the words that were taken out, and over pairs of sentences.

use burn::module::{Module, ModuleDisplay, Param};
use burn::tensor::{Device, Tensor};
use emberline_attention::{Activation, LayerNorm};
use emberline_backend::{Linear, LinearConfig, head_scores};
use emberline_core::parameters::lazy;
use emberline_core::task::Row;
use emberline_core::{
    HeadWeights, SentencePair, Stream, TaskModel, TokenBatch, TokenEncoder, VocabularyHead,
};

use super::{Bert, BertConfig, BertFor};

/// A head that BERT was published with.
///
/// Generic over it: [`BertConfig::init_for`].
pub trait Head: Module + ModuleDisplay {
    /// Whether it reads the pooled vector. Models whose head does not have no pooler.
    const READS_POOLER: bool;

    /// A new one.
    fn init(config: &BertConfig, random: Stream, device: &Device) -> Self;
}

/// Scores over the vocabulary: `Norm(gelu(x W + b)) Eᵀ + c`, where E is the embedding table.
#[derive(Module, Debug)]
pub struct WordHead {
    /// W and b, `[d_model, d_model]`.
    pub transform: Linear,
    /// Of the transformed vector.
    pub transform_norm: LayerNorm,
    /// c, `[vocab_size]`.
    pub word_bias: Param<Tensor<1>>,
    /// What stands between the transform and its norm.
    #[module(skip)]
    pub activation: Activation,
}

/// Two scores of the pooled vector: the second sentence follows the first, or is a random one.
#[derive(Module, Debug)]
pub struct PairHead {
    /// `[d_model, 2]`.
    pub pairs: Linear,
}

/// Both heads, which are trained together.
#[derive(Module, Debug)]
pub struct PreTrainingHead {
    /// Over the words that were taken out.
    pub words: WordHead,
    /// Over the pair of sentences.
    pub sentences: PairHead,
}

impl Head for WordHead {
    const READS_POOLER: bool = false;

    fn init(config: &BertConfig, random: Stream, device: &Device) -> Self {
        let BertConfig { vocab_size, d_model, deviation, epsilon, .. } = *config;
        let transform = LinearConfig::new(d_model, d_model);
        Self {
            transform: transform.init_normal(deviation, random.named("transform"), device),
            transform_norm: LayerNorm::init(d_model, epsilon, device),
            word_bias: lazy([vocab_size], device, move || vec![0.0; vocab_size]),
            activation: config.activation(),
        }
    }
}

impl Head for PairHead {
    const READS_POOLER: bool = true;

    fn init(config: &BertConfig, random: Stream, device: &Device) -> Self {
        let pairs = LinearConfig::new(config.d_model, 2);
        Self { pairs: pairs.init_normal(config.deviation, random.named("pairs"), device) }
    }
}

impl Head for PreTrainingHead {
    const READS_POOLER: bool = true;

    fn init(config: &BertConfig, random: Stream, device: &Device) -> Self {
        Self {
            words: WordHead::init(config, random, device),
            sentences: PairHead::init(config, random, device),
        }
    }
}

impl WordHead {
    fn input(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.transform_norm.forward(self.activation.after(&self.transform, hidden))
    }

    fn weights(&self, bert: &Bert) -> HeadWeights {
        HeadWeights::tied(bert.tokens.weight.val(), Some(self.word_bias.val()))
    }
}

impl PairHead {
    fn logits(&self, bert: &Bert, hidden: Tensor<3>) -> Tensor<2> {
        self.pairs.forward(bert.pooled_for_head(hidden))
    }
}

impl Bert {
    /// The pooled vector of a model whose head reads it.
    ///
    /// # Panics
    /// If there is no pooler.
    pub(super) fn pooled_for_head(&self, hidden: Tensor<3>) -> Tensor<2> {
        self.pooled(hidden).expect("a model whose head reads the pooled vector has a pooler")
    }
}

impl VocabularyHead for BertFor<WordHead> {
    fn head_weights(&self) -> HeadWeights {
        self.head.weights(&self.bert)
    }

    fn head_input(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.input(hidden)
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        head_scores(self.head_weights(), self.head_input(hidden))
    }
}

impl VocabularyHead for BertFor<PreTrainingHead> {
    fn head_weights(&self) -> HeadWeights {
        self.head.words.weights(&self.bert)
    }

    fn head_input(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.words.input(hidden)
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        head_scores(self.head_weights(), self.head_input(hidden))
    }
}

impl SentencePair for BertFor<PreTrainingHead> {
    fn pair_logits(&self, hidden: Tensor<3>) -> Tensor<2> {
        self.head.sentences.logits(&self.bert, hidden)
    }
}

impl SentencePair for BertFor<PairHead> {
    fn pair_logits(&self, hidden: Tensor<3>) -> Tensor<2> {
        self.head.logits(&self.bert, hidden)
    }
}

impl TaskModel for BertFor<PairHead> {
    type Item = Row;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        self.pair_logits(self.encode(batch))
    }

    fn n_classes(&self) -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;

    use super::*;

    #[test]
    fn the_scores_of_a_pair_do_not_see_the_padding() {
        let model = BertConfig::small().init_for::<PairHead>(Stream::new(1), &test_device());
        laws::padding_is_hidden(&model, 11, &test_device());
    }

    #[test]
    fn words_are_scored_by_the_embedding_table_and_a_bias() {
        let device = test_device();
        let model = BertConfig::small().init_for::<PreTrainingHead>(Stream::new(1), &device);
        let batch = TokenBatch::from_rows(&[&[1, 2, 3]], &device);
        let hidden = model.encode(&batch).reshape([3, 6]);
        let input = model.head_input(hidden.clone());
        let table = model.bert.tokens.weight.val();
        let expected =
            input.matmul(table.transpose()) + model.head.words.word_bias.val().unsqueeze::<2>();
        let difference = (model.head(hidden) - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "they differ by {difference}");
        assert_eq!(model.vocab_size(), 11);
    }

    #[test]
    fn a_model_whose_head_reads_every_token_has_no_pooler() {
        let device = test_device();
        assert!(
            BertConfig::small().init_for::<WordHead>(Stream::new(1), &device).bert.pooler.is_none()
        );
        assert!(
            BertConfig::small().init_for::<PairHead>(Stream::new(1), &device).bert.pooler.is_some()
        );
    }
}
