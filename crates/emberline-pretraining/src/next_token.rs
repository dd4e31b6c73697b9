//! The next token: `-Σₜ log p(xₜ₊₁ | x₁ … xₜ)`, the objective of language models since Shannon (1951,
//! "Prediction and Entropy of Printed English").

use burn::tensor::{Int, Tensor};
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy};
use emberline_core::{Carry, Causal, Count, Incremental, LanguageModel, Loss, Stream, TokenBatch};
use emberline_training::Objective;

/// The name of the only term of the loss.
const TERM: &str = "next_token";

/// Full rows of tokens, and the token after each.
#[derive(Clone, Debug)]
pub struct NextTokenBatch {
    /// What the model reads, `[batch_size, seq_length]`.
    pub tokens: TokenBatch,
    /// What comes next at each position, `[batch_size, seq_length]`.
    pub targets: Tensor<2, Int>,
}

/// Every position predicts the token after it; each batch is a text of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextToken;

/// The same for a text that goes on from batch to batch: the model starts from what it kept of the
/// batch before, and gradients stop there (truncated back-propagation through time; Williams and
/// Peng, 1990).
#[derive(Clone, Copy, Debug, Default)]
pub struct CarriedNextToken;

impl<M: Causal> Objective<M> for NextToken {
    type Batch = NextTokenBatch;
    type Carry = ();

    fn counts(&self, batch: &NextTokenBatch) -> Vec<Count> {
        batch.counts()
    }

    fn loss(
        &self,
        model: &M,
        batch: &NextTokenBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let hidden = model.encode(&batch.tokens_with(dropout));
        (batch.loss(model, hidden), ())
    }
}

impl<M: Incremental<Cache: Carry>> Objective<M> for CarriedNextToken {
    type Batch = NextTokenBatch;
    type Carry = M::Cache;

    fn counts(&self, batch: &NextTokenBatch) -> Vec<Count> {
        batch.counts()
    }

    fn loss(
        &self,
        model: &M,
        batch: &NextTokenBatch,
        carry: Option<M::Cache>,
        dropout: Option<Stream>,
    ) -> (Loss, M::Cache) {
        let (hidden, cache) = model.encode_from(&batch.tokens_with(dropout), carry);
        (batch.loss(model, hidden), cache)
    }
}

impl NextTokenBatch {
    fn counts(&self) -> Vec<Count> {
        vec![Count { term: TERM, count: self.targets.dims().iter().product::<usize>() as f64 }]
    }

    fn tokens_with(&self, dropout: Option<Stream>) -> TokenBatch {
        TokenBatch { dropout, ..self.tokens.clone() }
    }

    /// The loss of a batch whose tokens were encoded as `hidden`, `[batch_size, seq_length, d_model]`.
    fn loss<M: LanguageModel>(&self, model: &M, hidden: Tensor<3>) -> Loss {
        let [batch_size, seq_length, d_model] = hidden.dims();
        assert_eq!(self.targets.dims(), [batch_size, seq_length], "one target for each token");
        let is_full = self.tokens.lengths.is_none() && self.tokens.starts.is_none();
        assert!(is_full, "the rows of a batch of next tokens are full");
        let n_tokens = batch_size * seq_length;
        let (hidden, targets) =
            (hidden.reshape([n_tokens, d_model]), self.targets.clone().reshape([n_tokens]));
        let (hidden, options) = (model.head_input(hidden), CrossEntropyOptions::default());
        Loss::single(TERM, linear_cross_entropy(hidden, model.head_weights(), targets, options))
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::tensor::{Device, TensorData};
    use emberline_backend::test_device;
    use emberline_core::{Cache, HeadWeights, TokenEncoder, VocabularyHead, laws};

    use super::*;

    const VOCAB_SIZE: usize = 5;
    const D_MODEL: usize = 3;

    /// `h ← tanh(E[x] + h U)`, scores `h V`.
    #[derive(Module, Debug)]
    struct TinyModel {
        embedding: Param<Tensor<2>>,
        recurrent: Param<Tensor<2>>,
        head: Param<Tensor<2>>,
    }

    #[derive(Clone)]
    struct Hidden(Tensor<2>);

    impl TinyModel {
        fn new(head_deviation: f64, device: &Device) -> Self {
            let matrix = |name, rows, columns, deviation| {
                let numbers = Stream::new(1).named(name).normals(rows * columns, deviation);
                Param::from_data(TensorData::new(numbers, [rows, columns]), device)
            };
            Self {
                embedding: matrix("embedding", VOCAB_SIZE, D_MODEL, 1.0),
                recurrent: matrix("recurrent", D_MODEL, D_MODEL, 1.0),
                head: matrix("head", D_MODEL, VOCAB_SIZE, head_deviation),
            }
        }
    }

    impl TokenEncoder for TinyModel {
        fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
            self.encode_from(batch, None).0
        }

        fn d_model(&self) -> usize {
            D_MODEL
        }
    }

    impl VocabularyHead for TinyModel {
        fn head_weights(&self) -> HeadWeights {
            HeadWeights::own(self.head.val(), None)
        }
    }

    impl Causal for TinyModel {}

    impl Incremental for TinyModel {
        type Cache = Hidden;

        fn encode_from(&self, batch: &TokenBatch, cache: Option<Hidden>) -> (Tensor<3>, Hidden) {
            let [batch_size, seq_length] = batch.dims();
            let device = self.embedding.val().device();
            let mut hidden = match cache {
                Some(Hidden(hidden)) => hidden,
                None => Tensor::zeros([batch_size, D_MODEL], &device),
            };
            let mut all = Vec::with_capacity(seq_length);
            for time in 0..seq_length {
                let tokens = batch.tokens.clone().narrow(1, time, 1).reshape([batch_size]);
                let input = self.embedding.val().select(0, tokens);
                hidden = (input + hidden.matmul(self.recurrent.val())).tanh();
                all.push(hidden.clone());
            }
            (Tensor::stack(all, 1), Hidden(hidden))
        }
    }

    impl Carry for Hidden {
        fn detach(self) -> Self {
            Self(self.0.detach())
        }

        fn to_data(&self) -> Vec<TensorData> {
            vec![self.0.to_data()]
        }

        fn from_data(data: Vec<TensorData>, device: &Device) -> Option<Self> {
            let [data] = data.try_into().ok()?;
            Some(Self(Tensor::from_data(data, device)))
        }
    }

    impl Cache for Hidden {
        fn select_rows(self, rows: &[usize]) -> Self {
            Self(self.0.select_rows(rows))
        }
    }

    /// Columns `from..to` of two fixed rows of eight tokens and the targets after them.
    fn batch(from: usize, to: usize) -> NextTokenBatch {
        let device = test_device();
        let rows = [[0u32, 3, 1, 4, 2, 2, 0, 1, 3], [4, 4, 0, 2, 1, 3, 3, 0, 2]];
        let inputs = rows.each_ref().map(|row| &row[from..to]);
        let targets = rows.each_ref().map(|row| &row[from + 1..to + 1]);
        NextTokenBatch {
            tokens: TokenBatch::from_rows(&inputs, &device),
            targets: TokenBatch::from_rows(&targets, &device).tokens,
        }
    }

    fn value(loss: &Loss) -> f64 {
        loss.terms[0].sum.clone().into_scalar::<f64>()
    }

    #[test]
    fn the_model_of_these_tests_keeps_the_laws() {
        let device = test_device();
        laws::causal(&TinyModel::new(1.0, &device), &device);
        laws::incremental(&TinyModel::new(1.0, &device), &device);
    }

    #[test]
    fn uniform_scores_lose_the_logarithm_of_the_vocabulary_at_every_token() {
        let model = TinyModel::new(0.0, &test_device());
        let (loss, ()) = NextToken.loss(&model, &batch(0, 8), None, None);
        assert_eq!(
            Objective::<TinyModel>::counts(&NextToken, &batch(0, 8)),
            [Count { term: "next_token", count: 16.0 }]
        );
        assert!((value(&loss) - 16.0 * (VOCAB_SIZE as f64).ln()).abs() < 1e-5);
    }

    #[test]
    fn the_sums_of_the_rows_are_the_sum_of_the_batch() {
        let model = TinyModel::new(1.0, &test_device());
        let whole = batch(0, 8);
        let rows = (0..2).map(|row| {
            let part = NextTokenBatch {
                tokens: TokenBatch::new(whole.tokens.tokens.clone().narrow(0, row, 1)),
                targets: whole.targets.clone().narrow(0, row, 1),
            };
            value(&NextToken.loss(&model, &part, None, None).0)
        });
        let sum: f64 = rows.sum();
        assert!((sum - value(&NextToken.loss(&model, &whole, None, None).0)).abs() < 1e-4);
    }

    #[test]
    fn windows_with_a_carry_lose_what_one_long_window_loses() {
        let model = TinyModel::new(1.0, &test_device());
        let (whole, ()) = NextToken.loss(&model, &batch(0, 8), None, None);
        let (first, carry) = CarriedNextToken.loss(&model, &batch(0, 3), None, None);
        let (second, _) = CarriedNextToken.loss(&model, &batch(3, 8), Some(carry.detach()), None);
        assert!((value(&first) + value(&second) - value(&whole)).abs() < 1e-5);
        let (alone, _) = CarriedNextToken.loss(&model, &batch(3, 8), None, None);
        assert!((value(&alone) - value(&second)).abs() > 1e-3);
    }

    #[test]
    fn gradients_stop_at_the_carry() {
        let model = TinyModel::new(1.0, &test_device().autodiff());
        let (_, carry) = CarriedNextToken.loss(&model, &batch(0, 1), None, None);
        let (loss, _) = CarriedNextToken.loss(&model, &batch(1, 2), Some(carry.detach()), None);
        let gradients = loss.terms[0].sum.backward();
        let embedding = model.embedding.val().grad(&gradients).unwrap();
        let rows: Vec<f32> = embedding.abs().sum_dim(1).into_data().iter().collect();
        // The second column holds the tokens 3 and 4; of the first, 0 and 4, only 4 comes again.
        let changed: Vec<bool> = rows.iter().map(|row| *row > 0.0).collect();
        assert_eq!(changed, [false, false, false, true, true]);
    }
}
