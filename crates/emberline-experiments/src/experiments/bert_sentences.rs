//! Which sentences are alike, by the mean of a BERT's vectors: of a sentence-transformer in a directory, or of a BERT that
//! read books (Reimers and Gurevych, 2019).

use emberline_backend::device::DeviceName;
use emberline_models::bert::Pooling;
use emberline_training::{AdamWConfig, OptimizerConfig, Schedule, TrainingConfig};

use super::bert_classify::bert_classify;
use super::bert_pretrain::training;
use crate::tasks::bert_sentences::{BertSentencesConfig, EncoderConfig};

/// The sentences of `bert-classify`; only a linear layer is trained on them.
pub fn bert_sentences() -> BertSentencesConfig {
    BertSentencesConfig {
        experiment: "bert-sentences".into(),
        device: DeviceName::Flex,
        data: bert_classify().data,
        judged: None,
        told: [
            ["A man is eating food.", "A man is eating a piece of bread."],
            ["A man is eating food.", "The girl is carrying a baby."],
            ["A man is riding a horse.", "A man is riding a white horse on an enclosed ground."],
            ["A man is riding a horse.", "A woman is playing violin."],
        ]
        .map(|pair| pair.map(String::from))
        .into(),
        model: EncoderConfig { path: None, pooling: Pooling::Mean },
        training: TrainingConfig {
            optimizer: OptimizerConfig::AdamW(AdamWConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 0.05,
                final_learning_rate: 0.0,
                warmup_steps: 20,
            },
            ..training(940, 1e-3)
        },
        pretraining: bert_classify().pretraining,
    }
}
