//! Masked tokens and next sentences: `-Σ log p(xₜ | x̃)` over the masked tokens of rows x̃, and `-Σ log p(y | x̃)` over
//! the rows, of which y says whether their second part is random (Devlin and others, 2018, "BERT").
//!
//! Each sum is a term of its own and divided by its own count: the mean of all masked tokens of an update, and of all its
//! pairs. The published code adds 1e-5 to the former count, so that nothing is never divided by nothing; here every row
//! has a masked token.

use burn::tensor::{Device, Int, Tensor};
use emberline_backend::{CrossEntropyOptions, cross_entropy, linear_cross_entropy};
use emberline_core::{
    Count, LanguageModel, Loss, SentencePair, Stream, Term, TokenBatch, TokenEncoder,
};
use emberline_training::Objective;

use crate::masking::MaskedRow;
use crate::sentence_pairs::PairRow;

const MASKED_TOKEN: &str = "masked_token";
const NEXT_SENTENCE: &str = "next_sentence";

/// Pairs of sentences in which tokens are masked.
#[derive(Clone, Debug)]
pub struct SentencePairBatch {
    /// What the model reads, with segments, `[batch_size, seq_length]`.
    pub tokens: TokenBatch,
    /// Where it guesses, row after row: `row · seq_length + position`, `[n_masked]`.
    pub places: Tensor<1, Int>,
    /// What is right there, `[n_masked]`.
    pub labels: Tensor<1, Int>,
    /// 0 where the second part follows the first, 1 where it is random, `[batch_size]`.
    pub is_random: Tensor<1, Int>,
}

/// Every masked token is guessed, from both sides.
#[derive(Clone, Copy, Debug, Default)]
pub struct MaskedToken;

/// Whether the second part of a pair follows the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextSentence;

/// The sum of both, which BERT is pretrained with: a row is encoded once.
#[derive(Clone, Copy, Debug, Default)]
pub struct MaskedTokenAndNextSentence;

/// How many guesses of a batch are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RightGuesses {
    /// The masked tokens whose best guess is right.
    pub tokens: u64,
    /// All masked tokens.
    pub masked: u64,
    /// The pairs of which it was guessed rightly whether they follow.
    pub pairs: u64,
    /// All pairs.
    pub rows: u64,
}

impl SentencePairBatch {
    /// The batch of some pairs, each as it was masked.
    ///
    /// # Panics
    /// If there is no row, or none has a masked token.
    pub fn new(rows: &[(&PairRow, MaskedRow)], device: &Device) -> Self {
        let tokens: Vec<&[u32]> = rows.iter().map(|(_, masked)| &masked.tokens[..]).collect();
        let segments: Vec<&[u32]> = rows.iter().map(|(pair, _)| &pair.segments[..]).collect();
        let tokens = TokenBatch::padded(&tokens, device).with_segments(&segments);
        let [_, seq_length] = tokens.dims();
        let places = rows.iter().enumerate().flat_map(|(row, (_, masked))| {
            masked.positions.iter().map(move |position| (row * seq_length + position) as i32)
        });
        let labels = rows.iter().flat_map(|(_, masked)| &masked.labels).map(|label| *label as i32);
        let is_random = rows.iter().map(|(pair, _)| i32::from(pair.is_random));
        let tensor = |numbers: Vec<i32>| Tensor::from_data(&numbers[..], device);
        let places: Vec<i32> = places.collect();
        assert!(!places.is_empty(), "a batch has a masked token");
        Self {
            tokens,
            places: tensor(places),
            labels: tensor(labels.collect()),
            is_random: tensor(is_random.collect()),
        }
    }

    /// How many guesses of a model are right.
    pub fn right_guesses<M: LanguageModel + SentencePair>(&self, model: &M) -> RightGuesses {
        let hidden = model.encode(&self.tokens);
        let pairs = best(model.pair_logits(hidden.clone()));
        let tokens = best(model.head(self.masked(hidden)));
        let count_equal = |guesses: &Tensor<1, Int>, right: &Tensor<1, Int>| {
            let right = right.to_data();
            let pairs = guesses.to_data();
            pairs.iter::<i64>().zip(right.iter::<i64>()).filter(|(one, other)| one == other).count()
        };
        RightGuesses {
            tokens: count_equal(&tokens, &self.labels) as u64,
            masked: self.labels.dims()[0] as u64,
            pairs: count_equal(&pairs, &self.is_random) as u64,
            rows: self.is_random.dims()[0] as u64,
        }
    }

    fn encode<M: TokenEncoder>(&self, model: &M, dropout: Option<Stream>) -> Tensor<3> {
        model.encode(&TokenBatch { dropout, ..self.tokens.clone() })
    }

    fn masked_count(&self) -> Count {
        Count { term: MASKED_TOKEN, count: self.labels.dims()[0] as f64 }
    }

    fn pair_count(&self) -> Count {
        Count { term: NEXT_SENTENCE, count: self.is_random.dims()[0] as f64 }
    }

    /// The vectors of the masked tokens, `[n_masked, d_model]`.
    fn masked(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [batch_size, seq_length, d_model] = hidden.dims();
        hidden.reshape([batch_size * seq_length, d_model]).select(0, self.places.clone())
    }

    fn masked_term<M: LanguageModel>(&self, model: &M, hidden: Tensor<3>) -> Term {
        let input = model.head_input(self.masked(hidden));
        let options = CrossEntropyOptions::default();
        let sum = linear_cross_entropy(input, model.head_weights(), self.labels.clone(), options);
        Term { name: MASKED_TOKEN, weight: 1.0, sum }
    }

    fn pair_term<M: SentencePair>(&self, model: &M, hidden: Tensor<3>) -> Term {
        let sum = cross_entropy(model.pair_logits(hidden), self.is_random.clone());
        Term { name: NEXT_SENTENCE, weight: 1.0, sum }
    }
}

/// The best of each row of scores, `[n]`.
fn best(scores: Tensor<2>) -> Tensor<1, Int> {
    let [n, _] = scores.dims();
    scores.argmax(1).reshape([n])
}

impl<M: LanguageModel> Objective<M> for MaskedToken {
    type Batch = SentencePairBatch;
    type Carry = ();

    fn counts(&self, batch: &SentencePairBatch) -> Vec<Count> {
        vec![batch.masked_count()]
    }

    fn loss(
        &self,
        model: &M,
        batch: &SentencePairBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let hidden = batch.encode(model, dropout);
        (Loss { terms: vec![batch.masked_term(model, hidden)] }, ())
    }

    fn tokens(&self, batch: &SentencePairBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

impl<M: SentencePair> Objective<M> for NextSentence {
    type Batch = SentencePairBatch;
    type Carry = ();

    fn counts(&self, batch: &SentencePairBatch) -> Vec<Count> {
        vec![batch.pair_count()]
    }

    fn loss(
        &self,
        model: &M,
        batch: &SentencePairBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let hidden = batch.encode(model, dropout);
        (Loss { terms: vec![batch.pair_term(model, hidden)] }, ())
    }

    fn tokens(&self, batch: &SentencePairBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

impl<M: LanguageModel + SentencePair> Objective<M> for MaskedTokenAndNextSentence {
    type Batch = SentencePairBatch;
    type Carry = ();

    fn counts(&self, batch: &SentencePairBatch) -> Vec<Count> {
        vec![batch.masked_count(), batch.pair_count()]
    }

    fn loss(
        &self,
        model: &M,
        batch: &SentencePairBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let hidden = batch.encode(model, dropout);
        let masked = batch.masked_term(model, hidden.clone());
        (Loss { terms: vec![masked, batch.pair_term(model, hidden)] }, ())
    }

    fn tokens(&self, batch: &SentencePairBatch) -> u64 {
        batch.tokens.n_tokens() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny_encoder::{TinyEncoder, VOCAB_SIZE, masking, pairs};
    use emberline_backend::test_device;

    fn batch(rows: std::ops::Range<usize>) -> SentencePairBatch {
        let pairs = pairs();
        let masked = |row: usize| {
            (&pairs[row], masking().mask(&pairs[row].tokens, Stream::new(9).at(row as u64)))
        };
        SentencePairBatch::new(&rows.map(masked).collect::<Vec<_>>(), &test_device())
    }

    fn sums(loss: &(Loss, ())) -> Vec<f64> {
        loss.0.terms.iter().map(|term| term.sum.clone().into_scalar::<f64>()).collect()
    }

    #[test]
    fn uniform_scores_lose_the_logarithm_of_what_is_guessed_from() {
        let model = TinyEncoder::new(0.0, &test_device());
        let batch = batch(0..4);
        let counts = Objective::<TinyEncoder>::counts(&MaskedTokenAndNextSentence, &batch);
        let n_masked = batch.labels.dims()[0];
        let expected = [
            Count { term: "masked_token", count: n_masked as f64 },
            Count { term: "next_sentence", count: 4.0 },
        ];
        assert_eq!(counts, expected);
        let loss = MaskedTokenAndNextSentence.loss(&model, &batch, None, None);
        let found = sums(&loss);
        assert!((found[0] - n_masked as f64 * (VOCAB_SIZE as f64).ln()).abs() < 1e-4, "{found:?}");
        assert!((found[1] - 4.0 * 2.0f64.ln()).abs() < 1e-5, "{found:?}");
        let total = loss.0.total(&counts).into_scalar::<f64>();
        assert!((total - (VOCAB_SIZE as f64).ln() - 2.0f64.ln()).abs() < 1e-5);
    }

    #[test]
    fn the_sum_of_both_has_the_terms_of_each() {
        let model = TinyEncoder::new(1.0, &test_device());
        let batch = batch(0..4);
        let both = sums(&MaskedTokenAndNextSentence.loss(&model, &batch, None, None));
        let masked = sums(&MaskedToken.loss(&model, &batch, None, None));
        let next = sums(&NextSentence.loss(&model, &batch, None, None));
        assert_eq!(both, [masked, next].concat());
        assert_eq!(
            Objective::<TinyEncoder>::tokens(&MaskedToken, &batch),
            batch.tokens.n_tokens() as u64
        );
    }

    #[test]
    fn the_losses_of_rows_add_up_to_that_of_their_batch_padded_or_not() {
        let model = TinyEncoder::new(1.0, &test_device());
        let loss = |rows| sums(&MaskedTokenAndNextSentence.loss(&model, &batch(rows), None, None));
        let whole = loss(0..4);
        assert!(batch(0..4).tokens.lengths.is_some(), "some rows are padded");
        for (term, whole) in whole.iter().enumerate() {
            let alone: f64 = (0..4).map(|row| loss(row..row + 1)[term]).sum();
            assert!((alone - whole).abs() < 1e-4, "{alone} is not {whole}");
        }
    }

    #[test]
    fn only_masked_places_are_scored_and_they_through_the_layer_of_the_head() {
        let model = TinyEncoder::new(1.0, &test_device());
        let batch = batch(0..4);
        let hidden = model.encode(&batch.tokens);
        let [rows, seq_length, d_model] = hidden.dims();
        let scores = model.head_input_by_hand(hidden.reshape([rows * seq_length, d_model]));
        let scores: Vec<f64> = scores.into_data().iter().collect();
        let log_sum = |row: &[f64]| row.iter().map(|score| score.exp()).sum::<f64>().ln();
        let places: Vec<usize> =
            batch.places.to_data().iter::<i64>().map(|place| place as usize).collect();
        let labels: Vec<usize> =
            batch.labels.to_data().iter::<i64>().map(|label| label as usize).collect();
        let expected: f64 = places
            .iter()
            .zip(labels)
            .map(|(place, label)| {
                let row = &scores[place * VOCAB_SIZE..(place + 1) * VOCAB_SIZE];
                log_sum(row) - row[label]
            })
            .sum();
        let found = sums(&MaskedToken.loss(&model, &batch, None, None))[0];
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }

    #[test]
    fn right_guesses_are_counted() {
        let model = TinyEncoder::new(1.0, &test_device());
        let whole = batch(0..4).right_guesses(&model);
        assert_eq!((whole.rows, whole.masked), (4, batch(0..4).labels.dims()[0] as u64));
        let parts = (0..4).map(|row| batch(row..row + 1).right_guesses(&model));
        let (tokens, pairs) =
            parts.fold((0, 0), |sum, part| (sum.0 + part.tokens, sum.1 + part.pairs));
        assert_eq!((whole.tokens, whole.pairs), (tokens, pairs));
    }
}
