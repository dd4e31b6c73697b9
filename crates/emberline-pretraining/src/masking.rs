//! Which tokens of a row are to be guessed, and what stands in their places (Devlin and others, 2018, "BERT").

use emberline_core::Stream;
use emberline_text::{BertSpecialTokens, BertTokenizer};
use serde::{Deserialize, Serialize};

use crate::draws::Draws;

/// How tokens are masked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskingConfig {
    /// The part of the tokens of a row, special ones included, that is to be guessed, rounded as Python does: of two
    /// whole numbers that are equally near it takes the even one. At least one token is.
    pub fraction: f64,
    /// The most tokens of a row.
    pub max_predictions: usize,
    /// Whether all pieces of a word are to be guessed or none.
    pub whole_words: bool,
    /// The part of those tokens that becomes `[MASK]`.
    pub mask: f64,
    /// The part that becomes a random token; the rest stays.
    pub random: f64,
}

impl Default for MaskingConfig {
    /// Those of the published code: 80, 10 and 10 of 100.
    fn default() -> Self {
        Self { fraction: 0.15, max_predictions: 20, whole_words: false, mask: 0.8, random: 0.1 }
    }
}

/// A row in which tokens are to be guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedRow {
    /// What the model reads.
    pub tokens: Vec<u32>,
    /// Where it guesses, in order.
    pub positions: Vec<usize>,
    /// What is right there.
    pub labels: Vec<u32>,
}

/// Masks rows of one vocabulary.
#[derive(Clone, Debug)]
pub struct Masking {
    config: MaskingConfig,
    special: BertSpecialTokens,
    /// Whether the piece of each id goes on within a word.
    continues: Vec<bool>,
}

impl Masking {
    /// The masking of rows of a tokenizer.
    pub fn new(config: MaskingConfig, tokenizer: &BertTokenizer) -> Self {
        let continues = tokenizer.continues_word().to_vec();
        Self { config, special: tokenizer.special_tokens(), continues }
    }

    /// Masks a row: all its tokens but `[CLS]` and `[SEP]` may be, each of them, or each word, with the same probability.
    ///
    /// A random token is any of the vocabulary, special ones and the right one too, as in the published code.
    pub fn mask(&self, row: &[u32], random: Stream) -> MaskedRow {
        let n_predictions = self.n_predictions(row.len());
        let groups = self.groups(row);
        let mut positions: Vec<usize> = Vec::with_capacity(n_predictions);
        for group in random.named("order").permutation(groups.len()) {
            // Words that do not fit are passed over.
            if positions.len() + groups[group].len() <= n_predictions {
                positions.extend(&groups[group]);
            }
        }
        positions.sort_unstable();
        let mut tokens = row.to_vec();
        let mut draws = Draws::new(random.named("replacement"));
        for position in &positions {
            let draw = draws.uniform();
            if draw < self.config.mask {
                tokens[*position] = self.special.mask;
            } else if draw < self.config.mask + self.config.random {
                tokens[*position] = draws.within(0..=self.continues.len() - 1) as u32;
            }
        }
        let labels = positions.iter().map(|position| row[*position]).collect();
        MaskedRow { tokens, positions, labels }
    }

    /// How many tokens of a row of a length are to be guessed, if there are as many.
    fn n_predictions(&self, length: usize) -> usize {
        let rounded = (length as f64 * self.config.fraction).round_ties_even() as usize;
        rounded.max(1).min(self.config.max_predictions)
    }

    /// The positions that are masked together. A piece that goes on belongs to the word before it, even where that is of
    /// the text before, as in the published code.
    fn groups(&self, row: &[u32]) -> Vec<Vec<usize>> {
        let BertSpecialTokens { class, separator, .. } = self.special;
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (position, token) in row.iter().enumerate() {
            if [class, separator].contains(token) {
                continue;
            }
            match groups.last_mut() {
                Some(word) if self.config.whole_words && self.continues[*token as usize] => {
                    word.push(position);
                }
                _ => groups.push(vec![position]),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[PAD] [UNK] [CLS] [SEP] [MASK]`, ten pieces that start words, and ten that go on.
    fn masking(config: MaskingConfig) -> Masking {
        let special = BertSpecialTokens { pad: 0, unknown: 1, class: 2, separator: 3, mask: 4 };
        Masking { config, special, continues: (0..25).map(|id| id >= 15).collect() }
    }

    /// Assert that a count of draws is near what its probability says.
    fn assert_four_sigma(count: usize, draws: usize, probability: f64) {
        let expected = draws as f64 * probability;
        let sigma = (expected * (1.0 - probability)).sqrt();
        assert!((count as f64 - expected).abs() < 4.0 * sigma, "{count} of {draws}: {probability}");
    }

    #[test]
    fn halves_are_rounded_to_even_numbers_and_one_is_the_least() {
        let n_predictions = |length| masking(MaskingConfig::default()).n_predictions(length);
        // 1.5, 4.5, 7.5 and 10.5 in the binary numbers, too.
        assert_eq!([10, 30, 50, 70].map(n_predictions), [2, 4, 8, 10]);
        assert_eq!([1, 5, 6, 128, 512].map(n_predictions), [1, 1, 1, 19, 20]);
    }

    #[test]
    fn what_is_right_stays_with_its_place_and_the_ends_of_texts_are_never_masked() {
        let row = [2, 5, 6, 7, 8, 3, 9, 10, 11, 3];
        for draw in 0..200 {
            let masked = masking(MaskingConfig { fraction: 0.5, ..Default::default() })
                .mask(&row, Stream::new(draw));
            assert_eq!((masked.positions.len(), masked.labels.len()), (5, 5));
            assert!(masked.positions.windows(2).all(|two| two[0] < two[1]));
            for (position, label) in masked.positions.iter().zip(&masked.labels) {
                assert_eq!(row[*position], *label);
                assert!(![0, 5, 9].contains(position));
            }
            for position in (0..10).filter(|position| !masked.positions.contains(position)) {
                assert_eq!(masked.tokens[position], row[position]);
            }
        }
    }

    #[test]
    fn words_are_masked_whole_and_those_that_do_not_fit_are_passed_over() {
        // The words `5`, `6 15 16`, `7 17` and `18`, which is cut from its start and goes on from nothing.
        let row = [2, 18, 5, 6, 15, 16, 3, 7, 17, 3];
        let words = [&[1][..], &[2], &[3, 4, 5], &[7, 8]];
        let config = MaskingConfig { fraction: 0.25, whole_words: true, ..Default::default() };
        for draw in 0..200 {
            let positions = masking(config).mask(&row, Stream::new(draw)).positions;
            assert_eq!(positions.len(), 2, "two single tokens, or a word of two");
            let is_whole = |word: &&[usize]| {
                let n_masked = word.iter().filter(|at| positions.contains(at)).count();
                n_masked == 0 || n_masked == word.len()
            };
            assert!(words.iter().all(is_whole), "{positions:?}");
        }
    }

    #[test]
    fn every_token_is_masked_as_often_as_the_others_at_four_sigma() {
        let row: Vec<u32> = [2].into_iter().chain(5..15).chain([3]).collect();
        let masking = masking(MaskingConfig { fraction: 0.25, ..Default::default() });
        let n_rows = 200_000;
        let mut counts = [0; 12];
        for draw in 0..n_rows {
            let masked = masking.mask(&row, Stream::new(1).at(draw as u64));
            masked.positions.iter().for_each(|position| counts[*position] += 1);
        }
        assert_eq!((counts[0], counts[11], counts.iter().sum::<usize>()), (0, 0, 3 * n_rows));
        for count in &counts[1..11] {
            assert_four_sigma(*count, n_rows, 0.3);
        }
    }

    #[test]
    fn of_a_million_masked_tokens_80_10_and_10_of_100_are_mask_random_and_kept_at_four_sigma() {
        let row: Vec<u32> =
            [2].into_iter().chain((0..126).map(|at| 5 + at % 20)).chain([3]).collect();
        let masking = masking(MaskingConfig::default());
        let (mut n, mut n_mask, mut n_equal) = (0, 0, 0);
        let mut random = [0; 25];
        let mut draw = 0;
        while n < 1_000_000 {
            let masked = masking.mask(&row, Stream::new(2).at(draw));
            draw += 1;
            for (position, label) in masked.positions.iter().zip(&masked.labels) {
                n += 1;
                match masked.tokens[*position] {
                    4 => n_mask += 1,
                    token if token == *label => n_equal += 1,
                    token => random[token as usize] += 1,
                }
            }
        }
        // Of random tokens one of 25 is `[MASK]`, and one the right one.
        assert_four_sigma(n_mask, n, 0.8 + 0.1 / 25.0);
        assert_four_sigma(n_equal, n, 0.1 + 0.1 / 25.0);
        assert_four_sigma(random.iter().sum(), n, 0.1 * 23.0 / 25.0);
        // `[PAD]`, `[CLS]` and the others that are special are as likely as any token.
        for token in [0, 1, 2, 3] {
            assert_four_sigma(random[token], n, 0.1 / 25.0);
        }
    }

    #[test]
    fn mask_only_random_only_and_keep_only_are_what_they_say() {
        let row: Vec<u32> = (5..15).collect();
        let with = |mask, random| {
            let config = MaskingConfig { fraction: 1.0, mask, random, ..Default::default() };
            masking(config).mask(&row, Stream::new(3)).tokens
        };
        assert_eq!(with(1.0, 0.0), [4; 10]);
        assert_eq!(with(0.0, 0.0), row);
        assert!(with(0.0, 1.0).iter().zip(&row).filter(|(one, other)| one != other).count() > 5);
    }
}
