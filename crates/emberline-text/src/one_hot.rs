//! One-hot vectors: the first way to give words to a model, and what an embedding is the short cut for.

use burn::tensor::{Int, Tensor};

/// Each id as a row that is 1 at the id and 0 elsewhere.
///
/// `o_w ∈ {0, 1}^vocab_size`, with `o_w[i] = 1` exactly where `i = id(w)`
///
/// The product with a matrix picks a row of it, bit for bit: `one_hot(ids) E = E[ids]`. No model of
/// Emberline makes this product; an embedding reads the row.
///
/// # Shapes
/// - ids: `[batch_size, seq_length]`
/// - output: `[batch_size, seq_length, vocab_size]`
///
/// # Panics
/// If an id is not in `0..vocab_size`, or `vocab_size` is below 2.
pub fn one_hot(ids: Tensor<2, Int>, vocab_size: usize) -> Tensor<3> {
    // Burn counts negative ids from the end; here they are a mistake.
    let lowest = ids.clone().min().into_scalar::<i64>();
    let highest = ids.clone().max().into_scalar::<i64>();
    assert!(
        lowest >= 0 && highest < vocab_size as i64,
        "ids from {lowest} to {highest} were given to one-hot vectors of {vocab_size}"
    );
    ids.one_hot::<3>(vocab_size).float()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use emberline_core::Stream;

    use super::*;

    fn ids(device: &Device) -> Tensor<2, Int> {
        Tensor::from_data([[3, 0, 3], [6, 1, 5]], device)
    }

    fn embedding(vocab_size: usize, d_embedding: usize, device: &Device) -> Tensor<2> {
        let values = Stream::new(1).normals(vocab_size * d_embedding, 1.0);
        Tensor::from_data(TensorData::new(values, [vocab_size, d_embedding]), device)
    }

    fn bits(data: TensorData) -> Vec<u32> {
        data.iter::<f32>().map(f32::to_bits).collect()
    }

    #[test]
    fn a_row_is_one_at_its_id_and_zero_elsewhere() {
        let rows = one_hot(ids(&emberline_backend::test_device()), 7);
        assert_eq!(rows.dims(), [2, 3, 7]);
        let values: Vec<f32> = rows.into_data().iter().collect();
        for (row, id) in values.chunks(7).zip([3, 0, 3, 6, 1, 5]) {
            let expected: Vec<f32> = (0..7).map(|i| f32::from(u8::from(i == id))).collect();
            assert_eq!(row, expected);
        }
    }

    #[test]
    fn the_product_with_a_matrix_is_its_row_bit_for_bit() {
        let device = emberline_backend::test_device();
        let (ids, embedding) = (ids(&device), embedding(7, 5, &device));
        let product = one_hot(ids.clone(), 7).matmul(embedding.clone().unsqueeze());
        let rows = embedding.select(0, ids.reshape([6]));
        assert_eq!(product.dims(), [2, 3, 5]);
        assert_eq!(bits(product.into_data()), bits(rows.into_data()));
    }

    #[test]
    fn two_different_words_are_the_square_root_of_two_apart_and_orthogonal() {
        let device = emberline_backend::test_device();
        let words = one_hot(Tensor::<1, Int>::arange(0..7, &device).reshape([1, 7]), 7);
        let words = words.reshape([7, 7]);
        let products = words.clone().matmul(words.clone().transpose());
        let products: Vec<f32> = products.into_data().iter().collect();
        let words: Vec<f32> = words.into_data().iter().collect();
        for first in 0..7 {
            for second in 0..7 {
                let row = |word: usize| &words[word * 7..][..7];
                let squares = row(first).iter().zip(row(second)).map(|(a, b)| (a - b).powi(2));
                let distance = squares.sum::<f32>().sqrt();
                // The rows have length 1, so the product is the cosine.
                let cosine = products[first * 7 + second];
                let expected = if first == second { (0.0, 1.0) } else { (2.0f32.sqrt(), 0.0) };
                assert_eq!((distance, cosine), expected);
            }
        }
    }

    #[test]
    #[should_panic(expected = "ids from 0 to 6 were given to one-hot vectors of 6")]
    fn an_id_beyond_the_vocabulary_panics() {
        one_hot(ids(&emberline_backend::test_device()), 6);
    }

    #[test]
    #[should_panic(expected = "ids from -1 to 2")]
    fn a_negative_id_panics() {
        one_hot(Tensor::from_data([[2, -1]], &emberline_backend::test_device()), 6);
    }
}
