//! Random streams: every random number of Emberline is a pure function of a seed, a purpose and an
//! index, so that initial weights are equal on every device, rows and threads do not disturb each
//! other, and a resumed run needs no hidden state.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as
//! 1, 2, 3", SC 2011): ten rounds of multiplication that turn a counter and a key into four words.

/// A stream of random numbers, addressed by index.
///
/// ```
/// use emberline_core::Stream;
///
/// let dropout = Stream::new(42).named("dropout").at(7);
/// assert_eq!(dropout.uniform(3), dropout.uniform(3));
/// assert_ne!(dropout.uniform(3), dropout.at(0).uniform(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
}

/// The last counter word tells drawing from deriving, so that no draw of a stream is the key of another.
#[derive(Clone, Copy)]
enum Domain {
    Draw = 0,
    Name = 1,
    Index = 2,
}

impl Stream {
    /// The root stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { key: seed }
    }

    /// The stream of a purpose, such as `"dropout"` or the name of a layer.
    pub fn named(self, purpose: &str) -> Self {
        self.derive(fnv1a(purpose.as_bytes()), Domain::Name)
    }

    /// The stream of an index: a step, a layer, a row.
    pub fn at(self, index: u64) -> Self {
        self.derive(index, Domain::Index)
    }

    fn derive(self, word: u64, domain: Domain) -> Self {
        let [a, b, ..] = self.block(word, domain);
        Self { key: join(a, b) }
    }

    fn block(self, counter: u64, domain: Domain) -> [u32; 4] {
        self.blocks([counter], domain).map(|[word]| word)
    }

    #[inline(always)]
    fn blocks<const N: usize>(self, counters: [u64; N], domain: Domain) -> [[u32; N]; 4] {
        let counters = [counters.map(low), counters.map(high), [0; N], [domain as u32; N]];
        philox(counters, [low(self.key), high(self.key)])
    }

    /// 64 random bits.
    pub fn bits(self, index: u64) -> u64 {
        let [a, b, c, d] = self.block(index / 2, Domain::Draw);
        if index.is_multiple_of(2) { join(a, b) } else { join(c, d) }
    }

    /// The numbers of [`bits`](Self::bits) at `2 · first`, `2 · first + 1` and on, in pairs: made side by side, in
    /// vector code of the function that this is inlined into.
    #[inline(always)]
    pub fn bit_pairs<const N: usize>(self, first: u64) -> [[u64; 2]; N] {
        let counters: [u64; N] = std::array::from_fn(|lane| first + lane as u64);
        let [a, b, c, d] = self.blocks(counters, Domain::Draw);
        std::array::from_fn(|lane| [join(a[lane], b[lane]), join(c[lane], d[lane])])
    }

    /// A number in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(self, index: u64) -> f64 {
        unit(self.bits(index))
    }

    /// A whole number in `0..bound`.
    ///
    /// Multiplies instead of dividing; the bias is below `bound · 2⁻⁶⁴`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(self, index: u64, bound: usize) -> usize {
        assert!(bound > 0, "a number below 0 was asked for");
        ((u128::from(self.bits(index)) * bound as u128) >> 64) as usize
    }

    /// A number of the standard normal distribution (Box and Muller, 1958).
    pub fn normal(self, index: u64) -> f64 {
        self.normal_pair(index / 2)[index as usize % 2]
    }

    /// The numbers of [`normal`](Self::normal) at `2 · pair` and `2 · pair + 1`, which are made together.
    fn normal_pair(self, pair: u64) -> [f64; 2] {
        let [a, b, c, d] = self.block(pair, Domain::Draw);
        let radius = (-2.0 * (1.0 - unit(join(a, b))).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * unit(join(c, d))).sin_cos();
        [radius * cosine, radius * sine]
    }

    /// The numbers of [`uniform`](Self::uniform) at 0, 1, 2, …, several of which are made at once.
    pub fn uniform_sequence(self) -> impl Iterator<Item = f64> {
        const PAIRS: usize = 8;
        let pairs = (0..).step_by(PAIRS).flat_map(move |first| self.bit_pairs::<PAIRS>(first));
        pairs.flatten().map(unit)
    }

    /// `count` numbers in `[low, high)`.
    pub fn uniforms(self, count: usize, low: f64, high: f64) -> Vec<f32> {
        let numbers = self.uniform_sequence().take(count);
        numbers.map(|number| (low + (high - low) * number) as f32).collect()
    }

    /// `count` numbers of the normal distribution with mean 0 and the given standard deviation.
    pub fn normals(self, count: usize, deviation: f64) -> Vec<f32> {
        let pairs = (0..count.div_ceil(2) as u64).flat_map(|pair| self.normal_pair(pair));
        pairs.take(count).map(|number| (deviation * number) as f32).collect()
    }

    /// The numbers `0..count` in random order (Fisher and Yates).
    pub fn permutation(self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last as u64, last + 1));
        }
        order
    }
}

#[inline(always)]
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[inline(always)]
fn low(word: u64) -> u32 {
    word as u32
}

#[inline(always)]
fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

#[inline(always)]
fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// N blocks, word by word.
#[inline(always)]
fn philox<const N: usize>(mut counters: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        for lane in 0..N {
            let [a, b, c, d] = counters.map(|word| word[lane]);
            let first = u64::from(a) * 0xD251_1F53;
            let second = u64::from(c) * 0xCD9E_8D57;
            counters[0][lane] = high(second) ^ b ^ key[0];
            counters[1][lane] = low(second);
            counters[2][lane] = high(first) ^ d ^ key[1];
            counters[3][lane] = low(first);
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn philox_gives_the_published_known_answers() {
        let philox = |counter: [u32; 4], key| philox(counter.map(|word| [word]), key).map(|[w]| w);
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn streams_of_different_purposes_and_indices_differ() {
        let root = Stream::new(1);
        let keys = [
            root,
            root.named("a"),
            root.named("b"),
            root.at(0),
            root.at(1),
            root.named("a").at(1),
            root.at(1).named("a"),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(a.bits(0), b.bits(0));
            }
        }
    }

    #[test]
    fn a_sequence_gives_the_numbers_at_its_indices() {
        let stream = Stream::new(4);
        for (index, number) in stream.uniform_sequence().take(37).enumerate() {
            assert_eq!(number, stream.uniform(index as u64));
        }
        for (index, bits) in stream.bit_pairs::<3>(5).into_iter().flatten().enumerate() {
            assert_eq!(bits, stream.bits(10 + index as u64));
        }
    }

    #[test]
    fn uniform_and_normal_have_their_moments_at_four_sigma() {
        let (stream, count) = (Stream::new(3), 100_000);
        let mean = |f: &dyn Fn(u64) -> f64| (0..count).map(f).sum::<f64>() / count as f64;
        let sigma = 4.0 / (count as f64).sqrt();
        assert!((mean(&|i| stream.uniform(i)) - 0.5).abs() < sigma * (1.0f64 / 12.0).sqrt());
        assert!(mean(&|i| stream.normal(i)).abs() < sigma);
        assert!((mean(&|i| stream.normal(i).powi(2)) - 1.0).abs() < sigma * 2.0f64.sqrt());
        assert!(mean(&|i| stream.normal(2 * i) * stream.normal(2 * i + 1)).abs() < sigma);
    }

    #[test]
    fn a_permutation_holds_every_number_once_and_is_uniform() {
        let mut sorted = Stream::new(5).permutation(1000);
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));

        let draws = 60_000u64;
        let mut counts = [0u32; 6];
        for i in 0..draws {
            let order = Stream::new(5).at(i).permutation(3);
            counts[order[0] * 2 + usize::from(order[1] > order[2])] += 1;
        }
        let (expected, sigma) = (10_000.0, (60_000.0f64 * (1.0 / 6.0) * (5.0 / 6.0)).sqrt());
        assert!(counts.iter().all(|count| (f64::from(*count) - expected).abs() < 4.0 * sigma));
    }
}
