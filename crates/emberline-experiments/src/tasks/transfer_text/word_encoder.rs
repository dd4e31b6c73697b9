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

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::{Stream, laws};
    use emberline_embeddings::elmo::{CharacterCnnConfig, ElmoConfig, Filter};

    use super::*;

    #[test]
    fn a_text_is_the_mean_of_the_layers_of_its_words_and_padding_is_none_of_it() {
        let device = test_device();
        let small = ElmoConfig::small();
        let filters = vec![Filter { width: 1, count: 4 }, Filter { width: 3, count: 4 }];
        let characters = CharacterCnnConfig { d_character: 3, filters, ..small.characters };
        let config = ElmoConfig { characters, d_hidden: 6, d_output: 4, ..small };
        let elmo = config.init(Stream::new(1), &device);
        let mut lexicon = Lexicon::default();
        let rows = [vec!["who", "is", "there"], vec!["who"]];
        let numbers = rows
            .each_ref()
            .map(|row| row.iter().map(|word| lexicon.add(word)).collect::<Vec<u32>>());
        let encoder = WordEncoder::new(elmo.clone(), Arc::new(lexicon));
        laws::layer_groups(&encoder);
        let batch = TokenBatch::padded(&numbers.each_ref().map(Vec::as_slice), &device);
        let encoded = encoder.encode(&batch);
        assert_eq!(encoded.dims(), [2, 3, encoder.d_model()]);
        for (index, row) in rows.into_iter().enumerate() {
            let n_words = row.len();
            let layers = elmo.layers(&Lexicon::sentences(&[row], &device));
            let n_layers = layers.len() as f64;
            let sum = layers.into_iter().reduce(|sum, layer| sum + layer).unwrap();
            let mean = sum.narrow(1, 1, n_words) / n_layers;
            let found = encoded.clone().narrow(0, index, 1).narrow(1, 0, n_words);
            let difference = (found - mean).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-5, "row {index} differs by {difference}");
        }
    }
}
