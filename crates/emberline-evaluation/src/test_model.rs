//! A model small enough to follow on paper, for the tests of this crate.

use burn::tensor::{Tensor, TensorData};
use emberline_core::{
    Cache, Causal, HeadWeights, Incremental, TokenBatch, TokenEncoder, VocabularyHead,
};

/// A token is as likely as the odds of a table say that has a row for the token before.
pub struct Bigrams {
    /// The logarithms of the odds, `[vocab_size, vocab_size]`.
    scores: Vec<Vec<f32>>,
}

impl Bigrams {
    pub fn new(odds: Vec<Vec<f32>>) -> Self {
        let logs = |row: Vec<f32>| row.into_iter().map(f32::ln).collect();
        Self { scores: odds.into_iter().map(logs).collect() }
    }

    pub fn uniform(vocab_size: usize) -> Self {
        Self::new(vec![vec![1.0; vocab_size]; vocab_size])
    }
}

impl TokenEncoder for Bigrams {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        let [batch_size, seq_length] = batch.dims();
        let tokens: Vec<i64> = batch.tokens.to_data().iter().collect();
        let scores: Vec<f32> =
            tokens.iter().flat_map(|token| self.scores[*token as usize].clone()).collect();
        let shape = [batch_size, seq_length, self.d_model()];
        Tensor::from_data(TensorData::new(scores, shape), &batch.tokens.device())
    }

    fn d_model(&self) -> usize {
        self.scores.len()
    }
}

impl VocabularyHead for Bigrams {
    /// Its vectors are the scores.
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(Tensor::eye(self.d_model(), &emberline_backend::test_device()), None)
    }
}

impl Causal for Bigrams {}

/// A token depends on no other but the one that is read.
#[derive(Clone)]
pub struct Nothing;

impl Cache for Nothing {
    fn select_rows(self, _rows: &[usize]) -> Self {
        self
    }
}

impl Incremental for Bigrams {
    type Cache = Nothing;

    const READS_LEFT_PADDING: bool = true;

    fn encode_from(&self, batch: &TokenBatch, _cache: Option<Nothing>) -> (Tensor<3>, Nothing) {
        (self.encode(batch), Nothing)
    }
}

#[test]
fn the_test_model_obeys_the_laws() {
    let (model, device) = (Bigrams::uniform(4), emberline_backend::test_device());
    emberline_core::laws::causal(&model, &device);
    emberline_core::laws::incremental(&model, &device);
}
