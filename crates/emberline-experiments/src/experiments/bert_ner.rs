//! A BERT tags the names in the sentences of WNUT 2017, from a directory or after books, against the same model from random
//! weights (Derczynski and others, 2017; Devlin and others, 2018, section 5.3).

use emberline_backend::device::DeviceName;
use emberline_text::Separator;

use super::bert_pretrain::{finetuned, pretrained_on_books};
use crate::tasks::bert_finetuning::{BertFinetuningConfig, FinetunedConfig, TaggedConfig};

/// Four passes.
pub fn bert_ner() -> BertFinetuningConfig<TaggedConfig> {
    let max_length = 128;
    BertFinetuningConfig {
        experiment: "bert-ner".into(),
        device: DeviceName::Flex,
        data: TaggedConfig {
            path: String::new(),
            training: "wnut17train.conll.gz".into(),
            validation: "emerging.dev.conll.gz".into(),
            test: "emerging.test.annotated.gz".into(),
            sha256: None,
            separator: Separator::Tab,
            max_length,
            batch_size: 32,
        },
        model: FinetunedConfig { path: None, strict: false, compared: true },
        training: finetuned(428),
        pretraining: pretrained_on_books(max_length),
    }
}
