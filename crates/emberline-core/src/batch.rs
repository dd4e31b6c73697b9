//! The batch that every encoder of tokens takes.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::random::Stream;

/// Rows of token ids, padded to one length: on the right where rows are read, on the left where they are to go on
/// together.
///
/// What a padding holds changes nothing. For the left one the law is
/// [`laws::left_padding_changes_nothing`](crate::laws::left_padding_changes_nothing).
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// Token ids, `[batch_size, seq_length]`.
    pub tokens: Tensor<2, Int>,
    /// Which of two sentences each token is of, 0 or 1, `[batch_size, seq_length]`; `None` where all are of the first.
    /// Only models that were made for pairs look at it.
    pub segments: Option<Tensor<2, Int>>,
    /// Where each row ends, which without padding on the left is the number of its tokens; `None` where every row
    /// reaches the end.
    pub lengths: Option<Vec<usize>>,
    /// Where each row starts, after the padding on its left; `None` where every row starts at the first place.
    pub starts: Option<Vec<usize>>,
    /// The stream that dropout draws from; `None` outside training, where nothing is dropped.
    pub dropout: Option<Stream>,
}

impl TokenBatch {
    /// A batch of full rows.
    pub fn new(tokens: Tensor<2, Int>) -> Self {
        Self { tokens, segments: None, lengths: None, starts: None, dropout: None }
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
        let (lengths, seq_length) = lengths(rows);
        let mut ids = Vec::with_capacity(rows.len() * seq_length);
        for row in rows {
            ids.extend(row.iter().map(|id| *id as i32));
            ids.resize(ids.len().next_multiple_of(seq_length), 0);
        }
        let ids = TensorData::new(ids, [rows.len(), seq_length]);
        let is_full = lengths.iter().all(|length| *length == seq_length);
        Self {
            tokens: Tensor::from_data(ids, device),
            segments: None,
            lengths: (!is_full).then_some(lengths),
            starts: None,
            dropout: None,
        }
    }

    /// A batch of rows of any length that all end together, padded on the left with token 0.
    ///
    /// # Panics
    /// If there is no row, or one is empty.
    pub fn left_padded(rows: &[&[u32]], device: &Device) -> Self {
        let (lengths, seq_length) = lengths(rows);
        let mut ids = Vec::with_capacity(rows.len() * seq_length);
        for row in rows {
            ids.resize(ids.len() + seq_length - row.len(), 0);
            ids.extend(row.iter().map(|id| *id as i32));
        }
        let ids = TensorData::new(ids, [rows.len(), seq_length]);
        let starts: Vec<usize> = lengths.into_iter().map(|length| seq_length - length).collect();
        let is_full = starts.iter().all(|start| *start == 0);
        Self {
            tokens: Tensor::from_data(ids, device),
            segments: None,
            lengths: None,
            starts: (!is_full).then_some(starts),
            dropout: None,
        }
    }

    /// The same with the segment of each valid token, a row for each of its own; a padding is of the first.
    ///
    /// # Panics
    /// If there is not a segment for each valid token, or as [`ranges`](Self::ranges).
    pub fn with_segments(self, rows: &[&[u32]]) -> Self {
        let [batch_size, seq_length] = self.dims();
        let ranges = self.ranges();
        assert_eq!(rows.len(), batch_size, "a row of segments for each row");
        let mut segments = vec![0; batch_size * seq_length];
        for ((row, range), places) in rows.iter().zip(ranges).zip(segments.chunks_mut(seq_length)) {
            assert_eq!(row.len(), range.len(), "a segment for each token of a row");
            places[range].iter_mut().zip(*row).for_each(|(place, id)| *place = *id as i32);
        }
        let segments = TensorData::new(segments, [batch_size, seq_length]);
        let segments = Tensor::from_data(segments, &self.tokens.device());
        Self { segments: Some(segments), ..self }
    }

    /// `[batch_size, seq_length]`.
    pub fn dims(&self) -> [usize; 2] {
        self.tokens.dims()
    }

    /// The number of valid tokens.
    pub fn n_tokens(&self) -> usize {
        self.ranges().iter().map(Range::len).sum()
    }

    /// The valid tokens of each row.
    ///
    /// # Panics
    /// If there is not a start and an end for each row, or one is not in the batch.
    pub fn ranges(&self) -> Vec<Range<usize>> {
        let [batch_size, seq_length] = self.dims();
        let places = |places: &Option<Vec<usize>>, otherwise: usize, what: &str| {
            let places = places.clone().unwrap_or_else(|| vec![otherwise; batch_size]);
            assert_eq!(places.len(), batch_size, "one {what} for each row");
            places
        };
        let starts = places(&self.starts, 0, "start");
        let lengths = places(&self.lengths, seq_length, "length");
        let range = |(start, length): (usize, usize)| {
            assert!(length <= seq_length, "a row of {length} in a batch of length {seq_length}");
            assert!(start <= length, "a row that starts at {start} and ends at {length}");
            start..length
        };
        starts.into_iter().zip(lengths).map(range).collect()
    }

    /// The ids of the valid tokens of each row, on the host.
    ///
    /// # Panics
    /// As [`ranges`](Self::ranges).
    pub fn rows(&self) -> Vec<Vec<u32>> {
        let [_, seq_length] = self.dims();
        let ids: Vec<u32> = self.tokens.to_data().iter().collect();
        let rows = ids.chunks(seq_length).zip(self.ranges());
        rows.map(|(row, range)| row[range].to_vec()).collect()
    }

    /// The number of tokens of each row, for models that read rows from the first place on; `None` where every row is
    /// full.
    ///
    /// # Panics
    /// As [`refuse_left_padding`](Self::refuse_left_padding).
    pub fn right_padded_lengths(&self) -> Option<&[usize]> {
        self.refuse_left_padding();
        self.lengths.as_deref()
    }

    /// What a model calls that would take a padding on the left for tokens.
    ///
    /// # Panics
    /// If there is one.
    pub fn refuse_left_padding(&self) {
        let starts = &self.starts;
        assert!(starts.is_none(), "rows padded on the left, {starts:?}, are not for this model");
    }

    /// The vectors of the valid tokens, row after row; no gradient flows to the others.
    ///
    /// # Shapes
    /// - vectors: `[batch_size, seq_length, d]`
    /// - output: `[n_tokens, d]`
    ///
    /// # Panics
    /// If `vectors` are not those of this batch, or as [`ranges`](Self::ranges).
    pub fn valid(&self, vectors: Tensor<3>) -> Tensor<2> {
        let [batch_size, seq_length, d] = vectors.dims();
        assert_eq!([batch_size, seq_length], self.dims(), "a vector for each token");
        let vectors = vectors.reshape([batch_size * seq_length, d]);
        if self.lengths.is_none() && self.starts.is_none() {
            return vectors;
        }
        let place = |(row, range): (usize, Range<usize>)| {
            range.map(move |position| (row * seq_length + position) as i32)
        };
        let places: Vec<i32> = self.ranges().into_iter().enumerate().flat_map(place).collect();
        let places = Tensor::<1, Int>::from_data(places.as_slice(), &vectors.device().inner());
        vectors.select(0, places)
    }
}

/// The lengths of rows, and the greatest.
fn lengths(rows: &[&[u32]]) -> (Vec<usize>, usize) {
    let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
    let seq_length = *lengths.iter().max().expect("a batch has at least one row");
    assert!(!lengths.contains(&0), "a row of a batch has at least one token, not {lengths:?}");
    (lengths, seq_length)
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
    fn shorter_rows_are_padded_on_the_left_and_their_starts_kept() {
        let batch = TokenBatch::left_padded(&[&[5], &[6, 7, 8], &[9, 4]], &test_device());
        let ids: Vec<i32> = batch.tokens.to_data().iter().collect();
        assert_eq!(ids, [0, 0, 5, 6, 7, 8, 0, 9, 4]);
        assert_eq!((batch.starts.clone(), batch.lengths.clone()), (Some(vec![2, 0, 1]), None));
        assert_eq!((batch.dims(), batch.n_tokens()), ([3, 3], 6));
        assert_eq!(batch.ranges(), [2..3, 0..3, 1..3]);
    }

    #[test]
    fn rows_are_given_back_without_their_padding() {
        let (device, rows): (_, [&[u32]; 2]) = (test_device(), [&[1, 2, 3], &[4]]);
        for batch in [TokenBatch::padded(&rows, &device), TokenBatch::left_padded(&rows, &device)] {
            assert_eq!(batch.rows(), [vec![1, 2, 3], vec![4]]);
        }
    }

    #[test]
    fn rows_of_one_length_are_full() {
        let rows: [&[u32]; 2] = [&[5, 3], &[6, 7]];
        for batch in [
            TokenBatch::padded(&rows, &test_device()),
            TokenBatch::left_padded(&rows, &test_device()),
        ] {
            assert_eq!((batch.lengths.clone(), batch.starts.clone()), (None, None));
            assert_eq!(batch.n_tokens(), 4);
        }
    }

    #[test]
    fn valid_vectors_of_rows_padded_on_the_left_are_their_last() {
        let device = test_device();
        let batch = TokenBatch::left_padded(&[&[5], &[6, 7]], &device);
        let vectors = Tensor::<3>::from_data([[[1.0], [2.0]], [[3.0], [4.0]]], &device);
        assert_eq!(numbers(batch.valid(vectors)), [2.0, 3.0, 4.0]);
    }

    #[test]
    #[should_panic(expected = "rows padded on the left, Some([1, 0]), are not for this model")]
    fn a_model_that_reads_from_the_first_place_refuses_padding_there() {
        TokenBatch::left_padded(&[&[5], &[6, 7]], &test_device()).right_padded_lengths();
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
    fn segments_are_of_the_valid_tokens_and_a_padding_is_of_the_first() {
        let rows: [&[u32]; 2] = [&[5, 6, 7], &[8]];
        for (batch, expected) in [
            (TokenBatch::padded(&rows, &test_device()), [0, 1, 1, 1, 0, 0]),
            (TokenBatch::left_padded(&rows, &test_device()), [0, 1, 1, 0, 0, 1]),
        ] {
            let segments = batch.with_segments(&[&[0, 1, 1], &[1]]).segments.unwrap();
            assert_eq!(segments.dims(), [2, 3]);
            assert_eq!(segments.into_data().iter::<i32>().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    #[should_panic(expected = "a segment for each token of a row")]
    fn a_token_without_a_segment_is_refused() {
        TokenBatch::padded(&[&[5, 6]], &test_device()).with_segments(&[&[0]]);
    }

    #[test]
    #[should_panic(expected = "at least one token")]
    fn an_empty_row_is_refused() {
        TokenBatch::padded(&[&[5], &[]], &test_device());
    }
}
