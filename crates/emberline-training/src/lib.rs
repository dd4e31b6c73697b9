//! The training loop: objectives, optimizers, schedules, clipping, exact resume, metrics.
//!
//! [`Trainer`] makes the updates of any module by any [`Objective`] on any [`Data`]. A run that was
//! killed and resumed has the weights and metrics of one that was not, bit for bit.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod adagrad;
mod average;
mod batch_ramp;
mod checkpoint;
mod clipping;
mod config;
mod data;
mod error;
mod finite;
mod gradients;
mod metrics;
mod objective;
mod observer;
mod optimizer;
mod rate_finder;
mod rates;
mod run;
mod schedule;
mod sums;
mod trainer;

#[cfg(feature = "dashboard")]
pub mod dashboard;

pub use adagrad::AdagradConfig;
pub use average::average_checkpoints;
pub use batch_ramp::{BatchRamp, BatchSizes};
pub use checkpoint::{Best, ModelFiles, best_checkpoint, latest_checkpoint};
pub use clipping::{clip_gradient_norm, gradient_norm};
pub use config::{ConfigError, EarlyStopping, TrainingConfig};
pub use data::Data;
pub use error::TrainingError;
pub use metrics::{METRICS_FILE, Metrics, TrainingMetrics, ValidationMetrics, read_metrics};
pub use objective::Objective;
pub use observer::{Event, Observer};
pub use optimizer::{AdamConfig, AdamW, AdamWConfig, BertAdamConfig, OptimizerConfig, SgdConfig};
pub use rate_finder::{RateCurve, RateFinder};
pub use rates::RateGroup;
pub use schedule::Schedule;
pub use trainer::{Outcome, Trained, Trainer};
