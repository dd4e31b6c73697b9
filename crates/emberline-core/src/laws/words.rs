//! The laws of models that read words as characters.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{largest_difference, random_ids};
use crate::characters::{BothWays, CharacterBatch, WordTable};
use crate::model::{BidirectionalLanguageModel, Carry, CharacterEncoder};
use crate::random::Stream;

/// The vectors of a row of words are those of the row alone, within 1e-4, in every layer; no bit of them depends on what
/// stands in the padding of the row. Those of the first layer are a word's alone, wherever it stands.
pub fn padding_is_hidden_from_words<M: CharacterEncoder>(
    model: &M,
    word_length: usize,
    device: &Device,
) {
    let rows: [&[i32]; 3] = [&[0, 1, 2], &[3, 0, 1, 4, 1, 2, 0], &[4]];
    let table = random_words(model.n_characters(), 5, word_length, device);
    let batch = |rows: &[&[i32]], noise: i32| {
        let seq_length = rows.iter().map(|row| row.len()).max().expect("at least one row");
        let padded = rows.iter().flat_map(|row| {
            row.iter().copied().chain(std::iter::repeat_n(noise, seq_length - row.len()))
        });
        let words = TensorData::new(padded.collect::<Vec<i32>>(), [rows.len(), seq_length]);
        CharacterBatch {
            table: table.clone(),
            words: Tensor::from_data(words, device),
            lengths: Some(rows.iter().map(|row| row.len()).collect()),
            dropout: None,
        }
    };
    let together = model.layers(&batch(&rows, 0));
    let noisy = model.layers(&batch(&rows, 3));
    for (row, words) in rows.iter().enumerate() {
        let alone = model.layers(&batch(&[*words], 0));
        for (layer, alone) in alone.into_iter().enumerate() {
            assert_eq!(alone.dims()[2], model.d_model(), "the width of layer {layer}");
            let valid = |layers: &[Tensor<3>]| {
                layers[layer].clone().narrow(0, row, 1).narrow(1, 0, words.len())
            };
            let difference = largest_difference(valid(&together), alone);
            assert!(difference < 1e-4, "layer {layer} of row {row} differs by {difference}");
            let difference = largest_difference(valid(&together), valid(&noisy));
            assert!(difference == 0.0, "the padding changes layer {layer} by {difference}");
        }
    }
    let vector = |row, place| together[0].clone().narrow(0, row, 1).narrow(1, place, 1);
    let difference = largest_difference(vector(0, 0), vector(1, 6));
    assert!(difference == 0.0, "a word alone differs by {difference} in another place");
}

/// No direction knows a word before it has read it; windows that go on from each other give what one long window gives,
/// within 1e-4; and a cache that was stored goes on to the same bits.
pub fn bidirectional<M: BidirectionalLanguageModel>(
    model: &M,
    word_length: usize,
    device: &Device,
) {
    let table = random_words(model.n_characters(), 6, word_length, device);
    let batch = |from: usize, to: usize, changed_from: usize| {
        let words = |seed: u64| {
            let ids = (0..2 * 8).map(|index| {
                let stream = Stream::new(seed + u64::from(index % 8 >= changed_from));
                stream.below(index as u64, 6) as i32
            });
            let ids = TensorData::new(ids.collect::<Vec<i32>>(), [2, 8]);
            Tensor::<2, Int>::from_data(ids, device).narrow(1, from, to - from)
        };
        let table = table.clone();
        BothWays { table, forward: words(26), reverse: words(28), dropout: None }
    };
    let (whole, _) = model.encode_both(&batch(0, 8, 8), None);
    for cut in 1..8 {
        let (changed, _) = model.encode_both(&batch(0, 8, cut), None);
        let (first, cache) = model.encode_both(&batch(0, cut, 8), None);
        let stored = M::Cache::from_data(cache.to_data(), device).expect("a carry is stored");
        let (second, _) = model.encode_both(&batch(cut, 8, 8), Some(cache));
        let (again, _) = model.encode_both(&batch(cut, 8, 8), Some(stored));
        for direction in 0..2 {
            let part = |of: &[Tensor<3>; 2]| of[direction].clone().narrow(1, 0, cut);
            let difference = largest_difference(part(&whole), part(&changed));
            assert!(
                difference == 0.0,
                "direction {direction}: later words change places before {cut} by {difference}"
            );
            let second = second[direction].clone();
            let difference = largest_difference(second.clone(), again[direction].clone());
            assert!(difference == 0.0, "a stored cache goes on with a difference of {difference}");
            let pieces = Tensor::cat(vec![first[direction].clone(), second], 1);
            let difference = largest_difference(whole[direction].clone(), pieces);
            assert!(
                difference < 1e-4,
                "direction {direction} cut at {cut}: pieces differ by {difference}"
            );
        }
    }
}

/// Words of random characters and of different lengths, the padding being the last id.
fn random_words(
    n_characters: usize,
    count: usize,
    word_length: usize,
    device: &Device,
) -> WordTable {
    let mut ids = Vec::with_capacity(count * word_length);
    let longest = count.min(word_length);
    for word in 0..count {
        let length = (word + 1).min(word_length);
        let characters = random_ids(n_characters - 1, 27 + word as u64, length);
        ids.extend(characters.iter().map(|id| *id as i32));
        ids.resize(ids.len() + word_length - length, n_characters as i32 - 1);
    }
    let characters = Tensor::from_data(TensorData::new(ids, [count, word_length]), device);
    WordTable { characters, longest }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;
    use crate::head::HeadWeights;
    use crate::model::VocabularyHead;

    const WORD_LENGTH: usize = 4;

    /// A word is the sum of its characters. The second layer adds up the words before; as a reader it looks `ahead`,
    /// and as an encoder it reads the padding, where it has the fault.
    struct Sum {
        ahead: bool,
    }

    #[derive(Clone)]
    struct Totals([Tensor<3>; 2]);

    impl Carry for Totals {
        fn detach(self) -> Self {
            self
        }

        fn to_data(&self) -> Vec<TensorData> {
            self.0.iter().map(Tensor::to_data).collect()
        }

        fn from_data(data: Vec<TensorData>, device: &Device) -> Option<Self> {
            let [forward, reverse] = data.try_into().ok()?;
            Some(Self([forward, reverse].map(|total| Tensor::from_data(total, device))))
        }
    }

    fn vectors(table: &WordTable, words: Tensor<2, Int>) -> Tensor<3> {
        let [batch_size, seq_length] = words.dims();
        let sums = table.characters.clone().float().sum_dim(1);
        sums.select(0, words.flatten::<1>(0, 1)).reshape([batch_size, seq_length, 1])
    }

    impl CharacterEncoder for Sum {
        fn layers(&self, batch: &CharacterBatch) -> Vec<Tensor<3>> {
            let words = vectors(&batch.table, batch.words.clone());
            let above = match self.ahead {
                false => words.clone().cumsum(1),
                true => words.clone().sum_dim(1).expand(words.dims()),
            };
            vec![words, above]
        }

        fn d_model(&self) -> usize {
            1
        }

        fn n_characters(&self) -> usize {
            9
        }
    }

    impl VocabularyHead for Sum {
        fn head_weights(&self) -> HeadWeights {
            HeadWeights::own(Tensor::ones([1, 50], &test_device()), None)
        }
    }

    impl BidirectionalLanguageModel for Sum {
        type Cache = Totals;

        fn encode_both(&self, batch: &BothWays, cache: Option<Totals>) -> ([Tensor<3>; 2], Totals) {
            let vectors =
                [&batch.forward, &batch.reverse].map(|words| vectors(&batch.table, words.clone()));
            let start = || vectors.clone().map(|words| words.narrow(1, 0, 1).zeros_like());
            let [forward, reverse] = cache.map_or_else(start, |Totals(totals)| totals);
            let [first, second] = vectors;
            let sums = [(first, forward), (second, reverse)].map(|(words, total)| {
                let sums = match self.ahead {
                    false => words.cumsum(1),
                    true => words.clone().sum_dim(1).expand(words.dims()),
                };
                sums + total
            });
            let last = |sums: &Tensor<3>| sums.clone().narrow(1, sums.dims()[1] - 1, 1);
            let totals = Totals(sums.each_ref().map(last));
            (sums, totals)
        }

        fn n_characters(&self) -> usize {
            9
        }
    }

    #[test]
    fn a_reader_that_adds_up_what_came_before_keeps_the_laws() {
        padding_is_hidden_from_words(&Sum { ahead: false }, WORD_LENGTH, &test_device());
        bidirectional(&Sum { ahead: false }, WORD_LENGTH, &test_device());
    }

    #[test]
    #[should_panic(expected = "layer 1 of row 0 differs")]
    fn an_encoder_that_reads_the_padding_is_caught() {
        padding_is_hidden_from_words(&Sum { ahead: true }, WORD_LENGTH, &test_device());
    }

    #[test]
    #[should_panic(expected = "later words change places before 1")]
    fn a_direction_that_looks_ahead_is_caught() {
        bidirectional(&Sum { ahead: true }, WORD_LENGTH, &test_device());
    }
}
