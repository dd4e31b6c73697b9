//! Chinese verse by a GRU, character by character. A title or the beginning of a poem becomes a whole poem: one
//! input and many outputs, where each output is the next input, until the model has written an empty line.

use emberline_backend::device::DeviceName;
use emberline_models::rnn_language_model::CellKind;
use emberline_text::SplitFractions;
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::language_modelling::{
    DataConfig, LanguageModellingConfig, ModelConfig, SamplesConfig,
};

/// What stands before and after every poem: the end of a line, and an empty one.
const END: &str = "\n\n";

/// One layer and few updates: 24,000 characters are soon known by heart. Two layers with dropout between them, and
/// a layer twice as wide, have no lower validation loss.
pub fn poem_gru() -> LanguageModellingConfig {
    LanguageModellingConfig {
        experiment: "poem-gru".into(),
        device: DeviceName::Flex,
        data: DataConfig {
            text: "tang300".into(),
            sha256: None,
            split: SplitFractions::default(),
            batch_size: 32,
            seq_length: 32,
            micro_batches: 1,
        },
        model: ModelConfig {
            cell: CellKind::Gru,
            d_embedding: 128,
            d_hidden: 256,
            n_layers: 1,
            dropout: 0.0,
        },
        training: TrainingConfig {
            steps: 600,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 1e-3,
                final_learning_rate: 2e-4,
                warmup_steps: 50,
            },
            max_grad_norm: Some(5.0),
            log_every: 10,
            evaluate_every: 25,
            checkpoint_every: 300,
            keep_checkpoints: 1,
            early_stopping: None,
        },
        samples: SamplesConfig {
            prompts: ["月夜\n", "送友人\n", "春望\n国破山河在，"]
                .map(|beginning| format!("{END}{beginning}"))
                .into(),
            max_new_tokens: 200,
            stop: Some(END.into()),
            temperature: 0.7,
        },
    }
}
