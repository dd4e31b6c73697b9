//! A tag for every word of a sentence: as many outputs as inputs, in step. What stands behind a word depends on the
//! words after it, so the layers read both ways.

use emberline_backend::device::DeviceName;
use emberline_recurrent::{CellKind, Merge};
use emberline_text::Separator;
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::labelled::ModelConfig;
use crate::tasks::tagging::{TaggedConfig, TaggingConfig};

/// The punctuation of a novel. `data.path` and the three files take other tasks, such as the named entities of
/// WNUT17.
pub fn tagger() -> TaggingConfig {
    TaggingConfig {
        experiment: "tagger".into(),
        device: DeviceName::Flex,
        data: TaggedConfig {
            path: "punctuation".into(),
            training: "train.tsv".into(),
            validation: "dev.tsv".into(),
            test: "test.tsv".into(),
            sha256: None,
            separator: Separator::Tab,
            min_count: 2,
            batch_size: 32,
        },
        model: ModelConfig {
            cell: CellKind::Lstm,
            merge: Merge::Concat,
            d_embedding: 96,
            d_hidden: 128,
            n_layers: 2,
            dropout: 0.5,
        },
        training: TrainingConfig {
            steps: 1000,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 3e-3,
                final_learning_rate: 1e-4,
                warmup_steps: 50,
            },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 50,
            checkpoint_every: 500,
            keep_checkpoints: 1,
            early_stopping: None,
        },
    }
}
