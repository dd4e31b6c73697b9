//! Grids of shades as SVG.

use super::chart::Chart;
use super::page::escape;
use crate::result::Heatmap;

/// The side of a cell.
const CELL: usize = 22;
/// The room for the longest label.
const LABELS: usize = 130;
/// The characters of a label that fit.
const LABEL_LENGTH: usize = 14;

/// The drawing: the darker, the nearer to 1.
pub fn heatmap(heatmap: &Heatmap) -> Chart {
    let Heatmap { title, columns, rows, values } = heatmap;
    let width = LABELS + columns.len() * CELL + 8;
    let height = LABELS + rows.len() * CELL + 8;
    let mut svg = format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#FFFFFF\"/>\n"
    );
    for (place, name) in columns.iter().enumerate() {
        let (x, y) = (LABELS + place * CELL + CELL * 2 / 3, LABELS - 6);
        let label = label(name);
        svg += &format!(
            "<text x=\"{x}\" y=\"{y}\" transform=\"rotate(-90 {x} {y})\">{label}</text>\n"
        );
    }
    for (place, (name, values)) in rows.iter().zip(values).enumerate() {
        let y = LABELS + place * CELL;
        let (x, baseline, label) = (LABELS - 6, y + CELL * 2 / 3, label(name));
        svg += &format!("<text x=\"{x}\" y=\"{baseline}\" text-anchor=\"end\">{label}</text>\n");
        for (column, value) in values.iter().enumerate() {
            let x = LABELS + column * CELL;
            svg += &format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{CELL}\" height=\"{CELL}\" fill=\"#0072B2\" \
                 fill-opacity=\"{value:.3}\" stroke=\"#DDDDDD\"><title>{value:.3}</title></rect>\n"
            );
        }
    }
    Chart { name: title.clone(), svg: svg + "</svg>\n" }
}

/// What fits of a name; a blank is shown.
fn label(name: &str) -> String {
    let shown: String = name.chars().take(LABEL_LENGTH).collect();
    escape(&shown.replace(' ', "\u{2423}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_cell_and_labels_are_escaped() {
        let grid = Heatmap {
            title: "attention".into(),
            columns: vec!["a".into(), "<s>".into()],
            rows: vec!["b".into()],
            values: vec![vec![0.25, 0.75]],
        };
        let svg = heatmap(&grid).svg;
        assert!(svg.contains("fill-opacity=\"0.250\"") && svg.contains("fill-opacity=\"0.750\""));
        assert!(svg.contains("&lt;s&gt;") && !svg.contains("<s>"));
        assert!(svg.ends_with("</svg>\n"));
    }
}
