//! Translation: `-Σₜ log p(yₜ | y₁ … yₜ₋₁, x)` over the tokens of the targets (Cho and others; Sutskever, Vinyals and
//! Le, 2014), with the labels smoothed (Szegedy and others, 2016) where it is asked for.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use emberline_backend::{CrossEntropyOptions, LabelSmoothing, linear_cross_entropy};
use emberline_core::{Count, EncoderDecoder, Loss, Stream, TokenBatch};
use emberline_text::TokenPair;
use emberline_training::Objective;

use crate::scheduled_sampling::inputs_of_the_model;

/// The name of the only term of the loss.
const TERM: &str = "translation";

/// Sources, and the targets to be written after reading them.
#[derive(Clone, Debug)]
pub struct TranslationBatch {
    /// What is read, `[batch_size, source_length]`.
    pub source: TokenBatch,
    /// What the decoder reads: `<s>` and all tokens of a target but its last, `[batch_size, target_length]`.
    pub inputs: TokenBatch,
    /// What comes next at each valid position of the inputs, row after row, `[n_tokens]`.
    pub targets: Tensor<1, Int>,
    /// The probability that an input is the token of the target, and not one that the model chose.
    pub gold_probability: f64,
}

impl TranslationBatch {
    /// The batch of some pairs with the inputs of their targets.
    ///
    /// # Panics
    /// If there is no pair, or a side has no token.
    pub fn new(pairs: &[&TokenPair], start_token: u32, device: &Device) -> Self {
        let sources: Vec<&[u32]> = pairs.iter().map(|pair| &pair.source[..]).collect();
        let start = |pair: &&TokenPair| {
            let [inputs @ .., _] = &pair.target[..] else { panic!("a target without a token") };
            [&[start_token], inputs].concat()
        };
        let inputs: Vec<Vec<u32>> = pairs.iter().map(start).collect();
        let inputs: Vec<&[u32]> = inputs.iter().map(|row| &row[..]).collect();
        let targets = pairs.iter().flat_map(|pair| &pair.target);
        let targets: Vec<i32> = targets.map(|token| *token as i32).collect();
        Self {
            source: TokenBatch::padded(&sources, device),
            inputs: TokenBatch::padded(&inputs, device),
            targets: Tensor::from_data(&targets[..], device),
            gold_probability: 1.0,
        }
    }
}

/// Every position of a target predicts the token after it.
///
/// Labels are smoothed in training only, that is where there is a stream of dropout: the loss of validation is the mean
/// negative log-likelihood of a token, and its exponential the perplexity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Translation {
    /// How the labels are smoothed.
    pub smoothing: Option<LabelSmoothing>,
}

impl<M: EncoderDecoder + Module> Objective<M> for Translation {
    type Batch = TranslationBatch;
    type Carry = ();

    fn counts(&self, batch: &TranslationBatch) -> Vec<Count> {
        vec![Count { term: TERM, count: batch.targets.dims()[0] as f64 }]
    }

    fn loss(
        &self,
        model: &M,
        batch: &TranslationBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let part = |batch: &TokenBatch, name| TokenBatch {
            dropout: dropout.map(|random| random.named(name)),
            ..batch.clone()
        };
        let mut inputs = part(&batch.inputs, "decoder");
        if let Some(random) = dropout.filter(|_| batch.gold_probability < 1.0) {
            inputs.tokens = inputs_of_the_model(&model.valid(), batch, random.named("inputs"));
        }
        let memory = model.encode(&part(&batch.source, "encoder"));
        let (hidden, _) = model.decode(&inputs, memory);
        let options = CrossEntropyOptions {
            smoothing: self.smoothing.filter(|_| dropout.is_some()),
            ..CrossEntropyOptions::default()
        };
        let hidden = model.head_input(inputs.valid(hidden));
        let targets = batch.targets.clone();
        let sum = linear_cross_entropy(hidden, model.head_weights(), targets, options);
        (Loss::single(TERM, sum), ())
    }

    fn tokens(&self, batch: &TranslationBatch) -> u64 {
        (batch.source.n_tokens() + batch.inputs.n_tokens()) as u64
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::{cross_entropy, test_device};
    use emberline_core::VocabularyHead;

    use super::*;
    use crate::tiny_translator::{TinyTranslator, VOCAB_SIZE, pairs};

    fn batch(rows: std::ops::Range<usize>) -> TranslationBatch {
        let pairs = pairs();
        TranslationBatch::new(&pairs[rows].iter().collect::<Vec<_>>(), 0, &test_device())
    }

    fn value(loss: &(Loss, ())) -> f64 {
        loss.0.terms[0].sum.clone().into_scalar::<f64>()
    }

    fn ids<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i32> {
        tensor.to_data().iter().collect()
    }

    #[test]
    fn inputs_are_the_target_a_token_later() {
        let batch = batch(0..2);
        assert_eq!(ids(&batch.source.tokens), [3, 4, 1, 5, 1, 0]);
        assert_eq!(batch.source.lengths, Some(vec![3, 2]));
        assert_eq!(ids(&batch.inputs.tokens), [0, 5, 0, 0, 4, 3]);
        assert_eq!(batch.inputs.lengths, Some(vec![2, 3]));
        assert_eq!(ids(&batch.targets), [5, 1, 4, 3, 1]);
    }

    #[test]
    fn uniform_scores_lose_the_logarithm_of_the_vocabulary_at_every_token() {
        let model = TinyTranslator::new(0.0, &test_device());
        let batch = batch(0..3);
        let counts = Objective::<TinyTranslator>::counts(&Translation::default(), &batch);
        assert_eq!(counts, [Count { term: "translation", count: 9.0 }]);
        let loss = value(&Translation::default().loss(&model, &batch, None, None));
        assert!((loss - 9.0 * (VOCAB_SIZE as f64).ln()).abs() < 1e-5);
        assert_eq!(Objective::<TinyTranslator>::tokens(&Translation::default(), &batch), 18);
    }

    #[test]
    fn the_losses_of_pairs_add_up_to_that_of_their_batch() {
        let model = TinyTranslator::new(1.0, &test_device());
        let loss = |rows| value(&Translation::default().loss(&model, &batch(rows), None, None));
        let alone: f64 = (0..3).map(|row| loss(row..row + 1)).sum();
        assert!((alone - loss(0..3)).abs() < 1e-4);
    }

    #[test]
    fn labels_are_smoothed_in_training_and_not_in_validation() {
        let model = TinyTranslator::new(1.0, &test_device());
        let batch = batch(0..3);
        let smooth = Translation { smoothing: Some(LabelSmoothing::Uniform(0.1)) };
        let plain = Translation::default();
        let of =
            |objective: Translation, dropout| value(&objective.loss(&model, &batch, None, dropout));
        let training = Some(Stream::new(1));
        assert_eq!(of(smooth, None), of(plain, None));
        assert_eq!(of(plain, training), of(plain, None));

        // `(1 - ε) nll + ε / V Σ -log p`.
        let (hidden, _) = model.decode(&batch.inputs, model.encode(&batch.source));
        let logits = model.head(batch.inputs.valid(hidden));
        let n_tokens = batch.targets.dims()[0];
        let everything: f64 = (0..VOCAB_SIZE as i32)
            .map(|class| {
                let targets = Tensor::<1, Int>::full([n_tokens], class, &test_device());
                cross_entropy(logits.clone(), targets).into_scalar::<f64>()
            })
            .sum();
        let expected = 0.9 * of(plain, None) + 0.1 / VOCAB_SIZE as f64 * everything;
        assert!((of(smooth, training) - expected).abs() < 1e-4);
    }

    #[test]
    fn the_padding_of_a_target_loses_nothing_and_gets_no_gradient() {
        let model = TinyTranslator::new(1.0, &test_device().autodiff());
        let gradient = |batch: &TranslationBatch| {
            let (loss, ()) = Translation::default().loss(&model, batch, None, None);
            let gradients = loss.terms[0].sum.backward();
            model.embedding.val().grad(&gradients).unwrap().into_data().iter::<f32>().collect()
        };
        let padded: Vec<f32> = gradient(&batch(0..2));
        let (first, second): (Vec<f32>, Vec<f32>) =
            (gradient(&batch(0..1)), gradient(&batch(1..2)));
        for (index, whole) in padded.iter().enumerate() {
            assert!((whole - first[index] - second[index]).abs() < 1e-5);
        }
    }
}
