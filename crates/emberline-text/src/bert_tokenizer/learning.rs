//! Word pieces learned from texts: the pair whose merge makes the texts most likely is merged, again and again
//! (Schuster and Nakajima, 2012, "Japanese and Korean Voice Search").

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::BertTokenizer;
use crate::error::TextError;
use crate::published::word_pieces::{CONTINUATION, Reading, SPECIAL_TOKENS, from_pieces};
use crate::tokenizer::pipeline_error;

/// Two pieces that follow each other within a word.
type Pair = (usize, usize);

/// Pairs that were seen less often are left apart.
const MIN_COUNT: u64 = 2;

impl BertTokenizer {
    /// Learns word pieces from texts until the vocabulary has `vocab_size` of them, or fewer if no merge makes the
    /// texts more likely: the five special tokens, then every character, as a piece that starts a word and as one that
    /// goes on, as far as it does, then the merged ones in the order in which they were found. Where there is no room
    /// for all characters, the most frequent are kept, and words with others become `[UNK]`.
    ///
    /// A vocabulary is as good as its pieces, each drawn by itself with the probability that it has in the texts, make
    /// the texts likely. The merge of `a` and `b` gains
    /// `f(c) + f(cₐ - c) + f(c_b - c) - f(cₐ) - f(c_b) - f(n - c) + f(n)` of their log-likelihood, where `f(x) = x ln x`,
    /// `c` counts the pair, `cₐ` and `c_b` its parts, and `n` all pieces. Byte pairs merge by `c` alone. Google never
    /// published how BERT's own were found, and what `tokenizers` calls the training of word pieces is that of byte
    /// pairs.
    ///
    /// The same texts give the same tokenizer.
    ///
    /// # Errors
    /// [`TextError::Pipeline`].
    pub fn learn<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        vocab_size: usize,
        lower_case: bool,
    ) -> Result<Self, TextError> {
        let reading = Reading { do_lower_case: Some(lower_case), ..Reading::default() };
        let words = count_words(texts, reading, lower_case)?;
        let special = SPECIAL_TOKENS.map(|(_, token)| token.to_string());
        let mut learner = Learner::new(&words, vocab_size.saturating_sub(special.len()));
        while special.len() + learner.pieces.len() < vocab_size && learner.merge_best() {}
        let pieces = special.into_iter().chain(learner.pieces).collect();
        Self::new(from_pieces(pieces, reading)?, "the tokenizer")
    }
}

/// How often each word is in the texts, as BERT reads them.
fn count_words<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    reading: Reading,
    lower_case: bool,
) -> Result<BTreeMap<String, u64>, TextError> {
    let normalizer = reading.normalizer(lower_case);
    let mut counts = BTreeMap::new();
    // Lines end words.
    for line in texts.into_iter().flat_map(str::lines) {
        let mut line = NormalizedString::from(line);
        normalizer.normalize(&mut line).map_err(pipeline_error("normalize a text"))?;
        let mut words = PreTokenizedString::from(line);
        BertPreTokenizer
            .pre_tokenize(&mut words)
            .map_err(pipeline_error("split a text into words"))?;
        for (word, ..) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            *counts.entry(word.to_string()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// A gain that can be compared.
#[derive(PartialEq)]
struct Gain(f64);

impl Eq for Gain {}

impl PartialOrd for Gain {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Gain {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

struct Learner {
    /// The pieces by their numbers, `##` before those that go on.
    pieces: Vec<String>,
    /// How often each piece is in the texts.
    counts: Vec<u64>,
    /// All pieces of the texts.
    total: u64,
    /// The words as pieces, and how often they are in the texts.
    words: Vec<(Vec<usize>, u64)>,
    pairs: HashMap<Pair, PairPlaces>,
    /// The pairs that each piece is part of.
    pairs_of: Vec<BTreeSet<Pair>>,
    /// Pairs with gains that are not too small. A gain falls with `total`, which never rises, and whenever it rises for
    /// another reason the pair is put here again.
    best: BinaryHeap<(Gain, Reverse<Pair>)>,
}

#[derive(Default)]
struct PairPlaces {
    count: u64,
    /// The words that have or had the pair.
    words: BTreeSet<usize>,
}

impl Learner {
    /// At most `room` characters as pieces, and the words that are made of them.
    fn new(words: &BTreeMap<String, u64>, room: usize) -> Self {
        let mut characters: BTreeMap<String, u64> = BTreeMap::new();
        for (word, count) in words {
            for piece in characters_of(word) {
                *characters.entry(piece).or_default() += count;
            }
        }
        let mut by_count: Vec<(String, u64)> = characters.into_iter().collect();
        by_count.sort_by_key(|(_, count)| Reverse(*count));
        by_count.truncate(room);
        by_count.sort();
        let pieces: Vec<String> = by_count.into_iter().map(|(piece, _)| piece).collect();
        let numbers: HashMap<&str, usize> = pieces.iter().map(String::as_str).zip(0..).collect();
        let known = |(word, count): (&String, &u64)| {
            let pieces: Option<Vec<usize>> =
                characters_of(word).map(|piece| numbers.get(piece.as_str()).copied()).collect();
            Some((pieces?, *count))
        };
        let words: Vec<(Vec<usize>, u64)> = words.iter().filter_map(known).collect();

        let mut learner = Self {
            counts: vec![0; pieces.len()],
            pairs_of: vec![BTreeSet::new(); pieces.len()],
            pieces,
            total: 0,
            words: Vec::new(),
            pairs: HashMap::new(),
            best: BinaryHeap::new(),
        };
        for (index, (pieces, count)) in words.iter().enumerate() {
            for piece in pieces {
                learner.counts[*piece] += count;
                learner.total += count;
            }
            learner.add_pairs(index, pieces, *count);
        }
        learner.words = words;
        let pairs: Vec<Pair> = learner.pairs.keys().copied().collect();
        learner.offer(pairs);
        learner
    }

    /// Merges the pair that gains most; false if none gains anything.
    fn merge_best(&mut self) -> bool {
        while let Some((Gain(offered), Reverse(pair))) = self.best.pop() {
            let gain = self.gain(pair);
            if gain <= 0.0 {
                continue;
            }
            if gain < offered {
                self.best.push((Gain(gain), Reverse(pair)));
                continue;
            }
            self.merge(pair);
            return true;
        }
        false
    }

    fn merge(&mut self, pair: Pair) {
        let (left, right) = pair;
        let end = self.pieces[right].strip_prefix(CONTINUATION).expect("it goes on in a word");
        let merged = self.pieces.len();
        self.pieces.push(format!("{}{end}", self.pieces[left]));
        self.counts.push(0);
        self.pairs_of.push(BTreeSet::new());
        let places = self.pairs.get(&pair).expect("a pair that gains is there").words.clone();
        for index in places {
            let (pieces, count) = self.words[index].clone();
            let after = merged_pieces(&pieces, pair, merged);
            let n_merges = (pieces.len() - after.len()) as u64;
            if n_merges == 0 {
                continue;
            }
            for adjacent in pieces.windows(2) {
                let adjacent = (adjacent[0], adjacent[1]);
                self.pairs.get_mut(&adjacent).expect("pairs of words are there").count -= count;
            }
            self.add_pairs(index, &after, count);
            self.counts[left] -= n_merges * count;
            self.counts[right] -= n_merges * count;
            self.counts[merged] += n_merges * count;
            self.total -= n_merges * count;
            self.words[index].0 = after;
        }
        for piece in [left, right, merged] {
            let (gone, there): (Vec<Pair>, Vec<Pair>) =
                self.pairs_of[piece].iter().partition(|pair| self.pairs[pair].count == 0);
            for pair in gone {
                self.pairs.remove(&pair);
                self.pairs_of[pair.0].remove(&pair);
                self.pairs_of[pair.1].remove(&pair);
            }
            self.offer(there);
        }
    }

    fn add_pairs(&mut self, word: usize, pieces: &[usize], count: u64) {
        for adjacent in pieces.windows(2) {
            let pair = (adjacent[0], adjacent[1]);
            let places = self.pairs.entry(pair).or_default();
            places.count += count;
            places.words.insert(word);
            self.pairs_of[pair.0].insert(pair);
            self.pairs_of[pair.1].insert(pair);
        }
    }

    fn offer(&mut self, pairs: Vec<Pair>) {
        for pair in pairs {
            let gain = self.gain(pair);
            if gain > 0.0 {
                self.best.push((Gain(gain), Reverse(pair)));
            }
        }
    }

    /// How much more likely the texts get, in nats; nothing for a pair that is too seldom.
    fn gain(&self, pair: Pair) -> f64 {
        let count = self.pairs.get(&pair).map_or(0, |places| places.count);
        if count < MIN_COUNT {
            return 0.0;
        }
        let f = |count: u64| if count == 0 { 0.0 } else { count as f64 * (count as f64).ln() };
        let (left, right) = (self.counts[pair.0], self.counts[pair.1]);
        let parts = if pair.0 == pair.1 {
            // The pairs of a piece with itself may overlap.
            f(left.saturating_sub(2 * count)) - f(left)
        } else {
            f(left - count) - f(left) + f(right - count) - f(right)
        };
        f(count) + parts + f(self.total) - f(self.total - count)
    }
}

/// The characters of a word as pieces.
fn characters_of(word: &str) -> impl Iterator<Item = String> {
    let piece = |(index, character): (usize, char)| match index {
        0 => character.to_string(),
        _ => format!("{CONTINUATION}{character}"),
    };
    word.chars().enumerate().map(piece)
}

/// The pieces of a word in which a pair is merged, from left to right.
fn merged_pieces(pieces: &[usize], pair: Pair, merged: usize) -> Vec<usize> {
    let mut after = Vec::with_capacity(pieces.len());
    let mut rest = pieces;
    while let [first, tail @ ..] = rest {
        let is_pair = tail.first().is_some_and(|second| (*first, *second) == pair);
        after.push(if is_pair { merged } else { *first });
        rest = if is_pair { &tail[1..] } else { tail };
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(text: &str, vocab_size: usize) -> Vec<String> {
        let tokenizer = BertTokenizer::learn([text], vocab_size, true).unwrap();
        let token = |id| tokenizer.tokenizer().pipeline().id_to_token(id).unwrap();
        (0..tokenizer.vocab_size() as u32).map(token).collect()
    }

    #[test]
    fn special_tokens_come_first_then_characters_then_merges() {
        let pieces = learned(&"low lower lowest ".repeat(9), 40);
        assert_eq!(pieces[..5], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
        let characters = ["##e", "##o", "##r", "##s", "##t", "##w", "l"];
        assert_eq!(pieces[5..12], characters);
        assert!(pieces[12..].contains(&"low".to_string()), "{pieces:?}");
    }

    /// `q` is always before `u`, which is seldom elsewhere; `a` and `b` meet more often, and by chance.
    #[test]
    fn a_pair_that_belongs_together_comes_before_one_that_is_only_more_frequent() {
        let text = "xqu ".repeat(10) + &"xab xaa xba xbb ".repeat(12);
        let pieces = learned(&text, 20);
        let first = pieces.iter().find(|piece| piece.trim_start_matches('#').len() > 1);
        let first = pieces.iter().skip(5).find(|piece| piece.ends_with("qu")).or(first);
        assert_eq!(first.map(String::as_str), Some("##qu"), "{pieces:?}");
        let index = |piece: &str| pieces.iter().position(|other| other == piece);
        assert!(index("##ab").is_none_or(|ab| ab > index("##qu").unwrap()), "{pieces:?}");
    }

    /// The likelihood of the pieces of the texts, each drawn by itself.
    fn log_likelihood(learner: &Learner) -> f64 {
        let mut counts = HashMap::<usize, u64>::new();
        for (pieces, count) in &learner.words {
            pieces.iter().for_each(|piece| *counts.entry(*piece).or_default() += count);
        }
        let total: u64 = counts.values().sum();
        counts.values().map(|count| *count as f64 * (*count as f64 / total as f64).ln()).sum()
    }

    #[test]
    fn a_merge_gains_what_it_says_and_no_other_gains_more() {
        let text = "the cat sat on the mat that the hat had ".repeat(3) + "a cab and a bat";
        let words = count_words([&text[..]], Reading::default(), true).unwrap();
        let mut learner = Learner::new(&words, 100);
        let mut n_merges = 0;
        loop {
            let pairs: Vec<Pair> = learner.pairs.keys().copied().collect();
            let best = pairs.iter().map(|pair| learner.gain(*pair)).fold(0.0, f64::max);
            let before = log_likelihood(&learner);
            if !learner.merge_best() {
                assert_eq!(best, 0.0);
                break;
            }
            n_merges += 1;
            assert!((log_likelihood(&learner) - before - best).abs() < 1e-9);
            assert!((learner.total, learner.counts.clone()) == counted(&learner));
        }
        assert!(n_merges > 5, "{n_merges}");
    }

    fn counted(learner: &Learner) -> (u64, Vec<u64>) {
        let mut counts = vec![0; learner.pieces.len()];
        for (pieces, count) in &learner.words {
            pieces.iter().for_each(|piece| counts[*piece] += count);
        }
        (counts.iter().sum(), counts)
    }

    #[test]
    fn characters_that_have_no_room_make_unknown_words() {
        let tokenizer = BertTokenizer::learn([&("ab ".repeat(9) + "zb")[..]], 7, true).unwrap();
        let tokens = |text| tokenizer.tokenizer().encode(text).unwrap();
        assert_eq!(tokenizer.vocab_size(), 7);
        assert_eq!(tokens("zb"), [tokenizer.special_tokens().unknown]);
        assert_eq!(tokens("ab").len(), 2);
    }
}
