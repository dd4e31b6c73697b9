//! The next word and the one before, by two models that share their words and their head (Peters and others, 2018):
//!
//! ```text
//! -½ Σ_t log →p(w_t | w_1 … w_{t-1}) - ½ Σ_t log ←p(w_t | w_{t+1} … w_n)
//! ```

use burn::tensor::{Int, Tensor};
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy};
use emberline_core::{BidirectionalLanguageModel, BothWays, Count, Loss, Stream, Term};
use emberline_training::Objective;

use crate::sampled_softmax::{Draws, sampled_cross_entropy};

/// The terms of the loss, one for each direction.
const TERMS: [&str; 2] = ["forward", "reverse"];

/// Windows of both directions, and the word that each place of them is to predict.
#[derive(Clone, Debug)]
pub struct BidirectionalBatch {
    /// What is read.
    pub words: BothWays,
    /// What comes next in the texts as they are, and in those that are turned around, `[batch_size, seq_length]` each.
    pub targets: [Tensor<2, Int>; 2],
}

/// Every place predicts the word after it in both directions. Both go on from what they kept of the windows before, and
/// gradients stop there.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextWordBothWays {
    /// How many words of the vocabulary stand for all of it in training; in validation, and with `None`, it is scored
    /// whole.
    pub n_sampled: Option<usize>,
}

impl<M: BidirectionalLanguageModel> Objective<M> for NextWordBothWays {
    type Batch = BidirectionalBatch;
    type Carry = M::Cache;

    fn counts(&self, batch: &BidirectionalBatch) -> Vec<Count> {
        let count = |targets: &Tensor<2, Int>| targets.dims().iter().product::<usize>() as f64;
        let counts = TERMS.into_iter().zip(&batch.targets);
        counts.map(|(term, targets)| Count { term, count: count(targets) }).collect()
    }

    fn loss(
        &self,
        model: &M,
        batch: &BidirectionalBatch,
        carry: Option<M::Cache>,
        dropout: Option<Stream>,
    ) -> (Loss, M::Cache) {
        let words = BothWays { dropout, ..batch.words.clone() };
        let (hidden, cache) = model.encode_both(&words, carry);
        let sampled = dropout.zip(self.n_sampled);
        let term = |((name, hidden), targets): ((&'static str, Tensor<3>), &Tensor<2, Int>)| {
            let [batch_size, seq_length, d_model] = hidden.dims();
            assert_eq!(targets.dims(), [batch_size, seq_length], "one target for each word");
            let n_words = batch_size * seq_length;
            let hidden = model.head_input(hidden.reshape([n_words, d_model]));
            let (head, targets) = (model.head_weights(), targets.clone().reshape([n_words]));
            let sum = match sampled {
                Some((random, n_sampled)) => {
                    let random = random.named("words").named(name);
                    let draws = Draws::new(n_sampled, head.vocab_size(), random);
                    sampled_cross_entropy(hidden, head, targets, &draws)
                }
                None => linear_cross_entropy(hidden, head, targets, CrossEntropyOptions::default()),
            };
            Term { name, weight: 0.5, sum }
        };
        let terms = TERMS.into_iter().zip(hidden).zip(&batch.targets).map(term);
        (Loss { terms: terms.collect() }, cache)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::tensor::{Device, TensorData};
    use emberline_backend::test_device;
    use emberline_core::{Carry, HeadWeights, VocabularyHead, WordTable, laws};

    use super::*;

    const WORD_LENGTH: usize = 3;
    const VOCAB_SIZE: usize = 5;
    const D_MODEL: usize = 2;

    /// A word is the sum of its characters' vectors; each direction adds up what it has read.
    #[derive(Module, Debug)]
    struct Tiny {
        characters: Param<Tensor<2>>,
        head: Param<Tensor<2>>,
    }

    #[derive(Clone)]
    struct Totals([Tensor<3>; 2]);

    impl Carry for Totals {
        fn detach(self) -> Self {
            Self(self.0.map(Tensor::detach))
        }

        fn to_data(&self) -> Vec<TensorData> {
            self.0.iter().map(Tensor::to_data).collect()
        }

        fn from_data(data: Vec<TensorData>, device: &Device) -> Option<Self> {
            let totals: [TensorData; 2] = data.try_into().ok()?;
            Some(Self(totals.map(|total| Tensor::from_data(total, device))))
        }
    }

    impl Tiny {
        fn new(head_deviation: f64, device: &Device) -> Self {
            let matrix = |name, shape: [usize; 2], deviation| {
                let numbers = Stream::new(1).named(name).normals(shape[0] * shape[1], deviation);
                Param::from_data(TensorData::new(numbers, shape), device)
            };
            Self {
                characters: matrix("characters", [4, D_MODEL], 1.0),
                head: matrix("head", [VOCAB_SIZE, D_MODEL], head_deviation),
            }
        }
    }

    impl VocabularyHead for Tiny {
        fn head_weights(&self) -> HeadWeights {
            HeadWeights::tied(self.head.val(), None)
        }
    }

    impl BidirectionalLanguageModel for Tiny {
        type Cache = Totals;

        fn encode_both(&self, batch: &BothWays, cache: Option<Totals>) -> ([Tensor<3>; 2], Totals) {
            let characters = batch.table.characters.clone();
            let [n_words, word_length] = characters.dims();
            let vectors = self.characters.val().select(0, characters.flatten::<1>(0, 1));
            let words = vectors.reshape([n_words, word_length, D_MODEL]).sum_dim(1);
            let words = words.reshape([n_words, D_MODEL]);
            let read = |places: &Tensor<2, Int>| {
                let [batch_size, seq_length] = places.dims();
                let words = words.clone().select(0, places.clone().flatten::<1>(0, 1));
                words.reshape([batch_size, seq_length, D_MODEL])
            };
            let rows = [read(&batch.forward), read(&batch.reverse)];
            let zeros = || rows.clone().map(|words| words.narrow(1, 0, 1).zeros_like());
            let [first, second] = cache.map_or_else(zeros, |Totals(totals)| totals);
            let [forward, reverse] = rows.clone();
            let sums = [forward.cumsum(1) + first, reverse.cumsum(1) + second];
            let last = |sums: &Tensor<3>| sums.clone().narrow(1, sums.dims()[1] - 1, 1);
            let totals = Totals(sums.each_ref().map(last));
            (sums, totals)
        }

        fn n_characters(&self) -> usize {
            4
        }
    }

    /// Columns `from..to` of two rows of six words.
    fn batch(from: usize, to: usize) -> BidirectionalBatch {
        let device = test_device();
        let columns = |rows: [[i32; 6]; 2]| {
            Tensor::<2, Int>::from_data(rows, &device).narrow(1, from, to - from)
        };
        let characters = Tensor::from_data([[0, 1, 3], [2, 2, 3], [1, 0, 2]], &device);
        let words = BothWays {
            table: WordTable { characters, longest: 3 },
            forward: columns([[0, 1, 2, 0, 1, 1], [2, 1, 0, 0, 2, 1]]),
            reverse: columns([[1, 1, 0, 2, 1, 0], [1, 2, 0, 0, 1, 2]]),
            dropout: None,
        };
        let targets = [
            columns([[1, 2, 3, 1, 2, 2], [3, 2, 1, 1, 3, 4]]),
            columns([[2, 1, 3, 2, 1, 0], [0, 1, 4, 3, 2, 1]]),
        ];
        BidirectionalBatch { words, targets }
    }

    fn values(loss: &Loss) -> [f64; 2] {
        [0, 1].map(|term| loss.terms[term].sum.clone().into_scalar::<f64>())
    }

    #[test]
    fn the_model_of_these_tests_keeps_the_law() {
        let device = test_device();
        laws::bidirectional(&Tiny::new(1.0, &device), WORD_LENGTH, &device);
    }

    #[test]
    fn uniform_scores_lose_half_the_logarithm_of_the_vocabulary_in_each_direction() {
        let model = Tiny::new(0.0, &test_device());
        let objective = NextWordBothWays::default();
        let counts = Objective::<Tiny>::counts(&objective, &batch(0, 6));
        assert!(counts.iter().all(|count| count.count == 12.0));
        let (loss, _) = objective.loss(&model, &batch(0, 6), None, None);
        let total = loss.total(&counts).into_scalar::<f64>();
        assert!((total - (VOCAB_SIZE as f64).ln()).abs() < 1e-6);
    }

    #[test]
    fn windows_with_a_carry_lose_what_one_long_window_loses() {
        let model = Tiny::new(1.0, &test_device());
        let loss = |batch: &BidirectionalBatch, carry: Option<Totals>| {
            NextWordBothWays::default().loss(&model, batch, carry, None)
        };
        let whole = values(&loss(&batch(0, 6), None).0);
        let (first, carry) = loss(&batch(0, 2), None);
        let (second, _) = loss(&batch(2, 6), Some(carry.detach()));
        for ((first, second), whole) in values(&first).iter().zip(values(&second)).zip(whole) {
            assert!((first + second - whole).abs() < 1e-5);
        }
    }

    #[test]
    fn words_are_sampled_in_training_alone() {
        let model = Tiny::new(1.0, &test_device());
        let (whole, few) = (NextWordBothWays::default(), NextWordBothWays { n_sampled: Some(2) });
        let loss = |objective: NextWordBothWays, random: Option<Stream>| {
            values(&objective.loss(&model, &batch(0, 6), None, random).0)
        };
        assert_eq!(loss(whole, None), loss(few, None));
        assert_eq!(loss(whole, None), loss(whole, Some(Stream::new(1))));
        assert_ne!(loss(whole, None), loss(few, Some(Stream::new(1))));
        assert_eq!(loss(few, Some(Stream::new(1))), loss(few, Some(Stream::new(1))));
        assert_ne!(loss(few, Some(Stream::new(2))), loss(few, Some(Stream::new(1))));
    }
}
