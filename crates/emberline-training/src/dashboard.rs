//! burn-train's dashboard in the terminal, fed by our loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn_train::Interrupter;
use burn_train::metric::{
    MetricAttributes, MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{MetricState, MetricsRenderer};

use crate::observer::{Event, Observer};

/// The numbers that the dashboard plots.
const LOSS: &str = "Loss";
const LEARNING_RATE: &str = "Learning rate";
const GRADIENT_NORM: &str = "Gradient norm";
const SPEED: &str = "Tokens per second";

/// An [`Observer`] that shows a run on burn-train's dashboard.
///
/// Stopping there sets the interrupt of the trainer, so a checkpoint is saved. ("Killing" there
/// panics, as burn-train does it: what was saved before stays.)
pub struct Dashboard<'a> {
    renderer: Box<dyn MetricsRenderer>,
    interrupter: Interrupter,
    interrupt: &'a AtomicBool,
}

impl<'a> Dashboard<'a> {
    /// Takes over the terminal until it is dropped.
    pub fn new(interrupt: &'a AtomicBool) -> Self {
        let interrupter = Interrupter::new();
        let renderer = TuiMetricsRendererWrapper::new(interrupter.clone(), None);
        Self::with_renderer(Box::new(renderer), interrupter, interrupt)
    }

    /// Shows a run on another renderer, which may stop it through `interrupter`.
    pub fn with_renderer(
        mut renderer: Box<dyn MetricsRenderer>,
        interrupter: Interrupter,
        interrupt: &'a AtomicBool,
    ) -> Self {
        for (name, higher_is_better) in
            [(LOSS, false), (LEARNING_RATE, false), (GRADIENT_NORM, false), (SPEED, true)]
        {
            renderer.register_metric(MetricDefinition {
                metric_id: id(name),
                name: Arc::new(name.to_string()),
                description: None,
                attributes: MetricAttributes::Numeric(NumericAttributes {
                    unit: None,
                    higher_is_better,
                }),
            });
        }
        Self { renderer, interrupter, interrupt }
    }
}

impl Observer for Dashboard<'_> {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { step, steps } => {
                // The dashboard counts epochs of items; ours is one of as many items as updates.
                self.renderer.start(1, 1, Some(*steps as usize), None);
                self.renderer.start_split("train", *steps as usize);
                self.renderer.update_split(*step as usize);
            }
            Event::Updated { step, metrics } => {
                if let Some(metrics) = metrics {
                    self.renderer.update_train(number(LOSS, metrics.loss));
                    self.renderer.update_train(number(LEARNING_RATE, metrics.learning_rate));
                    self.renderer.update_train(number(GRADIENT_NORM, metrics.grad_norm));
                    self.renderer.update_train(number(SPEED, metrics.tokens_per_s));
                }
                self.renderer.update_split(*step as usize);
            }
            Event::Evaluated { metrics, .. } => {
                self.renderer.update_valid(number(LOSS, metrics.validation_loss));
            }
            Event::Checkpointed { path, .. } => {
                self.renderer.log_event_training(format!("Checkpoint {}", path.display()));
            }
            Event::StoppedEarly { .. } | Event::Interrupted { .. } | Event::Finished { .. } => {
                self.renderer.end_split();
                self.renderer.end();
            }
        }
        if self.interrupter.should_stop() {
            self.interrupt.store(true, Ordering::Relaxed);
        }
    }
}

fn id(name: &str) -> MetricId {
    MetricId::new(Arc::new(name.to_string()))
}

fn number(name: &str, value: f64) -> MetricState {
    let text = SerializedEntry::new(format!("{value:.4e}"), value.to_string());
    MetricState::Numeric(MetricEntry::new(id(name), text), Some(NumericEntry::Value(value)))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use burn_train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
    use burn_train::renderer::{
        EvaluationName, MetricsRendererEvaluation, MetricsRendererTraining,
    };

    use super::*;
    use crate::metrics::ValidationMetrics;

    /// Writes down what it is told.
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn note(&self, text: String) {
            self.0.lock().unwrap().push(text);
        }
    }

    impl MetricsRendererTraining for Notes {
        fn update_train(&mut self, state: MetricState) {
            self.note(format!("train {}", text(&state)));
        }

        fn update_valid(&mut self, state: MetricState) {
            self.note(format!("valid {}", text(&state)));
        }
    }

    impl MetricsRendererEvaluation for Notes {
        fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
    }

    impl TrainingProgressLogger for Notes {
        fn start(&mut self, _: usize, _: usize, items: Option<usize>, _: Option<&str>) {
            self.note(format!("start {items:?}"));
        }

        fn update_epoch(&mut self, _epoch: usize) {}

        fn start_split(&mut self, _split: &str, _total_items: usize) {}

        fn update_split(&mut self, items: usize) {
            self.note(format!("at {items}"));
        }

        fn end_split(&mut self) {}

        fn end(&mut self) {
            self.note("end".to_string());
        }

        fn log_event_training(&mut self, _event: String) {}
    }

    impl EvaluationProgressLogger for Notes {
        fn start_global_progress(&mut self, _: usize) {}

        fn start_test(&mut self, _: &str, _: usize) {}

        fn update_test_progress(&mut self, _: usize) {}

        fn end_test(&mut self) {}

        fn end_global_progress(&mut self) {}

        fn log_event_evaluation(&mut self, _: String) {}
    }

    impl MetricsRenderer for Notes {
        fn manual_close(&mut self) {}

        fn register_metric(&mut self, definition: MetricDefinition) {
            self.note(format!("metric {}", definition.name));
        }
    }

    fn text(state: &MetricState) -> String {
        match state {
            MetricState::Numeric(entry, _) | MetricState::Generic(entry) => {
                entry.serialized_entry.serialized.clone()
            }
        }
    }

    #[test]
    fn events_reach_the_renderer_and_its_stop_reaches_the_trainer() {
        let (notes, interrupt) = (Arc::default(), AtomicBool::new(false));
        let interrupter = Interrupter::new();
        let renderer = Box::new(Notes(Arc::clone(&notes)));
        let mut dashboard = Dashboard::with_renderer(renderer, interrupter.clone(), &interrupt);
        dashboard.observe(&Event::Started { step: 2, steps: 9 });
        dashboard.observe(&Event::Updated { step: 3, metrics: None });
        assert!(!interrupt.load(Ordering::Relaxed));
        interrupter.stop(None);
        let metrics = ValidationMetrics { step: 3, validation_loss: 0.5, elapsed_s: 1.0 };
        dashboard.observe(&Event::Evaluated { metrics: &metrics, terms: &[], is_best: true });
        assert!(interrupt.load(Ordering::Relaxed));
        dashboard.observe(&Event::Interrupted { step: 3 });
        let notes = notes.lock().unwrap();
        assert_eq!(notes[4..], ["start Some(9)", "at 2", "at 3", "valid 0.5", "end"]);
        assert_eq!(notes[0], "metric Loss");
    }
}
