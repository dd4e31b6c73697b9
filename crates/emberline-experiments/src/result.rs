//! `result.json`: what came out of a run.

use std::collections::BTreeMap;

use emberline_backend::device::DeviceName;
use serde::{Deserialize, Serialize};

/// The numbers of a finished run. Losses are in nats a predicted item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The name of the experiment.
    pub experiment: String,
    /// The kind of the run, as the config calls it.
    pub task: String,
    /// The seed of everything random.
    pub seed: u64,
    /// Where it was computed.
    pub device: DeviceName,
    /// The SHA-256 of the data, where it comes from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sha256: Option<String>,
    /// The number of trained numbers.
    pub parameters: usize,
    /// The number of updates made.
    pub steps: u64,
    /// The number of tokens trained on until the last logged update.
    pub tokens_seen: u64,
    /// The loss of the last logged update.
    pub training_loss: f64,
    /// The lowest validation loss, that of the best checkpoint.
    pub validation_loss: f64,
    /// The update of the best checkpoint.
    pub best_step: u64,
    /// The validation loss after the last update.
    pub final_validation_loss: f64,
    /// What only runs of this kind have, by name.
    pub metrics: BTreeMap<String, f64>,
    /// The median of the logged training speeds.
    pub tokens_per_s: f64,
    /// The seconds of all sessions, evaluations and checkpoints included.
    pub seconds: f64,
    /// The peak of resident memory of the last session, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// The version of Emberline.
    pub emberline: String,
    /// The version of Burn.
    pub burn: String,
    /// What the report shows as tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// What the report draws.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Figure>,
    /// What the report draws as grids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heatmaps: Vec<Heatmap>,
}

/// Numbers in rows and columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The names of the columns of numbers.
    pub columns: Vec<String>,
    /// The rows: a name, and a number for each column.
    pub rows: Vec<(String, Vec<f64>)>,
}

/// Lines over one axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// What runs from left to right.
    pub x_label: String,
    /// The axes.
    pub scale: Scale,
    /// The lines: a name, and points from left to right. One without a name belongs to the one before it, thinner and in
    /// its colour, as an error bar does.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// Numbers from 0 to 1 as shades in a grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heatmap {
    /// What it shows.
    pub title: String,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The names of the rows.
    pub rows: Vec<String>,
    /// The numbers, row by row.
    pub values: Vec<Vec<f32>>,
}

/// The axes of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences are equally far.
    Linear,
    /// From bottom to top equal ratios are equally far; a point at 0 is left out.
    Logarithmic,
    /// From left to right equal ratios are equally far; a point at 0 is left out.
    LogarithmicAcross,
}

impl Figure {
    /// Its points at the places along the axis that are wanted. The lines have points at the same places.
    pub fn table(&self, is_wanted: impl Fn(f64) -> bool) -> Table {
        let wanted = |line: &[(f64, f64)]| -> Vec<(f64, f64)> {
            line.iter().copied().filter(|(x, _)| is_wanted(*x)).collect()
        };
        let values = |line: &[(f64, f64)]| wanted(line).into_iter().map(|(_, y)| y).collect();
        let places = self.lines.first().map_or(Vec::new(), |(_, line)| wanted(line));
        Table {
            title: format!("{} against {}", self.title, self.x_label),
            columns: places.into_iter().map(|(x, _)| x.to_string()).collect(),
            rows: self
                .lines
                .iter()
                .filter(|(name, _)| !name.is_empty())
                .map(|(name, line)| (name.clone(), values(line)))
                .collect(),
        }
    }
}

impl Table {
    /// The table in letters of one width, with its title above it.
    pub fn text(&self) -> String {
        let names = self.rows.iter().map(|(name, _)| name.chars().count());
        let first = names.max().unwrap_or(0);
        let width = |column: &String| column.chars().count().max(8) + 2;
        let mut text = format!("{}\n{:first$}", self.title, "");
        for column in &self.columns {
            text += &format!("{column:>0$}", width(column));
        }
        text.push('\n');
        for (name, values) in &self.rows {
            text += &format!("{name:first$}");
            for (value, column) in values.iter().zip(&self.columns) {
                text += &format!("{:>1$}", number(*value), width(column));
            }
            text.push('\n');
        }
        text
    }
}

impl RunResult {
    /// The numbers that a reader looks for, with their names.
    pub fn rows(&self) -> Vec<(String, String)> {
        let first =
            [("validation loss", format!("{:.4} (step {})", self.validation_loss, self.best_step))];
        let last = [
            ("final validation loss", format!("{:.4}", self.final_validation_loss)),
            ("final training loss", format!("{:.4}", self.training_loss)),
            ("parameters", grouped(self.parameters as u64)),
            ("updates", grouped(self.steps)),
            ("tokens seen", grouped(self.tokens_seen)),
            ("tokens per second", grouped(self.tokens_per_s.round() as u64)),
            ("time", duration(self.seconds)),
            ("peak memory", mebibytes(self.peak_memory_bytes)),
            ("device", self.device.to_string()),
            ("seed", self.seed.to_string()),
            ("versions", format!("emberline {}, burn {}", self.emberline, self.burn)),
        ];
        let metrics =
            self.metrics.iter().map(|(name, value)| (name.replace('_', " "), number(*value)));
        let named = |(name, value): (&str, String)| (name.to_string(), value);
        first.into_iter().map(named).chain(metrics).chain(last.into_iter().map(named)).collect()
    }
}

/// A count as it is, and another number with what of it can be told apart.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if value.fract() == 0.0 && size < 1e15 => format!("{value:.0}"),
        size if size < 1e-3 => format!("{value:.1e}"),
        _ => format!("{value:.4}"),
    }
}

/// A number with a comma between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes as a reader says it.
pub fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".to_string(), |bytes| {
        format!("{} MiB", grouped((bytes as f64 / (1024.0 * 1024.0)).round() as u64))
    })
}

/// The middle one of the values, the higher of two; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Seconds as a reader says them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{:.0} h {:02.0} min", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_back_and_its_metrics_are_rows() {
        let result = RunResult {
            experiment: "char-lstm".into(),
            task: "language_modelling".into(),
            seed: 1,
            device: DeviceName::Flex,
            data_sha256: None,
            parameters: 1,
            steps: 1,
            tokens_seen: 1,
            training_loss: 1.0,
            validation_loss: 1.0,
            best_step: 1,
            final_validation_loss: 1.0,
            metrics: BTreeMap::from([("macro_f1".into(), 0.25)]),
            tokens_per_s: 1.0,
            seconds: 1.0,
            peak_memory_bytes: None,
            emberline: String::new(),
            burn: String::new(),
            tables: vec![Table {
                title: "one".into(),
                columns: vec!["a".into()],
                rows: vec![("b".into(), vec![1.0 / 3.0])],
            }],
            figures: vec![Figure {
                title: "two".into(),
                x_label: "distance".into(),
                scale: Scale::Logarithmic,
                lines: vec![("c".into(), vec![(1.0, 0.5)])],
            }],
            heatmaps: vec![Heatmap {
                title: "three".into(),
                columns: vec!["a".into()],
                rows: vec!["b".into()],
                values: vec![vec![0.1]],
            }],
        };
        let written = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<RunResult>(&written).unwrap(), result);
        assert!(result.rows().contains(&("macro f1".into(), "0.2500".into())));
    }

    #[test]
    fn a_figure_is_a_table_at_the_places_wanted_and_that_is_text_in_columns() {
        let line = |factor: f64| (1..=4).map(|x| (f64::from(x), factor * f64::from(x))).collect();
        let figure = Figure {
            title: "height".into(),
            x_label: "width".into(),
            scale: Scale::Linear,
            lines: vec![("a".into(), line(1.0)), ("long".into(), line(0.25))],
        };
        let text = "\
height against width
             1         4
a            1         4
long    0.2500         1
";
        assert_eq!(figure.table(|x| x == 1.0 || x == 4.0).text(), text);
    }

    #[test]
    fn counts_and_small_numbers_are_told_apart() {
        assert_eq!([864.0, 0.25, 1.0 / 3e6].map(number), ["864", "0.2500", "3.3e-7"]);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!([5.04, 61.9, 3720.0].map(duration), ["5.0 s", "1 min 01 s", "1 h 02 min"]);
    }
}
