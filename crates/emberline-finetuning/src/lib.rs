//! Objectives for models with the head of a task, and the data they are trained on: labelled rows, rows with a label
//! for each token, groups of rows with one label, rows with several labels or with numbers, answers in a text, and choices
//! between rows. And what of a pretrained model is trained: [`Plan`]s, adapters ([`attach`]), and heads on features that
//! are kept ([`FeatureCache`]).
//!
//! No objective names a model: each is for every [`TaskModel`](emberline_core::TaskModel) that scores what
//! it needs.

#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod answers;
mod auxiliary;
mod batches;
mod classification;
mod classifier;
mod epochs;
mod features;
mod groups;
mod lora;
mod numbers;
mod plan;
mod task_inputs;

pub use answers::{AnswerBatch, AnswerBatches, Answers, Choice};
pub use auxiliary::ClassificationAndNextToken;
pub use batches::{Batches, ExampleBatch, LabelledBatch, LabelledBatches};
pub use classification::{Classification, TokenClassification};
pub use classifier::{Classifier, ClassifierConfig, Pooling};
pub use features::{
    FeatureBatch, FeatureBatches, FeatureCache, FeatureClassification, FeatureError, FeatureHead,
    FeatureKey,
};
pub use groups::{GroupBatch, GroupBatches, GroupExample};
pub use lora::{
    LoraAdapter, LoraConfig, LoraError, PeftNames, TrainedBiases, attach, merge, unmerge,
};
pub use numbers::{MultiLabel, NumberBatch, Regression};
pub use plan::{LayerRates, Plan, PlanError, Planned, PlannedGroup, RatedGroup, Train};
pub use task_inputs::TaskInputs;
