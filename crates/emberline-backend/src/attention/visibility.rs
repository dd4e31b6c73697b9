//! Which keys a query sees.

use std::ops::Range;

/// Which keys a query sees: always a range of them, whatever is combined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visibility {
    /// A query sees no key after itself. The last query and the last key are the same position, so that a few
    /// queries can follow many keys that were cached.
    pub causal: bool,
    /// Of the keys up to itself a query sees the last so many, itself among them (Child and others, 2019).
    pub band: Option<usize>,
    /// The keys of each row of the batch; the others are padding, on either side.
    pub keys: Option<Vec<Range<usize>>>,
}

impl Visibility {
    /// Everything up to a query itself.
    pub fn causal() -> Self {
        Self { causal: true, ..Self::default() }
    }

    /// The first keys of each row: what follows them is padding.
    pub fn lengths(lengths: &[usize]) -> Self {
        Self { keys: Some(lengths.iter().map(|length| 0..*length).collect()), ..Self::default() }
    }

    /// The keys that a query of a row sees.
    pub fn range(
        &self,
        row: usize,
        query: usize,
        [query_length, key_length]: [usize; 2],
    ) -> Range<usize> {
        let mut range = self.keys.as_ref().map_or(0..key_length, |keys| keys[row].clone());
        // The position of the query among the keys, plus one.
        let end = (query + 1 + key_length).saturating_sub(query_length);
        if self.causal {
            range.end = range.end.min(end);
        }
        if let Some(band) = self.band {
            range.start = range.start.max(end.saturating_sub(band));
        }
        range.start = range.start.min(range.end);
        range
    }

    pub(super) fn check(&self, batch_size: usize, key_length: usize) {
        let Some(keys) = &self.keys else { return };
        assert_eq!(keys.len(), batch_size, "a range of keys for each row");
        for keys in keys {
            assert!(
                keys.start <= keys.end && keys.end <= key_length,
                "the keys {keys:?} of a row among {key_length}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_combine_to_one_range() {
        let mask = Visibility { causal: true, band: Some(3), keys: Some(vec![1..5, 0..0]) };
        let seen: Vec<_> = (0..6).map(|query| mask.range(0, query, [6, 6])).collect();
        assert_eq!(seen, [1..1, 1..2, 1..3, 1..4, 2..5, 3..5]);
        assert!(mask.range(1, 3, [6, 6]).is_empty());
    }

    #[test]
    fn the_last_query_is_at_the_last_key() {
        let mask = Visibility::causal();
        assert_eq!(mask.range(0, 0, [1, 7]), 0..7);
        assert_eq!(mask.range(0, 0, [2, 7]), 0..6);
        assert_eq!(mask.range(0, 0, [7, 7]), 0..1);
    }

    #[test]
    #[should_panic(expected = "the keys 0..8 of a row among 7")]
    fn keys_that_are_not_there_are_refused() {
        Visibility::lengths(&[8]).check(1, 7);
    }
}
