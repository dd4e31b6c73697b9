//! Sequences of tokens that would come a second time.

/// The tokens after which the last `size` tokens would be a sequence that has been, each once or more often.
pub(crate) fn repeating(tokens: &[u32], size: usize) -> impl Iterator<Item = u32> {
    let n_last = tokens.len().min(size - 1);
    let last = &tokens[tokens.len() - n_last..];
    let repeats = move |ngram: &&[u32]| &ngram[..size - 1] == last;
    tokens.windows(size).filter(repeats).map(move |ngram| ngram[size - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokens: &[u32], size: usize) -> Vec<u32> {
        repeating(tokens, size).collect()
    }

    #[test]
    fn a_token_that_followed_the_same_before_repeats() {
        assert_eq!(tokens(&[1, 2, 3, 1, 2, 4, 1, 2], 3), [3, 4]);
        assert_eq!(tokens(&[1, 2, 3, 1, 2, 4, 1, 2], 2), [3, 4]);
        assert_eq!(tokens(&[1, 2], 1), [1, 2]);
        assert_eq!(tokens(&[7, 7, 7], 2), [7, 7]);
    }

    #[test]
    fn a_new_or_short_text_repeats_nothing() {
        assert!(tokens(&[1, 2, 3], 2).is_empty());
        assert!(tokens(&[1], 4).is_empty());
    }
}
