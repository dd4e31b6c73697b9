//! The published way of masking against its three parts alone (Devlin and others, 2018, appendix C.2).

use emberline_backend::device::DeviceName;

use super::bert_classify::bert_classify;
use super::bert_pretrain::{bert_pretrain_tiny, training};
use crate::tasks::bert_pretraining::BertPretrainingConfig;
use crate::tasks::masking_ablation::MaskingAblationConfig;

/// The model and the books of `bert-pretrain-tiny`, four times in fewer updates.
pub fn masking_ablation() -> MaskingAblationConfig {
    let BertPretrainingConfig { data, model, .. } = bert_pretrain_tiny();
    MaskingAblationConfig {
        experiment: "masking-ablation".into(),
        device: DeviceName::Flex,
        data,
        model,
        training: training(1200, 1e-3),
        texts: bert_classify().data,
    }
}
