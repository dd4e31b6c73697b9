//! The batch that every encoder of tokens takes.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::random::Stream;

/// Rows of token ids, padded on the right to one length.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// Token ids, `[batch_size, seq_length]`.
    pub tokens: Tensor<2, Int>,
    /// The number of valid tokens of each row; `None` where every row is full.
    pub lengths: Option<Vec<usize>>,
    /// The stream that dropout draws from; `None` outside training, where nothing is dropped.
    pub dropout: Option<Stream>,
}

impl TokenBatch {
    /// A batch of full rows.
    pub fn new(tokens: Tensor<2, Int>) -> Self {
        Self { tokens, lengths: None, dropout: None }
    }

    /// A batch of full rows of one length.
    ///
    /// # Panics
    /// If the rows differ in length, or there is none.
    pub fn from_rows(rows: &[&[u32]], device: &Device) -> Self {
        let seq_length = rows.first().expect("a batch has at least one row").len();
        let mut ids = Vec::with_capacity(rows.len() * seq_length);
        for row in rows {
            assert_eq!(row.len(), seq_length, "rows of a full batch have one length");
            ids.extend(row.iter().map(|id| *id as i32));
        }
        Self::new(Tensor::from_data(TensorData::new(ids, [rows.len(), seq_length]), device))
    }

    /// A batch of rows of any length, padded on the right with token 0.
    ///
    /// # Panics
    /// If there is no row, or one is empty.
    pub fn padded(rows: &[&[u32]], device: &Device) -> Self {
        let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
        let seq_length = *lengths.iter().max().expect("a batch has at least one row");
        assert!(!lengths.contains(&0), "a row of a batch has at least one token, not {lengths:?}");
        let mut ids = Vec::with_capacity(rows.len() * seq_length);
        for row in rows {
            ids.extend(row.iter().map(|id| *id as i32));
            ids.resize(ids.len().next_multiple_of(seq_length), 0);
        }
        let ids = TensorData::new(ids, [rows.len(), seq_length]);
        let is_full = lengths.iter().all(|length| *length == seq_length);
        Self {
            tokens: Tensor::from_data(ids, device),
            lengths: (!is_full).then_some(lengths),
            dropout: None,
        }
    }

    /// `[batch_size, seq_length]`.
    pub fn dims(&self) -> [usize; 2] {
        self.tokens.dims()
    }

    /// The number of valid tokens.
    pub fn n_tokens(&self) -> usize {
        match &self.lengths {
            Some(lengths) => lengths.iter().sum(),
            None => self.dims().iter().product(),
        }
    }

    /// The vectors of the valid tokens, row after row; no gradient flows to the others.
    ///
    /// # Shapes
    /// - vectors: `[batch_size, seq_length, d]`
    /// - output: `[n_tokens, d]`
    ///
    /// # Panics
    /// If `vectors` are not those of this batch, or a row is longer than it.
    pub fn valid(&self, vectors: Tensor<3>) -> Tensor<2> {
        let [batch_size, seq_length, d] = vectors.dims();
        assert_eq!([batch_size, seq_length], self.dims(), "a vector for each token");
        let vectors = vectors.reshape([batch_size * seq_length, d]);
        let Some(lengths) = &self.lengths else { return vectors };
        assert_eq!(lengths.len(), batch_size, "one length for each row");
        let mut positions = Vec::with_capacity(self.n_tokens());
        for (row, length) in lengths.iter().enumerate() {
            assert!(*length <= seq_length, "a row of {length} in a batch of length {seq_length}");
            let start = row * seq_length;
            positions.extend((start..start + length).map(|position| position as i32));
        }
        let positions =
            Tensor::<1, Int>::from_data(positions.as_slice(), &vectors.device().inner());
        vectors.select(0, positions)
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn shorter_rows_are_padded_on_the_right_and_their_lengths_kept() {
        let batch = TokenBatch::padded(&[&[5], &[6, 7, 8], &[9, 4]], &test_device());
        let ids: Vec<i32> = batch.tokens.to_data().iter().collect();
        assert_eq!(ids, [5, 0, 0, 6, 7, 8, 9, 4, 0]);
        assert_eq!(batch.lengths, Some(vec![1, 3, 2]));
        assert_eq!((batch.dims(), batch.n_tokens()), ([3, 3], 6));
    }

    #[test]
    fn rows_of_one_length_are_full() {
        let batch = TokenBatch::padded(&[&[5, 3], &[6, 7]], &test_device());
        assert_eq!((batch.lengths.clone(), batch.n_tokens()), (None, 4));
    }

    #[test]
    fn valid_vectors_come_row_after_row_and_the_others_get_no_gradient() {
        let device = test_device().autodiff();
        let batch = TokenBatch::padded(&[&[5], &[6, 7]], &device);
        let vectors =
            Tensor::<3>::from_data([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], &device)
                .require_grad();
        let valid = batch.valid(vectors.clone());
        assert_eq!(valid.dims(), [3, 2]);
        assert_eq!(numbers(valid.clone()), [1.0, 2.0, 5.0, 6.0, 7.0, 8.0]);
        let gradient = vectors.grad(&valid.sum().backward()).unwrap();
        assert_eq!(numbers(gradient), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "at least one token")]
    fn an_empty_row_is_refused() {
        TokenBatch::padded(&[&[5], &[]], &test_device());
    }
}
