//! A model small enough to follow on paper, for the tests of this crate.

use std::cell::RefCell;

use burn::tensor::{Tensor, TensorData};
use emberline_core::{
    Cache, Causal, HeadWeights, Incremental, TokenBatch, TokenEncoder, VocabularyHead,
};

/// Scores the next token by a row of a table: the row of the sum of all tokens so far, modulo the
/// size of the vocabulary. So every earlier token counts, and a cache of the wrong row shows.
pub struct SumModel {
    /// `[vocab_size, vocab_size]`.
    pub table: Vec<Vec<f32>>,
    /// `[batch_size, seq_length]` of every call.
    pub calls: RefCell<Vec<[usize; 2]>>,
}

impl SumModel {
    pub fn new(table: Vec<Vec<f32>>) -> Self {
        Self { table, calls: RefCell::default() }
    }

    /// A model that surely follows a sum with the token `next(sum)`.
    pub fn certain(vocab_size: usize, next: impl Fn(usize) -> usize) -> Self {
        let row = |sum| {
            (0..vocab_size).map(|token| if token == next(sum) { 0.0 } else { -1e9 }).collect()
        };
        Self::new((0..vocab_size).map(row).collect())
    }
}

/// The sum of each row.
#[derive(Clone)]
pub struct Sums(Vec<i64>);

impl Cache for Sums {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self(rows.iter().map(|row| self.0[*row]).collect())
    }
}

impl TokenEncoder for SumModel {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.encode_from(batch, None).0
    }

    fn d_model(&self) -> usize {
        self.table.len()
    }
}

impl VocabularyHead for SumModel {
    /// Its vectors are the scores.
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(Tensor::eye(self.table.len(), &emberline_backend::test_device()), None)
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden
    }
}

impl Causal for SumModel {}

impl Incremental for SumModel {
    type Cache = Sums;

    fn encode_from(&self, batch: &TokenBatch, cache: Option<Sums>) -> (Tensor<3>, Sums) {
        let [batch_size, seq_length] = batch.dims();
        self.calls.borrow_mut().push([batch_size, seq_length]);
        let tokens = batch.tokens.to_data().convert::<i64>().try_into_vec::<i64>().unwrap();
        let mut sums = cache.map_or(vec![0; batch_size], |cache| cache.0);
        let mut hidden: Vec<f32> = Vec::new();
        for (sum, row) in sums.iter_mut().zip(tokens.chunks(seq_length)) {
            for token in row {
                *sum += token;
                hidden.extend(&self.table[*sum as usize % self.table.len()]);
            }
        }
        let shape = [batch_size, seq_length, self.table.len()];
        (Tensor::from_data(TensorData::new(hidden, shape), &batch.tokens.device()), Sums(sums))
    }
}

#[test]
fn the_test_model_obeys_the_laws() {
    use emberline_core::{Stream, laws};
    let device = emberline_backend::test_device();
    let row = |sum| Stream::new(1).at(sum).uniforms(5, -1.0, 1.0);
    let model = SumModel::new((0..5).map(row).collect());
    laws::causal(&model, &device);
    laws::incremental(&model, &device);
    laws::rows_are_independent(&model, &device);
}
