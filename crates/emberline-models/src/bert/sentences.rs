//! One vector of a sentence (Reimers and Gurevych: "Sentence-BERT", 2019): the cosine of two of them tells how alike the
//! sentences are.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use emberline_checkpoint::PoolingMode;
use emberline_core::{TokenBatch, TokenEncoder};
use serde::{Deserialize, Serialize};

use super::{Bert, first_token};

/// Which vectors of a sentence become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean of those of all tokens, `[CLS]` and `[SEP]` among them.
    Mean,
    /// That of `[CLS]`.
    Cls,
    /// That of `[CLS]` behind the pooler. Without training for it, it says little.
    Pooler,
}

/// A BERT that makes one vector of a sentence.
#[derive(Module, Debug)]
pub struct SentenceEncoder {
    /// The encoder.
    pub bert: Bert,
    /// Which of its vectors become one.
    #[module(skip)]
    pub pooling: Pooling,
    /// Whether the vector is divided by its length.
    #[module(skip)]
    pub normalizes: bool,
}

impl From<PoolingMode> for Pooling {
    fn from(mode: PoolingMode) -> Self {
        match mode {
            PoolingMode::Mean => Self::Mean,
            PoolingMode::Cls => Self::Cls,
        }
    }
}

impl SentenceEncoder {
    /// A vector for each row.
    ///
    /// # Shapes
    /// - tokens of `batch`: `[batch_size, seq_length]`
    /// - output: `[batch_size, d_model]`
    ///
    /// # Panics
    /// If the pooled vector of a model without a pooler is asked for.
    pub fn embed(&self, batch: &TokenBatch) -> Tensor<2> {
        let hidden = self.bert.encode(batch);
        let vectors = match self.pooling {
            Pooling::Mean => mean(batch, hidden),
            Pooling::Cls => first_token(hidden),
            Pooling::Pooler => self.bert.pooled_for_head(hidden),
        };
        if self.normalizes { unit(vectors) } else { vectors }
    }
}

/// The mean of the valid vectors of each row, as a product with a matrix of their shares.
fn mean(batch: &TokenBatch, hidden: Tensor<3>) -> Tensor<2> {
    let [batch_size, seq_length, _] = hidden.dims();
    let mut shares = vec![0.0; batch_size * seq_length];
    for (range, shares) in batch.ranges().into_iter().zip(shares.chunks_mut(seq_length)) {
        let share = 1.0 / range.len() as f64;
        shares[range].fill(share);
    }
    let shares = TensorData::new(shares, [batch_size, 1, seq_length]);
    let shares = Tensor::from_data(shares, (&hidden.device().inner(), hidden.dtype()));
    shares.matmul(hidden).squeeze_dim(1)
}

/// Each row divided by its length; one of zeros stays.
fn unit(vectors: Tensor<2>) -> Tensor<2> {
    // The least length that torch divides by.
    let lengths = vectors.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    vectors / lengths
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::Stream;

    use super::super::BertConfig;
    use super::*;

    fn encoder(pooling: Pooling, normalizes: bool) -> SentenceEncoder {
        let bert = BertConfig::small().init(Stream::new(1), &test_device());
        SentenceEncoder { bert, pooling, normalizes }
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn a_sentence_in_a_batch_has_the_vector_of_the_sentence_alone() {
        let device = test_device();
        let rows: [&[u32]; 2] = [&[1, 2, 3, 4], &[5, 6]];
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Pooler] {
            let encoder = encoder(pooling, true);
            let together = encoder.embed(&TokenBatch::padded(&rows, &device));
            assert_eq!(together.dims(), [2, 6]);
            for (row, tokens) in rows.iter().enumerate() {
                let alone = numbers(encoder.embed(&TokenBatch::padded(&[tokens], &device)));
                let found = numbers(together.clone().narrow(0, row, 1));
                for (found, alone) in found.iter().zip(&alone) {
                    assert!((found - alone).abs() < 1e-5, "{pooling:?}: {found} for {alone}");
                }
                let length: f32 = alone.iter().map(|number| number * number).sum();
                assert!((length - 1.0).abs() < 1e-5, "{pooling:?}: of length {length}");
            }
        }
    }

    #[test]
    fn the_mean_is_that_of_the_tokens_and_not_of_the_padding() {
        let batch = TokenBatch::padded(&[&[1, 2, 3], &[4]], &test_device());
        let vectors = TensorData::from([
            [[1.0f32, 0.0], [2.0, 0.0], [6.0, 3.0]],
            [[5.0, 7.0], [100.0, 100.0], [100.0, 100.0]],
        ]);
        let mean = mean(&batch, Tensor::from_data(vectors, &test_device()));
        let expected = [3.0, 1.0, 5.0, 7.0];
        for (found, expected) in numbers(mean).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn zeros_have_no_direction_and_stay() {
        assert_eq!(numbers(unit(Tensor::zeros([1, 3], &test_device()))), [0.0; 3]);
    }

    #[test]
    fn a_vector_that_is_not_normalised_keeps_its_length() {
        let batch = TokenBatch::from_rows(&[&[1, 2, 3]], &test_device());
        let plain = encoder(Pooling::Cls, false).embed(&batch);
        assert_eq!(
            numbers(plain.clone()),
            numbers(first_token(encoder(Pooling::Cls, false).bert.encode(&batch)))
        );
        assert_eq!(numbers(unit(plain)), numbers(encoder(Pooling::Cls, true).embed(&batch)));
    }
}
