//! Examples of one row or of several as padded batches, with the next token of every place.

use burn::tensor::{Device, Int, Tensor};
use emberline_core::TokenBatch;

use crate::batches::{Batches, ExampleBatch};

/// Rows that get one label together: a text, a pair in both orders, a question with each answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupExample {
    /// The ids of the tokens of each row, at least two.
    pub rows: Vec<Vec<u32>>,
    /// What is right: a class, or the number of the right row.
    pub label: u32,
}

/// Padded rows in groups, the label of each group, and the tokens to predict in the rows.
#[derive(Clone, Debug)]
pub struct GroupBatch {
    /// What the model reads, `[batch_size, seq_length]`.
    pub tokens: TokenBatch,
    /// What is right, `[n_groups]`.
    pub labels: Tensor<1, Int>,
    /// The places of all rows, row after row, that a valid token follows, `[n_targets]`.
    pub places: Tensor<1, Int>,
    /// The tokens that follow, `[n_targets]`.
    pub targets: Tensor<1, Int>,
}

impl ExampleBatch for GroupBatch {
    type Example = GroupExample;

    fn new(examples: &[&GroupExample], device: &Device) -> Self {
        let rows: Vec<&[u32]> =
            examples.iter().flat_map(|example| &example.rows).map(Vec::as_slice).collect();
        assert!(rows.iter().all(|row| row.len() > 1), "a row has a first token and a next one");
        let tokens = TokenBatch::padded(&rows, device);
        let [_, seq_length] = tokens.dims();
        let places = rows.iter().enumerate().flat_map(|(row, tokens)| {
            (0..tokens.len() - 1).map(move |place| (row * seq_length + place) as i32)
        });
        let targets = rows.iter().flat_map(|row| &row[1..]).map(|token| *token as i32);
        let labels = examples.iter().map(|example| example.label as i32);
        let ids = |ids: Vec<i32>| Tensor::from_data(ids.as_slice(), device);
        Self {
            labels: ids(labels.collect()),
            places: ids(places.collect()),
            targets: ids(targets.collect()),
            tokens,
        }
    }

    fn length(example: &GroupExample) -> usize {
        example.rows.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// Groups of rows with their labels, to train and to validate on.
pub type GroupBatches = Batches<GroupBatch>;

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::Stream;
    use emberline_training::Data;

    use super::*;

    fn ids<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i32> {
        tensor.to_data().iter().collect()
    }

    #[test]
    fn a_batch_knows_what_follows_each_valid_token() {
        let pairs = [
            GroupExample { rows: vec![vec![1, 2, 3], vec![4, 5]], label: 7 },
            GroupExample { rows: vec![vec![6, 7], vec![8, 9, 1, 2]], label: 0 },
        ];
        let batch = GroupBatch::new(&pairs.iter().collect::<Vec<_>>(), &test_device());
        assert_eq!((batch.tokens.dims(), ids(&batch.labels)), ([4, 4], vec![7, 0]));
        assert_eq!(ids(&batch.places), [0, 1, 4, 8, 12, 13, 14]);
        assert_eq!(ids(&batch.targets), [2, 3, 5, 7, 9, 1, 2]);
    }

    #[test]
    fn an_epoch_is_every_group_once_and_rows_stay_together() {
        let example = |number: u32| GroupExample {
            rows: vec![vec![number; 2 + number as usize % 5], vec![number; 3]],
            label: number,
        };
        let (training, validation) = ((0..10).map(example).collect(), (10..13).map(example));
        let device = test_device().autodiff();
        let data =
            GroupBatches::new(training, validation.collect(), 4, Stream::new(1), &device).unwrap();
        assert_eq!(data.updates_per_epoch(), 3);
        let mut seen = Vec::new();
        for batch in (0..3).flat_map(|step| data.update(step)) {
            let [_, seq_length] = batch.tokens.dims();
            let rows = ids(&batch.tokens.tokens);
            let first: Vec<i32> = rows.chunks(seq_length).map(|row| row[0]).collect();
            let labels = ids(&batch.labels);
            assert_eq!(first, labels.iter().flat_map(|label| [*label; 2]).collect::<Vec<_>>());
            seen.extend(labels);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        let labels: Vec<_> = data.validation().map(|batch| ids(&batch.labels)).collect();
        assert_eq!(labels, [[10, 11, 12]]);
    }
}
