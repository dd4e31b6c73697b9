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

    /// `[batch_size, seq_length]`.
    pub fn dims(&self) -> [usize; 2] {
        self.tokens.dims()
    }
}
