//! Copy, sort and reverse: the tasks with one right answer that a model of attention alone must get right, always.

use emberline_backend::device::DeviceName;
use emberline_generation::{BeamConfig, BeamScoring};
use emberline_models::transformer::PositionKind;
use emberline_text::{BadLines, BatchSize, SequenceTask, TranslationTokens};
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::translation::{
    BatchesConfig, DataConfig, ModelConfig, ScoresConfig, TokensConfig, TranslationConfig,
};

/// Sequences are written as they are read.
pub fn copy() -> TranslationConfig {
    toy("copy", SequenceTask::Copy)
}

/// Smaller numbers first.
pub fn sort() -> TranslationConfig {
    toy("sort", SequenceTask::Sort)
}

/// From the end to the start.
pub fn reverse() -> TranslationConfig {
    toy("reverse", SequenceTask::Reverse)
}

/// No sequence of the test is one of the training.
fn toy(experiment: &str, task: SequenceTask) -> TranslationConfig {
    TranslationConfig {
        experiment: experiment.into(),
        device: DeviceName::Flex,
        data: DataConfig::Sequences {
            task,
            n_symbols: 10,
            min_length: 4,
            max_length: 10,
            training: 20_000,
            validation: 200,
            test: 500,
        },
        bad_lines: BadLines::Refuse,
        tokens: TokensConfig::Joint(TranslationTokens::Symbols),
        batches: BatchesConfig { size: BatchSize::Sentences(64), max_tokens: None },
        model: ModelConfig::Transformer {
            d_model: 64,
            d_ff: 256,
            n_heads: 4,
            n_encoder_layers: 2,
            n_decoder_layers: 2,
            dropout: 0.0,
            positions: PositionKind::Sinusoidal,
        },
        smoothing: None,
        scheduled_sampling: None,
        training: TrainingConfig {
            steps: 1500,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 1e-3,
                final_learning_rate: 1e-5,
                warmup_steps: 100,
            },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 250,
            checkpoint_every: 500,
            keep_checkpoints: 1,
            early_stopping: None,
        },
        averaged_checkpoints: 1,
        beam: greedy(16),
        scores: ScoresConfig::Sequences,
    }
}

/// The most likely token at each step.
pub fn greedy(max_new_tokens: usize) -> BeamConfig {
    BeamConfig {
        beam_size: 1,
        scoring: BeamScoring::LogProbability,
        max_new_tokens,
        max_per_input_token: 0.0,
        batch_size: 64,
        ..BeamConfig::default()
    }
}
