//! The model of the tests of translation.

use burn::module::{Module, Param};
use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_core::{
    Cache, EncoderDecoder, HeadWeights, Stream, TokenBatch, VocabularyHead, laws,
};
use emberline_text::TokenPair;

pub const VOCAB_SIZE: usize = 6;
const D_MODEL: usize = 4;

/// `m = Σ E[x]`, `h ← tanh(E[y] + h U + m)`, scores `h V`.
#[derive(Module, Debug)]
pub struct TinyTranslator {
    pub embedding: Param<Tensor<2>>,
    recurrent: Param<Tensor<2>>,
    head: Param<Tensor<2>>,
}

/// `m` and `h`, `[batch_size, d_model]` each.
#[derive(Clone)]
pub struct Memory {
    source: Tensor<2>,
    hidden: Tensor<2>,
}

impl TinyTranslator {
    pub fn new(head_deviation: f64, device: &Device) -> Self {
        let matrix = |name, rows, columns, deviation| {
            let numbers = Stream::new(1).named(name).normals(rows * columns, deviation);
            Param::from_data(TensorData::new(numbers, [rows, columns]), device)
        };
        Self {
            embedding: matrix("embedding", VOCAB_SIZE, D_MODEL, 1.0),
            recurrent: matrix("recurrent", D_MODEL, D_MODEL, 1.0),
            head: matrix("head", D_MODEL, VOCAB_SIZE, head_deviation),
        }
    }
}

impl VocabularyHead for TinyTranslator {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(self.head.val(), None)
    }
}

impl EncoderDecoder for TinyTranslator {
    type Cache = Memory;

    fn encode(&self, source: &TokenBatch) -> Memory {
        let [batch_size, source_length] = source.dims();
        let vectors = embedding(self.embedding.val(), source.tokens.clone());
        let device = self.embedding.val().device();
        let lengths = source.lengths.clone().unwrap_or_else(|| vec![source_length; batch_size]);
        let rows = lengths.iter().enumerate().map(|(row, length)| {
            vectors.clone().slice([row..row + 1, 0..*length, 0..D_MODEL]).sum_dim(1)
        });
        let hidden = Tensor::zeros([batch_size, D_MODEL], &device);
        Memory { source: Tensor::cat(rows.collect(), 0).squeeze_dim(1), hidden }
    }

    fn decode(&self, target: &TokenBatch, cache: Memory) -> (Tensor<3>, Memory) {
        let Memory { source, mut hidden } = cache;
        let vectors = embedding(self.embedding.val(), target.tokens.clone());
        let mut all = Vec::new();
        for position in 0..target.dims()[1] {
            let input = vectors.clone().narrow(1, position, 1).squeeze_dim::<2>(1);
            hidden = (input + hidden.matmul(self.recurrent.val()) + source.clone()).tanh();
            all.push(hidden.clone());
        }
        (Tensor::stack(all, 1), Memory { source, hidden })
    }
}

impl Cache for Memory {
    fn select_rows(self, rows: &[usize]) -> Self {
        let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let rows = Tensor::<1, Int>::from_data(&rows[..], &self.source.device());
        Self { source: self.source.select(0, rows.clone()), hidden: self.hidden.select(0, rows) }
    }
}

/// Three pairs of 0 `<s>`, 1 `</s>` and other tokens, of several lengths.
pub fn pairs() -> [TokenPair; 3] {
    [(&[3, 4, 1][..], &[5, 1][..]), (&[5, 1], &[4, 3, 1]), (&[2, 2, 3, 1], &[3, 5, 2, 1])]
        .map(|(source, target)| TokenPair { source: source.to_vec(), target: target.to_vec() })
}

#[test]
fn the_model_of_these_tests_keeps_the_law() {
    let device = test_device();
    laws::encoder_decoder(&TinyTranslator::new(1.0, &device), VOCAB_SIZE, &device);
}
