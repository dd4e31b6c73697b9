//! What the comparisons of the models come to, as numbers, tables and figures.

use std::path::Path;

use anyhow::{Context, Result};
use emberline_training::{Metrics, read_metrics};

use super::SizeConfig;
use super::learning::Found;
use super::readers::Reader;
use crate::result::{Figure, Scale, Table, grouped};
use crate::tasks::Findings;
use crate::tasks::ways::{Curve, Way};

/// A model, how it read, and what it learnt.
pub struct Compared {
    model: &'static str,
    key: &'static str,
    objective: &'static str,
    tokens_read: u64,
    validation_loss: f64,
    ways: Vec<Found>,
}

impl Compared {
    /// With what the metrics of the books tell.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn new<R: Reader>(books: &Path, ways: Vec<Found>) -> Result<Self> {
        let (mut tokens_read, mut validation_loss) = (None, None);
        for metrics in read_metrics(books)? {
            match metrics {
                Metrics::Training(metrics) => tokens_read = Some(metrics.tokens_seen),
                Metrics::Validation(metrics) => validation_loss = Some(metrics.validation_loss),
            }
        }
        Ok(Self {
            model: R::MODEL,
            key: R::KEY,
            objective: R::OBJECTIVE,
            tokens_read: tokens_read.context("a training logs its last update")?,
            validation_loss: validation_loss.context("a training is evaluated at its end")?,
            ways,
        })
    }

    fn of(&self, way: Way) -> impl Iterator<Item = &Found> {
        self.ways.iter().filter(move |found| found.way == way)
    }
}

/// The comparison of the ways, and that of the objectives.
pub fn findings(all: &[Compared], sizes: &[SizeConfig], n_asked: usize) -> Findings {
    let mut findings = Findings::default();
    findings.metrics.insert("test_count".into(), n_asked as f64);
    for Compared { key, tokens_read, validation_loss, ways, .. } in all {
        findings.metrics.insert(format!("tokens_read_{key}"), *tokens_read as f64);
        findings.metrics.insert(format!("pretraining_loss_{key}"), *validation_loss);
        for Found { way, points, .. } in ways {
            for (n_texts, [mean, _]) in points {
                let name = format!("accuracy_{key}_{}_{n_texts}", way.key());
                findings.metrics.insert(name, *mean);
            }
        }
    }
    findings.tables = vec![of_ways(all, sizes), of_objectives(all, sizes)];
    findings.figures = all.iter().map(figure_of_ways).chain([figure_of_objectives(all)]).collect();
    findings
}

/// All ways of all models.
fn of_ways(all: &[Compared], sizes: &[SizeConfig]) -> Table {
    let column = |SizeConfig { n_texts, steps, n_seeds }: &SizeConfig| {
        let plural = if *n_seeds == 1 { "" } else { "s" };
        format!("{n_texts} texts ({steps} updates, {n_seeds} seed{plural})")
    };
    let rows = all.iter().flat_map(|compared| {
        compared.ways.iter().flat_map(|found| {
            let (way, n_trained) = (found.way.name(), grouped(found.n_trained as u64));
            curve(format!("{}, {way}, {n_trained} trained", compared.model), found).rows()
        })
    });
    Table {
        title: "test accuracy and its standard deviation against the texts to learn from".into(),
        columns: sizes.iter().map(column).collect(),
        rows: rows.collect(),
    }
}

/// Frozen and fine-tuned, of each model.
fn of_objectives(all: &[Compared], sizes: &[SizeConfig]) -> Table {
    const WAYS: [Way; 2] = [Way::Frozen, Way::FineTuned];
    let columns = WAYS.iter().flat_map(|way| {
        sizes.iter().map(|SizeConfig { n_texts, .. }| format!("{}, {n_texts}", way.name()))
    });
    let row = |compared: &Compared| {
        let accuracies = WAYS.into_iter().flat_map(|way| compared.of(way));
        let accuracies = accuracies.flat_map(|found| &found.points);
        let numbers = [compared.tokens_read as f64, compared.validation_loss];
        let numbers = numbers.into_iter().chain(accuracies.map(|(_, [mean, _])| *mean));
        (format!("{}, {}", compared.model, compared.objective), numbers.collect())
    };
    let before = ["tokens read", "loss of reading"].map(String::from);
    Table {
        title: "objectives of pretraining, and test accuracy after them".into(),
        columns: before.into_iter().chain(columns).collect(),
        rows: all.iter().map(row).collect(),
    }
}

fn figure_of_ways(compared: &Compared) -> Figure {
    let curves = compared.ways.iter().map(|found| curve(found.way.name().into(), found));
    figure(format!("test accuracy of {}", compared.model), curves)
}

fn figure_of_objectives(all: &[Compared]) -> Figure {
    let curves = all.iter().flat_map(|compared| {
        compared.of(Way::FineTuned).map(|found| curve(compared.model.into(), found))
    });
    figure("test accuracy of the models, fine-tuned".into(), curves)
}

fn curve(name: String, found: &Found) -> Curve {
    Curve { name, points: found.points.clone() }
}

fn figure(title: String, curves: impl Iterator<Item = Curve>) -> Figure {
    Figure {
        title,
        x_label: "texts to learn from".into(),
        scale: Scale::LogarithmicAcross,
        lines: curves.flat_map(|curve| curve.lines()).collect(),
    }
}
