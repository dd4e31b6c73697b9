//! "Information decays with distance", as a measurement.

use emberline_backend::device::DeviceName;
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::memory_horizon::{GradientConfig, LearnerConfig, MemoryHorizonConfig};
use crate::tasks::recall::SequencesConfig;

/// Distances of 1 to 64 symbols. Gradients are not clipped: their norm would be that of all models together.
pub fn memory_horizon() -> MemoryHorizonConfig {
    MemoryHorizonConfig {
        experiment: "memory-horizon".into(),
        device: DeviceName::Flex,
        data: SequencesConfig {
            n_symbols: 8,
            distances: vec![1, 2, 4, 8, 16, 32, 64],
            batch_size: 32,
            validation_batches: 8,
        },
        model: LearnerConfig { d_embedding: 16, d_hidden: 32 },
        gradient: GradientConfig { distance: 64, rows: 16 },
        training: TrainingConfig {
            steps: 1500,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Constant { learning_rate: 3e-3, warmup_steps: 50 },
            max_grad_norm: None,
            log_every: 20,
            evaluate_every: 250,
            checkpoint_every: 500,
            keep_checkpoints: 1,
            early_stopping: None,
        },
    }
}
