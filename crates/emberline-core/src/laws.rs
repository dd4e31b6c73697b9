//! The laws of the traits, as functions that the tests of every implementor call. Each panics with
//! what it found when the law does not hold.

mod words;

use burn::tensor::{Device, Int, Tensor, TensorData};

pub use self::words::{bidirectional, padding_is_hidden_from_words};
use crate::batch::TokenBatch;
use crate::layer_groups::LayerGroups;
use crate::model::{Cache, Carry, Causal, EncoderDecoder, HiddenStates, Incremental};
use crate::parameters::parameters;
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

/// A row padded on the left is the row alone, within 1e-4: read at once and continued token by token, whichever rows
/// are taken from the cache. No bit of it depends on what stands in the padding.
pub fn left_padding_changes_nothing<M: Incremental>(model: &M, device: &Device) {
    const LENGTHS: [usize; 3] = [3, 6, 1];
    assert!(M::READS_LEFT_PADDING, "a model that keeps the law of left padding says so");
    let rows = [0, 1, 2].map(|row| random_row(model, 19 + row, LENGTHS[row as usize] + 2));
    let read = [0, 1, 2].map(|row| &rows[row][..LENGTHS[row]]);
    let alone = |row: usize| model.encode(&TokenBatch::from_rows(&[&rows[row][..]], device));
    let batch = TokenBatch::left_padded(&read, device);
    let starts = batch.starts.clone().expect("the rows differ in length");
    let valid = |hidden: &Tensor<3>, row: usize| {
        hidden.clone().narrow(0, row, 1).narrow(1, starts[row], LENGTHS[row])
    };

    let (whole, cache) = model.encode_from(&batch, None);
    let plain = model.encode(&batch);
    let noise = random_row(model, 11, 3 * LENGTHS[1]);
    let mut noisy: Vec<i32> = noise.iter().map(|id| *id as i32).collect();
    for ((places, row), start) in noisy.chunks_mut(LENGTHS[1]).zip(&read).zip(&starts) {
        places[*start..].iter_mut().zip(*row).for_each(|(place, id)| *place = *id as i32);
    }
    let tokens = Tensor::from_data(TensorData::new(noisy, [3, LENGTHS[1]]), device);
    let noisy = model.encode(&TokenBatch { tokens, ..batch });
    for (row, length) in LENGTHS.into_iter().enumerate() {
        let expected = alone(row).narrow(1, 0, length);
        for found in [&whole, &plain] {
            let difference = largest_difference(valid(found, row), expected.clone());
            assert!(difference < 1e-4, "row {row} padded on the left differs by {difference}");
        }
        let difference = largest_difference(valid(&noisy, row), valid(&plain, row));
        assert!(difference == 0.0, "the padding changes row {row} by {difference}");
    }

    let picked = [2, 0, 2, 1];
    let mut cache = cache.select_rows(&picked);
    for step in 0..2 {
        let next = picked.map(|row| &rows[row][LENGTHS[row] + step..][..1]);
        let (hidden, after) = model.encode_from(&TokenBatch::from_rows(&next, device), Some(cache));
        for (place, row) in picked.into_iter().enumerate() {
            let expected = alone(row).narrow(1, LENGTHS[row] + step, 1);
            let difference = largest_difference(hidden.clone().narrow(0, place, 1), expected);
            assert!(difference < 1e-4, "row {row} goes on with a difference of {difference}");
        }
        cache = after;
    }
}

/// The last of a model's hidden states is what it encodes, to the last bit.
pub fn hidden_states_end_in_the_encoding<M: HiddenStates>(
    model: &M,
    vocab_size: usize,
    device: &Device,
) {
    let batch = TokenBatch::from_rows(&[&random_ids(vocab_size, 25, 5)], device);
    let states = model.hidden_states(&batch);
    let encoded = model.encode(&batch);
    for state in &states {
        assert_eq!(state.dims(), encoded.dims(), "a hidden state");
    }
    let last = states.last().expect("at least the embeddings").clone();
    let difference = largest_difference(last, encoded);
    assert!(difference == 0.0, "the last hidden state differs by {difference} from the encoding");
}

/// Every parameter is in one group, every group has one, names differ, and no head is below what is none.
pub fn layer_groups<M: LayerGroups>(model: &M) {
    let (groups, parameters) = (model.layer_groups(), parameters(model));
    for parameter in &parameters {
        let path = &parameter.path;
        let holders: Vec<&str> =
            groups.iter().filter(|group| group.holds(path)).map(|group| &group.name[..]).collect();
        assert_eq!(holders.len(), 1, "{path} is in the groups {holders:?}");
    }
    for (index, group) in groups.iter().enumerate() {
        let is_filled = parameters.iter().any(|parameter| group.holds(&parameter.path));
        assert!(is_filled, "no parameter is in the group {}", group.name);
        let is_known = groups[..index].iter().any(|other| other.name == group.name);
        assert!(!is_known, "two groups are called {}", group.name);
        let is_below_a_head = groups[..index].iter().any(|other| other.is_head);
        assert!(group.is_head || !is_below_a_head, "{} is above a head", group.name);
    }
}

/// What a model carries is made of its own data again, to the last bit.
pub fn carry_is_stored<M: Incremental<Cache: Carry>>(model: &M, device: &Device) {
    let row = random_row(model, 12, 5);
    let batch = |from: usize, to: usize| TokenBatch::from_rows(&[&row[from..to]], device);
    let (_, kept) = model.encode_from(&batch(0, 3), None);
    let stored = M::Cache::from_data(kept.to_data(), device).expect("a carry is made of its data");
    let [kept, stored] = [kept, stored].map(|cache| model.encode_from(&batch(3, 5), Some(cache)).0);
    let difference = largest_difference(kept, stored);
    assert!(difference == 0.0, "a stored carry goes on with a difference of {difference}");
}

/// A target decoded at once is the target decoded token by token, within 1e-4; no position depends on a later token,
/// and no bit on what stands in the padding of the source; a padded row is the row alone; a cache can be taken apart
/// by rows; attention, where there is one, adds up to 1 over the source and is zero on its padding.
pub fn encoder_decoder<M: EncoderDecoder>(model: &M, source_vocab_size: usize, device: &Device) {
    let lengths = [3, 7, 1];
    let sources = [(13, 3), (14, 7), (15, 1)]
        .map(|(seed, length)| random_ids(source_vocab_size, seed, length));
    let targets = [16, 17, 18].map(|seed| random_ids(model.vocab_size(), seed, 6));
    let source = TokenBatch::padded(&sources.each_ref().map(|row| &row[..]), device);
    let target = |from: usize, to: usize| {
        TokenBatch::from_rows(&targets.each_ref().map(|row| &row[from..to]), device)
    };
    let (whole, attention, _) = model.decode_with_attention(&target(0, 6), model.encode(&source));
    let plain = plain_of(model, &source, &target(0, 6));
    let difference = largest_difference(whole.clone(), plain.clone());
    assert!(difference < 1e-4, "asking for the attention changes the output by {difference}");

    let mut cache = model.encode(&source);
    for position in 0..6 {
        let (step, next) = model.decode(&target(position, position + 1), cache);
        let difference = largest_difference(whole.clone().narrow(1, position, 1), step);
        assert!(difference < 1e-4, "position {position} alone differs by {difference}");
        cache = next;
    }
    let next = target(0, 1);
    let (all, _) = model.decode(&next, cache.clone());
    let picked = TokenBatch::from_rows(&[&targets[2][..1], &targets[1][..1]], device);
    let (some, _) = model.decode(&picked, cache.select_rows(&[2, 1]));
    let expected = Tensor::cat(vec![all.clone().narrow(0, 2, 1), all.narrow(0, 1, 1)], 0);
    let difference = largest_difference(some, expected);
    assert!(difference < 1e-4, "rows taken from the cache differ by {difference}");

    for keep in 1..6 {
        let changed = targets.each_ref().map(|row| {
            let mut row = row.clone();
            row[keep..].iter_mut().for_each(|id| *id = (*id + 1) % model.vocab_size() as u32);
            row
        });
        let changed = TokenBatch::from_rows(&changed.each_ref().map(|row| &row[..]), device);
        let (changed, _) = model.decode(&changed, model.encode(&source));
        let [before, after] = [plain.clone(), changed].map(|hidden| hidden.narrow(1, 0, keep));
        let difference = largest_difference(before, after);
        assert!(difference == 0.0, "positions before {keep} changed by {difference}");
    }

    let noisy = with_noise_in_the_padding(&sources, 7, source_vocab_size, device);
    let noisy = TokenBatch { tokens: noisy, ..source.clone() };
    let (noisy, _) = model.decode(&target(0, 6), model.encode(&noisy));
    let difference = largest_difference(plain.clone(), noisy);
    assert!(difference == 0.0, "the padding of the source changes the output by {difference}");

    for (row, (source, target)) in sources.iter().zip(&targets).enumerate() {
        let source = TokenBatch::from_rows(&[&source[..]], device);
        let alone = plain_of(model, &source, &TokenBatch::from_rows(&[&target[..]], device));
        let difference = largest_difference(whole.clone().narrow(0, row, 1), alone);
        assert!(difference < 1e-4, "row {row} in a batch differs by {difference} from it alone");
    }

    for weights in attention {
        let [batch_size, n_heads, target_length, source_length] = weights.dims();
        assert_eq!([batch_size, target_length, source_length], [3, 6, 7], "the attention");
        let weights: Vec<f32> = weights.into_data().iter().collect();
        for (index, weights) in weights.chunks_exact(7).enumerate() {
            let (seen, padding) = weights.split_at(lengths[index / (n_heads * 6)]);
            let sum: f32 = seen.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "attention adds up to {sum}: {weights:?}");
            assert!(padding.iter().all(|weight| *weight == 0.0), "on padding: {weights:?}");
        }
    }
}

fn plain_of<M: EncoderDecoder>(model: &M, source: &TokenBatch, target: &TokenBatch) -> Tensor<3> {
    model.decode(target, model.encode(source)).0
}

/// The rows of a batch of length `seq_length`, with random tokens where the padding is.
fn with_noise_in_the_padding(
    rows: &[Vec<u32>],
    seq_length: usize,
    vocab_size: usize,
    device: &Device,
) -> Tensor<2, Int> {
    let mut ids: Vec<i32> = Vec::new();
    for row in rows {
        let noise = random_ids(vocab_size, 11, seq_length - row.len());
        ids.extend(row.iter().chain(&noise).map(|id| *id as i32));
    }
    Tensor::from_data(TensorData::new(ids, [rows.len(), seq_length]), device)
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

    let tokens = with_noise_in_the_padding(&rows, 7, vocab_size, device);
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
    use crate::head::HeadWeights;
    use crate::model::{TokenEncoder, VocabularyHead};
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

    impl VocabularyHead for Sum {
        fn head_weights(&self) -> HeadWeights {
            HeadWeights::own(Tensor::ones([1, 50], &test_device()), None)
        }
    }

    impl Causal for Sum {}

    /// Shows the tokens, and forgets what it made of them.
    impl HiddenStates for Sum {
        fn hidden_states(&self, batch: &TokenBatch) -> Vec<Tensor<3>> {
            vec![batch.tokens.clone().float().unsqueeze_dim(2)]
        }
    }

    /// A vector is the token plus its position, counted from the start of its row or of the batch.
    struct Positional {
        knows_starts: bool,
    }

    /// The positions that come next.
    #[derive(Clone)]
    struct Next(Vec<f32>);

    impl Cache for Next {
        fn select_rows(self, rows: &[usize]) -> Self {
            Self(rows.iter().map(|row| self.0[*row]).collect())
        }
    }

    impl TokenEncoder for Positional {
        fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
            self.encode_from(batch, None).0
        }

        fn d_model(&self) -> usize {
            1
        }
    }

    impl VocabularyHead for Positional {
        fn head_weights(&self) -> HeadWeights {
            HeadWeights::own(Tensor::ones([1, 50], &test_device()), None)
        }
    }

    impl Causal for Positional {}

    impl Incremental for Positional {
        type Cache = Next;

        const READS_LEFT_PADDING: bool = true;

        fn encode_from(&self, batch: &TokenBatch, cache: Option<Next>) -> (Tensor<3>, Next) {
            let [batch_size, seq_length] = batch.dims();
            let starts = batch.starts.clone().filter(|_| self.knows_starts);
            let starts = starts.unwrap_or_else(|| vec![0; batch_size]);
            let Next(first) =
                cache.unwrap_or_else(|| Next(starts.iter().map(|s| -(*s as f32)).collect()));
            let after = first.iter().map(|position| position + seq_length as f32).collect();
            let first =
                Tensor::<1>::from_data(first.as_slice(), &test_device()).unsqueeze_dim::<2>(1);
            let places = Tensor::<1, Int>::arange(0..seq_length as i64, &test_device()).float();
            let vectors = batch.tokens.clone().float() + first + places.unsqueeze();
            (vectors.unsqueeze_dim(2), Next(after))
        }
    }

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

    impl VocabularyHead for Resumed {
        fn head_weights(&self) -> HeadWeights {
            HeadWeights::own(Tensor::ones([1, 50], &test_device()), None)
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

    /// A position is the sum of the target so far and of its row's source: of the valid tokens, or of all there are.
    struct SumTranslator {
        reads_padding: bool,
    }

    impl VocabularyHead for SumTranslator {
        fn head_weights(&self) -> HeadWeights {
            Resumed { remembers: true }.head_weights()
        }
    }

    impl EncoderDecoder for SumTranslator {
        type Cache = LastSum;

        fn encode(&self, source: &TokenBatch) -> LastSum {
            LastSum(RowSum { reads_padding: self.reads_padding }.logits(source).unsqueeze_dim(2))
        }

        fn decode(&self, target: &TokenBatch, cache: LastSum) -> (Tensor<3>, LastSum) {
            Resumed { remembers: true }.encode_from(target, Some(cache))
        }
    }

    #[test]
    fn a_translator_that_adds_up_keeps_the_law() {
        encoder_decoder(&SumTranslator { reads_padding: false }, 20, &test_device());
    }

    #[test]
    #[should_panic(expected = "the padding of the source changes the output")]
    fn a_translator_that_reads_the_padding_is_caught() {
        encoder_decoder(&SumTranslator { reads_padding: true }, 20, &test_device());
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
        carry_is_stored(&Resumed { remembers: true }, &test_device());
    }

    #[test]
    #[should_panic(expected = "padded on the left differs by")]
    fn a_model_that_takes_padding_for_tokens_is_caught() {
        left_padding_changes_nothing(&Positional { knows_starts: false }, &test_device());
    }

    #[test]
    fn a_model_that_counts_from_the_start_of_a_row_keeps_the_law_of_left_padding() {
        left_padding_changes_nothing(&Positional { knows_starts: true }, &test_device());
    }

    #[test]
    #[should_panic(expected = "from the encoding")]
    fn hidden_states_of_another_model_are_caught() {
        hidden_states_end_in_the_encoding(&Sum::Before, 50, &test_device());
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
