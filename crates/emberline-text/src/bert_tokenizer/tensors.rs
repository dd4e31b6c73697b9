//! The three tensors that BERT reads.

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_core::TokenBatch;

use super::BertRow;

/// Rows filled up to one length, as the three tensors of BERT, `[batch_size, seq_length]` each.
///
/// ```
/// use emberline_text::{BertTensors, BertTokenizer};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/bert-vocab");
/// # let device = emberline_backend::test_device();
/// let tokenizer = BertTokenizer::from_directory(folder)?;
/// let one = tokenizer.row("Hello world!", None, 512)?;
/// let pair = tokenizer.row("How?", Some("So."), 512)?;
/// let tensors = BertTensors::new(&[&one, &pair], tokenizer.special_tokens().pad, &device);
/// let ids: Vec<i32> = tensors.input_ids.to_data().iter().collect();
/// // [CLS] hello world ! [SEP] [PAD] [PAD], [CLS] how ? [SEP] so . [SEP]
/// assert_eq!(ids, [101, 7592, 2088, 999, 102, 0, 0, 101, 2129, 1029, 102, 2061, 1012, 102]);
/// let segments: Vec<i32> = tensors.token_type_ids.to_data().iter().collect();
/// assert_eq!(segments, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
/// let mask: Vec<i32> = tensors.attention_mask.to_data().iter().collect();
/// assert_eq!(mask, [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1]);
/// # Ok::<(), emberline_text::TextError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BertTensors {
    /// The tokens, and `[PAD]` after the end of a row.
    pub input_ids: Tensor<2, Int>,
    /// The segments, and 0 after the end of a row.
    pub token_type_ids: Tensor<2, Int>,
    /// 1 for the tokens of a row, 0 after its end. It says nothing of `[MASK]`, and is the inverse of our masks, in
    /// which true hides.
    pub attention_mask: Tensor<2, Int>,
    /// The tokens of each row.
    pub lengths: Vec<usize>,
}

impl BertTensors {
    /// The tensors of some rows, as long as the longest of them.
    ///
    /// # Panics
    /// If there is no row.
    pub fn new(rows: &[&BertRow], pad_token: u32, device: &Device) -> Self {
        let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
        let seq_length = *lengths.iter().max().expect("a batch has at least one row");
        let tensor = |numbers: &dyn Fn(&BertRow) -> Vec<u32>, after: u32| {
            let mut all = Vec::with_capacity(rows.len() * seq_length);
            for row in rows {
                all.extend(numbers(row).into_iter().map(|number| number as i32));
                all.resize(all.len().next_multiple_of(seq_length), after as i32);
            }
            Tensor::from_data(TensorData::new(all, [rows.len(), seq_length]), device)
        };
        Self {
            input_ids: tensor(&|row| row.tokens.clone(), pad_token),
            token_type_ids: tensor(&|row| row.segments.clone(), 0),
            attention_mask: tensor(&|row| vec![1; row.tokens.len()], 0),
            lengths,
        }
    }

    /// What every encoder takes, with lengths instead of a mask.
    pub fn tokens(&self) -> TokenBatch {
        let [_, seq_length] = self.input_ids.dims();
        let is_full = self.lengths.iter().all(|length| *length == seq_length);
        let lengths = (!is_full).then(|| self.lengths.clone());
        let segments = Some(self.token_type_ids.clone());
        TokenBatch { segments, lengths, ..TokenBatch::new(self.input_ids.clone()) }
    }
}
