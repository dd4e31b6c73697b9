//! An ELMo as an encoder of tokens, which are numbers of a lexicon: as a task reads it, and trains it.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use emberline_core::{
    CharacterBatch, CharacterEncoder, LayerGroup, LayerGroups, TokenBatch, TokenEncoder,
};
use emberline_embeddings::elmo::{Elmo, ScalarMix, without_marks};
use emberline_text::Lexicon;

/// The layers of an ELMo, and what a task takes of each.
#[derive(Module, Debug)]
pub struct WordEncoder {
    elmo: Elmo,
    mix: ScalarMix,
    #[module(skip)]
    lexicon: Arc<Lexicon>,
}

impl WordEncoder {
    /// The mean of the layers, at first.
    pub fn new(elmo: Elmo, lexicon: Arc<Lexicon>) -> Self {
        let device = elmo.words.projection.weight.lazy_device();
        let mix = ScalarMix::init(elmo.forward.len() + 1, false, &device);
        Self { elmo, mix, lexicon }
    }
}

impl TokenEncoder for WordEncoder {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        batch.refuse_left_padding();
        let rows = batch.rows();
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let words = self.lexicon.batch(&rows, &batch.tokens.device());
        let words = CharacterBatch { dropout: batch.dropout, ..words };
        let (layers, lengths) = without_marks(self.elmo.layers(&words), words.lengths.as_deref());
        self.mix.forward(&layers, lengths.as_deref())
    }

    fn d_model(&self) -> usize {
        self.elmo.d_model()
    }
}

impl LayerGroups for WordEncoder {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        let groups = self.elmo.layer_groups().into_iter();
        let mut groups: Vec<LayerGroup> = groups.map(|group| group.within("elmo")).collect();
        let last = groups.last_mut().expect("an ELMo has layers");
        last.modules.push("mix".to_string());
        groups
    }
}
