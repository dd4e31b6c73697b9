//! Characters of Shakespeare by an LSTM, after Karpathy's char-rnn ("The Unreasonable Effectiveness of Recurrent
//! Neural Networks", 2015).

use emberline_backend::device::DeviceName;
use emberline_models::rnn_language_model::CellKind;
use emberline_text::SplitFractions;
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::language_modelling::{
    DataConfig, LanguageModellingConfig, ModelConfig, SamplesConfig,
};

/// One layer. The learning rate and the norm are char-rnn's.
pub fn char_lstm() -> LanguageModellingConfig {
    LanguageModellingConfig {
        experiment: "char-lstm".into(),
        device: DeviceName::Flex,
        data: DataConfig {
            text: "shakespeare".into(),
            sha256: None,
            split: SplitFractions::default(),
            batch_size: 32,
            seq_length: 64,
            micro_batches: 1,
        },
        model: ModelConfig {
            cell: CellKind::Lstm,
            d_embedding: 128,
            d_hidden: 256,
            n_layers: 1,
            dropout: 0.0,
        },
        training: TrainingConfig {
            steps: 3000,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 2e-3,
                final_learning_rate: 2e-4,
                warmup_steps: 100,
            },
            max_grad_norm: Some(5.0),
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

/// Three layers, with dropout between them.
pub fn char_lstm_deep() -> LanguageModellingConfig {
    let mut config = char_lstm();
    config.experiment = "char-lstm-deep".into();
    config.model.n_layers = 3;
    config.model.dropout = 0.2;
    config
}
