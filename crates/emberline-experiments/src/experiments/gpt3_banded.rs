//! GPT-3 in small: dense against banded attention, with the recipe of its paper (Brown and others, 2020, appendix B) as far
//! as it goes by tokens.

use emberline_backend::device::DeviceName;
use emberline_text::SplitFractions;
use emberline_training::{AdamWConfig, BatchRamp, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::banded::{BandedConfig, ModelConfig};
use crate::tasks::documents::Texts;
use crate::tasks::gpt::DataConfig;

/// Seven plays and a novel as two documents, 128 characters at a time, of which a band sees 16. The warm-up, the cosine
/// and the growth of the batch are as long in parts of the run as the paper's are in parts of 300 billion tokens, but
/// for the warm-up, which is longer. Gradients are not clipped, as there are those of two models.
pub fn gpt3_banded() -> BandedConfig {
    BandedConfig {
        experiment: "gpt3-banded".into(),
        device: DeviceName::Flex,
        data: DataConfig {
            text: Texts::Several(vec!["shakespeare".into(), "austen".into()]),
            sha256: None,
            byte_pairs: None,
            split: SplitFractions::default(),
            batch_size: 8,
            seq_length: 128,
            micro_batches: 1,
            batch_ramp: Some(BatchRamp { first_batch_size: 2, tokens: 40_000 }),
        },
        model: ModelConfig {
            d_model: 128,
            n_layers: 4,
            n_heads: 4,
            d_head: 32,
            band: 16,
            dropout: 0.0,
        },
        training: TrainingConfig {
            steps: 1500,
            seed: 42,
            optimizer: OptimizerConfig::AdamW(AdamWConfig {
                beta_2: 0.95,
                weight_decay: 0.1,
                ..AdamWConfig::default()
            }),
            schedule: Schedule::CosineByTokens {
                learning_rate: 1e-3,
                warmup_tokens: 50_000,
                decay_tokens: 1_300_000,
            },
            max_grad_norm: None,
            log_every: 20,
            evaluate_every: 250,
            checkpoint_every: 500,
            keep_checkpoints: 1,
            early_stopping: None,
        },
    }
}
