//! Perplexity, in the units it is given in: `exp(-Σ log p / n)`, where the sum is over tokens and n counts tokens, words
//! or bytes.
//!
//! Only those of words and bytes compare models of different tokenizers, and only on the same text.

use std::iter::Sum;
use std::ops::AddAssign;

use burn::tensor::Device;
use emberline_core::Causal;
use emberline_generation::{GenerationError, LogLikelihood, Window, rolling_log_likelihoods};
use emberline_text::Tokenizer;

/// `exp(-Σ log p / count)`; infinite where the number is too large for one.
pub fn perplexity(log_likelihood: f64, count: usize) -> f64 {
    (-log_likelihood / count as f64).exp()
}

/// How probable texts are, with all that their perplexity may be counted in. It adds up over texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextLikelihood {
    /// Of all tokens that were scored.
    pub log_likelihood: LogLikelihood,
    /// What stands between white space, as of lm-evaluation-harness but for texts that begin or end with it.
    pub n_words: usize,
    /// The bytes of UTF-8.
    pub n_bytes: usize,
}

impl TextLikelihood {
    /// The perplexity of a token.
    pub fn token_perplexity(&self) -> f64 {
        perplexity(self.log_likelihood.sum, self.log_likelihood.n_tokens)
    }

    /// The perplexity of a word.
    pub fn word_perplexity(&self) -> f64 {
        perplexity(self.log_likelihood.sum, self.n_words)
    }

    /// The perplexity of a byte.
    pub fn byte_perplexity(&self) -> f64 {
        perplexity(self.log_likelihood.sum, self.n_bytes)
    }

    /// The bits that the model needs for a byte: the binary logarithm of the perplexity of a byte.
    pub fn bits_per_byte(&self) -> f64 {
        -self.log_likelihood.sum / self.n_bytes as f64 / std::f64::consts::LN_2
    }
}

impl AddAssign for TextLikelihood {
    fn add_assign(&mut self, other: Self) {
        self.log_likelihood += other.log_likelihood;
        self.n_words += other.n_words;
        self.n_bytes += other.n_bytes;
    }
}

impl Sum for TextLikelihood {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, other| {
            sum += other;
            sum
        })
    }
}

/// How probable each text is by the windows of [`rolling_log_likelihoods`].
///
/// After `start_token`, such as GPT-2's `<|endoftext|>`, every token is scored; without one, all but the first of each
/// text, whose bytes and words count all the same.
///
/// # Errors
/// Those of [`rolling_log_likelihoods`], and [`Text`](GenerationError::Text) if the tokenizer does not know a part of a
/// text.
pub fn text_likelihoods<M: Causal>(
    model: &M,
    tokenizer: &Tokenizer,
    texts: &[&str],
    start_token: Option<u32>,
    window: Window,
    batch_size: usize,
    device: &Device,
) -> Result<Vec<TextLikelihood>, GenerationError> {
    let mut rows = Vec::with_capacity(texts.len());
    for text in texts {
        rows.push([start_token.as_slice(), &tokenizer.encode(text)?].concat());
    }
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let found = rolling_log_likelihoods(model, &rows, window, batch_size, device)?;
    let with_counts = |(log_likelihood, text): (LogLikelihood, &&str)| TextLikelihood {
        log_likelihood,
        n_words: text.split_whitespace().count(),
        n_bytes: text.len(),
    };
    Ok(found.into_iter().zip(texts).map(with_counts).collect())
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_text::Corpus;

    use super::*;
    use crate::test_model::Bigrams;

    const WINDOW: Window = Window { max_positions: 3, stride: 2 };

    fn likelihoods(texts: &[&str], start_token: Option<u32>) -> Vec<TextLikelihood> {
        let tokenizer = Tokenizer::characters(&Corpus::new("letters", "a é").unwrap());
        let model = Bigrams::uniform(3);
        text_likelihoods(&model, &tokenizer, texts, start_token, WINDOW, 2, &test_device()).unwrap()
    }

    #[test]
    fn a_uniform_model_has_the_perplexity_of_its_vocabulary_a_token() {
        let found = likelihoods(&["aé a", "é aaa"], Some(0));
        let total: TextLikelihood = found.into_iter().sum();
        assert_eq!((total.log_likelihood.n_tokens, total.n_words, total.n_bytes), (9, 4, 11));
        let is_close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-6;
        assert!(is_close(total.token_perplexity(), 3.0), "{total:?}");
        assert!(is_close(total.word_perplexity(), 3f64.powf(9.0 / 4.0)));
        assert!(is_close(total.byte_perplexity(), 3f64.powf(9.0 / 11.0)));
        assert!(is_close(total.bits_per_byte(), 9.0 / 11.0 * 3f64.log2()));
    }

    #[test]
    fn without_a_start_token_the_first_token_is_not_scored() {
        assert_eq!(likelihoods(&["aé a"], None)[0].log_likelihood.n_tokens, 3);
    }

    #[test]
    fn the_perplexity_of_a_corpus_is_no_mean_of_perplexities() {
        let mut total = TextLikelihood::default();
        for (sum, n_tokens) in [(-1.0, 1), (-9.0, 3)] {
            let log_likelihood = LogLikelihood { sum, n_tokens };
            total += TextLikelihood { log_likelihood, ..TextLikelihood::default() };
        }
        assert_eq!(total.token_perplexity(), 2.5f64.exp());
    }
}
