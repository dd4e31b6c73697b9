//! In-context learning, from nothing, on two cores.

use emberline_backend::device::DeviceName;
use emberline_training::{AdamWConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::many_tasks::{DepthsConfig, ManyTasksConfig, SequencesConfig};

/// Three kinds of tasks over eleven symbols; models of one, two and four layers.
pub fn icl_emerges() -> ManyTasksConfig {
    ManyTasksConfig {
        experiment: "icl-emerges".into(),
        device: DeviceName::Flex,
        data: SequencesConfig {
            n_symbols: 11,
            n_examples: 20,
            batch_size: 48,
            validation_batches: 10,
        },
        model: DepthsConfig { d_model: 64, n_heads: 4, n_layers: vec![1, 2, 4] },
        training: TrainingConfig {
            steps: 4000,
            seed: 42,
            optimizer: OptimizerConfig::AdamW(AdamWConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 1e-3,
                final_learning_rate: 1e-4,
                warmup_steps: 200,
            },
            max_grad_norm: None,
            log_every: 50,
            evaluate_every: 500,
            checkpoint_every: 500,
            // All: the answers of each are shown.
            keep_checkpoints: 100,
            early_stopping: None,
        },
    }
}
