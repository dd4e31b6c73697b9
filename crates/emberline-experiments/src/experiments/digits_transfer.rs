//! Transfer learning as the notes have it with images, on digits.

use emberline_backend::device::DeviceName;
use emberline_training::{AdamWConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::digits_transfer::{
    ChannelsConfig, DigitsConfig, DigitsTransferConfig, TransferConfig,
};

/// Three layers learn the digits 0 to 4; then 5 to 9 are learned from 1 to 50 images of each, in five draws.
pub fn digits_transfer() -> DigitsTransferConfig {
    DigitsTransferConfig {
        experiment: "digits-transfer".into(),
        device: DeviceName::Flex,
        data: DigitsConfig { path: "digits".into(), sha256: None, batch_size: 32, n_test: 90 },
        model: ChannelsConfig { channels: vec![16, 32, 64] },
        transfer: TransferConfig {
            n_images: vec![1, 2, 5, 10, 20, 50],
            n_seeds: 5,
            steps: 100,
            schedule: Schedule::Linear {
                learning_rate: 1e-3,
                final_learning_rate: 0.0,
                warmup_steps: 0,
            },
            head_rate: 10.0,
        },
        training: TrainingConfig {
            steps: 200,
            seed: 42,
            optimizer: OptimizerConfig::AdamW(AdamWConfig::default()),
            schedule: Schedule::Linear {
                learning_rate: 3e-3,
                final_learning_rate: 0.0,
                warmup_steps: 0,
            },
            max_grad_norm: None,
            log_every: 10,
            evaluate_every: 50,
            checkpoint_every: 200,
            keep_checkpoints: 1,
            early_stopping: None,
        },
    }
}
