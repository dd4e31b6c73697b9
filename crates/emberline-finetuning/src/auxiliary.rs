//! Classification with the prediction of tokens beside it: `L = L_task + λ · L_next_token`, the objective of GPT-1's
//! fine-tuning (section 3.2 of its paper, with λ = 0.5).

use emberline_backend::{CrossEntropyOptions, cross_entropy, linear_cross_entropy};
use emberline_core::task::Group;
use emberline_core::{Causal, Count, EncoderTaskModel, Loss, Stream, Term, TokenBatch};
use emberline_training::Objective;

use crate::groups::GroupBatch;

const TASK_TERM: &str = "classification";
const TOKEN_TERM: &str = "next_token";

/// Every group of rows has one label, and every token but the first of a row is predicted, those of the task too.
///
/// Both come from one pass through the layers. A token counts as much as any other; the published code takes the mean of
/// each row first, so that those of short rows count more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassificationAndNextToken {
    /// λ, what the mean loss of a token counts against that of a group.
    pub next_token_weight: f64,
}

impl<M> Objective<M> for ClassificationAndNextToken
where
    M: EncoderTaskModel<Item = Group> + Causal,
{
    type Batch = GroupBatch;
    type Carry = ();

    fn counts(&self, batch: &GroupBatch) -> Vec<Count> {
        let [n_groups] = batch.labels.dims();
        let [n_targets] = batch.targets.dims();
        vec![
            Count { term: TASK_TERM, count: n_groups as f64 },
            Count { term: TOKEN_TERM, count: n_targets as f64 },
        ]
    }

    fn loss(
        &self,
        model: &M,
        batch: &GroupBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let tokens = TokenBatch { dropout, ..batch.tokens.clone() };
        let hidden = model.encode(&tokens);
        let [batch_size, seq_length, d_model] = hidden.dims();
        let vectors = hidden.clone().reshape([batch_size * seq_length, d_model]);
        let predicting = vectors.select(0, batch.places.clone()); // [n_targets, d_model]
        let options = CrossEntropyOptions::default();
        let targets = batch.targets.clone();
        let of_tokens = linear_cross_entropy(predicting, model.head_weights(), targets, options);
        let of_groups = cross_entropy(model.logits_of(&tokens, hidden), batch.labels.clone());
        let terms = vec![
            Term { name: TASK_TERM, weight: 1.0, sum: of_groups },
            Term { name: TOKEN_TERM, weight: self.next_token_weight, sum: of_tokens },
        ];
        (Loss { terms }, ())
    }

    fn tokens(&self, batch: &GroupBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Tensor, TensorData, module};
    use emberline_backend::test_device;
    use emberline_core::{HeadWeights, TaskModel, TokenEncoder, VocabularyHead};

    use super::*;
    use crate::batches::ExampleBatch;
    use crate::groups::GroupExample;

    const VOCAB_SIZE: usize = 6;
    const D_MODEL: usize = 4;
    const N_CLASSES: usize = 3;

    /// A vector for each token, and scores of pairs of rows from the sum of their first vectors.
    struct TinyModel {
        table: Tensor<2>,
        head: Tensor<2>,
        classes: Tensor<2>,
    }

    fn model(deviation: f64) -> TinyModel {
        let matrix = |name, rows: usize, columns: usize| {
            let numbers = Stream::new(1).named(name).normals(rows * columns, deviation);
            Tensor::from_data(TensorData::new(numbers, [rows, columns]), &test_device())
        };
        TinyModel {
            table: matrix("table", VOCAB_SIZE, D_MODEL),
            head: matrix("head", D_MODEL, VOCAB_SIZE),
            classes: matrix("classes", D_MODEL, N_CLASSES),
        }
    }

    impl TokenEncoder for TinyModel {
        fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
            module::embedding(self.table.clone(), batch.tokens.clone())
        }

        fn d_model(&self) -> usize {
            D_MODEL
        }
    }

    impl VocabularyHead for TinyModel {
        fn head_weights(&self) -> HeadWeights {
            HeadWeights::own(self.head.clone(), None)
        }
    }

    impl Causal for TinyModel {}

    impl TaskModel for TinyModel {
        type Item = Group;

        fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
            self.logits_of(batch, self.encode(batch))
        }

        fn n_classes(&self) -> usize {
            N_CLASSES
        }
    }

    impl EncoderTaskModel for TinyModel {
        fn logits_of(&self, _batch: &TokenBatch, hidden: Tensor<3>) -> Tensor<2> {
            let [batch_size, ..] = hidden.dims();
            let first = hidden.narrow(1, 0, 1).reshape([batch_size / 2, 2, D_MODEL]);
            first.sum_dim(1).reshape([batch_size / 2, D_MODEL]).matmul(self.classes.clone())
        }
    }

    fn batch(pairs: &[([&[u32]; 2], u32)]) -> GroupBatch {
        let example = |(rows, label): &([&[u32]; 2], u32)| GroupExample {
            rows: rows.iter().map(|row| row.to_vec()).collect(),
            label: *label,
        };
        let examples: Vec<GroupExample> = pairs.iter().map(example).collect();
        GroupBatch::new(&examples.iter().collect::<Vec<_>>(), &test_device())
    }

    const PAIRS: [([&[u32]; 2], u32); 2] =
        [([&[1, 2, 3], &[3, 2]], 2), ([&[4, 5], &[0, 1, 5, 2]], 0)];
    const OBJECTIVE: ClassificationAndNextToken =
        ClassificationAndNextToken { next_token_weight: 0.5 };

    fn sums(model: &TinyModel, batch: &GroupBatch) -> [f64; 2] {
        let (loss, ()) = OBJECTIVE.loss(model, batch, None, None);
        [0, 1].map(|term| loss.terms[term].sum.clone().into_scalar::<f64>())
    }

    #[test]
    fn a_model_that_knows_nothing_loses_the_logarithms_of_classes_and_tokens() {
        let (model, batch) = (model(0.0), batch(&PAIRS));
        let counts = Objective::<TinyModel>::counts(&OBJECTIVE, &batch);
        assert_eq!(counts.iter().map(|count| count.count).collect::<Vec<_>>(), [2.0, 7.0]);
        let [classes, tokens] = [N_CLASSES, VOCAB_SIZE].map(|count| (count as f64).ln());
        let [of_groups, of_tokens] = sums(&model, &batch);
        assert!(
            (of_groups - 2.0 * classes).abs() < 1e-5 && (of_tokens - 7.0 * tokens).abs() < 1e-5
        );
        let (loss, ()) = OBJECTIVE.loss(&model, &batch, None, None);
        let total = loss.total(&counts).into_scalar::<f64>();
        assert!((total - (classes + 0.5 * tokens)).abs() < 1e-5, "{total}");
        assert_eq!(Objective::<TinyModel>::tokens(&OBJECTIVE, &batch), 11);
    }

    #[test]
    fn padding_adds_nothing() {
        let model = model(1.0);
        let together = sums(&model, &batch(&PAIRS));
        let alone = [0, 1].map(|pair| sums(&model, &batch(&PAIRS[pair..=pair])));
        for term in 0..2 {
            let sum = alone[0][term] + alone[1][term];
            assert!((together[term] - sum).abs() < 1e-5, "{} for {sum}", together[term]);
        }
    }
}
