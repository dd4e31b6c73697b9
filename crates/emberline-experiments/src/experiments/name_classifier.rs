//! The class of a name from its letters: many inputs, one output. The many-to-one task of every introduction to
//! recurrent networks, with two directions and two layers.

use emberline_backend::device::DeviceName;
use emberline_recurrent::{CellKind, Merge};
use emberline_text::{FirstLine, SplitFractions};
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::classification::{ClassificationConfig, LabelledConfig};
use crate::tasks::labelled::ModelConfig;

/// First names, which are of two lists. `data.path` takes other names, such as those of 18 languages.
pub fn name_classifier() -> ClassificationConfig {
    ClassificationConfig {
        experiment: "name-classifier".into(),
        device: DeviceName::Flex,
        data: LabelledConfig {
            path: "names".into(),
            sha256: None,
            first_line: FirstLine::Header,
            split: SplitFractions { train: 0.8, validation: 0.1 },
            min_count: 2,
            batch_size: 64,
        },
        model: ModelConfig {
            cell: CellKind::Gru,
            merge: Merge::Concat,
            d_embedding: 32,
            d_hidden: 96,
            n_layers: 2,
            dropout: 0.3,
        },
        training: TrainingConfig {
            steps: 1500,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 3e-3,
                final_learning_rate: 1e-4,
                warmup_steps: 50,
            },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 100,
            checkpoint_every: 500,
            keep_checkpoints: 1,
            early_stopping: None,
        },
    }
}
