//! What each token of a translation attended to.

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use emberline_core::{EncoderDecoder, TokenBatch};

use super::translator::Translator;
use crate::result::Heatmap;

impl<M: EncoderDecoder> Translator<'_, M> {
    /// The attention of the last layer, the mean of its heads: a row for each token of the target and for the
    /// `</s>` after them. `None` for a model without attention.
    ///
    /// # Errors
    /// If the tokens have no spelling.
    pub fn attention(
        &self,
        title: String,
        source: &[u32],
        target: &[u32],
    ) -> Result<Option<Heatmap>> {
        let [source_tokenizer, target_tokenizer] = self.tokenizers;
        let inputs = [&[target_tokenizer.start_token()], target].concat();
        let written = [target, &[target_tokenizer.end_token()]].concat();
        let memory = self.model.encode(&TokenBatch::padded(&[source], self.device));
        let inputs = TokenBatch::padded(&[&inputs], self.device);
        let (_, mut layers, _) = self.model.decode_with_attention(&inputs, memory);
        let Some(last) = layers.pop() else { return Ok(None) };
        let weights: Tensor<2> = last.mean_dim(1).reshape([written.len(), source.len()]);
        let weights = weights.into_data().convert::<f32>();
        let weights = weights.as_slice::<f32>().ok().context("weights are numbers")?;
        let spellings = |tokenizer: &emberline_text::TranslationTokenizer, ids: &[u32]| {
            ids.iter().map(|id| tokenizer.spelling(*id)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Some(Heatmap {
            title,
            columns: spellings(source_tokenizer, source)?,
            rows: spellings(target_tokenizer, &written)?,
            values: weights.chunks(source.len()).map(<[f32]>::to_vec).collect(),
        }))
    }
}
