//! Scheduled sampling: the decoder reads its own tokens instead of the target's, the oftener the longer it trains
//! (Bengio, Vinyals, Jaitly and Shazeer, 2015).
//!
//! A token that the model chose is sampled from its distribution, without dropout, given the inputs chosen before it.
//! As in the paper no gradient flows through a choice, so that the chosen inputs can be made first, token by token, and
//! read all at once by the pass that is differentiated.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use emberline_core::{EncoderDecoder, Stream, TokenBatch};
use emberline_training::ConfigError;
use serde::{Deserialize, Serialize};

use crate::translation::TranslationBatch;

/// The probability of the target's token as input, by the number i of updates before. Without a schedule it is 1 for
/// ever: teacher forcing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum ScheduledSampling {
    /// `max(ε, k - c i)`
    Linear {
        /// k, the probability at the start.
        start: f64,
        /// c, by how much an update lowers it.
        decrement: f64,
        /// ε, the lowest.
        minimum: f64,
    },
    /// `kⁱ`
    Exponential {
        /// k, below 1.
        base: f64,
    },
    /// `k / (k + exp(i / k))`
    InverseSigmoid {
        /// k, at least 1: it starts near 1 and is at one half at i = k ln k.
        constant: f64,
    },
}

impl ScheduledSampling {
    /// The probability of the target's token in an update, by the number of updates before it.
    pub fn gold_probability(&self, step: u64) -> f64 {
        let step = step as f64;
        match *self {
            Self::Linear { start, decrement, minimum } => minimum.max(start - decrement * step),
            Self::Exponential { base } => base.powf(step),
            Self::InverseSigmoid { constant } => constant / (constant + (step / constant).exp()),
        }
    }

    /// Whether the numbers give probabilities that do not rise.
    ///
    /// # Errors
    /// The first number that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let is_probability = |number: f64| (0.0..=1.0).contains(&number);
        let (from_0_to_1, at_least_0) = ("from 0 to 1", "a number of at least 0");
        let checks = match *self {
            Self::Linear { start, decrement, minimum } => {
                let is_decrement = decrement.is_finite() && decrement >= 0.0;
                vec![
                    ("scheduled_sampling.start", from_0_to_1, is_probability(start), start),
                    ("scheduled_sampling.decrement", at_least_0, is_decrement, decrement),
                    ("scheduled_sampling.minimum", from_0_to_1, is_probability(minimum), minimum),
                ]
            }
            Self::Exponential { base } => {
                vec![("scheduled_sampling.base", from_0_to_1, is_probability(base), base)]
            }
            Self::InverseSigmoid { constant } => {
                let holds = constant.is_finite() && constant >= 1.0;
                vec![("scheduled_sampling.constant", "a number of at least 1", holds, constant)]
            }
        };
        match checks.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((field, expected, _, found)) => {
                Err(ConfigError { field, expected, found: found.to_string() })
            }
            None => Ok(()),
        }
    }
}

/// The tokens that the decoder reads: the first of each row, and then at every position that of the batch with its
/// `gold_probability`, else one that the model samples. What stands in the padding has no meaning.
///
/// # Shapes
/// - output: `[batch_size, target_length]`
pub(crate) fn inputs_of_the_model<M: EncoderDecoder>(
    model: &M,
    batch: &TranslationBatch,
    random: Stream,
) -> Tensor<2, Int> {
    let [batch_size, target_length] = batch.inputs.dims();
    let gold = |position| batch.inputs.tokens.clone().narrow(1, position, 1); // [batch_size, 1]
    let mut inputs = vec![gold(0)];
    let mut cache = model.encode(&batch.source);
    for position in 1..target_length {
        let read = TokenBatch::new(inputs[position - 1].clone());
        let (hidden, next) = model.decode(&read, cache);
        cache = next;
        let random = random.at(position as u64);
        let sampled = sample(model.head(hidden.squeeze_dim(1)), random.named("token"));
        let rows = random.named("gold").uniform_sequence().take(batch_size);
        let is_gold: Vec<bool> = rows.map(|number| number < batch.gold_probability).collect();
        let is_gold = TensorData::new(is_gold, [batch_size, 1]);
        let is_gold = Tensor::<2, Bool>::from_data(is_gold, &sampled.device());
        inputs.push(sampled.mask_where(is_gold, gold(position)));
    }
    Tensor::cat(inputs, 1)
}

/// A class for each row, from the distribution that its scores give.
///
/// # Shapes
/// - scores: `[batch_size, vocab_size]`
/// - output: `[batch_size, 1]`
fn sample(scores: Tensor<2>, random: Stream) -> Tensor<2, Int> {
    let [batch_size, vocab_size] = scores.dims();
    let device = scores.device();
    let numbers = TensorData::new(random.uniforms(batch_size, 0.0, 1.0), [batch_size, 1]);
    let cumulative = softmax(scores, 1).cumsum(1);
    let total = cumulative.clone().narrow(1, vocab_size - 1, 1);
    let place = Tensor::<2>::from_data(numbers, &device) * total;
    let is_before = cumulative.lower_equal(place.expand([batch_size, vocab_size]));
    // A number may round to 1, beyond which there is no class.
    is_before.int().sum_dim(1).clamp_max((vocab_size - 1) as i64)
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::VocabularyHead;
    use emberline_training::Objective;

    use super::*;
    use crate::Translation;
    use crate::tiny_translator::{TinyTranslator, VOCAB_SIZE, pairs};

    fn batch(gold_probability: f64) -> TranslationBatch {
        let pairs = pairs();
        let batch = TranslationBatch::new(&pairs.iter().collect::<Vec<_>>(), 0, &test_device());
        TranslationBatch { gold_probability, ..batch }
    }

    fn ids<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i32> {
        tensor.to_data().iter().collect()
    }

    fn bits(tensor: Tensor<1>) -> u32 {
        tensor.into_scalar::<f32>().to_bits()
    }

    #[test]
    fn schedules_are_their_closed_forms() {
        let linear = ScheduledSampling::Linear { start: 0.9, decrement: 0.1, minimum: 0.25 };
        let found = [0, 1, 6, 7, 1000].map(|step| linear.gold_probability(step));
        for (found, expected) in found.into_iter().zip([0.9, 0.8, 0.3, 0.25, 0.25]) {
            assert!((found - expected).abs() < 1e-12);
        }
        let exponential = ScheduledSampling::Exponential { base: 0.5 };
        assert_eq!([0, 1, 3].map(|step| exponential.gold_probability(step)), [1.0, 0.5, 0.125]);
        let sigmoid = ScheduledSampling::InverseSigmoid { constant: 10.0 };
        assert!((sigmoid.gold_probability(0) - 10.0 / 11.0).abs() < 1e-12);
        // Between updates 23 and 24 lies 10 ln 10.
        assert!(sigmoid.gold_probability(23) > 0.5 && sigmoid.gold_probability(24) < 0.5);
        assert_eq!(sigmoid.gold_probability(1_000_000), 0.0);
    }

    #[test]
    fn a_schedule_that_cannot_be_names_its_field() {
        let error = |schedule: ScheduledSampling| schedule.validate().unwrap_err().to_string();
        let linear = ScheduledSampling::Linear { start: 1.5, decrement: 0.1, minimum: 0.0 };
        let expected = "scheduled_sampling.start must be from 0 to 1, but is 1.5";
        assert_eq!(error(linear), expected);
        let sigmoid = ScheduledSampling::InverseSigmoid { constant: 0.5 };
        assert!(error(sigmoid).contains("scheduled_sampling.constant"));
        assert!(error(ScheduledSampling::Exponential { base: f64::NAN }).contains("base"));
        assert!(ScheduledSampling::Exponential { base: 0.999 }.validate().is_ok());
    }

    #[test]
    fn probability_one_is_teacher_forcing_bit_for_bit() {
        let model = TinyTranslator::new(1.0, &test_device());
        let random = Stream::new(3);
        let inputs = inputs_of_the_model(&model, &batch(1.0), random);
        let gold = batch(1.0).inputs;
        let lengths = gold.lengths.clone().unwrap();
        let [_, target_length] = gold.dims();
        for (row, length) in lengths.into_iter().enumerate() {
            let row = row * target_length..row * target_length + length;
            assert_eq!(ids(&inputs)[row.clone()], ids(&gold.tokens)[row]);
        }
        // The objective does not even run the model; and validation never does.
        let loss = |probability, dropout| {
            let (loss, ()) =
                Translation::default().loss(&model, &batch(probability), None, dropout);
            bits(loss.terms[0].sum.clone())
        };
        assert_eq!(loss(1.0, Some(random)), loss(1.0, None));
        assert_eq!(loss(0.0, None), loss(1.0, None));
        assert_ne!(loss(0.0, Some(random)), loss(1.0, None));
    }

    #[test]
    fn probability_zero_reads_only_tokens_of_the_model() {
        // A model that is sure: the scores of the most likely token are far above all others.
        let model = TinyTranslator::new(1000.0, &test_device());
        let batch = batch(0.0);
        let inputs = ids(&inputs_of_the_model(&model, &batch, Stream::new(3)));
        let [batch_size, target_length] = batch.inputs.dims();
        for row in 0..batch_size {
            let row_of = |batch: &TokenBatch| TokenBatch {
                lengths: batch.lengths.as_ref().map(|lengths| vec![lengths[row]]),
                ..TokenBatch::new(batch.tokens.clone().narrow(0, row, 1))
            };
            let mut greedy = vec![0u32];
            for _ in 1..target_length {
                let target = TokenBatch::from_rows(&[&greedy], &test_device());
                let (hidden, _) = model.decode(&target, model.encode(&row_of(&batch.source)));
                let last = hidden.narrow(1, greedy.len() - 1, 1).squeeze_dim::<2>(1);
                let next = model.head(last).argmax(1).into_scalar::<i64>();
                greedy.push(next as u32);
            }
            let greedy: Vec<i32> = greedy.into_iter().map(|id| id as i32).collect();
            assert_eq!(inputs[row * target_length..(row + 1) * target_length], greedy);
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_chosen_inputs() {
        let model = TinyTranslator::new(1.0, &test_device().autodiff());
        let random = Stream::new(5);
        let mixed = batch(0.5);
        let plain = TinyTranslator::new(1.0, &test_device());
        let tokens = inputs_of_the_model(&plain, &mixed, random.named("inputs"));
        let mut forced = batch(1.0);
        forced.inputs.tokens = tokens;
        let gradient = |batch: &TranslationBatch| -> Vec<f32> {
            let (loss, ()) = Translation::default().loss(&model, batch, None, Some(random));
            let gradients = loss.terms[0].sum.backward();
            model.embedding.val().grad(&gradients).unwrap().into_data().iter().collect()
        };
        assert_eq!(gradient(&mixed), gradient(&forced));
    }

    #[test]
    fn samples_come_as_often_as_their_probabilities() {
        let probabilities = [0.1f32, 0.0, 0.6, 0.3];
        let n = 4000;
        let row = Tensor::<2>::from_data([probabilities], &test_device()).log();
        let sampled = ids(&sample(row.expand([n, 4]), Stream::new(7)));
        for (class, probability) in probabilities.into_iter().enumerate() {
            let count = sampled.iter().filter(|id| **id == class as i32).count() as f32;
            let (mean, variance) =
                (n as f32 * probability, n as f32 * probability * (1.0 - probability));
            assert!((count - mean).abs() <= 4.0 * variance.sqrt(), "{class}: {count}");
        }
        assert!(sampled.iter().all(|id| (0..VOCAB_SIZE as i32).contains(id)));
    }
}
