//! What the vectors say: which words are alike, and what is to one word as another is to a third.

use std::cmp::Reverse;

use rayon::prelude::*;

use crate::error::EmbeddingsError;
use crate::simd::{self, Kernel, Lanes, add_scaled, products};
use crate::table::numbers;
use crate::vectors::WordVectors;

/// Rows that one thread takes at once.
const ROWS: usize = 1 << 12;

/// How the cosines with the words of a question become one score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combination {
    /// 3CosAdd (Mikolov et al. 2013): the cosine with the mean of what is sought and the opposite of what is not.
    #[default]
    Additive,
    /// 3CosMul (Levy and Goldberg 2014): products of cosines, which no single large one outweighs.
    Multiplicative,
}

/// A word with a score, the higher the better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The place of the word.
    pub place: usize,
    /// Its score.
    pub score: f32,
}

impl WordVectors {
    /// The place of a word.
    ///
    /// # Errors
    /// [`UnknownWord`](EmbeddingsError::UnknownWord).
    pub fn place(&self, word: impl AsRef<[u8]>) -> Result<usize, EmbeddingsError> {
        let word = word.as_ref();
        let unknown =
            || EmbeddingsError::UnknownWord { word: String::from_utf8_lossy(word).into() };
        self.words().place(word).ok_or_else(unknown)
    }

    /// The cosine of the vectors at two places.
    pub fn similarity(&self, one: usize, other: usize) -> f32 {
        let scales = self.scales();
        let product = simd::run(Inner(self.table().lanes_of(one), self.table().lanes_of(other)));
        // The same whichever comes first, so that a pair and its reverse are a tie.
        product * (scales[one] * scales[other])
    }

    /// The `count` words whose vectors have the highest cosine with a vector, of those that are not `left_out`; the best
    /// first.
    ///
    /// # Panics
    /// If the vector has another width.
    pub fn nearest(&self, vector: &[f32], count: usize, left_out: &[usize]) -> Vec<Scored> {
        let mut query = vec![Lanes::ZERO; self.table().stride()];
        assert_eq!(vector.len(), self.width(), "the width of what is sought");
        for (lanes, numbers) in query.iter_mut().zip(vector.chunks(Lanes::ZERO.0.len())) {
            lanes.0[..numbers.len()].copy_from_slice(numbers);
        }
        let length = simd::run(Inner(&query, &query)).sqrt();
        let cosines = self.cosines(&query, if length > 0.0 { 1.0 / length } else { 0.0 });
        best(&cosines, count, left_out)
    }

    /// The `count` words that are alike to those of `positive` and unlike those of `negative`, none of which is an answer:
    /// with `b` and `c`, and `a`, what is to `c` as `b` is to `a`.
    pub fn analogy(
        &self,
        positive: &[usize],
        negative: &[usize],
        combination: Combination,
        count: usize,
    ) -> Vec<Scored> {
        let left_out = [positive, negative].concat();
        if combination == Combination::Additive {
            let signed = positive.iter().map(|place| (place, 1.0));
            let signed = signed.chain(negative.iter().map(|place| (place, -1.0)));
            return self.nearest(&self.mean(signed), count, &left_out);
        }
        let near = |place: &usize| {
            let cosines = self.cosines(self.table().lanes_of(*place), self.scales()[*place]);
            cosines.into_iter().map(from_0_to_1).collect::<Vec<f32>>()
        };
        let product = |places: &[usize]| {
            places.iter().map(near).fold(vec![1.0; self.len()], |mut product, near| {
                product.iter_mut().zip(near).for_each(|(product, near)| *product *= near);
                product
            })
        };
        let (above, below) = (product(positive), product(negative));
        let scores: Vec<f32> =
            above.into_iter().zip(below).map(|(above, below)| above / (below + EPSILON)).collect();
        best(&scores, count, &left_out)
    }

    /// The place that is least alike to the mean of all; none of none.
    pub fn odd_one_out(&self, places: &[usize]) -> Option<usize> {
        let mean = self.mean(places.iter().map(|place| (place, 1.0)));
        let cosine = |place: &usize| {
            let vector = self.vector(*place);
            let product: f32 = vector.iter().zip(&mean).map(|(one, other)| one * other).sum();
            product * self.scales()[*place]
        };
        places.iter().copied().min_by(|one, other| cosine(one).total_cmp(&cosine(other)))
    }

    /// The sum of vectors of length 1, each times its sign.
    fn mean<'a>(&self, signed: impl Iterator<Item = (&'a usize, f32)>) -> Vec<f32> {
        let mut sum = vec![Lanes::ZERO; self.table().stride()];
        for (place, sign) in signed {
            let factor = sign * self.scales()[*place];
            add_scaled::<false>(&mut sum, factor, self.table().lanes_of(*place));
        }
        numbers(&sum)[..self.width()].to_vec()
    }

    /// The cosines of all vectors with a row that times `scale` has length 1.
    fn cosines(&self, query: &[Lanes], scale: f32) -> Vec<f32> {
        let mut cosines = vec![0.0; self.len()];
        cosines.par_chunks_mut(ROWS).enumerate().for_each(|(chunk, cosines)| {
            simd::run(Cosines { vectors: self, first: chunk * ROWS, query, scale, cosines });
        });
        cosines
    }
}

/// Keeps a product of cosines from being divided by nothing.
pub(crate) const EPSILON: f32 = 1e-6;

/// A cosine as a factor.
#[inline(always)]
pub(crate) fn from_0_to_1(cosine: f32) -> f32 {
    (1.0 + cosine) / 2.0
}

/// The highest scores; equal ones in the order of their places.
fn best(scores: &[f32], count: usize, left_out: &[usize]) -> Vec<Scored> {
    let order = |scored: &Scored| (Reverse(Total(scored.score)), scored.place);
    let mut all: Vec<Scored> = (0..scores.len())
        .filter(|place| !left_out.contains(place))
        .map(|place| Scored { place, score: scores[place] })
        .collect();
    if count < all.len() {
        all.select_nth_unstable_by_key(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by_key(order);
    all
}

/// A number in its total order.
#[derive(PartialEq)]
struct Total(f32);

impl Eq for Total {}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

struct Inner<'a>(&'a [Lanes], &'a [Lanes]);

impl Kernel for Inner<'_> {
    type Output = f32;

    #[inline(always)]
    fn body<const FMA: bool>(self) -> f32 {
        products::<FMA>(self.0, self.1).sum()
    }
}

/// The cosines of a row with those from `first` on.
pub(crate) struct Cosines<'a> {
    pub(crate) vectors: &'a WordVectors,
    pub(crate) first: usize,
    pub(crate) query: &'a [Lanes],
    pub(crate) scale: f32,
    pub(crate) cosines: &'a mut [f32],
}

impl Kernel for Cosines<'_> {
    type Output = ();

    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let scales = self.vectors.scales();
        for (place, cosine) in (self.first..).zip(self.cosines) {
            let product = products::<FMA>(self.query, self.vectors.table().lanes_of(place)).sum();
            *cosine = product * self.scale * scales[place];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hand-made table of two features: how royal, and -1 male to 1 female.
    fn royal() -> WordVectors {
        WordVectors::from_rows(&[
            ("man", vec![0.1, -1.0]),
            ("woman", vec![0.1, 1.0]),
            ("king", vec![1.0, -1.0]),
            ("queen", vec![1.0, 1.0]),
            ("apple", vec![-0.9, 0.05]),
        ])
    }

    fn places<const N: usize>(vectors: &WordVectors, words: [&str; N]) -> [usize; N] {
        words.map(|word| vectors.place(word).unwrap())
    }

    #[test]
    fn the_queen_is_to_the_woman_as_the_king_is_to_the_man() {
        let vectors = royal();
        let [man, woman, king, queen] = places(&vectors, ["man", "woman", "king", "queen"]);
        for combination in [Combination::Additive, Combination::Multiplicative] {
            let answers = vectors.analogy(&[king, woman], &[man], combination, 1);
            assert_eq!(answers[0].place, queen, "{combination:?}");
        }
    }

    #[test]
    fn the_apple_is_no_ruler() {
        let vectors = royal();
        let [king, queen, apple] = places(&vectors, ["king", "queen", "apple"]);
        assert_eq!(vectors.odd_one_out(&[king, apple, queen]), Some(apple));
        assert_eq!(vectors.odd_one_out(&[]), None);
    }

    #[test]
    fn the_nearest_words_come_first_and_those_left_out_do_not_come() {
        let vectors = royal();
        let [king, queen] = places(&vectors, ["king", "queen"]);
        let nearest = vectors.nearest(&[2.0, 1.9], 9, &[king]);
        assert_eq!((nearest[0].place, nearest.len()), (queen, 4));
        assert!(nearest.is_sorted_by(|one, other| one.score >= other.score));
        assert_eq!(vectors.similarity(king, queen), 0.0);
        assert!((vectors.similarity(king, king) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn on_vectors_of_length_1_the_nearest_by_cosine_is_the_nearest_by_distance() {
        let unit = |angle: f32| vec![angle.cos(), angle.sin()];
        let rows: Vec<(String, Vec<f32>)> =
            (0..20).map(|i| (i.to_string(), unit((i * i) as f32))).collect();
        let vectors = WordVectors::from_rows(&rows);
        let query = unit(0.7);
        let distance = |place: usize| -> f32 {
            vectors.vector(place).iter().zip(&query).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let nearest = vectors.nearest(&query, 20, &[]);
        assert!(nearest.is_sorted_by(|a, b| distance(a.place) <= distance(b.place) + 1e-6));
    }

    #[test]
    fn an_unknown_word_is_named() {
        let error = royal().place("pear").unwrap_err();
        assert_eq!(error.to_string(), "there is no vector of the word \"pear\"");
    }
}
