//! The numbers of docs/lineage/01-one-hot.md.

use burn::tensor::{Int, Tensor, TensorData};
use emberline_core::Stream;
use emberline_text::{Tokenizer, VocabularyConfig, Windows, one_hot};

use crate::austen;

const VOCAB_SIZE: usize = 6_929;

/// The novel as ids of words.
fn novel() -> Vec<u32> {
    let corpus = austen();
    let tokenizer = Tokenizer::words(&corpus, &VocabularyConfig::default()).unwrap();
    assert_eq!(tokenizer.vocab_size(), VOCAB_SIZE);
    tokenizer.encode(corpus.text()).unwrap()
}

#[test]
fn the_vocabulary_of_the_novel_is_small_and_two_fifths_of_it_occur_once() {
    let tokens = novel();
    let mut counts = vec![0; VOCAB_SIZE];
    tokens.iter().for_each(|id| counts[*id as usize] += 1);
    let seen_once = counts.iter().filter(|count| **count == 1).count();
    println!("{} tokens of {VOCAB_SIZE} kinds, {seen_once} seen once", tokens.len());
    assert_eq!((tokens.len(), seen_once), (157_957, 2_745));
    // Every word of the text is in its vocabulary, and the ids go by falling count.
    assert_eq!(counts[0], 0);
    assert!(counts[1..].is_sorted_by(|a, b| a >= b));
}

#[test]
fn one_hot_rows_take_the_vocabulary_times_the_memory_of_ids_and_pick_the_same_rows() {
    let device = emberline_backend::test_device();
    let window = Windows::new(novel(), 16, 64).unwrap().window(0);
    let ids = window.batch(&device).tokens;

    let rows = one_hot(ids.clone(), VOCAB_SIZE);
    let id_bytes = size_of_val(window.inputs.as_slice());
    let row_bytes = rows.to_data().as_bytes().len();
    println!("a batch of 16 x 64: {id_bytes} bytes as ids, {row_bytes} as one-hot rows");
    assert_eq!((id_bytes, row_bytes), (4_096, 28_381_184));
    assert_eq!(row_bytes, id_bytes * VOCAB_SIZE);

    let values = Stream::new(1).normals(VOCAB_SIZE * 32, 1.0);
    let embedding = Tensor::<2>::from_data(TensorData::new(values, [VOCAB_SIZE, 32]), &device);
    let product = rows.reshape([16 * 64, VOCAB_SIZE]).matmul(embedding.clone());
    let indices: Tensor<1, Int> = ids.reshape([16 * 64]);
    let bits = |data: TensorData| data.iter::<f32>().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(product.into_data()), bits(embedding.select(0, indices).into_data()));
}
