//! The page around the charts: one HTML file that loads nothing.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Run;
use super::chart::{COLOURS, Chart};
use crate::result::{Table, number};

const STYLE: &str = "\
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid #eee; vertical-align: top }
th { font-weight: 500; color: #555 }
pre { background: #f7f6f3; padding: 1rem; overflow-x: auto; white-space: pre-wrap; font-size: .85rem }
svg { max-width: 100%; height: auto } summary { cursor: pointer }
.run::before { content: '\\25CF '; color: var(--colour) }";

/// The page of one run, or of several side by side. `charts` are of all runs.
pub fn page(runs: &[Run], charts: &[Chart]) -> String {
    let mut html = String::new();
    let title = runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(", ");
    let title = escape(&title);
    push(&mut html, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    push(&mut html, "<meta name=\"viewport\" content=\"width=device-width\">\n");
    push(&mut html, &format!("<title>{title}</title>\n<style>\n{STYLE}\n</style>\n"));
    push(&mut html, &format!("<h1>{title}</h1>\n"));
    results(&mut html, runs);
    for chart in charts {
        push(&mut html, &format!("<h2>{}</h2>\n", capitalised(&chart.name)));
        if chart.name == "loss" {
            push(&mut html, "<p>Bold: validation. Thin: the batch of an update.</p>\n");
        }
        drawing(&mut html, chart);
    }
    for run in runs {
        findings(&mut html, run, runs.len() > 1);
    }
    if runs.len() > 1 {
        differences(&mut html, runs);
    }
    for run in runs {
        if let Some(samples) = run.samples.as_ref().filter(|samples| !samples.is_empty()) {
            push(&mut html, &format!("<h2>Samples of {}</h2>\n", escape(&run.name)));
            push(&mut html, &format!("<pre>{}</pre>\n", escape(samples)));
        }
    }
    for run in runs {
        let (name, config) = (escape(&run.name), escape(&run.config));
        let summary = format!("<summary>Config of {name}</summary>");
        push(&mut html, &format!("<details>{summary}<pre>{config}</pre></details>\n"));
    }
    html
}

fn results(html: &mut String, runs: &[Run]) {
    push(html, "<h2>Results</h2>\n<table>\n<tr><th></th>");
    for (i, run) in runs.iter().enumerate() {
        let (red, green, blue) = COLOURS[i % COLOURS.len()];
        let colour = format!("--colour: #{red:02x}{green:02x}{blue:02x}");
        push(html, &format!("<th class=\"run\" style=\"{colour}\">{}</th>", escape(&run.name)));
    }
    push(html, "</tr>\n");
    let columns: Vec<_> =
        runs.iter().map(|run| run.result.as_ref().map(|result| result.rows())).collect();
    let Some(first) = columns.iter().flatten().next() else {
        push(html, "</table>\n<p>No run is finished yet.</p>\n");
        return;
    };
    let value = |column: &[(String, String)], name: &str| {
        column.iter().find(|row| row.0 == name).map(|row| row.1.clone())
    };
    for (name, _) in first {
        // Runs of different kinds are compared by what they share.
        let cells: Option<Vec<String>> = columns
            .iter()
            .map(|column| match column {
                Some(column) => value(column, name),
                None => Some("not finished".to_string()),
            })
            .collect();
        if let Some(cells) = cells {
            row(html, name, cells.into_iter());
        }
    }
    push(html, "</table>\n");
}

/// The tables and drawings of one run.
fn findings(html: &mut String, run: &Run, is_one_of_several: bool) {
    let heading = |title: &str| match is_one_of_several {
        true => format!("<h2>{}: {}</h2>\n", escape(&capitalised(title)), escape(&run.name)),
        false => format!("<h2>{}</h2>\n", escape(&capitalised(title))),
    };
    for chart in &run.figures {
        push(html, &heading(&chart.name));
        drawing(html, chart);
    }
    for table in run.result.iter().flat_map(|result| &result.tables) {
        push(html, &heading(&table.title));
        numbers(html, table);
    }
}

fn numbers(html: &mut String, table: &Table) {
    push(html, "<table>\n<tr><th></th>");
    for column in &table.columns {
        push(html, &format!("<th>{}</th>", escape(column)));
    }
    push(html, "</tr>\n");
    for (name, values) in &table.rows {
        row(html, name, values.iter().copied().map(number));
    }
    push(html, "</table>\n");
}

fn drawing(html: &mut String, chart: &Chart) {
    push(html, &chart.svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""));
    push(html, "\n");
}

/// The values of the configs that are not equal in all runs.
fn differences(html: &mut String, runs: &[Run]) {
    let configs: Vec<BTreeMap<String, String>> = runs
        .iter()
        .map(|run| {
            let mut values = BTreeMap::new();
            // A config that is not TOML has no value to compare; its text is shown below all the same.
            let table = run.config.parse::<toml::Table>().unwrap_or_default();
            flatten("", &toml::Value::Table(table), &mut values);
            values
        })
        .collect();
    let mut keys: Vec<&String> = configs.iter().flat_map(|config| config.keys()).collect();
    keys.sort();
    keys.dedup();
    push(html, "<h2>What differs</h2>\n<table>\n");
    for key in keys {
        let values: Vec<_> = configs.iter().map(|config| config.get(key)).collect();
        if values.iter().any(|value| *value != values[0]) {
            row(html, key, values.into_iter().map(|value| value.cloned().unwrap_or_default()));
        }
    }
    push(html, "</table>\n");
}

fn flatten(path: &str, value: &toml::Value, values: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, values);
            }
        }
        value => {
            values.insert(path.to_string(), value.to_string());
        }
    }
}

fn row(html: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    push(html, &format!("<tr><th>{}</th>", escape(name)));
    for cell in cells {
        push(html, &format!("<td>{}</td>", escape(&cell)));
    }
    push(html, "</tr>\n");
}

fn push(html: &mut String, text: &str) {
    html.write_str(text).expect("a string takes every text");
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Text as HTML and SVG hold it.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
