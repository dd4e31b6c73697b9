//! Masks. In every one of them true hides.

use std::ops::Range;

use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Hides what follows the end of a row, `[batch_size, seq_length]`.
///
/// # Panics
/// If a length is 0 or above `seq_length`.
pub fn padding(lengths: &[usize], seq_length: usize, device: &Device) -> Tensor<2, Bool> {
    for length in lengths {
        assert!(
            (1..=seq_length).contains(length),
            "a row of length {length} in a batch of length {seq_length}"
        );
    }
    outside(lengths.iter().map(|length| 0..*length), seq_length, device)
}

/// Hides what is not in the range of a row, `[rows, length]`.
pub fn outside(
    ranges: impl ExactSizeIterator<Item = Range<usize>>,
    length: usize,
    device: &Device,
) -> Tensor<2, Bool> {
    let rows = ranges.len();
    let hidden: Vec<bool> = ranges
        .flat_map(|range| (0..length).map(move |position| !range.contains(&position)))
        .collect();
    Tensor::from_data(TensorData::new(hidden, [rows, length]), device)
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    #[test]
    fn padding_hides_what_follows_the_end_of_a_row() {
        let mask = padding(&[1, 3, 2], 3, &test_device());
        let expected = [[false, true, true], [false, false, false], [false, false, true]];
        mask.into_data().assert_eq(&TensorData::from(expected), false);
    }

    #[test]
    #[should_panic(expected = "a row of length 0 in a batch of length 3")]
    fn an_empty_row_is_refused() {
        padding(&[2, 0], 3, &test_device());
    }

    #[test]
    #[should_panic(expected = "a row of length 4 in a batch of length 3")]
    fn a_row_beyond_the_batch_is_refused() {
        padding(&[2, 4], 3, &test_device());
    }
}
