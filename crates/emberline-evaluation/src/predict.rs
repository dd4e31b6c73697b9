//! What a model predicts.

use burn::tensor::{Device, Tensor};
use emberline_core::task::{Group, Row, Token};
use emberline_core::{TaskModel, TokenBatch};
use emberline_text::{Example, token_batch};

/// The class with the highest score of each row.
///
/// Rows may differ in length; those of about one length are read together, `batch_size` at a time. The
/// model is one on the plain device `device`: [`valid()`](burn::module::Module::valid) of a model in training.
///
/// # Panics
/// If a row is empty, or `batch_size` is 0.
pub fn predict_rows<M: TaskModel<Item = Row>>(
    model: &M,
    rows: &[&[u32]],
    batch_size: usize,
    device: &Device,
) -> Vec<u32> {
    let classes = predict(model, rows, batch_size, device, |_| 1);
    classes.into_iter().map(|classes| classes[0]).collect()
}

/// The class with the highest score of each group of rows, `batch_size` groups at a time.
///
/// The device is that of [`predict_rows`].
///
/// # Panics
/// If a group or a row is empty, or `batch_size` is 0.
pub fn predict_groups<M: TaskModel<Item = Group>>(
    model: &M,
    groups: &[&[Vec<u32>]],
    batch_size: usize,
    device: &Device,
) -> Vec<u32> {
    let length = |group: &[Vec<u32>]| group.iter().map(Vec::len).max();
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|group| length(groups[*group]));
    let mut predicted = vec![0; groups.len()];
    for indices in order.chunks(batch_size) {
        let rows = indices.iter().flat_map(|index| groups[*index]);
        let rows: Vec<&[u32]> = rows.map(Vec::as_slice).collect();
        let classes = best(model.logits(&TokenBatch::padded(&rows, device)));
        assert_eq!(classes.len(), indices.len(), "a class for each group");
        indices.iter().zip(classes).for_each(|(index, class)| predicted[*index] = class);
    }
    predicted
}

/// The class with the highest score of each token of each row.
///
/// Batches, device and panics are those of [`predict_rows`].
pub fn predict_tokens<M: TaskModel<Item = Token>>(
    model: &M,
    rows: &[&[u32]],
    batch_size: usize,
    device: &Device,
) -> Vec<Vec<u32>> {
    predict(model, rows, batch_size, device, <[u32]>::len)
}

/// The scores of each example, `[n_items][n_classes]`: of one item where the model scores rows, of all tokens where it
/// scores them.
///
/// Batches and device are those of [`predict_rows`]; the labels of the examples are not looked at.
///
/// # Panics
/// If an example has no token, or `batch_size` is 0.
pub fn example_scores<M: TaskModel>(
    model: &M,
    examples: &[Example],
    batch_size: usize,
    device: &Device,
) -> Vec<Vec<Vec<f32>>> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|index| examples[*index].tokens.len());
    let mut scores = vec![Vec::new(); examples.len()];
    for indices in order.chunks(batch_size) {
        let batch: Vec<&Example> = indices.iter().map(|index| &examples[*index]).collect();
        let logits = model.logits(&token_batch(&batch, device));
        let [n_items, n_classes] = logits.dims();
        let numbers: Vec<f32> = logits.into_data().iter().collect();
        let mut items = numbers.chunks(n_classes).map(<[f32]>::to_vec);
        let is_of_rows = n_items == batch.len();
        for (index, example) in indices.iter().zip(&batch) {
            let n_items = if is_of_rows { 1 } else { example.tokens.len() };
            scores[*index].extend(items.by_ref().take(n_items));
        }
    }
    scores
}

/// The class with the highest of some scores; of equal ones, the first.
///
/// # Panics
/// If there is none.
pub fn best_class(scores: &[f32]) -> u32 {
    let classes = scores.iter().enumerate().rev();
    let best = classes.max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.expect("there is at least one class").0 as u32
}

/// The classes of each row, of which there are `n_items`.
fn predict<M: TaskModel>(
    model: &M,
    rows: &[&[u32]],
    batch_size: usize,
    device: &Device,
    n_items: impl Fn(&[u32]) -> usize,
) -> Vec<Vec<u32>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| rows[*row].len());
    let mut predicted = vec![Vec::new(); rows.len()];
    for indices in order.chunks(batch_size) {
        let batch: Vec<&[u32]> = indices.iter().map(|index| rows[*index]).collect();
        let logits = model.logits(&TokenBatch::padded(&batch, device));
        let mut classes = best(logits).into_iter();
        for (index, row) in indices.iter().zip(&batch) {
            predicted[*index].extend(classes.by_ref().take(n_items(row)));
        }
    }
    predicted
}

/// The class with the highest score of each item; of equal scores, the first.
fn best(logits: Tensor<2>) -> Vec<u32> {
    let [n_items, _] = logits.dims();
    logits
        .argmax(1)
        .reshape([n_items])
        .into_data()
        .iter::<i64>()
        .map(|class| class as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    const N_CLASSES: usize = 10;

    /// The class of a token is its id plus its row's length.
    struct IdPlusLength;

    /// The class of a row is the last digit of its sum.
    struct LastDigitOfSum;

    fn rows_of(batch: &TokenBatch) -> Vec<Vec<usize>> {
        let [_, seq_length] = batch.dims();
        let ids: Vec<i64> = batch.tokens.to_data().iter().collect();
        let rows = ids.chunks(seq_length).enumerate().map(|(row, ids)| {
            let length = batch.lengths.as_ref().map_or(seq_length, |lengths| lengths[row]);
            ids[..length].iter().map(|id| *id as usize).collect()
        });
        rows.collect()
    }

    fn one_hot(classes: &[usize]) -> Tensor<2> {
        let row = |class: &usize| {
            let mut row = [0.0f32; N_CLASSES];
            row[*class] = 1.0;
            Tensor::<2>::from_data([row], &test_device())
        };
        Tensor::cat(classes.iter().map(row).collect(), 0)
    }

    impl TaskModel for IdPlusLength {
        type Item = Token;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            let rows = rows_of(batch);
            let classes =
                rows.iter().flat_map(|row| row.iter().map(|id| id + row.len()).collect::<Vec<_>>());
            one_hot(&classes.collect::<Vec<_>>())
        }

        fn n_classes(&self) -> usize {
            N_CLASSES
        }
    }

    impl TaskModel for LastDigitOfSum {
        type Item = Row;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            let sums = rows_of(batch).into_iter().map(|row| row.iter().sum::<usize>() % 10);
            one_hot(&sums.collect::<Vec<_>>())
        }

        fn n_classes(&self) -> usize {
            N_CLASSES
        }
    }

    #[test]
    fn predictions_come_in_the_order_of_the_rows_whatever_the_batches() {
        let rows: [&[u32]; 4] = [&[1, 2, 3], &[4], &[5, 6], &[2]];
        for batch_size in 1..=5 {
            let tokens = predict_tokens(&IdPlusLength, &rows, batch_size, &test_device());
            assert_eq!(tokens, [vec![4, 5, 6], vec![5], vec![7, 8], vec![3]]);
            let classes = predict_rows(&LastDigitOfSum, &rows, batch_size, &test_device());
            assert_eq!(classes, [6, 4, 1, 2]);
        }
    }

    /// The class of a pair of rows is the last digit of the product of their sums.
    struct LastDigitOfProduct;

    impl TaskModel for LastDigitOfProduct {
        type Item = Group;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            let sums: Vec<usize> = rows_of(batch).into_iter().map(|row| row.iter().sum()).collect();
            one_hot(&sums.chunks(2).map(|pair| pair[0] * pair[1] % 10).collect::<Vec<_>>())
        }

        fn n_classes(&self) -> usize {
            N_CLASSES
        }
    }

    #[test]
    fn a_group_of_rows_has_one_prediction() {
        let groups = [[vec![1, 2], vec![4]], [vec![3], vec![2, 2, 2]], [vec![5], vec![1]]];
        let groups: Vec<&[Vec<u32>]> = groups.iter().map(|group| &group[..]).collect();
        for batch_size in 1..=4 {
            let found = predict_groups(&LastDigitOfProduct, &groups, batch_size, &test_device());
            assert_eq!(found, [2, 8, 5]);
        }
    }

    #[test]
    fn scores_are_those_of_rows_or_of_tokens_and_the_best_is_what_is_predicted() {
        let rows: [&[u32]; 4] = [&[1, 2, 3], &[4], &[5, 6], &[2]];
        let example = |tokens: &&[u32]| Example { tokens: tokens.to_vec(), ..Example::default() };
        let examples: Vec<Example> = rows.iter().map(example).collect();
        for batch_size in 1..=5 {
            let of_tokens = example_scores(&IdPlusLength, &examples, batch_size, &test_device());
            let best: Vec<Vec<u32>> = of_tokens
                .iter()
                .map(|row| row.iter().map(|item| best_class(item)).collect())
                .collect();
            assert_eq!(best, predict_tokens(&IdPlusLength, &rows, batch_size, &test_device()));
            let of_rows = example_scores(&LastDigitOfSum, &examples, batch_size, &test_device());
            let best: Vec<u32> = of_rows.iter().map(|row| best_class(&row[0])).collect();
            assert_eq!(best, [6, 4, 1, 2]);
            assert!(of_rows.iter().all(|row| row.len() == 1));
        }
        assert_eq!(best_class(&[1.0, 3.0, 3.0]), 1);
    }

    #[test]
    fn no_row_has_no_prediction() {
        assert!(predict_rows(&LastDigitOfSum, &[], 3, &test_device()).is_empty());
    }
}
