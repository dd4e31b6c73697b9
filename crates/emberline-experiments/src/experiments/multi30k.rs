//! German captions of pictures into English (Elliott and others, "Multi30K: Multilingual English-German Image
//! Descriptions", 2016): four generations of models on the same words, in the same batches and with the same search. They
//! are narrower than the published ones, so that each learns in some quarter of an hour, and drop less for that.

use emberline_backend::LabelSmoothing;
use emberline_backend::device::DeviceName;
use emberline_evaluation::BleuTokenizer;
use emberline_generation::BeamConfig;
use emberline_models::attention_seq2seq::bahdanau::OutputState;
use emberline_models::transformer::PositionKind;
use emberline_text::{BadLines, BatchSize, TranslationTokens};
use emberline_training::{AdamConfig, EarlyStopping, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::translation::{
    BatchesConfig, DataConfig, ModelConfig, ScoresConfig, TokensConfig, TranslationConfig,
};

/// Sutskever's LSTMs.
pub fn multi30k_lstm() -> TranslationConfig {
    let model = ModelConfig::Sutskever {
        d_embedding: 128,
        d_hidden: 256,
        n_layers: 2,
        reversed_source: true,
        dropout: 0.3,
    };
    multi30k("multi30k-lstm", model)
}

/// Cho's GRUs.
pub fn multi30k_gru() -> TranslationConfig {
    let model = ModelConfig::Cho {
        d_embedding: 128,
        d_hidden: 384,
        n_layers: 1,
        d_maxout: 192,
        dropout: 0.3,
    };
    multi30k("multi30k-gru", model)
}

/// Bahdanau's attention.
pub fn multi30k_attention() -> TranslationConfig {
    let model = ModelConfig::Bahdanau {
        d_embedding: 128,
        d_hidden: 256,
        d_alignment: 256,
        d_maxout: 128,
        output_state: OutputState::Current,
        dropout: 0.3,
    };
    multi30k("multi30k-attention", model)
}

/// A Transformer, with the optimizer, schedule, smoothing and average of its paper.
pub fn multi30k_transformer() -> TranslationConfig {
    let d_model = 192;
    let model = ModelConfig::Transformer {
        d_model,
        d_ff: 512,
        n_heads: 6,
        n_encoder_layers: 3,
        n_decoder_layers: 3,
        dropout: 0.1,
        positions: PositionKind::Sinusoidal,
    };
    let mut config = multi30k("multi30k-transformer", model);
    config.averaged_checkpoints = 5;
    config.training.keep_checkpoints = 5;
    config.smoothing = Some(LabelSmoothing::Uniform(0.1));
    config.training.optimizer =
        OptimizerConfig::Adam(AdamConfig { beta_2: 0.98, epsilon: 1e-9, ..AdamConfig::default() });
    config.training.schedule = Schedule::Noam { d_model: d_model as u64, warmup_steps: 1600 };
    config
}

/// The data, at `data.path`: a folder with `train.de`, `train.en` and so on, packed or not. 6 passes of 420 updates.
fn multi30k(experiment: &str, model: ModelConfig) -> TranslationConfig {
    let words = TranslationTokens::Words { lower_case: true, min_count: 2 };
    TranslationConfig {
        experiment: experiment.into(),
        device: DeviceName::Flex,
        data: DataConfig::Files {
            path: String::new(),
            sha256: None,
            source: "de".into(),
            target: "en".into(),
            training: "train".into(),
            validation: "val".into(),
            test: "test_2016_flickr".into(),
        },
        bad_lines: BadLines::Refuse,
        tokens: TokensConfig::Separate { source: words, target: words },
        batches: BatchesConfig { size: BatchSize::Tokens(1024), max_tokens: None },
        model,
        smoothing: None,
        scheduled_sampling: None,
        training: TrainingConfig {
            steps: 2520,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 2e-3,
                final_learning_rate: 1e-5,
                warmup_steps: 100,
            },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 210,
            checkpoint_every: 210,
            keep_checkpoints: 1,
            early_stopping: Some(EarlyStopping { patience: 5, min_delta: 0.0 }),
        },
        averaged_checkpoints: 1,
        beam: BeamConfig::default(),
        scores: ScoresConfig::Text { tokenizer: BleuTokenizer::V13a, lowercase: true },
    }
}
