//! Pairs of texts as batches of about one length.

use std::cell::RefCell;

use burn::tensor::Device;
use emberline_core::Stream;
use emberline_text::{BatchSize, TextError, TokenPair};
use emberline_training::Data;

use crate::scheduled_sampling::ScheduledSampling;
use crate::translation::TranslationBatch;

/// Pairs to train and to validate on. In each epoch every training pair comes once, pairs of about one length
/// together; an update is one batch, and a function of its number alone.
#[derive(Clone, Debug)]
pub struct TranslationBatches {
    training: Vec<TokenPair>,
    lengths: Vec<[usize; 2]>,
    validation: Vec<TokenPair>,
    validation_batches: Vec<Vec<usize>>,
    size: BatchSize,
    start_token: u32,
    scheduled_sampling: Option<ScheduledSampling>,
    updates_per_epoch: u64,
    random: Stream,
    device: Device,
    /// The epoch of the last update that was asked for and the pairs of its batches, which serve all its updates.
    epoch: RefCell<Option<(u64, Vec<Vec<usize>>)>>,
}

impl TranslationBatches {
    /// Batches of the given size, in training in an order that is that of `random`; `start_token` is what the
    /// decoder reads first.
    ///
    /// # Errors
    /// [`TextError::NoExample`] if there is nothing to train or to validate on; those of [`BatchSize::batches`].
    pub fn new(
        training: Vec<TokenPair>,
        validation: Vec<TokenPair>,
        size: BatchSize,
        start_token: u32,
        random: Stream,
        device: &Device,
    ) -> Result<Self, TextError> {
        for (name, pairs) in
            [("the training part", &training), ("the validation part", &validation)]
        {
            if pairs.is_empty() {
                return Err(TextError::NoExample { name: name.to_string() });
            }
        }
        let lengths_of = |pairs: &[TokenPair]| pairs.iter().map(TokenPair::lengths).collect();
        let (lengths, validation_lengths): (Vec<_>, Vec<_>) =
            (lengths_of(&training), lengths_of(&validation));
        let first = size.batches(&lengths, random.at(0))?;
        let validation_batches = size.batches(&validation_lengths, random.named("validation"))?;
        Ok(Self {
            training,
            lengths,
            validation,
            validation_batches,
            size,
            start_token,
            scheduled_sampling: None,
            updates_per_epoch: first.len() as u64,
            random,
            // Tokens need no gradient, and the model of a validation is on the plain device.
            device: device.clone().inner(),
            epoch: RefCell::new(Some((0, first))),
        })
    }

    /// The same, whose decoder reads tokens of the model in training.
    pub fn with_scheduled_sampling(self, schedule: ScheduledSampling) -> Self {
        Self { scheduled_sampling: Some(schedule), ..self }
    }

    fn batch(&self, pairs: &[TokenPair], rows: &[usize]) -> TranslationBatch {
        let pairs: Vec<&TokenPair> = rows.iter().map(|row| &pairs[*row]).collect();
        TranslationBatch::new(&pairs, self.start_token, &self.device)
    }
}

impl Data for TranslationBatches {
    type Batch = TranslationBatch;

    fn update(&self, step: u64) -> Vec<TranslationBatch> {
        let (epoch, index) = (step / self.updates_per_epoch, step % self.updates_per_epoch);
        let mut known = self.epoch.borrow_mut();
        let (_, batches) = match known.take().filter(|(known, _)| *known == epoch) {
            Some(known_batches) => known.insert(known_batches),
            None => {
                let batches = self.size.batches(&self.lengths, self.random.at(epoch));
                known
                    .insert((epoch, batches.expect("the batches of the first epoch could be made")))
            }
        };
        let batch = self.batch(&self.training, &batches[index as usize]);
        let schedule = self.scheduled_sampling;
        let gold_probability = schedule.map_or(1.0, |schedule| schedule.gold_probability(step));
        vec![TranslationBatch { gold_probability, ..batch }]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = TranslationBatch> {
        self.validation_batches.iter().map(|rows| self.batch(&self.validation, rows))
    }

    fn updates_per_epoch(&self) -> u64 {
        self.updates_per_epoch
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, Tensor};
    use emberline_backend::test_device;

    use super::*;

    /// The pair of a number: both sides are that number, between 1 and 7 times and once more.
    fn pairs(numbers: std::ops::Range<u32>) -> Vec<TokenPair> {
        let row = |number: u32, more: usize| vec![number; number as usize % 7 + more];
        numbers.map(|n| TokenPair { source: row(n, 1), target: row(n, 2) }).collect()
    }

    fn batches(size: BatchSize) -> TranslationBatches {
        let device = test_device().autodiff();
        let (training, validation) = (pairs(1..41), pairs(41..46));
        TranslationBatches::new(training, validation, size, 0, Stream::new(1), &device).unwrap()
    }

    fn ids<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i32> {
        tensor.to_data().iter().collect()
    }

    /// The numbers of the pairs of an update.
    fn numbers(batch: &TranslationBatch) -> Vec<i32> {
        ids(&batch.source.tokens.clone().narrow(1, 0, 1))
    }

    fn epoch(data: &TranslationBatches, epoch: u64) -> Vec<i32> {
        let steps = epoch * data.updates_per_epoch()..(epoch + 1) * data.updates_per_epoch();
        steps.flat_map(|step| numbers(&data.update(step)[0])).collect()
    }

    #[test]
    fn an_epoch_is_every_pair_once_in_an_order_of_its_own() {
        for size in [BatchSize::Sentences(7), BatchSize::Tokens(24)] {
            let data = batches(size);
            let epochs = [0, 1, 2].map(|index| epoch(&data, index));
            assert_ne!(epochs[0], epochs[1]);
            assert_eq!(epochs[1], epoch(&batches(size), 1));
            for mut numbers in epochs {
                numbers.sort_unstable();
                assert_eq!(numbers, (1..41).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_update_is_the_same_whichever_was_asked_for_before() {
        let data = batches(BatchSize::Tokens(24));
        let steps = 3 * data.updates_per_epoch();
        let forward: Vec<_> = (0..steps).map(|step| numbers(&data.update(step)[0])).collect();
        let resumed = batches(BatchSize::Tokens(24));
        let backward: Vec<_> =
            (0..steps).rev().map(|step| numbers(&resumed.update(step)[0])).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
    }

    #[test]
    fn validation_is_every_pair_once() {
        let data = batches(BatchSize::Tokens(24));
        let mut found: Vec<i32> = data.validation().flat_map(|batch| numbers(&batch)).collect();
        found.sort_unstable();
        assert_eq!(found, (41..46).collect::<Vec<_>>());
    }

    #[test]
    fn the_model_reads_its_own_tokens_by_the_schedule_and_never_in_validation() {
        let data = batches(BatchSize::Sentences(7));
        assert_eq!(data.update(3)[0].gold_probability, 1.0);
        let data = data.with_scheduled_sampling(ScheduledSampling::Exponential { base: 0.5 });
        assert_eq!(
            [0, 1, 9].map(|step| data.update(step)[0].gold_probability),
            [1.0, 0.5, 0.5f64.powi(9)]
        );
        assert!(data.validation().all(|batch| batch.gold_probability == 1.0));
    }

    #[test]
    fn nothing_to_train_or_validate_on_and_batches_that_cannot_be_are_errors() {
        let error = |training, validation, size| {
            let random = Stream::new(1);
            TranslationBatches::new(training, validation, size, 0, random, &test_device())
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        let size = BatchSize::Tokens(8);
        assert_eq!(error(vec![], pairs(1..2), size), "the training part has no example");
        assert_eq!(error(pairs(1..2), vec![], size), "the validation part has no example");
        let expected = "a pair of 7 and 8 tokens does not fit into a batch of 7";
        assert_eq!(error(pairs(1..7), pairs(1..2), BatchSize::Tokens(7)), expected);
    }
}
