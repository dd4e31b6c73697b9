//! Sentences of one language into another, by a small Transformer with the schedule, the smoothing and the search of
//! Vaswani and others, "Attention Is All You Need" (2017).

use emberline_backend::LabelSmoothing;
use emberline_backend::device::DeviceName;
use emberline_evaluation::BleuTokenizer;
use emberline_generation::BeamConfig;
use emberline_models::transformer::PositionKind;
use emberline_text::{
    BadLines, BatchSize, Column, FirstLine, PairColumns, SplitFractions, TranslationTokens,
};
use emberline_training::{AdamConfig, EarlyStopping, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::translation::{
    BatchesConfig, DataConfig, ModelConfig, ScoresConfig, TokensConfig, TranslationConfig,
};

/// The width of the models.
const D_MODEL: usize = 128;

/// Modern English into Spanish of 1909. Five thousand verses are few: much is dropped.
pub fn bible_translate() -> TranslationConfig {
    let data = DataConfig::Table {
        path: "bible-parallel".into(),
        sha256: None,
        columns: PairColumns {
            source: Column::Name("en_web".into()),
            target: Column::Name("es_rv1909".into()),
            first_line: FirstLine::Header,
        },
        split: SplitFractions { train: 0.9, validation: 0.05 },
    };
    let tokens = TranslationTokens::BytePairs { vocab_size: 4000, lower_case: false };
    let scores = ScoresConfig::Text { tokenizer: BleuTokenizer::V13a, lowercase: false };
    translate("bible-translate", data, TokensConfig::Joint(tokens), scores)
}

/// English into Chinese: lines of a Tatoeba export, `English<TAB>Chinese`, at `data.path`.
pub fn tatoeba_translate() -> TranslationConfig {
    let data = DataConfig::Table {
        path: String::new(),
        sha256: None,
        columns: PairColumns {
            source: Column::Number(1),
            target: Column::Number(2),
            first_line: FirstLine::Example,
        },
        split: SplitFractions { train: 0.95, validation: 0.025 },
    };
    let tokens = TokensConfig::Separate {
        source: TranslationTokens::BytePairs { vocab_size: 4000, lower_case: true },
        target: TranslationTokens::Characters,
    };
    let scores = ScoresConfig::Text { tokenizer: BleuTokenizer::Zh, lowercase: false };
    translate("tatoeba-translate", data, tokens, scores)
}

fn translate(
    experiment: &str,
    data: DataConfig,
    tokens: TokensConfig,
    scores: ScoresConfig,
) -> TranslationConfig {
    TranslationConfig {
        experiment: experiment.into(),
        device: DeviceName::Flex,
        data,
        bad_lines: BadLines::Refuse,
        tokens,
        batches: BatchesConfig { size: BatchSize::Tokens(1024), max_tokens: Some(128) },
        model: ModelConfig::Transformer {
            d_model: D_MODEL,
            d_ff: 512,
            n_heads: 4,
            n_encoder_layers: 3,
            n_decoder_layers: 3,
            dropout: 0.3,
            positions: PositionKind::Sinusoidal,
        },
        smoothing: Some(LabelSmoothing::Uniform(0.1)),
        scheduled_sampling: None,
        training: TrainingConfig {
            steps: 4000,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig {
                beta_2: 0.98,
                epsilon: 1e-9,
                ..AdamConfig::default()
            }),
            schedule: Schedule::Noam { d_model: D_MODEL as u64, warmup_steps: 1000 },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 200,
            checkpoint_every: 200,
            keep_checkpoints: 5,
            early_stopping: Some(EarlyStopping { patience: 5, min_delta: 0.0 }),
        },
        averaged_checkpoints: 5,
        beam: BeamConfig::default(),
        scores,
    }
}
