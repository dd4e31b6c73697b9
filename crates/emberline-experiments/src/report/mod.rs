//! `report.html`: what runs did, drawn from the files of their directories alone.

mod chart;
mod heatmap;
mod page;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use emberline_checkpoint::write_atomically;
use emberline_training::{Metrics, read_metrics};

use chart::Chart;
pub use page::escape;

use crate::cli::ReportArguments;
use crate::failure::Outcome;
use crate::result::RunResult;
use crate::run_directory::{self, RESULT_FILE, SAMPLES_FILE};
use crate::terminal;

/// What the files of a run directory hold.
pub struct Run {
    /// The directory, as it was named.
    name: String,
    config: String,
    metrics: Vec<Metrics>,
    /// `None` while the run is not finished.
    result: Option<RunResult>,
    samples: Option<String>,
    /// What the result says, drawn.
    figures: Vec<Chart>,
}

/// Writes the report of the runs and prints where it is.
pub fn run(arguments: ReportArguments) -> Outcome {
    let output = write(&arguments.runs, arguments.output.as_deref())?;
    Ok(terminal::result(format_args!("{}\n", output.display()))?)
}

/// Writes one report of all the runs, by default into the first run's directory; returns the file.
///
/// # Errors
/// If a directory holds no run, one of its files is not what a run writes, or the report cannot be written.
pub fn write(directories: &[PathBuf], output: Option<&Path>) -> Result<PathBuf> {
    let runs = directories.iter().map(|directory| read(directory)).collect::<Result<Vec<_>>>()?;
    let first = directories.first().context("a report is of one run at least")?;
    let charts = chart::charts(&runs)?;
    if let [directory] = directories {
        let plots = directory.join("plots");
        std::fs::create_dir_all(&plots)
            .with_context(|| format!("cannot create {}", plots.display()))?;
        for chart in charts.iter().chain(&runs[0].figures) {
            let file = plots.join(chart.name.replace(' ', "-") + ".svg");
            write_atomically(file, chart.svg.as_bytes())?;
        }
    }
    let output = output.map_or_else(|| first.join("report.html"), Path::to_path_buf);
    write_atomically(&output, page::page(&runs, &charts).as_bytes())?;
    Ok(output)
}

fn read(directory: &Path) -> Result<Run> {
    let name = directory.display().to_string();
    let config = run_directory::config_file(directory)?;
    let text = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let result_file = directory.join(RESULT_FILE);
    let result: Option<RunResult> = match result_file.is_file() {
        true => Some(
            serde_json::from_str(&text(&result_file)?)
                .with_context(|| format!("{} is not the result of a run", result_file.display()))?,
        ),
        false => None,
    };
    let figures = result.iter().flat_map(|result| &result.figures);
    let mut figures = figures.map(chart::figure).collect::<Result<Vec<_>>>()?;
    let heatmaps = result.iter().flat_map(|result| &result.heatmaps);
    figures.extend(heatmaps.map(heatmap::heatmap));
    let samples = directory.join(SAMPLES_FILE);
    Ok(Run {
        config: text(&config)?,
        metrics: read_metrics(directory)?,
        figures,
        result,
        samples: if samples.is_file() { Some(text(&samples)?) } else { None },
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_directory::CONFIG_FILE;

    fn run_directory(name: &str, samples: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        let config = format!("experiment = \"{name}\"\n[training]\nsteps = 20\n");
        std::fs::write(directory.join(CONFIG_FILE), config).unwrap();
        std::fs::write(directory.join(SAMPLES_FILE), samples).unwrap();
        let lines: String = (1..=20u32)
            .map(|step| {
                format!(
                    "{{\"step\":{step},\"epoch\":0.1,\"loss\":{},\"learning_rate\":0.1,\"grad_norm\":1.0,\
                     \"tokens_seen\":{step},\"tokens_per_s\":9.0,\"elapsed_s\":1.0}}\n",
                    4.0 / f64::from(step)
                )
            })
            .collect();
        let validation = "{\"step\":20,\"validation_loss\":0.5,\"elapsed_s\":1.0}\n";
        std::fs::write(directory.join("metrics.jsonl"), lines + validation).unwrap();
        (folder, directory)
    }

    #[test]
    fn a_report_loads_nothing_and_escapes_what_the_model_wrote() {
        let (_folder, directory) = run_directory("one", "<script>alert(1)</script> & \"so\"");
        let file = write(std::slice::from_ref(&directory), None).unwrap();
        assert_eq!(file, directory.join("report.html"));
        let html = std::fs::read_to_string(file).unwrap();
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;so&quot;"));
        for resource in ["http://", "https://", "<script", "<link", "<img", "src=", "url("] {
            assert!(!html.contains(resource), "{resource}");
        }
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        assert!(directory.join("plots/loss.svg").is_file());
    }

    #[test]
    fn several_runs_are_compared_and_their_differences_shown() {
        let ((_a, one), (_b, two)) = (run_directory("one", ""), run_directory("two", ""));
        let output = one.join("both.html");
        write(&[one.clone(), two], Some(&output)).unwrap();
        let html = std::fs::read_to_string(output).unwrap();
        assert!(
            html.contains("<th>experiment</th><td>&quot;one&quot;</td><td>&quot;two&quot;</td>")
        );
        assert!(!html.contains("<th>training.steps</th>"));
    }

    #[test]
    fn a_directory_that_is_no_run_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&[folder.path().to_path_buf()], None).unwrap_err().to_string();
        assert!(error.contains("is no run directory"), "{error}");
    }
}
