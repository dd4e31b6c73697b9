//! Whose a sentence is, by a classifier with the layers of a frozen ELMo and by the same without.

use emberline_backend::device::DeviceName;
use emberline_recurrent::{CellKind, Merge};
use emberline_training::{AdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::elmo_features::{DataConfig, ElmoFeaturesConfig, FrozenConfig};
use crate::tasks::labelled::ModelConfig;

/// `elmo.path` names a run of `elmo-books`. It read the words of 121 of the 600 sentences of the test, without their
/// classes.
pub fn elmo_features() -> ElmoFeaturesConfig {
    ElmoFeaturesConfig {
        experiment: "elmo-features".into(),
        device: DeviceName::Flex,
        data: DataConfig { path: "author-id".into(), sha256: None, min_count: 2, batch_size: 32 },
        elmo: FrozenConfig { path: String::new(), mix_penalty: 0.0 },
        model: ModelConfig {
            cell: CellKind::Lstm,
            merge: Merge::Concat,
            d_embedding: 64,
            d_hidden: 64,
            n_layers: 1,
            dropout: 0.5,
        },
        training: TrainingConfig {
            steps: 600,
            seed: 42,
            optimizer: OptimizerConfig::Adam(AdamConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 3e-3,
                final_learning_rate: 1e-4,
                warmup_steps: 30,
            },
            max_grad_norm: None,
            log_every: 20,
            evaluate_every: 100,
            checkpoint_every: 300,
            keep_checkpoints: 1,
            early_stopping: None,
        },
    }
}
