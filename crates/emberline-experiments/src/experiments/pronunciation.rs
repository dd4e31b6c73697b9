//! From the spelling of a word to its phonemes, as Yao and Zweig, "Sequence-to-Sequence Neural Net Models for
//! Grapheme-to-Phoneme Conversion" (2015): three generations of models at about the same parameters and updates.

use emberline_backend::LabelSmoothing;
use emberline_backend::device::DeviceName;
use emberline_generation::{BeamConfig, BeamScoring};
use emberline_models::attention_seq2seq::bahdanau::OutputState;
use emberline_models::transformer::PositionKind;
use emberline_text::{BadLines, BatchSize, Column, FirstLine, PairColumns, TranslationTokens};
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::translation::{
    BatchesConfig, DataConfig, ModelConfig, ScoresConfig, TokensConfig, TranslationConfig,
};

/// One vector for a whole word; the word is read from its end.
pub fn cmudict_seq2seq() -> TranslationConfig {
    let model = ModelConfig::Sutskever {
        d_embedding: 64,
        d_hidden: 208,
        n_layers: 1,
        reversed_source: true,
        dropout: 0.3,
    };
    pronunciation("cmudict-seq2seq", model)
}

/// A look at every letter for each phoneme.
pub fn cmudict_attention() -> TranslationConfig {
    let model = ModelConfig::Bahdanau {
        d_embedding: 64,
        d_hidden: 128,
        d_alignment: 96,
        d_maxout: 96,
        output_state: OutputState::Current,
        dropout: 0.3,
    };
    pronunciation("cmudict-attention", model)
}

/// Nothing but such looks. The learning rate is lower, as it must be without recurrence.
pub fn cmudict_transformer() -> TranslationConfig {
    let model = ModelConfig::Transformer {
        d_model: 96,
        d_ff: 288,
        n_heads: 4,
        n_encoder_layers: 2,
        n_decoder_layers: 2,
        dropout: 0.1,
        positions: PositionKind::Sinusoidal,
    };
    let mut config = pronunciation("cmudict-transformer", model);
    config.training.schedule =
        Schedule::Cosine { learning_rate: 1e-3, final_learning_rate: 1e-5, warmup_steps: 300 };
    config
}

fn pronunciation(experiment: &str, model: ModelConfig) -> TranslationConfig {
    TranslationConfig {
        experiment: experiment.into(),
        device: DeviceName::Flex,
        data: DataConfig::Tables {
            path: "cmudict".into(),
            sha256: None,
            columns: PairColumns {
                source: Column::Number(1),
                target: Column::Number(2),
                first_line: FirstLine::Example,
            },
            training: "train.tsv".into(),
            validation: "dev.tsv".into(),
            test: "test.tsv".into(),
        },
        bad_lines: BadLines::Refuse,
        tokens: TokensConfig::Separate {
            source: TranslationTokens::Characters,
            target: TranslationTokens::Symbols,
        },
        batches: BatchesConfig { size: BatchSize::Sentences(64), max_tokens: None },
        model,
        smoothing: Some(LabelSmoothing::Uniform(0.1)),
        scheduled_sampling: None,
        training: TrainingConfig {
            steps: 4000,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 3e-3,
                final_learning_rate: 1e-5,
                warmup_steps: 100,
            },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 500,
            checkpoint_every: 1000,
            keep_checkpoints: 1,
            early_stopping: None,
        },
        averaged_checkpoints: 1,
        beam: BeamConfig {
            scoring: BeamScoring::Normalized { length_penalty: 1.0 },
            max_new_tokens: 24,
            max_per_input_token: 0.0,
            ..BeamConfig::default()
        },
        scores: ScoresConfig::Phonemes,
    }
}
