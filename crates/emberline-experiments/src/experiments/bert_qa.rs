//! A BERT answers the questions of XQuAD, or of any file in the format of SQuAD, from a directory or after books, against
//! the same model from random weights (Artetxe and others, 2020; Devlin and others, 2018, section 4.2).

use emberline_backend::device::DeviceName;

use super::bert_pretrain::{finetuned, pretrained_on_books};
use crate::tasks::bert_finetuning::{AskedConfig, BertFinetuningConfig, FinetunedConfig};

/// Three passes.
pub fn bert_qa() -> BertFinetuningConfig<AskedConfig> {
    let max_length = 192;
    BertFinetuningConfig {
        experiment: "bert-qa".into(),
        device: DeviceName::Flex,
        data: AskedConfig {
            path: String::new(),
            sha256: None,
            max_length,
            stride: 64,
            max_answer_length: 30,
            batch_size: 16,
        },
        model: FinetunedConfig { path: None, strict: false, compared: true },
        training: finetuned(300),
        pretraining: pretrained_on_books(max_length),
    }
}
