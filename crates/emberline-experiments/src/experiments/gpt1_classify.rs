//! GPT-1 in small: books first, then whose a sentence is (Radford and others, 2018, sections 3 and 4.1).

use emberline_backend::device::DeviceName;
use emberline_finetuning::Plan;
use emberline_text::{FirstLine, LabelColumn, SplitFractions};
use emberline_training::{AdamWConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::documents::Texts;
use crate::tasks::gpt::{DataConfig, ModelConfig};
use crate::tasks::gpt1_classification::{
    FinetunedConfig, Gpt1ClassificationConfig, LabelledConfig, PretrainingConfig,
};

/// The paper's numbers where they do not go with the size: dropout, λ, weight decay, three passes of 32 texts with a line
/// to zero. Its rates are for a model six times as wide, and its books are 7,000.
pub fn gpt1_classify() -> Gpt1ClassificationConfig {
    let optimizer = OptimizerConfig::AdamW(AdamWConfig::default());
    Gpt1ClassificationConfig {
        experiment: "gpt1-classify".into(),
        device: DeviceName::Flex,
        data: LabelledConfig {
            path: "author-id".into(),
            sha256: None,
            first_line: FirstLine::Header,
            label_column: LabelColumn::First,
            batch_size: 32,
        },
        model: FinetunedConfig {
            path: None,
            next_token_weight: 0.5,
            head_dropout: 0.1,
            plan: Plan::default(),
        },
        training: TrainingConfig {
            steps: 282,
            seed: 42,
            optimizer,
            schedule: Schedule::Linear {
                learning_rate: 3e-4,
                final_learning_rate: 0.0,
                warmup_steps: 10,
            },
            max_grad_norm: Some(1.0),
            log_every: 10,
            evaluate_every: 47,
            checkpoint_every: 94,
            keep_checkpoints: 1,
            early_stopping: None,
        },
        pretraining: PretrainingConfig {
            data: DataConfig {
                text: Texts::Several(vec!["shakespeare".into(), "austen".into()]),
                sha256: None,
                byte_pairs: Some(2000),
                split: SplitFractions::default(),
                batch_size: 16,
                seq_length: 128,
                micro_batches: 1,
                batch_ramp: None,
            },
            model: ModelConfig { d_model: 128, n_layers: 4, n_heads: 4, dropout: 0.1 },
            training: TrainingConfig {
                steps: 2000,
                seed: 42,
                optimizer,
                schedule: Schedule::Cosine {
                    learning_rate: 1e-3,
                    final_learning_rate: 0.0,
                    warmup_steps: 100,
                },
                max_grad_norm: Some(1.0),
                log_every: 20,
                evaluate_every: 250,
                checkpoint_every: 500,
                keep_checkpoints: 1,
                early_stopping: None,
            },
        },
    }
}
