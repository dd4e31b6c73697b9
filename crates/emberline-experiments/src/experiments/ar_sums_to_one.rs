//! "Autoregressive: `p(x) = Π p(x_t | x_<t)`", as a sum over all sequences.

use emberline_backend::device::DeviceName;
use emberline_training::{AdamWConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::gpt::ModelConfig;
use crate::tasks::sums_to_one::{SourceConfig, SumsToOneConfig};

/// Three symbols, up to six places: 729 sequences.
pub fn ar_sums_to_one() -> SumsToOneConfig {
    SumsToOneConfig {
        experiment: "ar-sums-to-one".into(),
        device: DeviceName::Flex,
        data: SourceConfig { n_symbols: 3, length: 6, n_tokens: 50_000, batch_size: 64 },
        model: ModelConfig { d_model: 32, n_layers: 2, n_heads: 2, dropout: 0.0 },
        training: TrainingConfig {
            steps: 1000,
            seed: 42,
            optimizer: OptimizerConfig::AdamW(AdamWConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 3e-3,
                final_learning_rate: 1e-4,
                warmup_steps: 50,
            },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 250,
            checkpoint_every: 500,
            keep_checkpoints: 1,
            early_stopping: None,
        },
    }
}
