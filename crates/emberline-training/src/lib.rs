//! The training loop: objectives, optimizers, schedules, clipping, exact resume, metrics.
