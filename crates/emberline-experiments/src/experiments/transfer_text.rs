//! Transfer learning with text: three models, five ways, three numbers of examples.

use emberline_backend::device::DeviceName;
use emberline_embeddings::elmo::ElmoConfig;
use emberline_finetuning::Pooling;
use emberline_training::{AdamWConfig, OptimizerConfig, Schedule, TrainingConfig};

use super::bert_classify::bert_classify;
use super::bert_pretrain::bert_pretrain_tiny;
use super::elmo_books::elmo_books;
use super::gpt1_classify::gpt1_classify;
use crate::tasks::bert_pretraining::BertPretrainingConfig;
use crate::tasks::gpt;
use crate::tasks::transfer_text::{
    LoraSizes, ModelsConfig, PredictedConfig, RatesConfig, SizeConfig, TransferConfig,
    TransferTextConfig,
};

/// The small GPT-1, BERT and ELMo of the other experiments, each with vectors of 128 and two layers, by one recipe: 1,500
/// updates of 2,048 tokens. The rates of the ways are guesses, and were not searched.
pub fn transfer_text() -> TransferTextConfig {
    let BertPretrainingConfig { data, model: bert, .. } = bert_pretrain_tiny();
    let elmo = elmo_books();
    TransferTextConfig {
        experiment: "transfer-text".into(),
        device: DeviceName::Flex,
        data,
        model: ModelsConfig {
            gpt1: gpt::ModelConfig { n_layers: 2, ..gpt1_classify().pretraining.model },
            bert,
            elmo: ElmoConfig { dropout: 0.1, ..elmo.model },
            predicted: PredictedConfig {
                min_count: elmo.data.min_count,
                n_sampled: elmo.n_sampled,
            },
        },
        training: TrainingConfig {
            steps: 1500,
            seed: 42,
            optimizer: OptimizerConfig::AdamW(AdamWConfig::default()),
            schedule: Schedule::Linear {
                learning_rate: 1e-3,
                final_learning_rate: 0.0,
                warmup_steps: 150,
            },
            max_grad_norm: Some(1.0),
            log_every: 20,
            evaluate_every: 500,
            checkpoint_every: 500,
            keep_checkpoints: 1,
            early_stopping: None,
        },
        texts: bert_classify().data,
        transfer: TransferConfig {
            sizes: vec![
                SizeConfig { n_texts: 60, steps: 100, n_seeds: 3 },
                SizeConfig { n_texts: 300, steps: 150, n_seeds: 3 },
                SizeConfig { n_texts: 3000, steps: 282, n_seeds: 1 },
            ],
            pooling: Pooling::Concat,
            dropout: 0.1,
            rates: RatesConfig {
                scratch: 1e-3,
                frozen: 1e-3,
                gradual: 2e-3,
                fine_tuned: 5e-4,
                lora: 2e-3,
            },
            lora: LoraSizes { rank: 8, alpha: 16.0 },
        },
    }
}
