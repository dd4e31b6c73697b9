//! An answer in a text: `-log p(start) - log p(end)`, each over the tokens of its row; and a choice between rows.
//!
//! A start and an end are looked for among the tokens of the text alone. `transformers` looks in the padding too, where
//! there is nothing to find.

use burn::tensor::{Bool, Device, Int, Tensor};
use emberline_backend::cross_entropy;
use emberline_core::task::{Row, Token};
use emberline_core::{Count, Loss, Stream, TaskModel, Term, TokenBatch};
use emberline_text::{Example, token_batch};
use emberline_training::Objective;

use crate::batches::{Batches, ExampleBatch, LabelledBatch};

/// Every row has an answer in it, of which a model with two scores a token marks the start and the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers;

/// Of so many rows after each other one is right, which a model with one score a row tells.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The rows of a question.
    pub n_choices: usize,
}

/// Padded rows, and the first and the last token of the answer in each.
#[derive(Clone, Debug)]
pub struct AnswerBatch {
    /// What the model reads, `[batch_size, seq_length]`.
    pub tokens: TokenBatch,
    /// The first and the last token of the answer of each row, counted from the row's first; where there is no answer,
    /// both are the first token.
    pub answers: Vec<[usize; 2]>,
}

const TERMS: [&str; 2] = ["answer_start", "answer_end"];
const CHOICE: &str = "choice";

impl<M: TaskModel<Item = Token>> Objective<M> for Answers {
    type Batch = AnswerBatch;
    type Carry = ();

    fn counts(&self, batch: &AnswerBatch) -> Vec<Count> {
        TERMS.map(|term| Count { term, count: batch.answers.len() as f64 }).to_vec()
    }

    fn loss(
        &self,
        model: &M,
        batch: &AnswerBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let logits = model.logits(&TokenBatch { dropout, ..batch.tokens.clone() });
        assert_eq!(logits.dims()[1], 2, "a score for the start of an answer and one for its end");
        let terms = TERMS.into_iter().enumerate().map(|(kind, name)| {
            let scores = logits.clone().narrow(1, kind, 1).squeeze_dim::<1>(1);
            let sum = batch.cross_entropy(scores, kind);
            Term { name, weight: 0.5, sum }
        });
        (Loss { terms: terms.collect() }, ())
    }

    fn tokens(&self, batch: &AnswerBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

impl ExampleBatch for AnswerBatch {
    type Example = Example;

    /// # Panics
    /// If the labels of an example are not the first and the last token of an answer.
    fn new(examples: &[&Example], device: &Device) -> Self {
        let answer = |example: &&Example| match example.labels[..] {
            [first, last] => [first as usize, last as usize],
            _ => panic!("an answer has a first and a last token, not {:?}", example.labels),
        };
        Self {
            tokens: token_batch(examples, device),
            answers: examples.iter().map(answer).collect(),
        }
    }

    fn length(example: &Example) -> usize {
        example.tokens.len()
    }
}

/// Rows with answers in them, to train and to validate on.
pub type AnswerBatches = Batches<AnswerBatch>;

impl AnswerBatch {
    /// The cross-entropy of the start or of the end, with a score for each valid token.
    fn cross_entropy(&self, scores: Tensor<1>, kind: usize) -> Tensor<1> {
        let ranges = self.tokens.ranges();
        let [_, seq_length] = self.tokens.dims();
        assert_eq!(ranges.len(), self.answers.len(), "an answer for each row");
        // Where the scores of each row are, and the first of them where the row has ended: that one is hidden.
        let (mut places, mut hidden, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for (range, answer) in ranges.iter().zip(&self.answers) {
            let (length, target) = (range.len(), answer[kind]);
            assert!(target < length, "an answer at token {target} of a row of {length}");
            targets.push(target as i32);
            places.extend((0..seq_length).map(|i| (first + if i < length { i } else { 0 }) as i32));
            hidden.extend((0..seq_length).map(|i| i >= length));
            first += length;
        }
        let device = scores.device().inner();
        let shape = [ranges.len(), seq_length];
        let places = Tensor::<1, Int>::from_data(places.as_slice(), &device);
        let hidden = Tensor::<1, Bool>::from_data(hidden.as_slice(), &device);
        let scores = scores.select(0, places).mask_fill(hidden, -1e30).reshape(shape);
        cross_entropy(scores, Tensor::from_data(targets.as_slice(), &device))
    }
}

impl<M: TaskModel<Item = Row>> Objective<M> for Choice {
    type Batch = LabelledBatch;
    type Carry = ();

    fn counts(&self, batch: &LabelledBatch) -> Vec<Count> {
        vec![Count { term: CHOICE, count: batch.labels.dims()[0] as f64 }]
    }

    fn loss(
        &self,
        model: &M,
        batch: &LabelledBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let logits = model.logits(&TokenBatch { dropout, ..batch.tokens.clone() });
        let ([rows, n_scores], [n_questions]) = (logits.dims(), batch.labels.dims());
        assert_eq!(n_scores, 1, "a score for each row");
        assert_eq!(rows, n_questions * self.n_choices, "the rows of {n_questions} questions");
        let logits = logits.reshape([n_questions, self.n_choices]);
        (Loss::single(CHOICE, cross_entropy(logits, batch.labels.clone())), ())
    }

    fn tokens(&self, batch: &LabelledBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;

    use super::*;

    /// Scores a token by its id: as a start, and by a tenth of it as an end.
    struct ById;

    impl TaskModel for ById {
        type Item = Token;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            let [batch_size, seq_length] = batch.dims();
            let ids = batch.tokens.clone().float().reshape([batch_size, seq_length, 1]);
            batch.valid(Tensor::cat(vec![ids.clone(), ids * 0.1], 2))
        }

        fn n_classes(&self) -> usize {
            2
        }
    }

    /// Scores a row by its first token.
    struct ByFirst;

    impl TaskModel for ByFirst {
        type Item = Row;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            batch.tokens.clone().narrow(1, 0, 1).float()
        }

        fn n_classes(&self) -> usize {
            1
        }
    }

    fn sums(rows: &[&[u32]], answers: &[[usize; 2]]) -> [f64; 2] {
        let tokens = TokenBatch::padded(rows, &test_device());
        let batch = AnswerBatch { tokens, answers: answers.to_vec() };
        let (loss, ()) = Answers.loss(&ById, &batch, None, None);
        [0, 1].map(|kind| loss.terms[kind].sum.clone().into_scalar::<f64>())
    }

    #[test]
    fn a_start_and_an_end_are_each_one_of_the_tokens() {
        let [start, end] = sums(&[&[0, 0, 0, 0]], &[[1, 3]]);
        assert!((start - 4f64.ln()).abs() < 1e-6 && (end - 4f64.ln()).abs() < 1e-6);
        let [start, end] = sums(&[&[0, 10]], &[[1, 1]]);
        assert!((start - (1.0 + (-10f64).exp()).ln()).abs() < 1e-6, "{start}");
        assert!((end - (1.0 + (-1f64).exp()).ln()).abs() < 1e-6, "{end}");
    }

    #[test]
    fn a_padding_is_no_place_for_an_answer() {
        let rows: [&[u32]; 2] = [&[1, 2, 3], &[4]];
        let together = sums(&rows, &[[0, 2], [0, 0]]);
        let alone = [sums(&rows[..1], &[[0, 2]]), sums(&rows[1..], &[[0, 0]])];
        for kind in [0, 1] {
            let expected = alone[0][kind] + alone[1][kind];
            assert!((together[kind] - expected).abs() < 1e-6, "{together:?} for {expected}");
        }
    }

    #[test]
    fn the_two_terms_are_averaged_over_rows_and_halved() {
        let tokens = TokenBatch::padded(&[&[1, 2], &[3]], &test_device());
        let batch = AnswerBatch { tokens, answers: vec![[0, 1], [0, 0]] };
        let counts = Objective::<ById>::counts(&Answers, &batch);
        assert_eq!(counts.iter().map(|count| count.count).collect::<Vec<_>>(), [2.0, 2.0]);
        let (loss, ()) = Answers.loss(&ById, &batch, None, None);
        let [start, end] = [0, 1].map(|kind| loss.terms[kind].sum.clone().into_scalar::<f64>());
        let total = loss.total(&counts).into_scalar::<f64>();
        assert!((total - (start + end) / 4.0).abs() < 1e-6, "{total}");
    }

    #[test]
    #[should_panic(expected = "an answer at token 1 of a row of 1")]
    fn an_answer_in_the_padding_is_refused() {
        sums(&[&[1, 2], &[3]], &[[0, 1], [1, 1]]);
    }

    #[test]
    fn the_labels_of_an_example_are_the_first_and_the_last_token_of_its_answer() {
        let example = |tokens: &[u32], labels: [u32; 2]| Example {
            tokens: tokens.into(),
            segments: vec![0; tokens.len()],
            labels: labels.into(),
        };
        let examples = [example(&[1, 2, 3], [1, 2]), example(&[4], [0, 0])];
        let batch = AnswerBatch::new(&examples.iter().collect::<Vec<_>>(), &test_device());
        assert_eq!(batch.answers, [[1, 2], [0, 0]]);
        assert_eq!(batch.tokens.lengths, Some(vec![3, 1]));
        assert!(batch.tokens.segments.is_some());
    }

    #[test]
    fn a_choice_is_a_softmax_over_the_rows_of_a_question() {
        let tokens = TokenBatch::from_rows(&[&[0], &[1], &[1], &[0]], &test_device());
        let labels = Tensor::from_data(TensorData::from([1i32, 1]), &test_device());
        let batch = LabelledBatch { tokens, labels, labelled: None };
        let choice = Choice { n_choices: 2 };
        let (loss, ()) = choice.loss(&ByFirst, &batch, None, None);
        let (right, wrong) = ((1.0 + (-1f64).exp()).ln(), (1.0 + 1f64.exp()).ln());
        let found = loss.terms[0].sum.clone().into_scalar::<f64>();
        assert!((found - right - wrong).abs() < 1e-6, "{found}");
        let counts = Objective::<ByFirst>::counts(&choice, &batch);
        assert_eq!(counts, [Count { term: "choice", count: 2.0 }]);
    }

    #[test]
    #[should_panic(expected = "the rows of 1 questions")]
    fn rows_that_make_no_whole_questions_are_refused() {
        let tokens = TokenBatch::from_rows(&[&[0], &[1], &[1]], &test_device());
        let labels = Tensor::from_data(TensorData::from([1i32]), &test_device());
        let batch = LabelledBatch { tokens, labels, labelled: None };
        let _ = Choice { n_choices: 2 }.loss(&ByFirst, &batch, None, None);
    }
}
