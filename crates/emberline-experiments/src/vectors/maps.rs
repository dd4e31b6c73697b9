//! Words in two dimensions: what is left of their distances.

use anyhow::{Result, ensure};
use emberline_embeddings::WordVectors;

/// Enough for any two components that can be told apart in a picture.
const ROUNDS: usize = 500;

/// The neighbours that a word has in t-SNE, as the perplexity that counts them, if there are as many words.
const PERPLEXITY: f64 = 30.0;

/// Fewer words than this have too few neighbours to show anything.
const FEWEST: usize = 7;

/// How exact the forces between groups of words are, against 0 for all pairs of words.
const THETA: f64 = 0.2;

/// Vectors of length 1, since words are compared by their directions.
pub fn rows(vectors: &WordVectors, places: &[usize]) -> Vec<Vec<f64>> {
    let row = |place: &usize| {
        let row: Vec<f64> = vectors.vector(*place).iter().map(|x| f64::from(*x)).collect();
        let length = dot(&row, &row).sqrt();
        if length > 0.0 { row.iter().map(|x| x / length).collect() } else { row }
    };
    places.iter().map(row).collect()
}

/// Where the rows lie along the two directions in which they differ most.
pub fn principal_components(rows: &[Vec<f64>]) -> Vec<[f64; 2]> {
    let width = rows.first().map_or(0, Vec::len);
    let mut mean = vec![0.0; width];
    rows.iter().for_each(|row| add(&mut mean, 1.0 / rows.len() as f64, row));
    let centred: Vec<Vec<f64>> =
        rows.iter().map(|row| row.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
    let mut found: Vec<Vec<f64>> = Vec::new();
    for component in 0..2 {
        // A start that no direction of the data is likely to be orthogonal to, and that is not random.
        let mut direction: Vec<f64> =
            (0..width).map(|i| ((i + 1) as f64 * (component as f64 + 1.7)).sin()).collect();
        for _ in 0..ROUNDS {
            let mut next = vec![0.0; width];
            centred.iter().for_each(|row| add(&mut next, dot(row, &direction), row));
            for other in &found {
                let along = dot(&next, other);
                add(&mut next, -along, other);
            }
            let length = dot(&next, &next).sqrt();
            if length < 1e-300 {
                break;
            }
            direction = next.iter().map(|x| x / length).collect();
        }
        found.push(direction);
    }
    centred.iter().map(|row| [dot(row, &found[0]), dot(row, &found[1])]).collect()
}

/// The map in which neighbours stay neighbours (van der Maaten and Hinton, 2008), which begins as the principal components
/// (Kobak and Berens, 2019), so that nothing in it is random. Equal rows have one place.
///
/// # Errors
/// If there are fewer different rows than show anything.
pub fn t_sne(rows: &[Vec<f64>]) -> Result<Vec<[f64; 2]>> {
    let mut different: Vec<Vec<f64>> = Vec::new();
    let places = rows.iter().map(|row| {
        different.iter().position(|other| other == row).unwrap_or_else(|| {
            different.push(row.clone());
            different.len() - 1
        })
    });
    let places: Vec<usize> = places.collect();
    let count = different.len();
    ensure!(count >= FEWEST, "t-SNE of {count} different vectors: expected {FEWEST} or more");
    let components = principal_components(&different);
    let spread = components.iter().map(|point| point[0] * point[0]).sum::<f64>();
    let scale = 1e-4 / (spread / count as f64).sqrt();
    let start: Vec<f64> = components.iter().flatten().map(|x| x * scale).collect();
    // A word has three times as many neighbours as the perplexity says.
    let perplexity = PERPLEXITY.min((count - 1) as f64 / 3.0);
    let distance = |one: &Vec<f64>, other: &Vec<f64>| {
        one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    // Sums over several threads would depend on how many there are.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let points = pool.install(|| {
        let mut map = bhtsne::tSNE::<f64, Vec<f64>>::new(&different);
        map.initial_embedding(start).perplexity(perplexity).barnes_hut(THETA, distance);
        map.embedding()
    });
    Ok(places.iter().map(|place| [points[2 * place], points[2 * place + 1]]).collect())
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, row: &[f64]) {
    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * x);
}

#[cfg(test)]
mod tests {
    use emberline_core::Stream;

    use super::*;

    #[test]
    fn the_first_component_is_the_direction_of_the_largest_differences() {
        let rows = [[2.0, 0.1, 5.0], [-2.0, 0.1, 5.0], [0.0, -0.1, 5.0], [0.0, -0.1, 5.0]];
        let points = principal_components(&rows.map(Vec::from));
        for (row, [first, second]) in rows.iter().zip(points) {
            assert!((first.abs() - row[0].abs()).abs() < 1e-9, "{first}");
            assert!((second.abs() - 0.1).abs() < 1e-9, "{second}");
        }
    }

    #[test]
    fn t_sne_keeps_groups_apart_and_is_the_same_each_time() {
        // Three groups of ten in twenty dimensions.
        let random = Stream::new(1);
        let row = |index: u64| {
            let centre = random.named("centres").at(index % 3).normals(20, 1.0);
            let own = random.named("words").at(index).normals(20, 0.2);
            centre.iter().zip(own).map(|(centre, own)| f64::from(centre + own)).collect()
        };
        let rows: Vec<Vec<f64>> = (0..30).map(row).collect();
        let points = t_sne(&rows).unwrap();
        assert_eq!(points, t_sne(&rows).unwrap());
        let distance = |one: usize, other: usize| {
            (0..2).map(|i| (points[one][i] - points[other][i]).powi(2)).sum::<f64>()
        };
        for one in 0..30 {
            let others =
                |same: bool| (0..30).filter(move |o| *o != one && (o % 3 == one % 3) == same);
            let farthest = others(true).map(|other| distance(one, other)).fold(0.0, f64::max);
            let nearest =
                others(false).map(|other| distance(one, other)).fold(f64::INFINITY, f64::min);
            assert!(farthest < nearest, "{one}: {farthest} and {nearest}");
        }
    }

    #[test]
    fn equal_words_have_one_place_by_t_sne() {
        let row = |index: usize| vec![(index % 8) as f64, ((index % 8) * 5 % 7) as f64];
        let points = t_sne(&(0..12).map(row).collect::<Vec<_>>()).unwrap();
        assert_eq!(points[..4], points[8..]);
        let error = t_sne(&(0..5).map(row).collect::<Vec<_>>()).unwrap_err().to_string();
        assert_eq!(error, "t-SNE of 5 different vectors: expected 7 or more");
    }
}
