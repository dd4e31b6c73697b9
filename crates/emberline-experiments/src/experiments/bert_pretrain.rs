//! Masked words and next sentences of two books by a tiny BERT, and what goes on from there.

use emberline_backend::device::DeviceName;
use emberline_pretraining::{MaskingConfig, MaskingTime, SentencePairsConfig};
use emberline_training::{BertAdamConfig, OptimizerConfig, Schedule, TrainingConfig};

use crate::tasks::bert_finetuning::PretrainingConfig;
use crate::tasks::bert_pretraining::{BertPretrainingConfig, DataConfig, ModelConfig};

/// Devlin and others' recipe with the sizes of their smallest model, at a rate that suits so few updates.
pub fn bert_pretrain_tiny() -> BertPretrainingConfig {
    BertPretrainingConfig {
        experiment: "bert-pretrain-tiny".into(),
        device: DeviceName::Flex,
        data: DataConfig {
            books: vec!["austen".into(), "shakespeare".into()],
            sha256: None,
            vocab_size: 4000,
            pairs: SentencePairsConfig { max_seq_length: 64, ..SentencePairsConfig::default() },
            masking: MaskingConfig { max_predictions: 10, ..MaskingConfig::default() },
            masking_time: MaskingTime::Dynamic,
            batch_size: 32,
        },
        model: ModelConfig { d_model: 128, n_layers: 2, n_heads: 2, dropout: 0.1 },
        training: training(4000, 1e-3),
        gaps: vec![
            "Mr. [MASK] was at home.".into(),
            "she could not help [MASK] at him.".into(),
            "my lord, I [MASK] you.".into(),
        ],
    }
}

/// What a BERT reads before a task with rows of a length, where no directory is named: as many tokens an update, in fewer
/// updates.
pub fn pretrained_on_books(max_length: usize) -> PretrainingConfig {
    let BertPretrainingConfig { data, model, .. } = bert_pretrain_tiny();
    let length = data.pairs.max_seq_length;
    let data = DataConfig {
        batch_size: data.batch_size * length / max_length,
        masking: MaskingConfig {
            max_predictions: data.masking.max_predictions * max_length / length,
            ..data.masking
        },
        pairs: SentencePairsConfig { max_seq_length: max_length, ..data.pairs },
        ..data
    };
    PretrainingConfig { data, model, training: training(2500, 1e-3) }
}

/// Fine-tuning as the paper does it, at the rate that its authors give for the small models.
pub fn finetuned(steps: u64) -> TrainingConfig {
    TrainingConfig {
        log_every: 10,
        evaluate_every: steps.div_ceil(6),
        checkpoint_every: steps.div_ceil(3),
        ..training(steps, 3e-4)
    }
}

/// The recipe's numbers for so many updates.
pub fn training(steps: u64, learning_rate: f64) -> TrainingConfig {
    TrainingConfig {
        steps,
        seed: 42,
        optimizer: OptimizerConfig::BertAdam(BertAdamConfig::default()),
        schedule: Schedule::Polynomial {
            learning_rate,
            final_learning_rate: 0.0,
            power: 1.0,
            warmup_steps: steps / 10,
        },
        max_grad_norm: Some(1.0),
        log_every: 50,
        evaluate_every: 500,
        checkpoint_every: 1000,
        keep_checkpoints: 2,
        early_stopping: None,
    }
}
