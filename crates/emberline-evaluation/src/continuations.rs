//! Texts that are to follow others, as tokens, and the last words of texts, as of LAMBADA (Paperno et al. 2016).

use burn::tensor::Device;
use emberline_core::Causal;
use emberline_generation::{GenerationError, LogLikelihood, likelihoods};
use emberline_text::{TextError, Tokenizer};

use crate::perplexity::perplexity;

/// The tokens of a context and of what follows it, encoded together, as of lm-evaluation-harness.
///
/// White space between them belongs to what follows: byte pairs have a word and the blank before it in one token, and a
/// blank at the end of a context would be one that the model has seldom seen there.
///
/// # Errors
/// Those of [`Tokenizer::encode`].
pub fn encode_continuation(
    tokenizer: &Tokenizer,
    context: &str,
    continuation: &str,
) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    let before = context.trim_end();
    let whole = [context, continuation].concat();
    let n_context = tokenizer.encode(before)?.len();
    let mut tokens = tokenizer.encode(&whole)?;
    let continuation = tokens.split_off(n_context.min(tokens.len()));
    Ok((tokens, continuation))
}

/// How well a model tells the last words of texts. It adds up over texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LastWords {
    /// Of how many texts every token of the last word is the most probable one.
    pub n_right: usize,
    /// How many texts there are.
    pub n_texts: usize,
    /// That of the last words.
    pub log_likelihood: LogLikelihood,
}

impl LastWords {
    /// The share of last words that greedy decoding writes.
    pub fn accuracy(&self) -> f64 {
        self.n_right as f64 / self.n_texts as f64
    }

    /// The perplexity of a last word, of however many tokens: that of lm-evaluation-harness.
    pub fn word_perplexity(&self) -> f64 {
        perplexity(self.log_likelihood.sum, self.n_texts)
    }
}

/// How probable the last word of each text is, after all that comes before it: everything after the last blank.
///
/// The beginnings of texts of more than `max_positions` tokens do not count; `batch_size` is how many texts are read at
/// a time at most.
///
/// # Errors
/// Those of [`likelihoods`], with [`EmptyPrompt`](GenerationError::EmptyPrompt) for a text of one word, and
/// [`Text`](GenerationError::Text) if the tokenizer does not know a part of a text.
pub fn last_words<M: Causal>(
    model: &M,
    tokenizer: &Tokenizer,
    texts: &[&str],
    max_positions: Option<usize>,
    batch_size: usize,
    device: &Device,
) -> Result<LastWords, GenerationError> {
    let (mut contexts, mut words) = (Vec::with_capacity(texts.len()), Vec::new());
    for text in texts {
        let text = text.trim_end();
        let (context, word) = text.split_at(text.rfind(' ').unwrap_or(0));
        let (context, word) = encode_continuation(tokenizer, context, word)?;
        contexts.push(context);
        words.push(word);
    }
    let [contexts, words] =
        [&contexts, &words].map(|rows| -> Vec<&[u32]> { rows.iter().map(Vec::as_slice).collect() });
    let found = likelihoods(model, &contexts, &words, max_positions, batch_size, device)?;
    Ok(LastWords {
        n_right: found.iter().filter(|word| word.is_greedy).count(),
        n_texts: texts.len(),
        log_likelihood: found.iter().map(|word| word.total()).sum(),
    })
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_text::Corpus;

    use super::*;
    use crate::test_model::Bigrams;

    fn letters() -> Tokenizer {
        Tokenizer::characters(&Corpus::new("letters", " ab").unwrap())
    }

    #[test]
    fn the_blank_before_a_word_is_a_part_of_it() {
        let corpus = Corpus::new("words", "the cat the cat the cat sat").unwrap();
        let tokenizer = Tokenizer::byte_pair(&corpus, 262).unwrap();
        let together = tokenizer.encode("the cat").unwrap();
        for (context, continuation) in [("the", " cat"), ("the ", "cat")] {
            let (before, after) = encode_continuation(&tokenizer, context, continuation).unwrap();
            assert_eq!([&before[..], &after].concat(), together);
            assert_eq!(tokenizer.decode(&after).unwrap(), " cat");
        }
    }

    #[test]
    fn a_last_word_is_right_if_greedy_decoding_writes_it() {
        // After a blank comes an a, after an a a b, after a b a blank, each of odds 2 to the 1 of the others.
        let model =
            Bigrams::new(vec![vec![1.0, 2.0, 1.0], vec![1.0, 1.0, 2.0], vec![2.0, 1.0, 1.0]]);
        let texts = ["b ab", "bb b", "a a ab\n"];
        assert_eq!(letters().encode(" ab").unwrap(), [0, 1, 2]);
        let found = last_words(&model, &letters(), &texts, None, 2, &test_device()).unwrap();
        // The second word is a blank after a b, which has 1/2, and a b after a blank, which has 1/4. The blank of the
        // third follows an a, after which a b is more probable.
        assert_eq!((found.n_right, found.n_texts, found.log_likelihood.n_tokens), (1, 3, 8));
        let expected =
            [0.5f64.powi(3), 0.5 * 0.25, 0.25 * 0.5 * 0.5].map(f64::ln).iter().sum::<f64>();
        assert!((found.log_likelihood.sum - expected).abs() < 1e-5, "{found:?}");
        assert!((found.word_perplexity() - (-expected / 3.0).exp()).abs() < 1e-4);
        assert_eq!(found.accuracy(), 1.0 / 3.0);
    }

    #[test]
    fn a_text_of_one_word_is_refused() {
        let model = Bigrams::uniform(3);
        let error = last_words(&model, &letters(), &["a b", "ab"], None, 2, &test_device());
        assert!(matches!(error, Err(GenerationError::EmptyPrompt { row: 1 })), "{error:?}");
    }
}
