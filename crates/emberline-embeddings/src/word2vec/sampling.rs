//! Drawing words: those that stand for all others (negative samples), and those that are passed over because they are
//! frequent (subsampling).

/// Words with a probability that goes with a power of their count, drawn in constant time: the alias method (Walker
/// 1977, Vose 1991).
#[derive(Clone, Debug)]
pub(super) struct NegativeTable {
    /// For each word, up to where in `0..2³²` it stays itself, and what it is beyond.
    cells: Vec<(u32, u32)>,
}

impl NegativeTable {
    pub(super) fn new(counts: &[u64], power: f64) -> Self {
        let weights: Vec<f64> = counts.iter().map(|count| (*count as f64).powf(power)).collect();
        let scale = weights.len() as f64 / weights.iter().sum::<f64>();
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let mut cells: Vec<(u32, u32)> = (0..shares.len() as u32).map(|w| (u32::MAX, w)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..shares.len()).partition(|word| shares[*word] < 1.0);
        while let (Some(&from), Some(to)) = (large.last(), small.pop()) {
            cells[to] = ((shares[to] * 2f64.powi(32)) as u32, from as u32);
            shares[from] -= 1.0 - shares[to];
            if shares[from] < 1.0 {
                large.pop();
                small.push(from);
            }
        }
        Self { cells }
    }

    /// The word for 64 random bits.
    #[inline(always)]
    pub(super) fn draw(&self, bits: u64) -> u32 {
        let product = u128::from(bits) * self.cells.len() as u128;
        let word = (product >> 64) as u32;
        // SAFETY: a number below 2⁶⁴ times the length, over 2⁶⁴, is below the length.
        let (limit, other) = *unsafe { self.cells.get_unchecked(word as usize) };
        // Without a branch, which would be foretold wrongly half of the time.
        let stays = u32::from(((product >> 32) as u32) < limit).wrapping_neg();
        other ^ ((word ^ other) & stays)
    }
}

/// For each word the chance of 2³² that it is kept: `√(t/f) + t/f` at most 1, as in the C program, with the share `f` of
/// the corpus. The paper has `√(t/f)`. At a threshold of 0 all are kept.
pub(super) fn keep_limits(counts: &[u64], threshold: f64) -> Vec<u64> {
    let total = counts.iter().sum::<u64>() as f64;
    let limit = |count: &u64| {
        let ratio = threshold * total / *count as f64;
        let keep = if threshold > 0.0 { ratio.sqrt() + ratio } else { 1.0 };
        (keep.min(1.0) * 2f64.powi(32)) as u64
    };
    counts.iter().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use emberline_core::Stream;

    use super::*;

    #[test]
    fn words_are_drawn_by_the_power_of_their_count() {
        let counts = [1000u64, 200, 200, 30, 5];
        let (table, draws) = (NegativeTable::new(&counts, 0.75), 200_000u64);
        let mut drawn = [0u32; 5];
        (0..draws).for_each(|i| drawn[table.draw(Stream::new(1).bits(i)) as usize] += 1);
        let total: f64 = counts.iter().map(|count| (*count as f64).powf(0.75)).sum();
        for (count, drawn) in counts.iter().zip(drawn) {
            let share = (*count as f64).powf(0.75) / total;
            let sigma = (draws as f64 * share * (1.0 - share)).sqrt();
            assert!((f64::from(drawn) - draws as f64 * share).abs() < 4.0 * sigma, "{count}");
        }
    }

    #[test]
    fn the_cells_add_up_to_the_shares() {
        let counts: Vec<u64> = (1..100).map(|rank| 10_000 / rank).collect();
        let table = NegativeTable::new(&counts, 0.75);
        let total: f64 = counts.iter().map(|count| (*count as f64).powf(0.75)).sum();
        let mut shares = vec![0.0; counts.len()];
        for (word, (limit, other)) in table.cells.iter().enumerate() {
            let stays = f64::from(*limit) / 2f64.powi(32);
            shares[word] += stays;
            shares[*other as usize] += 1.0 - stays;
        }
        for (count, share) in counts.iter().zip(shares) {
            let expected = (*count as f64).powf(0.75) / total * counts.len() as f64;
            assert!((share - expected).abs() < 1e-6, "{count}: {share} for {expected}");
        }
    }

    #[test]
    fn frequent_words_are_passed_over_and_rare_ones_never() {
        // A word of a tenth of the corpus at t = 0.001: √0.01 + 0.01.
        let limits = keep_limits(&[100, 899, 1], 1e-3);
        assert!((limits[0] as f64 / 2f64.powi(32) - 0.11).abs() < 1e-9);
        assert!(limits[1] < limits[0]);
        assert_eq!(limits[2], 1 << 32);
        assert_eq!(keep_limits(&[100, 900], 0.0), [1 << 32; 2]);
    }
}
