//! What a run shows while it runs: a bar on a terminal, plain lines elsewhere. All of it on stderr.

use std::io::IsTerminal;
use std::time::Duration;

use emberline_training::{Event, Observer, TrainingMetrics, ValidationMetrics};
use indicatif::{ProgressBar, ProgressStyle};

use crate::result::{duration, grouped};
use crate::terminal;

/// The observer that suits where stderr goes.
pub fn observer() -> Box<dyn Observer> {
    if std::io::stderr().is_terminal() {
        Box::new(Bar { bar: None })
    } else {
        Box::new(Lines { steps: 0, shown: 0 })
    }
}

/// A bar with the last numbers, evaluations above it.
struct Bar {
    bar: Option<ProgressBar>,
}

impl Observer for Bar {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::Started { step, steps } = event {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}  {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(*steps).with_style(style).with_position(*step);
            // The time left is of this session's speed.
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(500));
            self.bar = Some(bar);
        }
        let Some(bar) = &self.bar else { return };
        match event {
            Event::Updated { step, metrics } => {
                bar.set_position(*step);
                if let Some(metrics) = metrics {
                    bar.set_message(short(metrics));
                }
            }
            Event::Finished { .. } | Event::StoppedEarly { .. } | Event::Interrupted { .. } => {
                bar.finish_and_clear();
            }
            _ => {}
        }
        if let Some(line) = milestone(event) {
            bar.println(line);
        }
    }
}

/// A line at every evaluation, and some between.
struct Lines {
    steps: u64,
    shown: u64,
}

impl Observer for Lines {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { step, steps } => (self.steps, self.shown) = (*steps, *step),
            Event::Updated { step, metrics: Some(metrics) } => {
                // Some fifty lines a run, however often it logs.
                let is_due = *step <= 1 || *step >= self.shown + self.steps / 50;
                if is_due {
                    self.shown = *step;
                    let steps = self.steps;
                    terminal::note(format_args!("step {step}/{steps}  {}", long(metrics)));
                }
            }
            _ => {}
        }
        if let Some(line) = milestone(event) {
            terminal::note(line);
        }
    }
}

fn short(metrics: &TrainingMetrics) -> String {
    let speed = grouped(metrics.tokens_per_s.round() as u64);
    format!("loss {:.4}  {speed} tokens/s", metrics.loss)
}

fn long(metrics: &TrainingMetrics) -> String {
    let TrainingMetrics { learning_rate, grad_norm, .. } = metrics;
    format!("{}  rate {learning_rate:.5}  norm {grad_norm:.2}", short(metrics))
}

/// What is worth a line of its own.
fn milestone(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Started { step, steps } if *step > 0 => {
            format!("going on at step {step} of {steps}")
        }
        Event::Evaluated { metrics, is_best, .. } => evaluation(metrics, *is_best),
        Event::StoppedEarly { step } => {
            format!("stopped at step {step}: the validation loss does not fall any more")
        }
        _ => return None,
    })
}

fn evaluation(metrics: &ValidationMetrics, is_best: bool) -> String {
    let best = if is_best { "  (best so far)" } else { "" };
    let time = duration(metrics.elapsed_s);
    format!("step {}  validation loss {:.4}  {time}{best}", metrics.step, metrics.validation_loss)
}
