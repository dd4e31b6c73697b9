//! Classification: `-Σᵢ log p(labelᵢ)` over the rows of a batch, or over their tokens.

use emberline_backend::cross_entropy;
use emberline_core::task::{Row, Token};
use emberline_core::{Count, Loss, Stream, TaskModel, TokenBatch};
use emberline_training::Objective;

use crate::batches::LabelledBatch;

/// Every row has one label.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classification;

/// Every valid token has one label, or none, and then nothing is learnt of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenClassification;

const ROW_TERM: &str = "classification";
const TOKEN_TERM: &str = "token_classification";

impl<M: TaskModel<Item = Row>> Objective<M> for Classification {
    type Batch = LabelledBatch;
    type Carry = ();

    fn counts(&self, batch: &LabelledBatch) -> Vec<Count> {
        batch.counts(ROW_TERM)
    }

    fn loss(
        &self,
        model: &M,
        batch: &LabelledBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        (batch.loss(ROW_TERM, model, dropout), ())
    }

    fn tokens(&self, batch: &LabelledBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

impl<M: TaskModel<Item = Token>> Objective<M> for TokenClassification {
    type Batch = LabelledBatch;
    type Carry = ();

    fn counts(&self, batch: &LabelledBatch) -> Vec<Count> {
        batch.counts(TOKEN_TERM)
    }

    fn loss(
        &self,
        model: &M,
        batch: &LabelledBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        (batch.loss(TOKEN_TERM, model, dropout), ())
    }
}

impl LabelledBatch {
    fn counts(&self, term: &'static str) -> Vec<Count> {
        vec![Count { term, count: self.labels.dims()[0] as f64 }]
    }

    fn loss<M: TaskModel>(&self, term: &'static str, model: &M, dropout: Option<Stream>) -> Loss {
        let logits = model.logits(&TokenBatch { dropout, ..self.tokens.clone() });
        let logits = match &self.labelled {
            Some(places) => logits.select(0, places.clone()),
            None => logits,
        };
        Loss::single(term, cross_entropy(logits, self.labels.clone()))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::embedding;
    use burn::tensor::{Device, Tensor, TensorData};
    use emberline_backend::test_device;
    use emberline_text::{Example, UNLABELLED};

    use super::*;
    use crate::batches::ExampleBatch;

    const VOCAB_SIZE: usize = 5;
    const N_CLASSES: usize = 3;

    /// Scores each token by its row of the matrix.
    struct TinyTagger(Tensor<2>);

    /// Scores a row by the sum of the scores of its tokens.
    struct TinyClassifier(Tensor<2>);

    /// The scores of the tokens of the vocabulary, `[vocab_size, n_classes]`.
    fn scores(deviation: f64, device: &Device) -> Tensor<2> {
        let numbers = Stream::new(1).normals(VOCAB_SIZE * N_CLASSES, deviation);
        Tensor::from_data(TensorData::new(numbers, [VOCAB_SIZE, N_CLASSES]), device)
    }

    impl TaskModel for TinyTagger {
        type Item = Token;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            batch.valid(embedding(self.0.clone(), batch.tokens.clone()))
        }

        fn n_classes(&self) -> usize {
            N_CLASSES
        }
    }

    impl TaskModel for TinyClassifier {
        type Item = Row;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            let [batch_size, seq_length] = batch.dims();
            let lengths = batch.lengths.clone().unwrap_or_else(|| vec![seq_length; batch_size]);
            let tokens = embedding(self.0.clone(), batch.tokens.clone());
            let rows = lengths.iter().enumerate().map(|(row, length)| {
                tokens.clone().slice([row..row + 1, 0..*length, 0..N_CLASSES]).sum_dim(1)
            });
            Tensor::cat(rows.collect(), 0).squeeze_dim(1)
        }

        fn n_classes(&self) -> usize {
            N_CLASSES
        }
    }

    fn batch(rows: &[(&[u32], &[u32])]) -> LabelledBatch {
        let examples: Vec<Example> = rows
            .iter()
            .map(|(tokens, labels)| Example {
                tokens: tokens.to_vec(),
                labels: labels.to_vec(),
                ..Example::default()
            })
            .collect();
        LabelledBatch::new(&examples.iter().collect::<Vec<_>>(), &test_device())
    }

    fn value(loss: &Loss) -> f64 {
        loss.terms[0].sum.clone().into_scalar::<f64>()
    }

    #[test]
    fn uniform_scores_lose_the_logarithm_of_the_classes_at_every_row_or_token() {
        let rows = batch(&[(&[1, 2, 3], &[0]), (&[4], &[2])]);
        let model = TinyClassifier(scores(0.0, &test_device()));
        let counts = Objective::<TinyClassifier>::counts(&Classification, &rows);
        assert_eq!(counts, [Count { term: "classification", count: 2.0 }]);
        let (loss, ()) = Classification.loss(&model, &rows, None, None);
        assert!((value(&loss) - 2.0 * (N_CLASSES as f64).ln()).abs() < 1e-6);
        assert_eq!(Objective::<TinyClassifier>::tokens(&Classification, &rows), 4);

        let tokens = batch(&[(&[1, 2, 3], &[0, 1, 2]), (&[4], &[2])]);
        let model = TinyTagger(scores(0.0, &test_device()));
        let counts = Objective::<TinyTagger>::counts(&TokenClassification, &tokens);
        assert_eq!(counts, [Count { term: "token_classification", count: 4.0 }]);
        let (loss, ()) = TokenClassification.loss(&model, &tokens, None, None);
        assert!((value(&loss) - 4.0 * (N_CLASSES as f64).ln()).abs() < 1e-6);
    }

    #[test]
    fn the_losses_of_rows_add_up_to_that_of_their_batch() {
        let model = TinyTagger(scores(1.0, &test_device()));
        let rows: [(&[u32], &[u32]); 3] =
            [(&[1, 2], &[0, 1]), (&[4], &[2]), (&[3, 3, 0], &[1, 0, 2])];
        let loss = |batch| value(&TokenClassification.loss(&model, &batch, None, None).0);
        let alone: f64 = rows.iter().map(|row| loss(batch(&[*row]))).sum();
        assert!((alone - loss(batch(&rows))).abs() < 1e-5);
    }

    #[test]
    fn a_token_without_a_label_costs_nothing_and_is_not_counted() {
        let model = TinyTagger(scores(1.0, &test_device()));
        let none = UNLABELLED;
        let loss = |rows: &[(&[u32], &[u32])]| {
            value(&TokenClassification.loss(&model, &batch(rows), None, None).0)
        };
        // The tokens of this model know nothing of each other.
        let some = [(&[1, 2, 3][..], &[none, 1, none][..]), (&[4, 0], &[none, 2])];
        let alone = loss(&[(&[2], &[1])]) + loss(&[(&[0], &[2])]);
        assert!((loss(&some) - alone).abs() < 1e-5);
        let counts = Objective::<TinyTagger>::counts(&TokenClassification, &batch(&some));
        assert_eq!(counts, [Count { term: "token_classification", count: 2.0 }]);
    }

    #[test]
    #[should_panic(expected = "one target for each row of logits")]
    fn a_label_for_each_token_does_not_fit_a_classifier_of_rows() {
        let model = TinyClassifier(scores(0.0, &test_device()));
        Classification.loss(&model, &batch(&[(&[1, 2], &[0, 1])]), None, None);
    }
}
