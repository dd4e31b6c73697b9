//! The laws of the traits, as functions that the tests of every implementor call. Each panics with
//! what it found when the law does not hold.

use burn::tensor::{Device, Tensor};

use crate::batch::TokenBatch;
use crate::model::{Cache, Carry, Causal, Incremental};
use crate::random::Stream;

/// Position t does not depend on any later token.
pub fn causal<M: Causal>(model: &M, device: &Device) {
    let (first, second) = (random_row(model, 1, 8), random_row(model, 2, 8));
    for keep in 1..8 {
        let mut changed = first.clone();
        changed[keep..].copy_from_slice(&second[keep..]);
        let encode = |row: &[u32]| model.encode(&TokenBatch::from_rows(&[row], device)).narrow(1, 0, keep);
        let difference = largest_difference(encode(&first), encode(&changed));
        assert!(difference == 0.0, "positions before {keep} changed by {difference} with later tokens");
    }
}

/// Encoding a text in pieces gives what encoding it whole gives, within 1e-4; and a cache can be taken
/// apart by rows.
pub fn incremental<M: Incremental>(model: &M, device: &Device) {
    let rows = [random_row(model, 3, 9), random_row(model, 4, 9)];
    let batch = |from: usize, to: usize| {
        TokenBatch::from_rows(&rows.each_ref().map(|row| &row[from..to]), device)
    };
    let whole = model.encode(&batch(0, 9));
    for cut in 1..9 {
        let (first, cache) = model.encode_from(&batch(0, cut), None);
        let data = cache.to_data();
        let cache = M::Cache::from_data(data, device).expect("a cache is made of its own data");
        let (second, cache) = model.encode_from(&batch(cut, 9), Some(cache));
        let pieces = Tensor::cat(vec![first, second], 1);
        let difference = largest_difference(whole.clone(), pieces);
        assert!(difference < 1e-4, "cut at {cut}: pieces differ from the whole by {difference}");

        let next = TokenBatch::from_rows(&[&rows[0][..1], &rows[1][..1]], device);
        let (both, _) = model.encode_from(&next, Some(cache.clone()));
        let one = TokenBatch::from_rows(&[&rows[1][..1]], device);
        let (alone, _) = model.encode_from(&one, Some(cache.select_rows(&[1])));
        let difference = largest_difference(both.narrow(0, 1, 1), alone);
        assert!(difference < 1e-4, "row 1 taken from the cache differs by {difference}");
    }
}

/// The rows of a batch do not see each other.
pub fn rows_are_independent<M: Causal>(model: &M, device: &Device) {
    let rows = [random_row(model, 5, 7), random_row(model, 6, 7), random_row(model, 7, 7)];
    let together = model.encode(&TokenBatch::from_rows(&rows.each_ref().map(|row| &row[..]), device));
    for (index, row) in rows.iter().enumerate() {
        let alone = model.encode(&TokenBatch::from_rows(&[&row[..]], device));
        let difference = largest_difference(together.clone().narrow(0, index, 1), alone);
        assert!(difference < 1e-4, "row {index} in a batch differs by {difference} from the row alone");
    }
}

fn random_row<M: Causal>(model: &M, seed: u64, length: usize) -> Vec<u32> {
    let stream = Stream::new(seed);
    (0..length as u64).map(|i| stream.below(i, model.vocab_size()) as u32).collect()
}

fn largest_difference(a: Tensor<3>, b: Tensor<3>) -> f64 {
    assert_eq!(a.dims(), b.dims());
    f64::from((a - b).abs().max().into_scalar::<f32>())
}
