//! A map of words: what is left of the distances in two dimensions.

use emberline_embeddings::WordVectors;

use super::arguments::PlotArguments;
use super::{open, places};
use crate::failure::Outcome;
use crate::report::escape;
use crate::terminal;

const SIDE: f64 = 640.0;
/// Room for the words at the sides.
const MARGIN: f64 = 70.0;
/// Enough for any two components that can be told apart in a picture.
const ROUNDS: usize = 500;

/// Writes the map.
pub fn run(arguments: &PlotArguments) -> Outcome {
    let vectors = open(&arguments.vectors)?;
    let places = places(&vectors, &arguments.words)?;
    let points = principal_components(&rows(&vectors, &places));
    let svg = draw(&arguments.words, &points);
    emberline_checkpoint::write_atomically(&arguments.output, svg.as_bytes())?;
    terminal::note(format_args!("{} words in {}", places.len(), arguments.output.display()));
    Ok(())
}

/// Vectors of length 1, since words are compared by their directions.
fn rows(vectors: &WordVectors, places: &[usize]) -> Vec<Vec<f64>> {
    let row = |place: &usize| {
        let row: Vec<f64> = vectors.vector(*place).iter().map(|x| f64::from(*x)).collect();
        let length = dot(&row, &row).sqrt();
        if length > 0.0 { row.iter().map(|x| x / length).collect() } else { row }
    };
    places.iter().map(row).collect()
}

/// Where the rows lie along the two directions in which they differ most.
fn principal_components(rows: &[Vec<f64>]) -> Vec<[f64; 2]> {
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

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, row: &[f64]) {
    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * x);
}

fn draw(words: &[String], points: &[[f64; 2]]) -> String {
    let scale = |axis: usize| {
        let values = points.iter().map(|point| point[axis]);
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        move |value: f64| {
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            MARGIN + share * (SIDE - 2.0 * MARGIN)
        }
    };
    let (x, y) = (scale(0), scale(1));
    let mut svg = format!(
        "<svg width=\"{SIDE}\" height=\"{SIDE}\" viewBox=\"0 0 {SIDE} {SIDE}\" \
         xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{SIDE}\" height=\"{SIDE}\" fill=\"#FFFFFF\"/>\n"
    );
    for (word, [first, second]) in words.iter().zip(points) {
        // The second component grows upwards.
        let (x, y, word) = (x(*first), SIDE - y(*second), escape(word));
        svg += &format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#0072B2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{word}</text>\n",
            x + 6.0,
            y + 4.0
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
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
    fn equal_words_lie_on_each_other_and_are_escaped() {
        let points = principal_components(&vec![vec![1.0, 2.0]; 3]);
        let svg = draw(&["a".into(), "<b>".into(), "c".into()], &points);
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("NaN"), "{svg}");
    }
}
