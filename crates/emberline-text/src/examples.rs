//! Examples as ids, and the batches of about equal length that they are trained in.

use burn::tensor::Device;
use emberline_core::{Stream, TokenBatch};

/// The label of a token that has none: nothing is to be learnt of it.
pub const UNLABELLED: u32 = u32::MAX;

/// A row of tokens with what is right about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// The ids of the tokens, at least one.
    pub tokens: Vec<u32>,
    /// Which of two texts each token is of, 0 or 1; nothing where there is one text.
    pub segments: Vec<u32>,
    /// The id of the row's label, or one for each token, some of them [`UNLABELLED`]; or the first and the last token of an
    /// answer.
    pub labels: Vec<u32>,
}

/// What an encoder reads of some examples, padded to the longest of them.
///
/// # Panics
/// If there is no example, or one has no token, or not a segment for each.
pub fn token_batch(examples: &[&Example], device: &Device) -> TokenBatch {
    let rows: Vec<&[u32]> = examples.iter().map(|example| &example.tokens[..]).collect();
    let batch = TokenBatch::padded(&rows, device);
    if examples.iter().all(|example| example.segments.is_empty()) {
        return batch;
    }
    let segments: Vec<&[u32]> = examples.iter().map(|example| &example.segments[..]).collect();
    batch.with_segments(&segments)
}

/// How many batches are put in order of length at a time. More waste less padding, and make the rows of a
/// batch meet the same others more often.
const BATCHES_IN_ORDER: usize = 32;

/// Rows of the given lengths, by their index, in batches for one pass: every row once, in an order that is
/// a function of `random` alone, and rows of about one length together, so that little is padded.
///
/// Every batch has `batch_size` rows but one, which has the rest.
///
/// # Panics
/// If `batch_size` is 0.
pub fn length_batches(lengths: &[usize], batch_size: usize, random: Stream) -> Vec<Vec<usize>> {
    let mut rows = random.named("rows").permutation(lengths.len());
    for group in rows.chunks_mut(batch_size * BATCHES_IN_ORDER) {
        group.sort_by_key(|row| lengths[*row]);
    }
    let batches: Vec<&[usize]> = rows.chunks(batch_size).collect();
    let order = random.named("batches").permutation(batches.len());
    order.into_iter().map(|batch| batches[batch].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of 1000 rows, between 1 and 60.
    fn lengths() -> Vec<usize> {
        (0..1000).map(|row| 1 + Stream::new(1).below(row, 60)).collect()
    }

    #[test]
    fn every_row_comes_once_in_batches_of_one_size_and_a_rest() {
        let batches = length_batches(&lengths(), 16, Stream::new(2));
        let mut rows: Vec<usize> = batches.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..1000).collect::<Vec<_>>());
        let mut sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!((sizes.len(), sizes[0], sizes[1]), (63, 1000 % 16, 16));
    }

    #[test]
    fn the_order_is_a_function_of_the_stream() {
        let epoch = |epoch| length_batches(&lengths(), 16, Stream::new(2).at(epoch));
        assert_eq!(epoch(0), epoch(0));
        assert_ne!(epoch(0), epoch(1));
        // The longest rows do not come last, nor at any one place.
        let first_is_long = |seed: &u64| {
            let batches = length_batches(&lengths(), 16, Stream::new(*seed));
            lengths()[batches[0][0]] > 30
        };
        assert!((5..45).contains(&(0..50).filter(first_is_long).count()));
    }

    #[test]
    fn less_than_a_tenth_is_padding_where_the_order_of_a_file_wastes_two_fifths() {
        let lengths = lengths();
        let padded = |batches: &[Vec<usize>]| -> usize {
            let longest = |rows: &Vec<usize>| rows.iter().map(|row| lengths[*row]).max().unwrap();
            batches.iter().map(|rows| longest(rows) * rows.len()).sum()
        };
        let valid: usize = lengths.iter().sum();
        let share = |batches: &[Vec<usize>]| 1.0 - valid as f64 / padded(batches) as f64;
        let in_file_order: Vec<Vec<usize>> =
            (0..1000).collect::<Vec<_>>().chunks(16).map(<[usize]>::to_vec).collect();
        assert!(share(&in_file_order) > 0.4, "{}", share(&in_file_order));
        let bucketed = length_batches(&lengths, 16, Stream::new(2));
        assert!(share(&bucketed) < 0.1, "{}", share(&bucketed));
    }

    #[test]
    fn no_row_is_no_batch() {
        assert!(length_batches(&[], 4, Stream::new(0)).is_empty());
        assert_eq!(length_batches(&[7], 4, Stream::new(0)), [[0]]);
    }
}
