//! Texts as vectors of a BERT that is not trained on them, and what can be told from these alone.

use std::collections::HashSet;

use burn::tensor::Device;
use emberline_models::bert::SentenceEncoder;
use emberline_text::{Example, token_batch};

/// The vector of each text, in the order given.
///
/// The model is one on the plain `device`.
pub fn vectors(
    encoder: &SentenceEncoder,
    texts: &[Example],
    batch_size: usize,
    device: &Device,
) -> Vec<Vec<f32>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|index| texts[*index].tokens.len());
    let mut vectors = vec![Vec::new(); texts.len()];
    for indices in order.chunks(batch_size) {
        let batch: Vec<&Example> = indices.iter().map(|index| &texts[*index]).collect();
        let embedded = encoder.embed(&token_batch(&batch, device));
        let [_, d_model] = embedded.dims();
        let numbers: Vec<f32> = embedded.into_data().iter().collect();
        for (index, vector) in indices.iter().zip(numbers.chunks(d_model)) {
            vectors[*index] = vector.to_vec();
        }
    }
    vectors
}

/// The class of each vector whose mean of the known ones is nearest, when every dimension is measured by its deviation
/// among these.
///
/// Nothing is trained, and there is no rate to choose: what a model scores so is its own.
pub fn nearest_means(known: &[Vec<f32>], labels: &[u32], asked: &[Vec<f32>]) -> Vec<u32> {
    let n_classes = labels.iter().max().map_or(0, |label| *label as usize + 1);
    let d_model = known.first().map_or(0, Vec::len);
    let mut means = vec![vec![0.0; d_model]; n_classes];
    let mut counts = vec![0.0; n_classes];
    for (vector, label) in known.iter().zip(labels) {
        counts[*label as usize] += 1.0;
        add(&mut means[*label as usize], vector, |number| number);
    }
    for (mean, count) in means.iter_mut().zip(&counts) {
        mean.iter_mut().for_each(|number| *number /= f64::max(*count, 1.0));
    }
    let (mut sum, mut squares) = (vec![0.0; d_model], vec![0.0; d_model]);
    for vector in known {
        add(&mut sum, vector, |number| number);
        add(&mut squares, vector, |number| number * number);
    }
    let n = known.len().max(1) as f64;
    let variance = |dimension: usize| squares[dimension] / n - (sum[dimension] / n).powi(2);
    let scales: Vec<f64> =
        (0..d_model).map(|dimension| 1.0 / variance(dimension).max(1e-12)).collect();
    let distance = |vector: &[f32], mean: &[f64]| -> f64 {
        let terms = vector.iter().zip(mean).zip(&scales);
        terms.map(|((number, mean), scale)| (f64::from(*number) - mean).powi(2) * scale).sum()
    };
    let nearest = |vector: &Vec<f32>| {
        let distances = means.iter().map(|mean| distance(vector, mean)).enumerate();
        distances.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(class, _)| class)
    };
    asked.iter().map(|vector| nearest(vector) as u32).collect()
}

fn add(sum: &mut [f64], vector: &[f32], of: impl Fn(f64) -> f64) {
    sum.iter_mut().zip(vector).for_each(|(sum, number)| *sum += of(f64::from(*number)));
}

/// The cosine of the angle between two vectors.
pub fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
    };
    let lengths = (product(one, one) * product(other, other)).sqrt();
    if lengths > 0.0 { product(one, other) / lengths } else { 0.0 }
}

/// The words of a text in lower case, each once.
pub fn words(text: &str) -> HashSet<String> {
    let words = text.split(|sign: char| !sign.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// The words that two texts have in common, of all that either has: how alike they are without any model.
pub fn shared(one: &HashSet<String>, other: &HashSet<String>) -> f64 {
    one.intersection(other).count() as f64 / one.union(other).count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mean_is_measured_in_deviations() {
        // The first dimension is ten times as wide, and tells nothing.
        let known = [[0.0, 0.0], [100.0, 1.0], [0.0, 10.0], [100.0, 11.0]].map(Vec::from);
        let asked = [[90.0, 2.0], [10.0, 9.0]].map(Vec::from);
        assert_eq!(nearest_means(&known, &[0, 0, 1, 1], &asked), [0, 1]);
    }

    #[test]
    fn the_cosine_knows_directions_alone() {
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-12);
        assert_eq!(cosine(&[0.0], &[1.0]), 0.0);
    }

    #[test]
    fn texts_are_alike_by_their_words() {
        assert_eq!(shared(&words("The cat, the dog!"), &words("the CAT")), 2.0 / 3.0);
        assert_eq!(shared(&words(""), &words("")), 0.0);
    }
}
