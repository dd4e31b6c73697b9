//! Characters and byte pairs of Shakespeare by a small GPT, with the recipe of nanoGPT (Karpathy, 2022).

use emberline_backend::device::DeviceName;
use emberline_text::SplitFractions;
use emberline_training::{AdamWConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::gpt::{DataConfig, GptConfig, ModelConfig};
use crate::tasks::language_modelling::SamplesConfig;

/// nanoGPT's configuration for a CPU: four layers of 128, 2,000 updates of 12 rows of 64 characters.
pub fn char_gpt() -> GptConfig {
    GptConfig {
        experiment: "char-gpt".into(),
        device: DeviceName::Flex,
        data: DataConfig {
            text: "shakespeare".into(),
            sha256: None,
            byte_pairs: None,
            split: SplitFractions::default(),
            batch_size: 12,
            seq_length: 64,
            micro_batches: 1,
            batch_ramp: None,
        },
        model: ModelConfig { d_model: 128, n_layers: 4, n_heads: 4, dropout: 0.0 },
        training: TrainingConfig {
            steps: 2000,
            seed: 42,
            optimizer: OptimizerConfig::AdamW(AdamWConfig {
                beta_2: 0.99,
                weight_decay: 0.1,
                ..AdamWConfig::default()
            }),
            schedule: Schedule::Cosine {
                learning_rate: 1e-3,
                final_learning_rate: 1e-4,
                warmup_steps: 100,
            },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 250,
            checkpoint_every: 500,
            keep_checkpoints: 2,
            early_stopping: None,
        },
        samples: SamplesConfig {
            prompts: vec!["\n".into(), "Ham.\nTo be".into()],
            max_new_tokens: 400,
            stop: None,
            temperature: 0.8,
        },
    }
}

/// The same over byte pairs, each of which is some letters: a row reaches further.
pub fn gpt_bpe() -> GptConfig {
    let mut config = char_gpt();
    config.experiment = "gpt-bpe".into();
    config.data.byte_pairs = Some(2000);
    config
}
