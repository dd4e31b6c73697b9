//! Curves as SVG.

use anyhow::{Result, anyhow};
use emberline_training::Metrics;
use plotters::prelude::*;

use super::Run;

/// One drawing.
pub struct Chart {
    pub name: &'static str,
    pub svg: String,
}

/// The colours of the runs, in their order; legible for the colour-blind (Okabe and Ito).
pub const COLOURS: [(u8, u8, u8); 7] = [
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (64, 64, 64),
];

const SIZE: (u32, u32) = (880, 340);

/// The points of a line, and whether it is drawn boldly.
struct Line {
    colour: RGBColor,
    bold: bool,
    points: Vec<(f64, f64)>,
}

/// The charts of the runs: losses (validation bold), learning rate, norm of the gradients.
///
/// # Errors
/// If drawing fails, which text in memory gives no reason for.
pub fn charts(runs: &[Run]) -> Result<Vec<Chart>> {
    let mut charts = Vec::new();
    let training = |value: fn(&emberline_training::TrainingMetrics) -> f64| {
        lines(runs, false, move |metrics| match metrics {
            Metrics::Training(metrics) => Some((metrics.step as f64, value(metrics))),
            Metrics::Validation(_) => None,
        })
    };
    let validation = lines(runs, true, |metrics| match metrics {
        Metrics::Training(_) => None,
        Metrics::Validation(metrics) => Some((metrics.step as f64, metrics.validation_loss)),
    });
    let losses = training(|metrics| metrics.loss).into_iter().chain(validation).collect();
    for (name, lines) in [
        ("loss", losses),
        ("learning rate", training(|metrics| metrics.learning_rate)),
        ("gradient norm", training(|metrics| metrics.grad_norm)),
    ] {
        if let Some(svg) = draw(&lines)? {
            charts.push(Chart { name, svg });
        }
    }
    Ok(charts)
}

fn lines(runs: &[Run], bold: bool, point: impl Fn(&Metrics) -> Option<(f64, f64)>) -> Vec<Line> {
    let of_run = |(i, run): (usize, &Run)| {
        let (red, green, blue) = COLOURS[i % COLOURS.len()];
        let points = run.metrics.iter().filter_map(&point);
        let finite = points.filter(|(_, value)| value.is_finite());
        Line { colour: RGBColor(red, green, blue), bold, points: finite.collect() }
    };
    runs.iter().enumerate().map(of_run).collect()
}

/// The drawing; `None` where there is no point.
fn draw(lines: &[Line]) -> Result<Option<String>> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let Some((steps, values)) =
        range(points().map(|point| point.0)).zip(range(points().map(|point| point.1)))
    else {
        return Ok(None);
    };
    let mut svg = String::new();
    render(lines, steps, values, &mut svg).map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(Some(svg))
}

/// The lowest and the highest value, apart even if they are one.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold(None, |bounds: Option<(f64, f64)>, value| {
        let (low, high) = bounds.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })?;
    Some(if high > low { (low, high) } else { (low - 0.5, high + 0.5) })
}

fn render(
    lines: &[Line],
    (first, last): (f64, f64),
    (low, high): (f64, f64),
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let margin = (high - low) * 0.04;
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(first..last, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .axis_style(BLACK.mix(0.4))
        .label_style(("sans-serif", 13))
        .x_desc("updates")
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&label)
        .draw()?;
    for line in lines {
        let style = if line.bold {
            ShapeStyle::from(line.colour).stroke_width(3)
        } else {
            ShapeStyle::from(line.colour.mix(0.7)).stroke_width(1)
        };
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
    }
    area.present()?;
    Ok(())
}

fn label(value: &f64) -> String {
    match value.abs() {
        size if size != 0.0 && size < 0.01 => format!("{value:.1e}"),
        size if size < 10.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}
