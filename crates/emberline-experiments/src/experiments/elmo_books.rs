//! The next word of two books and the one before, by an ELMo a tenth as wide as the published ones.

use emberline_backend::device::DeviceName;
use emberline_embeddings::elmo::{CharacterCnnConfig, ElmoConfig, Filter};
use emberline_training::{AdagradConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::elmo_pretraining::{DataConfig, ElmoPretrainingConfig, MeaningsConfig};

/// The published recipe, with the dropout that so little text needs. The published code multiplies its loss by the words of
/// a window; Adagrad from an accumulator of 1 and clipping at 10 are then what Adagrad from `1/20²` and clipping at `10/20`
/// are here.
pub fn elmo_books() -> ElmoPretrainingConfig {
    let filters = [(1, 16), (2, 16), (3, 32), (4, 64), (5, 128)];
    let filters = filters.map(|(width, count)| Filter { width, count }).to_vec();
    let published = ElmoConfig::small();
    ElmoPretrainingConfig {
        experiment: "elmo-books".into(),
        device: DeviceName::Flex,
        n_sampled: Some(512),
        data: DataConfig {
            books: vec!["austen".into(), "shakespeare".into()],
            sha256: None,
            min_count: 2,
            batch_size: 32,
            seq_length: 20,
        },
        model: ElmoConfig {
            characters: CharacterCnnConfig {
                filters,
                n_highway: 1,
                ..published.characters.clone()
            },
            d_hidden: 256,
            d_output: 64,
            dropout: 0.2,
            ..published
        },
        training: TrainingConfig {
            steps: 6000,
            seed: 42,
            optimizer: OptimizerConfig::Adagrad(AdagradConfig {
                initial_accumulator: 1.0 / 400.0,
                epsilon: 0.0,
            }),
            schedule: Schedule::Constant { learning_rate: 0.2, warmup_steps: 0 },
            max_grad_norm: Some(0.5),
            log_every: 50,
            evaluate_every: 500,
            checkpoint_every: 1000,
            keep_checkpoints: 2,
            early_stopping: None,
        },
        meanings: MeaningsConfig {
            word: "bank".into(),
            sentences: [
                "They sat down upon the bank of the river.",
                "A bank of flowers stood by the water.",
                "He has a thousand pounds in the bank.",
                "The bank will lend him no more money.",
            ]
            .map(String::from)
            .to_vec(),
        },
    }
}
