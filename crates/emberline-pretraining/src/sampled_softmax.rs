//! The softmax over a large vocabulary from a few of its words (Bengio and Senécal, 2003; Jean, Cho, Memisevic and
//! Bengio, 2015), in the form in which ELMo was trained.
//!
//! ```text
//! s_w = h · v_w + b_w - log E[how often w is drawn]      loss = -log softmax(s over the target and the draws)_target
//! ```
//!
//! Words are numbered by falling count, and drawn about as often as Zipf's law has them:
//!
//! ```text
//! p(k) = log((k + 2) / (k + 1)) / log(V + 1)
//! ```
//!
//! They are drawn until there are enough different ones, so that a word is among them with probability
//! `1 - (1 - p)^tries`. A draw that is a row's target is no other word for it, and is hidden there.

use std::collections::HashSet;

use burn::tensor::{Int, Tensor, TensorData};
use emberline_backend::cross_entropy;
use emberline_core::{HeadWeights, Stream};

/// A score that leaves no trace in a softmax.
const HIDDEN: f64 = -1e9;

/// Different words of a vocabulary, drawn for the targets of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Draws {
    words: Vec<u32>,
    /// How many draws it took.
    tries: u64,
    vocab_size: usize,
}

impl Draws {
    /// `count` different words.
    ///
    /// # Panics
    /// If the vocabulary has not as many.
    pub fn new(count: usize, vocab_size: usize, random: Stream) -> Self {
        assert!(count <= vocab_size, "{count} different words of a vocabulary of {vocab_size}");
        let (mut words, mut seen) = (Vec::with_capacity(count), HashSet::new());
        let mut tries = 0;
        while words.len() < count {
            // The inverse of the distribution function, `log(k + 1) / log(V + 1)`.
            let word = (random.uniform(tries) * ((vocab_size + 1) as f64).ln()).exp() - 1.0;
            let word = (word as usize).min(vocab_size - 1) as u32;
            tries += 1;
            if seen.insert(word) {
                words.push(word);
            }
        }
        Self { words, tries, vocab_size }
    }

    /// The logarithm of the probability that a word is among those drawn.
    fn log_expectation(&self, word: u32) -> f32 {
        let word = f64::from(word);
        let p = ((word + 2.0) / (word + 1.0)).ln() / ((self.vocab_size + 1) as f64).ln();
        // 1 - (1 - p)^tries
        (-(self.tries as f64 * (-p).ln_1p()).exp_m1()).ln() as f32
    }
}

/// The sum over the rows.
///
/// # Shapes
/// - hidden: `[n, d_model]`
/// - targets: `[n]`
/// - output: `[1]`
pub(crate) fn sampled_cross_entropy(
    hidden: Tensor<2>,
    head: HeadWeights,
    targets: Tensor<1, Int>,
    draws: &Draws,
) -> Tensor<1> {
    let [rows, d_model] = hidden.dims();
    let device = hidden.device().inner();
    let (n_draws, dtype) = (draws.words.len(), hidden.dtype());
    let targets: Vec<u32> = targets.into_data().iter().collect();
    let words: Vec<u32> = targets.iter().chain(&draws.words).copied().collect();
    let places = Tensor::<1, Int>::from_data(words.as_slice(), &device);
    let vectors = match head.is_tied {
        true => head.weight.select(0, places.clone()),
        false => head.weight.select(1, places.clone()).transpose(),
    }; // [rows + n_draws, d_model]
    let expectations: Vec<f32> = words.iter().map(|word| draws.log_expectation(*word)).collect();
    let shift = Tensor::<1>::from_data(expectations.as_slice(), (&device, dtype)).neg();
    let shift = match head.bias {
        Some(bias) => bias.select(0, places) + shift,
        None => shift,
    }; // [rows + n_draws]

    let of_targets = (hidden.clone() * vectors.clone().slice([0..rows, 0..d_model])).sum_dim(1)
        + shift.clone().narrow(0, 0, rows).unsqueeze_dim(1); // [rows, 1]
    let of_draws = hidden.matmul(vectors.narrow(0, rows, n_draws).transpose())
        + shift.narrow(0, rows, n_draws).unsqueeze(); // [rows, n_draws]
    let hits = targets.iter().flat_map(|target| draws.words.iter().map(move |word| word == target));
    let hits = TensorData::new(hits.collect::<Vec<bool>>(), [rows, n_draws]);
    let of_draws = of_draws.mask_fill(Tensor::from_data(hits, &device), HIDDEN);
    let scores = Tensor::cat(vec![of_targets, of_draws], 1);
    cross_entropy(scores, Tensor::zeros([rows], &device))
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    fn numbers<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let values = Stream::new(seed).normals(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), &test_device())
    }

    #[test]
    fn different_words_are_drawn_the_frequent_ones_most() {
        let mut first_half = 0;
        for batch in 0..50 {
            let draws = Draws::new(20, 1000, Stream::new(1).at(batch));
            let different: HashSet<u32> = draws.words.iter().copied().collect();
            assert_eq!(different.len(), 20);
            assert!(draws.tries >= 20);
            first_half += draws.words.iter().filter(|word| **word < 30).count();
        }
        // log 31 of log 1001 of all tries are below 30, and somewhat fewer of the different ones.
        assert!((300..500).contains(&first_half), "{first_half}");
    }

    #[test]
    fn the_expectations_of_all_words_add_up_to_the_number_of_draws() {
        // On average: the number of tries is one of chance.
        let mean = |count: usize| -> f64 {
            let sum = |batch: u64| -> f64 {
                let draws = Draws::new(count, 200, Stream::new(3).at(batch));
                (0..200).map(|word| f64::from(draws.log_expectation(word).exp())).sum()
            };
            (0..50).map(sum).sum::<f64>() / 50.0
        };
        for count in [10, 100, 190] {
            assert!((mean(count) / count as f64 - 1.0).abs() < 0.1, "{count}: {}", mean(count));
        }
    }

    #[test]
    fn with_the_whole_vocabulary_drawn_for_certain_the_loss_is_that_of_the_softmax() {
        let (hidden, table, bias) = (numbers([4, 3], 1), numbers([5, 3], 2), numbers([5], 3));
        let targets = Tensor::<1, Int>::from_data([4, 0, 2, 2], &test_device());
        let draws = Draws { words: (0..5).collect(), tries: 1 << 40, vocab_size: 5 };
        let expected = cross_entropy(
            hidden.clone().matmul(table.clone().transpose()) + bias.clone().unsqueeze(),
            targets.clone(),
        );
        let expected = expected.into_scalar::<f32>();
        for head in [
            HeadWeights::tied(table.clone(), Some(bias.clone())),
            HeadWeights::own(table.transpose(), Some(bias)),
        ] {
            let loss = sampled_cross_entropy(hidden.clone(), head, targets.clone(), &draws);
            assert!((loss.into_scalar::<f32>() - expected).abs() < 1e-4);
        }
    }

    /// Term by term in f64: the score of each word less the logarithm of its expectation.
    #[test]
    fn the_loss_is_that_of_its_formula() {
        let (hidden, table, bias) = (numbers([2, 3], 1), numbers([9, 3], 2), numbers([9], 3));
        let targets = Tensor::<1, Int>::from_data([7, 1], &test_device());
        let draws = Draws { words: vec![1, 5, 0], tries: 6, vocab_size: 9 };
        let [h, v, b]: [Vec<f64>; 3] = [
            hidden.to_data().iter().collect(),
            table.to_data().iter().collect(),
            bias.to_data().iter().collect(),
        ];
        let score = |row: usize, word: usize| {
            let p = ((word as f64 + 2.0) / (word as f64 + 1.0)).ln() / 10f64.ln();
            let product: f64 = (0..3).map(|i| h[row * 3 + i] * v[word * 3 + i]).sum();
            (product + b[word] - (1.0 - (1.0 - p).powi(6)).ln()).exp()
        };
        // The second row's target is among the draws.
        let sums = [
            score(0, 7) + score(0, 1) + score(0, 5) + score(0, 0),
            score(1, 1) + score(1, 5) + score(1, 0),
        ];
        let expected = -(score(0, 7) / sums[0]).ln() - (score(1, 1) / sums[1]).ln();
        let head = HeadWeights::tied(table, Some(bias));
        let loss = sampled_cross_entropy(hidden, head, targets, &draws).into_scalar::<f64>();
        assert!((loss - expected).abs() < 1e-4, "{loss} is not {expected}");
    }
}
