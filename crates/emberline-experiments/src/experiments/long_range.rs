//! What the notes say of CNN, RNN and Transformer, as a measurement.

use emberline_backend::device::DeviceName;
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::long_range::{
    CnnConfig, EncoderConfig, JacobianConfig, LongRangeConfig, MixersConfig, TimingConfig,
};
use crate::tasks::recall::SequencesConfig;

/// The convolutions see 17 words: 16 back, and two distances lie beyond. Gradients are not clipped: their norm would be
/// that of all models together.
pub fn long_range() -> LongRangeConfig {
    LongRangeConfig {
        experiment: "long-range".into(),
        device: DeviceName::Flex,
        data: SequencesConfig {
            n_symbols: 8,
            distances: vec![1, 2, 4, 8, 16, 32, 64],
            batch_size: 32,
            validation_batches: 8,
        },
        model: MixersConfig {
            d_model: 32,
            cnn: CnnConfig { n_layers: 4, kernel_size: 5 },
            transformer: EncoderConfig { n_layers: 2, n_heads: 4, d_ff: 64 },
        },
        jacobian: JacobianConfig { distance: 64, rows: 8, seeds: 5 },
        timing: TimingConfig { lengths: vec![64, 128, 256, 512, 1024, 2048], rows: 4, runs: 7 },
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
