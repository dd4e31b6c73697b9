//! What an ELMo is trained as: two language models that share their words and their head.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use emberline_core::parameters::lazy;
use emberline_core::{BidirectionalLanguageModel, BothWays, HeadWeights, Stream, VocabularyHead};
use serde::{Deserialize, Serialize};

use super::config::ElmoConfig;
use super::{Elmo, ElmoState};

/// The sizes of an ELMo with its head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElmoLanguageModelConfig {
    /// Those of the model without it.
    pub elmo: ElmoConfig,
    /// The number of words that are scored. A word that is read needs not be one of them.
    pub vocab_size: usize,
}

/// An ELMo and a score for each word of a vocabulary.
#[derive(Module, Debug)]
pub struct ElmoLanguageModel {
    /// The model without its head, which is what a task takes.
    pub elmo: Elmo,
    /// A row for each word, `[vocab_size, d_output]`, so that some of them can be taken out.
    pub head: Param<Tensor<2>>,
    /// `[vocab_size]`.
    pub bias: Param<Tensor<1>>,
}

impl ElmoLanguageModelConfig {
    /// The head normal with deviation `1/√d_output`, as the published code draws it, and a bias of zeros.
    pub fn init(&self, random: Stream, device: &Device) -> ElmoLanguageModel {
        let Self { ref elmo, vocab_size } = *self;
        let (d_output, head) = (elmo.d_output, random.named("head"));
        let deviation = 1.0 / (d_output as f64).sqrt();
        let rows = move || head.normals(vocab_size * d_output, deviation);
        let zeros = TensorData::new(vec![0.0f32; vocab_size], [vocab_size]);
        ElmoLanguageModel {
            elmo: elmo.init(random.named("elmo"), device),
            head: lazy([vocab_size, d_output], device, rows),
            bias: Param::from_data(zeros, device),
        }
    }

    /// The parameters of the model, counted as [`ElmoConfig::parameter_count`] does.
    pub fn parameter_count(&self) -> u64 {
        self.elmo.parameter_count() + (self.elmo.d_output as u64 + 1) * self.vocab_size as u64
    }
}

impl VocabularyHead for ElmoLanguageModel {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::tied(self.head.val(), Some(self.bias.val()))
    }
}

impl BidirectionalLanguageModel for ElmoLanguageModel {
    type Cache = ElmoState;

    fn encode_both(
        &self,
        batch: &BothWays,
        cache: Option<ElmoState>,
    ) -> ([Tensor<3>; 2], ElmoState) {
        self.elmo.read_both(batch, cache)
    }

    fn n_characters(&self) -> usize {
        self.elmo.words.n_characters()
    }
}
