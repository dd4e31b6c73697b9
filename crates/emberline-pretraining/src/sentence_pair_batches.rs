//! Pairs of sentences with masked tokens as batches.

use std::cell::RefCell;
use std::sync::Arc;

use burn::tensor::Device;
use emberline_core::Stream;
use emberline_text::TextError;
use emberline_training::Data;
use serde::{Deserialize, Serialize};

use crate::masked_token::SentencePairBatch;
use crate::masking::{MaskedRow, Masking};
use crate::sentence_pairs::PairRow;

/// When the masked tokens of a pair are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskingTime {
    /// Once for all epochs, as in BERT, which therefore makes several pairs of a text.
    Static,
    /// Anew in every epoch (Liu and others, 2019, "RoBERTa").
    Dynamic,
}

/// Pairs to train and to validate on. In each epoch every training pair comes once, in random order; an update is one
/// batch, and a function of its number alone.
#[derive(Clone, Debug)]
pub struct SentencePairBatches {
    training: Arc<[PairRow]>,
    validation: Arc<[PairRow]>,
    masking: Masking,
    time: MaskingTime,
    batch_size: usize,
    random: Stream,
    device: Device,
    /// The epoch of the last update that was asked for and its order, which serves all its updates.
    epoch: RefCell<Option<(u64, Vec<usize>)>>,
}

impl SentencePairBatches {
    /// Batches of `batch_size` pairs; order and masks of training are those of `random`, and validation has one order
    /// and one mask for a pair, whatever the `time`.
    ///
    /// # Errors
    /// [`TextError::NoExample`] if there is nothing to train or to validate on, [`TextError::ZeroSize`].
    pub fn new(
        training: Vec<PairRow>,
        validation: Vec<PairRow>,
        masking: Masking,
        time: MaskingTime,
        batch_size: usize,
        random: Stream,
        device: &Device,
    ) -> Result<Self, TextError> {
        if batch_size == 0 {
            return Err(TextError::ZeroSize { name: "batch_size" });
        }
        for (name, pairs) in
            [("the training part", &training), ("the validation part", &validation)]
        {
            if pairs.is_empty() {
                return Err(TextError::NoExample { name: name.to_string() });
            }
        }
        // Tokens need no gradient, and the model of a validation is on the plain device.
        let device = device.clone().inner();
        let epoch = RefCell::new(None);
        let (training, validation) = (training.into(), validation.into());
        Ok(Self { training, validation, masking, time, batch_size, random, device, epoch })
    }

    /// The same pairs in the same order, masked in another way.
    pub fn with_masking(&self, masking: Masking) -> Self {
        Self { masking, ..self.clone() }
    }

    /// The batch of some pairs, each with the mask of its index.
    fn batch(&self, pairs: &[PairRow], indices: &[usize], masks: Stream) -> SentencePairBatch {
        let pairs_of = indices.iter().map(|index| &pairs[*index]);
        let rows: Vec<(&PairRow, MaskedRow)> = pairs_of
            .zip(indices)
            .map(|(pair, index)| (pair, self.masking.mask(&pair.tokens, masks.at(*index as u64))))
            .collect();
        SentencePairBatch::new(&rows, &self.device)
    }
}

impl Data for SentencePairBatches {
    type Batch = SentencePairBatch;

    fn update(&self, step: u64) -> Vec<SentencePairBatch> {
        let (epoch, index) = (step / self.updates_per_epoch(), step % self.updates_per_epoch());
        let mut known = self.epoch.borrow_mut();
        if known.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let order = self.random.named("order").at(epoch).permutation(self.training.len());
            *known = Some((epoch, order));
        }
        let (_, order) = known.as_ref().expect("the order was just made");
        let masks = self.random.named("masks");
        let masks = match self.time {
            MaskingTime::Static => masks,
            MaskingTime::Dynamic => masks.named("epoch").at(epoch),
        };
        let start = index as usize * self.batch_size;
        let end = order.len().min(start + self.batch_size);
        vec![self.batch(&self.training, &order[start..end], masks)]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = SentencePairBatch> {
        let masks = self.random.named("validation");
        let indices: Vec<usize> = (0..self.validation.len()).collect();
        let batches: Vec<Vec<usize>> =
            indices.chunks(self.batch_size).map(<[usize]>::to_vec).collect();
        batches.into_iter().map(move |indices| self.batch(&self.validation, &indices, masks))
    }

    fn updates_per_epoch(&self) -> u64 {
        self.training.len().div_ceil(self.batch_size) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use emberline_backend::test_device;
    use emberline_text::BertTokenizer;

    use super::*;
    use crate::masking::MaskingConfig;
    use crate::tiny_encoder::{VOCAB_SIZE, masking};

    /// A pair for each number, which its only token that can be masked says twelve times.
    fn numbered(numbers: std::ops::Range<u32>) -> Vec<PairRow> {
        let row = |number| [vec![2], vec![number; 12], vec![3, number, 3]].concat();
        let segments = [vec![0; 14], vec![1; 2]].concat();
        numbers
            .map(|number| PairRow {
                tokens: row(number),
                segments: segments.clone(),
                is_random: number % 2 == 1,
            })
            .collect()
    }

    fn batches(time: MaskingTime) -> SentencePairBatches {
        let (training, validation) = (numbered(5..15), numbered(15..18));
        let (random, device) = (Stream::new(1), test_device().autodiff());
        SentencePairBatches::new(training, validation, masking(), time, 4, random, &device).unwrap()
    }

    fn labels(batch: &SentencePairBatch) -> Vec<i32> {
        batch.labels.to_data().iter().collect()
    }

    /// The rows of an epoch, tokens as the model reads them, by their labels.
    fn rows(data: &SentencePairBatches, epoch: u64) -> BTreeSet<(i32, Vec<i32>)> {
        let steps = epoch * data.updates_per_epoch()..(epoch + 1) * data.updates_per_epoch();
        let rows = steps.flat_map(|step| {
            let batch = &data.update(step)[0];
            let ids: Vec<i32> = batch.tokens.tokens.to_data().iter().collect();
            let rows: Vec<Vec<i32>> = ids.chunks(16).map(<[i32]>::to_vec).collect();
            // Two of 16 tokens are masked.
            labels(batch).into_iter().step_by(2).zip(rows).collect::<Vec<_>>()
        });
        rows.collect()
    }

    #[test]
    fn an_epoch_is_every_pair_once_in_another_order() {
        let data = batches(MaskingTime::Static);
        assert_eq!(data.updates_per_epoch(), 3);
        let order = |epoch: u64| -> Vec<i32> {
            (0..3).flat_map(|step| labels(&data.update(epoch * 3 + step)[0])).step_by(2).collect()
        };
        for epoch in 0..2 {
            let mut sorted = order(epoch);
            sorted.sort_unstable();
            assert_eq!(sorted, Vec::from_iter(5..15));
        }
        assert_ne!(order(0), order(1));
        let batch = &data.update(2)[0];
        assert_eq!((batch.tokens.dims(), batch.is_random.dims()), ([2, 16], [2]));
    }

    #[test]
    fn static_masks_stay_and_dynamic_ones_change_with_the_epoch() {
        let data = batches(MaskingTime::Static);
        assert_eq!(rows(&data, 0), rows(&data, 1));
        let data = batches(MaskingTime::Dynamic);
        assert_ne!(rows(&data, 0), rows(&data, 1));
        // Going back gives what was there.
        let again = rows(&data, 0);
        assert_eq!(again, rows(&batches(MaskingTime::Dynamic), 0));
    }

    #[test]
    fn validation_is_in_order_and_the_same_each_time() {
        let data = batches(MaskingTime::Dynamic);
        let batches = || data.validation().map(|batch| labels(&batch)).collect::<Vec<_>>();
        assert_eq!(batches(), [[15, 15, 16, 16, 17, 17]]);
        let is_random: Vec<i32> =
            data.validation().next().unwrap().is_random.to_data().iter().collect();
        assert_eq!(is_random, [1, 0, 1]);
    }

    #[test]
    fn another_masking_is_of_the_same_pairs_in_the_same_order() {
        let data = batches(MaskingTime::Static);
        let tokenizer =
            BertTokenizer::learn(["abcdefghijklm nopqrstuvwxyz"], VOCAB_SIZE, true).unwrap();
        let keep = MaskingConfig { mask: 0.0, random: 0.0, ..MaskingConfig::default() };
        let kept = data.with_masking(Masking::new(keep, &tokenizer));
        for step in 0..6 {
            let ([one], [other]) = (&data.update(step)[..], &kept.update(step)[..]) else {
                panic!("one batch an update")
            };
            assert_eq!(labels(one), labels(other));
            let ids: Vec<i32> = other.tokens.tokens.to_data().iter().collect();
            assert!(!ids.contains(&4), "no token becomes [MASK]");
        }
    }

    #[test]
    fn nothing_to_train_or_validate_on_is_an_error() {
        let message = |training, validation, batch_size| {
            let (time, device) = (MaskingTime::Static, test_device());
            let random = Stream::new(1);
            SentencePairBatches::new(
                training,
                validation,
                masking(),
                time,
                batch_size,
                random,
                &device,
            )
            .unwrap_err()
            .to_string()
        };
        let error = message(Vec::new(), numbered(5..6), 1);
        assert_eq!(error, "the training part has no example");
        let error = message(numbered(5..6), Vec::new(), 1);
        assert_eq!(error, "the validation part has no example");
        let error = message(numbered(5..6), numbered(5..6), 0);
        assert_eq!(error, "batch_size is 0, but must be at least 1");
    }
}
