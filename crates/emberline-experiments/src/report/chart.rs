//! Curves as SVG.

use anyhow::{Result, anyhow};
use emberline_training::Metrics;
use plotters::prelude::*;

use super::Run;
use crate::result::{Figure, Scale};

/// One drawing.
pub struct Chart {
    pub name: String,
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

/// The points of a line, and how it is drawn.
struct Line {
    /// What the legend says of it; `None` leaves it out.
    name: Option<String>,
    colour: RGBColor,
    bold: bool,
    points: Vec<(f64, f64)>,
}

/// What is written along the axes.
struct Axes<'a> {
    x_label: &'a str,
    /// How a place along the axis is written.
    x_value: fn(&f64) -> String,
    /// How a height is written.
    y_value: fn(&f64) -> String,
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
        if let Some(svg) =
            draw(&lines, &Axes { x_label: "updates", x_value: whole, y_value: plain })?
        {
            charts.push(Chart { name: name.to_string(), svg });
        }
    }
    Ok(charts)
}

/// The chart of a figure, with a legend.
///
/// # Errors
/// As [`charts`].
pub fn figure(figure: &Figure) -> Result<Chart> {
    let place = |x: f64, y: f64| match figure.scale {
        Scale::Linear => (x, y),
        Scale::Logarithmic => (x, y.log10()),
        Scale::LogarithmicAcross => (x.log10(), y),
    };
    let (mut lines, mut n_named) = (Vec::new(), 0);
    for (name, points) in &figure.lines {
        let points = points.iter().map(|(x, y)| place(*x, *y));
        let is_named = !name.is_empty();
        n_named += usize::from(is_named);
        lines.push(Line {
            name: is_named.then(|| name.clone()),
            colour: colour(n_named.saturating_sub(1)),
            bold: is_named,
            points: points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect(),
        });
    }
    let [x_value, y_value] = match figure.scale {
        Scale::Linear => [whole, plain],
        Scale::Logarithmic => [whole, power_of_ten],
        Scale::LogarithmicAcross => [whole_power_of_ten, plain],
    };
    let svg = draw(&lines, &Axes { x_label: &figure.x_label, x_value, y_value })?;
    Ok(Chart { name: figure.title.clone(), svg: svg.unwrap_or_default() })
}

fn colour(index: usize) -> RGBColor {
    let (red, green, blue) = COLOURS[index % COLOURS.len()];
    RGBColor(red, green, blue)
}

fn lines(runs: &[Run], bold: bool, point: impl Fn(&Metrics) -> Option<(f64, f64)>) -> Vec<Line> {
    let of_run = |(i, run): (usize, &Run)| {
        let points = run.metrics.iter().filter_map(&point);
        let finite = points.filter(|(_, value)| value.is_finite());
        Line { name: None, colour: colour(i), bold, points: finite.collect() }
    };
    runs.iter().enumerate().map(of_run).collect()
}

/// The drawing; `None` where there is no point.
fn draw(lines: &[Line], axes: &Axes<'_>) -> Result<Option<String>> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let Some((x_range, y_range)) =
        range(points().map(|point| point.0)).zip(range(points().map(|point| point.1)))
    else {
        return Ok(None);
    };
    let mut svg = String::new();
    render(lines, axes, x_range, y_range, &mut svg)
        .map_err(|error| anyhow!("cannot draw: {error}"))?;
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
    axes: &Axes<'_>,
    (first, last): (f64, f64),
    (low, high): (f64, f64),
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let margin = (high - low) * 0.04;
    let has_legend = lines.iter().any(|line| line.name.is_some());
    // The legend stands beside the lines, not on them.
    let beside = if has_legend { (last - first) * 0.4 } else { 0.0 };
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(first..last + beside, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .axis_style(BLACK.mix(0.4))
        .label_style(("sans-serif", 13))
        .x_desc(axes.x_label)
        .x_label_formatter(&axes.x_value)
        .y_label_formatter(&axes.y_value)
        .draw()?;
    for line in lines {
        let style = if line.bold {
            ShapeStyle::from(line.colour).stroke_width(3)
        } else {
            ShapeStyle::from(line.colour.mix(0.7)).stroke_width(1)
        };
        let series = chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        if let Some(name) = &line.name {
            let dash = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style);
            series.label(name).legend(dash);
        }
    }
    if has_legend {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 13))
            .draw()?;
    }
    area.present()?;
    Ok(())
}

fn whole(value: &f64) -> String {
    format!("{value:.0}")
}

fn whole_power_of_ten(exponent: &f64) -> String {
    whole(&10f64.powf(*exponent))
}

fn power_of_ten(exponent: &f64) -> String {
    format!("{:.0e}", 10f64.powf(*exponent))
}

fn plain(value: &f64) -> String {
    match value.abs() {
        size if size != 0.0 && size < 0.01 => format!("{value:.1e}"),
        size if size < 10.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}
