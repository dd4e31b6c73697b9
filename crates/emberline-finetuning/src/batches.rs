//! Examples as padded batches.

use burn::tensor::{Device, Int, Tensor};
use emberline_core::{Stream, TokenBatch};
use emberline_text::{Example, TextError, UNLABELLED, token_batch};
use emberline_training::Data;

use crate::epochs::Epochs;

/// A batch that is made of examples.
///
/// Generic over it: [`Batches`].
pub trait ExampleBatch {
    /// What it is made of.
    type Example;

    /// The batch of some examples, as long as the longest of them.
    ///
    /// # Panics
    /// If there is no example, or one has too few tokens.
    fn new(examples: &[&Self::Example], device: &Device) -> Self;

    /// The tokens of the longest row of an example.
    fn length(example: &Self::Example) -> usize;
}

/// Padded rows, and the labels of what is scored in them.
#[derive(Clone, Debug)]
pub struct LabelledBatch {
    /// What the model reads, `[batch_size, seq_length]`.
    pub tokens: TokenBatch,
    /// What is right: `[batch_size]` of rows, or `[n_labelled]` of the labelled tokens, row after row.
    pub labels: Tensor<1, Int>,
    /// Which of the valid tokens the labels are of, `[n_labelled]`; `None` where every one has a label, or every row.
    pub labelled: Option<Tensor<1, Int>>,
}

impl ExampleBatch for LabelledBatch {
    type Example = Example;

    fn new(examples: &[&Example], device: &Device) -> Self {
        let labels: Vec<u32> =
            examples.iter().flat_map(|example| &example.labels).copied().collect();
        let places = (0..labels.len()).filter(|place| labels[*place] != UNLABELLED);
        let places: Vec<i32> = places.map(|place| place as i32).collect();
        let known: Vec<i32> = labels
            .iter()
            .filter(|label| **label != UNLABELLED)
            .map(|label| *label as i32)
            .collect();
        let is_partly = known.len() < labels.len();
        Self {
            tokens: token_batch(examples, device),
            labels: Tensor::from_data(known.as_slice(), device),
            labelled: is_partly.then(|| Tensor::from_data(places.as_slice(), device)),
        }
    }

    fn length(example: &Example) -> usize {
        example.tokens.len()
    }
}

/// Examples to train and to validate on. In each epoch every training example comes once, those of about one length
/// together.
#[derive(Clone, Debug)]
pub struct Batches<B: ExampleBatch> {
    training: Vec<B::Example>,
    epochs: Epochs,
    validation: Vec<B::Example>,
    device: Device,
}

/// Rows with their labels, to train and to validate on.
pub type LabelledBatches = Batches<LabelledBatch>;

impl<B: ExampleBatch> Batches<B> {
    /// Batches of `batch_size` examples; the order of training is that of `random`, and of validation the one
    /// given.
    ///
    /// # Errors
    /// [`TextError::NoExample`] if there is nothing to train or to validate on, [`TextError::ZeroSize`].
    pub fn new(
        training: Vec<B::Example>,
        validation: Vec<B::Example>,
        batch_size: usize,
        random: Stream,
        device: &Device,
    ) -> Result<Self, TextError> {
        let lengths = training.iter().map(B::length).collect();
        let epochs = Epochs::new(lengths, validation.len(), batch_size, random)?;
        // Tokens need no gradient, and the model of a validation is on the plain device.
        Ok(Self { training, epochs, validation, device: device.clone().inner() })
    }
}

impl<B: ExampleBatch> Data for Batches<B> {
    type Batch = B;

    fn update(&self, step: u64) -> Vec<B> {
        let rows = self.epochs.rows(step);
        let examples: Vec<&B::Example> = rows.iter().map(|row| &self.training[*row]).collect();
        vec![B::new(&examples, &self.device)]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = B> {
        self.validation
            .chunks(self.epochs.batch_size())
            .map(|examples| B::new(&examples.iter().collect::<Vec<_>>(), &self.device))
    }

    fn updates_per_epoch(&self) -> u64 {
        self.epochs.n_updates()
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    /// The example at an index: that many tokens and one more, all with its number, and its number as label.
    fn examples(numbers: std::ops::Range<u32>) -> Vec<Example> {
        let example = |number: u32| Example {
            tokens: vec![number; number as usize % 7 + 1],
            labels: vec![number],
            ..Example::default()
        };
        numbers.map(example).collect()
    }

    fn batches(batch_size: usize) -> LabelledBatches {
        let device = test_device().autodiff();
        LabelledBatches::new(examples(0..10), examples(10..15), batch_size, Stream::new(1), &device)
            .unwrap()
    }

    fn ids<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<u32> {
        tensor.to_data().iter::<i32>().map(|id| id as u32).collect()
    }

    fn labels_of_epoch(data: &LabelledBatches, epoch: u64) -> Vec<u32> {
        let steps = epoch * data.updates_per_epoch()..(epoch + 1) * data.updates_per_epoch();
        steps.flat_map(|step| ids(&data.update(step)[0].labels)).collect()
    }

    #[test]
    fn an_epoch_is_every_example_once_in_an_order_of_its_own() {
        let data = batches(4);
        assert_eq!(data.updates_per_epoch(), 3);
        let (first, second) = (labels_of_epoch(&data, 0), labels_of_epoch(&data, 1));
        assert_ne!(first, second);
        assert_eq!(first, labels_of_epoch(&batches(4), 0));
        for mut labels in [first, second] {
            labels.sort_unstable();
            assert_eq!(labels, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_update_is_the_same_whichever_was_asked_for_before() {
        let data = batches(4);
        let forward: Vec<_> = (0..9).map(|step| ids(&data.update(step)[0].labels)).collect();
        let mut backward: Vec<_> =
            (0..9).rev().map(|step| ids(&data.update(step)[0].labels)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
    }

    #[test]
    fn labels_stay_with_their_rows() {
        let data = batches(3);
        for step in 0..8 {
            let [batch] = &data.update(step)[..] else { panic!("one batch an update") };
            let [batch_size, seq_length] = batch.tokens.dims();
            let (tokens, labels) = (ids(&batch.tokens.tokens), ids(&batch.labels));
            assert_eq!(labels.len(), batch_size);
            for (row, label) in tokens.chunks(seq_length).zip(labels) {
                let length = label as usize % 7 + 1;
                assert!(row[..length].iter().all(|token| *token == label), "{row:?} of {label}");
                assert!(row[length..].iter().all(|token| *token == 0), "{row:?} of {label}");
            }
        }
    }

    #[test]
    fn validation_is_in_order_and_to_the_end() {
        let validation: Vec<_> = batches(2).validation().collect();
        let labels: Vec<Vec<u32>> = validation.iter().map(|batch| ids(&batch.labels)).collect();
        assert_eq!(labels, [vec![10, 11], vec![12, 13], vec![14]]);
        assert_eq!(validation[1].tokens.lengths, Some(vec![6, 7]));
    }

    #[test]
    fn tokens_without_a_label_are_none_of_the_batch_and_segments_come_along() {
        let none = UNLABELLED;
        let example = |tokens: &[u32], segments: &[u32], labels: &[u32]| Example {
            tokens: tokens.into(),
            segments: segments.into(),
            labels: labels.into(),
        };
        let examples = [
            example(&[1, 2, 3], &[0, 0, 1], &[none, 7, none]),
            example(&[4, 5], &[0, 1], &[8, none]),
        ];
        let batch = LabelledBatch::new(&examples.iter().collect::<Vec<_>>(), &test_device());
        // Of the five valid tokens the second and the fourth.
        assert_eq!(batch.labelled.map(|places| ids(&places)), Some(vec![1, 3]));
        assert_eq!(ids(&batch.labels), [7, 8]);
        assert_eq!(
            batch.tokens.segments.map(|segments| ids(&segments)),
            Some(vec![0, 0, 1, 0, 1, 0])
        );
    }

    #[test]
    fn nothing_to_train_or_validate_on_and_batches_of_nothing_are_errors() {
        let new = |training, validation, batch_size| {
            let random = Stream::new(1);
            LabelledBatches::new(training, validation, batch_size, random, &test_device())
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(new(Vec::new(), examples(0..1), 1), "the training part has no example");
        assert_eq!(new(examples(0..1), Vec::new(), 1), "the validation part has no example");
        assert_eq!(
            new(examples(0..1), examples(0..1), 0),
            "batch_size is 0, but must be at least 1"
        );
    }
}
