//! The laws of the traits, as functions that the tests of every implementor call. Each panics with
//! what it found when the law does not hold.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::batch::TokenBatch;
use crate::model::{Cache, Carry, Causal, Incremental};
use crate::random::Stream;
use crate::task::TaskModel;

/// Position t does not depend on any later token.
pub fn causal<M: Causal>(model: &M, device: &Device) {
    let (first, second) = (random_row(model, 1, 8), random_row(model, 2, 8));
    for keep in 1..8 {
        let mut changed = first.clone();
        changed[keep..].copy_from_slice(&second[keep..]);
        let encode =
            |row: &[u32]| model.encode(&TokenBatch::from_rows(&[row], device)).narrow(1, 0, keep);
        let difference = largest_difference(encode(&first), encode(&changed));
        assert!(
            difference == 0.0,
            "positions before {keep} changed by {difference} with later tokens"
        );
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
    let together =
        model.encode(&TokenBatch::from_rows(&rows.each_ref().map(|row| &row[..]), device));
    for (index, row) in rows.iter().enumerate() {
        let alone = model.encode(&TokenBatch::from_rows(&[&row[..]], device));
        let difference = largest_difference(together.clone().narrow(0, index, 1), alone);
        assert!(
            difference < 1e-4,
            "row {index} in a batch differs by {difference} from the row alone"
        );
    }
}

/// The scores of a row are those of the row alone, within 1e-4, and no bit of them depends on what stands in
/// the padding.
pub fn padding_is_hidden<M: TaskModel>(model: &M, vocab_size: usize, device: &Device) {
    let rows = [(8, 3), (9, 7), (10, 1)].map(|(seed, length)| random_ids(vocab_size, seed, length));
    let batch = TokenBatch::padded(&rows.each_ref().map(|row| &row[..]), device);
    let together = model.logits(&batch);
    assert_eq!(together.dims()[1], model.n_classes(), "the scores of an item");

    let mut ids: Vec<u32> = Vec::new();
    for row in &rows {
        ids.extend(row);
        ids.extend(random_ids(vocab_size, 11, 7 - row.len()));
    }
    let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [3, 7]), device);
    let other = model.logits(&TokenBatch { tokens, ..batch });
    let difference = largest_difference(together.clone(), other);
    assert!(difference == 0.0, "scores changed by {difference} with what stands in the padding");

    let alone = rows.each_ref().map(|row| model.logits(&TokenBatch::padded(&[row], device)));
    let difference = largest_difference(together, Tensor::cat(alone.to_vec(), 0));
    assert!(difference < 1e-4, "scores of padded rows differ by {difference} from the rows alone");
}

fn random_row<M: Causal>(model: &M, seed: u64, length: usize) -> Vec<u32> {
    random_ids(model.vocab_size(), seed, length)
}

fn random_ids(vocab_size: usize, seed: u64, length: usize) -> Vec<u32> {
    let stream = Stream::new(seed);
    (0..length as u64).map(|i| stream.below(i, vocab_size) as u32).collect()
}

fn largest_difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f64 {
    assert_eq!(a.dims(), b.dims());
    f64::from((a - b).abs().max().into_scalar::<f32>())
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;
    use crate::model::{LanguageModel, TokenEncoder};
    use crate::task::Row;

    /// Its only vector is a number: the sum of the tokens before, of all tokens, or of the whole batch.
    enum Sum {
        Before,
        OfRow,
        OfBatch,
    }

    impl TokenEncoder for Sum {
        fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
            let [batch_size, seq_length] = batch.dims();
            let tokens = batch.tokens.clone().float();
            let sums = match self {
                Self::Before => tokens.cumsum(1),
                Self::OfRow => tokens.sum_dim(1).expand([batch_size, seq_length]),
                Self::OfBatch => tokens.cumsum(1).sum_dim(0).expand([batch_size, seq_length]),
            };
            sums.unsqueeze_dim(2)
        }

        fn d_model(&self) -> usize {
            1
        }
    }

    impl LanguageModel for Sum {
        fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
            hidden
        }

        fn vocab_size(&self) -> usize {
            50
        }
    }

    impl Causal for Sum {}

    /// Goes on from the last sum, or forgets it.
    struct Resumed {
        remembers: bool,
    }

    #[derive(Clone)]
    struct LastSum(Tensor<3>);

    impl Carry for LastSum {
        fn detach(self) -> Self {
            Self(self.0.detach())
        }

        fn to_data(&self) -> Vec<TensorData> {
            vec![self.0.to_data()]
        }

        fn from_data(mut data: Vec<TensorData>, device: &Device) -> Option<Self> {
            data.pop().map(|data| Self(Tensor::from_data(data, device)))
        }
    }

    impl Cache for LastSum {
        fn select_rows(self, rows: &[usize]) -> Self {
            let rows = rows.iter().map(|row| self.0.clone().narrow(0, *row, 1)).collect();
            Self(Tensor::cat(rows, 0))
        }
    }

    impl TokenEncoder for Resumed {
        fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
            self.encode_from(batch, None).0
        }

        fn d_model(&self) -> usize {
            1
        }
    }

    impl LanguageModel for Resumed {
        fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
            hidden
        }

        fn vocab_size(&self) -> usize {
            50
        }
    }

    impl Causal for Resumed {}

    impl Incremental for Resumed {
        type Cache = LastSum;

        fn encode_from(&self, batch: &TokenBatch, cache: Option<LastSum>) -> (Tensor<3>, LastSum) {
            let [_, seq_length] = batch.dims();
            let mut sums = Sum::Before.encode(batch);
            if let Some(LastSum(last)) = cache.filter(|_| self.remembers) {
                sums = sums + last;
            }
            (sums.clone(), LastSum(sums.narrow(1, seq_length - 1, 1)))
        }
    }

    /// A score for each row: the sum of its valid tokens, or of all there are.
    struct RowSum {
        reads_padding: bool,
    }

    impl TaskModel for RowSum {
        type Item = Row;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            let tokens = batch.tokens.clone().float();
            let Some(lengths) = batch.lengths.as_ref().filter(|_| !self.reads_padding) else {
                return tokens.sum_dim(1);
            };
            let row = |(row, length): (usize, &usize)| {
                tokens.clone().slice([row..row + 1, 0..*length]).sum_dim(1)
            };
            Tensor::cat(lengths.iter().enumerate().map(row).collect(), 0)
        }

        fn n_classes(&self) -> usize {
            1
        }
    }

    #[test]
    fn a_sum_of_valid_tokens_hides_the_padding() {
        padding_is_hidden(&RowSum { reads_padding: false }, 50, &test_device());
    }

    #[test]
    #[should_panic(expected = "with what stands in the padding")]
    fn a_model_that_reads_the_padding_is_caught() {
        padding_is_hidden(&RowSum { reads_padding: true }, 50, &test_device());
    }

    #[test]
    fn a_sum_of_what_came_before_keeps_the_laws() {
        causal(&Sum::Before, &test_device());
        rows_are_independent(&Sum::Before, &test_device());
        incremental(&Resumed { remembers: true }, &test_device());
    }

    #[test]
    #[should_panic(expected = "changed by")]
    fn a_model_that_looks_ahead_is_not_causal() {
        causal(&Sum::OfRow, &test_device());
    }

    #[test]
    #[should_panic(expected = "from the row alone")]
    fn a_model_that_looks_at_other_rows_is_caught() {
        rows_are_independent(&Sum::OfBatch, &test_device());
    }

    #[test]
    #[should_panic(expected = "pieces differ from the whole")]
    fn a_cache_that_forgets_is_caught() {
        incremental(&Resumed { remembers: false }, &test_device());
    }
}
