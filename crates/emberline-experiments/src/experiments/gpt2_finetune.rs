//! A GPT-2 goes on learning from your own text.

use emberline_backend::device::DeviceName;
use emberline_text::SplitFractions;
use emberline_training::{AdamWConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::documents::Texts;
use crate::tasks::gpt2_finetuning::{DataConfig, Gpt2FinetuningConfig, ModelConfig};
use crate::tasks::language_modelling::SamplesConfig;

/// Updates of 4 rows of 128 tokens, which the smallest published model makes in seconds on a CPU, and few of them: with
/// more the model learns a short text by heart.
pub fn gpt2_finetune() -> Gpt2FinetuningConfig {
    Gpt2FinetuningConfig {
        experiment: "gpt2-finetune".into(),
        device: DeviceName::Flex,
        data: DataConfig {
            path: Texts::One(String::new()),
            sha256: None,
            split: SplitFractions::default(),
            batch_size: 4,
            seq_length: 128,
            micro_batches: 1,
        },
        model: ModelConfig { path: String::new() },
        training: TrainingConfig {
            steps: 100,
            seed: 42,
            optimizer: OptimizerConfig::AdamW(AdamWConfig {
                weight_decay: 0.0,
                ..AdamWConfig::default()
            }),
            schedule: Schedule::Linear {
                learning_rate: 5e-5,
                final_learning_rate: 0.0,
                warmup_steps: 5,
            },
            max_grad_norm: Some(1.0),
            log_every: 5,
            evaluate_every: 50,
            checkpoint_every: 100,
            keep_checkpoints: 1,
            early_stopping: None,
        },
        samples: SamplesConfig {
            prompts: vec!["\n".into()],
            max_new_tokens: 100,
            stop: None,
            temperature: 0.8,
        },
    }
}
