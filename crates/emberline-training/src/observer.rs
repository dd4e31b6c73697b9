//! What a training run tells while it runs. The library itself prints nothing.

use std::path::Path;

use crate::metrics::{TrainingMetrics, ValidationMetrics};

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The run begins, or goes on.
    Started {
        /// The number of updates made before.
        step: u64,
        /// The number of updates of the whole run.
        steps: u64,
    },
    /// An update was made.
    Updated {
        /// The number of updates, this one included.
        step: u64,
        /// Its numbers, where it is a logged one.
        metrics: Option<&'a TrainingMetrics>,
    },
    /// The validation data was evaluated.
    Evaluated {
        /// The numbers.
        metrics: &'a ValidationMetrics,
        /// The mean of each term of the loss.
        terms: &'a [(&'static str, f64)],
        /// Whether this is the lowest loss so far.
        is_best: bool,
    },
    /// A checkpoint is complete.
    Checkpointed {
        /// The number of updates it holds.
        step: u64,
        /// Its directory.
        path: &'a Path,
    },
    /// The validation loss has stopped falling, and training with it.
    StoppedEarly {
        /// The number of updates made.
        step: u64,
    },
    /// The user asked to stop; a checkpoint is saved.
    Interrupted {
        /// The number of updates made.
        step: u64,
    },
    /// All updates are made.
    Finished {
        /// The number of updates made.
        step: u64,
    },
}

/// Who is told of events: a progress bar, plain lines, a dashboard.
pub trait Observer {
    /// Takes note of an event.
    fn observe(&mut self, event: &Event<'_>);
}

/// Nobody.
impl Observer for () {
    fn observe(&mut self, _event: &Event<'_>) {}
}
