//! A map of words as a picture.

use super::arguments::{MapMethod, PlotArguments};
use super::maps::{principal_components, rows, t_sne};
use super::{open, places};
use crate::failure::Outcome;
use crate::report::escape;
use crate::terminal;

const SIDE: f64 = 640.0;
/// Room for the words at the sides.
const MARGIN: f64 = 70.0;

/// Writes the map.
pub fn run(arguments: &PlotArguments) -> Outcome {
    let vectors = open(&arguments.vectors)?;
    let places = places(&vectors, &arguments.words)?;
    let rows = rows(&vectors, &places);
    let points = match arguments.method {
        MapMethod::Pca => principal_components(&rows),
        MapMethod::TSne => t_sne(&rows)?,
    };
    let svg = draw(&arguments.words, &points);
    emberline_checkpoint::write_atomically(&arguments.output, svg.as_bytes())?;
    terminal::note(format_args!("{} words in {}", places.len(), arguments.output.display()));
    Ok(())
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
    fn equal_words_lie_on_each_other_and_are_escaped() {
        let points = principal_components(&vec![vec![1.0, 2.0]; 3]);
        let svg = draw(&["a".into(), "<b>".into(), "c".into()], &points);
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("NaN"), "{svg}");
    }
}
