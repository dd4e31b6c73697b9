//! The log-likelihood of texts of any length, of which a model reads a window at a time.

use burn::tensor::Device;
use emberline_core::Causal;

use crate::error::GenerationError;
use crate::input;
use crate::likelihood::{LogLikelihood, likelihoods};

/// How much of a text a model reads at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many tokens a window has at most: no more than the model has positions.
    pub max_positions: usize,
    /// By how many tokens the next window is further on, which is how many of it were not scored before: each of them
    /// after more than `max_positions - stride` tokens.
    pub stride: usize,
}

/// The log-likelihood of each text by overlapping windows, of every token but the first, which follows nothing: a text
/// that is to be scored whole begins with a token that says so, such as GPT-2's `<|endoftext|>`.
///
/// Each token is scored once, in the first window that reaches it. With a stride of `max_positions` windows do not
/// overlap, and with a first token as above this is the rolling log-likelihood of lm-evaluation-harness, but for the last
/// window, which begins earlier there. The recipe of Hugging Face's documentation scores no token that its window does
/// not read: where windows overlap, its `max_length` is one more than `max_positions`.
///
/// # Errors
/// [`EmptyPrompt`](GenerationError::EmptyPrompt) for a text without tokens,
/// [`UnknownToken`](GenerationError::UnknownToken), [`Setting`](GenerationError::Setting) for batches of 0 and a stride
/// of 0 or above `max_positions`; [`NotANumber`](GenerationError::NotANumber) if the model's scores are not.
pub fn rolling_log_likelihoods<M: Causal>(
    model: &M,
    texts: &[&[u32]],
    window: Window,
    batch_size: usize,
    device: &Device,
) -> Result<Vec<LogLikelihood>, GenerationError> {
    let Window { max_positions, stride } = window;
    input::check_at_least_1("stride", stride)?;
    input::check(stride <= max_positions, "stride", stride as f64, "at most max_positions")?;
    input::check_prompts(texts, model.vocab_size())?;
    let (mut places, mut contexts, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
    for (row, text) in texts.iter().enumerate() {
        let (mut start, mut n_scored) = (0, 1);
        while n_scored < text.len() {
            // The last token that is scored is not read.
            let end = text.len().min(start + max_positions + 1);
            places.push((row, n_scored));
            contexts.push(&text[start..n_scored]);
            tokens.push(&text[n_scored..end]);
            n_scored = end;
            start += stride;
        }
    }
    let found = likelihoods(model, &contexts, &tokens, None, batch_size, device);
    let found = found.map_err(|error| match error {
        GenerationError::NotANumber { row: window, position } => {
            let (row, first) = places[window];
            GenerationError::NotANumber { row, position: first + position }
        }
        other => other,
    })?;
    let mut sums = vec![LogLikelihood::default(); texts.len()];
    places.iter().zip(found).for_each(|((row, _), found)| sums[*row] += found.total());
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;
    use crate::likelihood::log_probabilities;
    use crate::test_model::SumModel;

    #[test]
    fn windows_score_every_token_but_the_first_once_in_the_first_that_reaches_it() {
        let model = SumModel::random(3, 7, 5);
        let device = test_device();
        let text = [1, 4, 2, 0, 3, 3, 1, 2];
        let score = |context: &[u32], tokens: &[u32]| {
            log_probabilities(&model, &[context], &[tokens], 1, &device).unwrap().remove(0)
        };
        let sum = |max_positions, stride| {
            let window = Window { max_positions, stride };
            rolling_log_likelihoods(&model, &[&text], window, 2, &device).unwrap()[0]
        };
        let expected = |parts: &[Vec<f64>]| LogLikelihood::of(&parts.concat());
        let close = |found: LogLikelihood, expected: LogLikelihood| {
            assert_eq!(found.n_tokens, expected.n_tokens);
            assert!((found.sum - expected.sum).abs() < 1e-5, "{found:?} is not {expected:?}");
        };
        close(sum(7, 7), expected(&[score(&text[..1], &text[1..])]));
        close(sum(100, 3), sum(7, 7));
        let disjoint = [
            score(&text[..1], &text[1..4]),
            score(&text[3..4], &text[4..7]),
            score(&text[6..7], &text[7..]),
        ];
        close(sum(3, 3), expected(&disjoint));
        let overlapping = [score(&text[..1], &text[1..5]), score(&text[3..5], &text[5..])];
        close(sum(4, 3), expected(&overlapping));
        close(
            sum(1, 1),
            expected(&[0, 1, 2, 3, 4, 5, 6].map(|i| score(&text[i..=i], &text[i + 1..][..1]))),
        );
    }

    #[test]
    fn windows_of_several_texts_add_up() {
        let model = SumModel::random(3, 7, 5);
        let window = Window { max_positions: 4, stride: 2 };
        let device = test_device();
        let texts: [&[u32]; 3] = [&[1, 4, 2, 0, 3, 3, 1, 2], &[2], &[4, 4, 1]];
        let run =
            |texts: &[&[u32]]| rolling_log_likelihoods(&model, texts, window, 3, &device).unwrap();
        let total: LogLikelihood = run(&texts).into_iter().sum();
        let mut expected = LogLikelihood::default();
        texts.iter().for_each(|text| expected += run(&[text])[0]);
        assert_eq!((total.n_tokens, run(&[&[2]])[0]), (9, LogLikelihood::default()));
        assert!((total.sum - expected.sum).abs() < 1e-5);
    }

    #[test]
    fn windows_that_leave_tokens_out_are_refused() {
        let model = SumModel::random(3, 7, 5);
        let run = |max_positions, stride| {
            let window = Window { max_positions, stride };
            let found = rolling_log_likelihoods(&model, &[&[1, 2]], window, 1, &test_device());
            found.unwrap_err().to_string()
        };
        assert_eq!(run(4, 0), "stride is 0: expected at least 1");
        assert_eq!(run(4, 5), "stride is 5: expected at most max_positions");
    }
}
