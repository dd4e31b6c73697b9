//! A BERT on labelled texts and pairs of texts, from a directory or after books, against the same model from random
//! weights (Devlin and others, 2018, sections 3.2 and 4.1).

use emberline_backend::device::DeviceName;
use emberline_text::{Column, FirstLine, TextColumns};

use super::bert_pretrain::{finetuned, pretrained_on_books};
use crate::tasks::bert_finetuning::{BertFinetuningConfig, ClassifiedConfig, FinetunedConfig};

/// Whose a sentence is.
pub fn bert_classify() -> BertFinetuningConfig<ClassifiedConfig> {
    let data = ClassifiedConfig {
        path: "author-id".into(),
        training: "train.tsv".into(),
        validation: Some("dev.tsv".into()),
        test: Some("test.tsv".into()),
        sha256: None,
        columns: TextColumns {
            text: Column::Name("sentence".into()),
            second: None,
            label: Column::Name("label".into()),
            first_line: FirstLine::Header,
        },
        max_length: 64,
        batch_size: 32,
    };
    of("bert-classify", data, 282)
}

/// Whether a film is liked: the whole sentences of SST-2.
pub fn bert_sst2() -> BertFinetuningConfig<ClassifiedConfig> {
    let data = ClassifiedConfig {
        path: String::new(),
        training: "train.tsv.gz".into(),
        validation: Some("dev.tsv.gz".into()),
        test: Some("test.tsv.gz".into()),
        columns: numbered(1, None, 2, FirstLine::Example),
        ..bert_classify().data
    };
    of("bert-sst2", data, 651)
}

/// Whether two sentences say the same: MRPC as Microsoft published it, which has no part for validation.
pub fn bert_mrpc() -> BertFinetuningConfig<ClassifiedConfig> {
    let data = ClassifiedConfig {
        path: String::new(),
        training: "msr_paraphrase_train.tsv.gz".into(),
        validation: None,
        test: Some("msr_paraphrase_test.tsv.gz".into()),
        columns: numbered(4, Some(5), 1, FirstLine::Header),
        max_length: 128,
        ..bert_classify().data
    };
    of("bert-mrpc", data, 345)
}

/// Whether a sentence is English: CoLA as its authors published it.
pub fn bert_cola() -> BertFinetuningConfig<ClassifiedConfig> {
    let data = ClassifiedConfig {
        path: String::new(),
        training: "in_domain_train.tsv.gz".into(),
        validation: Some("in_domain_dev.tsv.gz".into()),
        test: Some("out_of_domain_dev.tsv.gz".into()),
        columns: numbered(4, None, 2, FirstLine::Example),
        ..bert_classify().data
    };
    of("bert-cola", data, 804)
}

/// What a piece of news is about: a file of AG News, title and text as a pair.
pub fn bert_ag_news() -> BertFinetuningConfig<ClassifiedConfig> {
    let data = ClassifiedConfig {
        path: String::new(),
        validation: None,
        test: None,
        columns: numbered(2, Some(3), 1, FirstLine::Example),
        max_length: 128,
        ..bert_classify().data
    };
    of("bert-ag-news", data, 570)
}

/// Columns by their places, from 1.
fn numbered(
    text: usize,
    second: Option<usize>,
    label: usize,
    first_line: FirstLine,
) -> TextColumns {
    TextColumns {
        text: Column::Number(text),
        second: second.map(Column::Number),
        label: Column::Number(label),
        first_line,
    }
}

/// Three passes.
fn of(name: &str, data: ClassifiedConfig, steps: u64) -> BertFinetuningConfig<ClassifiedConfig> {
    let pretraining = pretrained_on_books(data.max_length);
    BertFinetuningConfig {
        experiment: name.into(),
        device: DeviceName::Flex,
        data,
        model: FinetunedConfig { path: None, strict: false, compared: true },
        training: finetuned(steps),
        pretraining,
    }
}
