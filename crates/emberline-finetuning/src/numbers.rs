//! Rows with a number for each of their scores: labels of which a row has any number, and regression.
//!
//! ```text
//! multi_label    Σᵢ -yᵢ log σ(sᵢ) - (1 - yᵢ) log(1 - σ(sᵢ))        yᵢ: 1 where the label is there, 0 where not
//! regression     Σᵢ (sᵢ - yᵢ)²
//! ```

use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_core::task::Row;
use emberline_core::{Count, Loss, Stream, TaskModel, TokenBatch};
use emberline_training::Objective;

/// Every label of a row is there or not, whatever the others are.
#[derive(Clone, Copy, Debug, Default)]
pub struct MultiLabel;

/// The scores of a row are numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Regression;

/// Padded rows, and the number that each of their scores should be.
#[derive(Clone, Debug)]
pub struct NumberBatch {
    /// What the model reads, `[batch_size, seq_length]`.
    pub tokens: TokenBatch,
    /// What is right, `[batch_size, n_classes]`.
    pub targets: Tensor<2>,
}

impl NumberBatch {
    /// Rows with the numbers of each.
    ///
    /// # Panics
    /// If there is not a list of numbers for each row, or they differ in length.
    pub fn new(tokens: TokenBatch, numbers: &[&[f32]], device: &Device) -> Self {
        let [batch_size, _] = tokens.dims();
        assert_eq!(numbers.len(), batch_size, "the numbers of each row");
        let n = numbers.first().map_or(0, |numbers| numbers.len());
        assert!(numbers.iter().all(|numbers| numbers.len() == n), "{n} numbers for each row");
        let targets = Tensor::from_data(TensorData::new(numbers.concat(), [batch_size, n]), device);
        Self { tokens, targets }
    }

    fn counts(&self, term: &'static str) -> Vec<Count> {
        let [batch_size, n] = self.targets.dims();
        vec![Count { term, count: (batch_size * n) as f64 }]
    }

    /// The scores and what they should be, which have one shape.
    fn pairs<M: TaskModel>(&self, model: &M, dropout: Option<Stream>) -> [Tensor<2>; 2] {
        let logits = model.logits(&TokenBatch { dropout, ..self.tokens.clone() });
        assert_eq!(logits.dims(), self.targets.dims(), "a number for each score");
        [logits, self.targets.clone()]
    }
}

impl<M: TaskModel<Item = Row>> Objective<M> for MultiLabel {
    type Batch = NumberBatch;
    type Carry = ();

    fn counts(&self, batch: &NumberBatch) -> Vec<Count> {
        batch.counts("multi_label")
    }

    fn loss(
        &self,
        model: &M,
        batch: &NumberBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let [logits, targets] = batch.pairs(model, dropout);
        // Of no number above 1 is an exponential taken.
        let rest = logits.clone().abs().neg().exp().log1p();
        let sum = (relu(logits.clone()) - logits * targets + rest).sum();
        (Loss::single("multi_label", sum), ())
    }

    fn tokens(&self, batch: &NumberBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

impl<M: TaskModel<Item = Row>> Objective<M> for Regression {
    type Batch = NumberBatch;
    type Carry = ();

    fn counts(&self, batch: &NumberBatch) -> Vec<Count> {
        batch.counts("regression")
    }

    fn loss(
        &self,
        model: &M,
        batch: &NumberBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let [found, targets] = batch.pairs(model, dropout);
        (Loss::single("regression", (found - targets).square().sum()), ())
    }

    fn tokens(&self, batch: &NumberBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    /// Scores every row by these numbers.
    struct Constant(Vec<f32>);

    impl TaskModel for Constant {
        type Item = Row;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            let scores = TensorData::new(self.0.clone(), [1, self.0.len()]);
            let scores = Tensor::<2>::from_data(scores, &test_device());
            scores.repeat_dim(0, batch.dims()[0])
        }

        fn n_classes(&self) -> usize {
            self.0.len()
        }
    }

    fn batch(numbers: &[&[f32]]) -> NumberBatch {
        let rows: Vec<&[u32]> = numbers.iter().map(|_| &[1, 2][..]).collect();
        NumberBatch::new(TokenBatch::padded(&rows, &test_device()), numbers, &test_device())
    }

    fn sum(loss: (Loss, ())) -> f64 {
        loss.0.terms[0].sum.clone().into_scalar::<f64>()
    }

    #[test]
    fn a_label_that_is_certain_costs_nothing_and_one_that_is_not_known_a_bit() {
        let model = Constant(vec![1000.0, -1000.0, 0.0]);
        let right = batch(&[&[1.0, 0.0, 1.0], &[1.0, 0.0, 0.0]]);
        let counts = Objective::<Constant>::counts(&MultiLabel, &right);
        assert_eq!(counts, [Count { term: "multi_label", count: 6.0 }]);
        let loss = sum(MultiLabel.loss(&model, &right, None, None));
        assert!((loss - 2.0 * 2f64.ln()).abs() < 1e-6, "{loss}");
        let wrong = sum(MultiLabel.loss(&model, &batch(&[&[0.0, 1.0, 1.0]]), None, None));
        assert!((wrong - 2000.0 - 2f64.ln()).abs() < 1e-3, "{wrong}");
    }

    #[test]
    fn regression_adds_up_squares() {
        let (model, rows) = (Constant(vec![1.5]), batch(&[&[1.0], &[3.5]]));
        let counts = Objective::<Constant>::counts(&Regression, &rows);
        assert_eq!(counts, [Count { term: "regression", count: 2.0 }]);
        assert_eq!(sum(Regression.loss(&model, &rows, None, None)), 4.25);
    }

    #[test]
    #[should_panic(expected = "a number for each score")]
    fn other_numbers_than_there_are_scores_are_refused() {
        let _ = Regression.loss(&Constant(vec![1.0, 2.0]), &batch(&[&[1.0]]), None, None);
    }
}
