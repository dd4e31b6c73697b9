//! Runs of items, counted.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each run of items occurs.
pub type Ngrams<'a, T> = HashMap<&'a [T], u64>;

/// How often each run of `order` items occurs.
pub fn ngrams<T: Eq + Hash>(items: &[T], order: usize) -> Ngrams<'_, T> {
    let mut counts = Ngrams::new();
    for ngram in items.windows(order) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

/// How many of the n-grams found are there, each as often as it is there and no more.
pub fn n_matches<T: Eq + Hash>(found: &Ngrams<T>, there: &Ngrams<T>) -> u64 {
    let matches = |(ngram, count): (&&[T], &u64)| there.get(ngram).map_or(0, |of| *of.min(count));
    found.iter().map(matches).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_more_often_than_it_is_there_matches_no_more_often() {
        let (found, there) = (ngrams(b"aaab", 1), ngrams(b"aabb", 1));
        assert_eq!((n_matches(&found, &there), n_matches(&there, &found)), (3, 3));
        assert_eq!(n_matches(&ngrams(b"abab", 2), &ngrams(b"bab", 2)), 2);
    }

    #[test]
    fn fewer_items_than_the_order_have_no_ngram() {
        assert!(ngrams(b"abc", 4).is_empty());
    }
}
