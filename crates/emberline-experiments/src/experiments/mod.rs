//! The experiments: each is a function that returns its whole config, with one sentence on what it shows.

pub mod ar_sums_to_one;
pub mod bert_classify;
pub mod bert_ner;
pub mod bert_pretrain;
pub mod bert_qa;
pub mod bert_sentences;
pub mod char_gpt;
pub mod char_lstm;
pub mod char_rnn;
pub mod digits_transfer;
pub mod elmo_books;
pub mod elmo_features;
pub mod gpt1_classify;
pub mod gpt2_finetune;
pub mod gpt3_banded;
pub mod icl_emerges;
pub mod long_range;
pub mod masking_ablation;
pub mod memory_horizon;
pub mod multi30k;
pub mod name_classifier;
pub mod poem_gru;
pub mod pronunciation;
pub mod tagger;
pub mod toy_sequences;
pub mod transfer_text;
pub mod translate;

use anyhow::{Context, Result};

use crate::config::RunConfig::{
    self, Banded, BertAnswers, BertClassification, BertPretraining, BertSentences, BertTagging,
    Classification, DigitsTransfer, ElmoFeatures, ElmoPretraining, Gpt, Gpt1Classification,
    Gpt2Finetuning, LanguageModelling, LongRange, ManyTasks, MaskingAblation, MemoryHorizon,
    SumsToOne, Tagging, TransferText, Translation,
};
use crate::names;

/// One experiment.
pub struct Experiment {
    /// The name to run it by.
    pub name: &'static str,
    /// What it trains.
    pub system: &'static str,
    /// What it trains on.
    pub data: &'static str,
    /// How long it takes on two cores.
    pub minutes: u32,
    /// What it shows.
    pub shows: &'static str,
    /// Its config.
    pub config: fn() -> RunConfig,
}

/// Every experiment, in the order of the lineage.
pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "char-rnn",
        system: "RNN, 1 layer of 550",
        data: "shakespeare",
        minutes: 3,
        shows: "the plain recurrent cell at the parameters and updates of char-lstm",
        config: || LanguageModelling(char_rnn::char_rnn()),
    },
    Experiment {
        name: "char-lstm",
        system: "LSTM, 1 layer of 256",
        data: "shakespeare",
        minutes: 3,
        shows: "a memory with gates learns spelling, names and the form of a play from characters alone",
        config: || LanguageModelling(char_lstm::char_lstm()),
    },
    Experiment {
        name: "char-lstm-deep",
        system: "LSTM, 3 layers of 256",
        data: "shakespeare",
        minutes: 8,
        shows: "depth, with dropout between the layers, against char-lstm on the same text",
        config: || LanguageModelling(char_lstm::char_lstm_deep()),
    },
    Experiment {
        name: "char-gru",
        system: "GRU, 1 layer of 302",
        data: "shakespeare",
        minutes: 3,
        shows: "two gates and no separate memory, at the parameters and updates of char-lstm",
        config: || LanguageModelling(char_rnn::char_gru()),
    },
    Experiment {
        name: "poem-gru",
        system: "GRU, 1 layer of 256",
        data: "tang300",
        minutes: 1,
        shows: "one title becomes many characters: each output is the next input until an empty line ends the poem",
        config: || LanguageModelling(poem_gru::poem_gru()),
    },
    Experiment {
        name: "name-classifier",
        system: "bidirectional GRU, 2 layers of 96",
        data: "names",
        minutes: 1,
        shows: "many letters become one class, with a confusion matrix",
        config: || Classification(name_classifier::name_classifier()),
    },
    Experiment {
        name: "tagger",
        system: "bidirectional LSTM, 2 layers of 128",
        data: "punctuation",
        minutes: 2,
        shows: "a tag for each word in step: the punctuation of a novel from its bare words",
        config: || Tagging(tagger::tagger()),
    },
    Experiment {
        name: "memory-horizon",
        system: "RNN, GRU and LSTM of 32, forget gate free, open and shut",
        data: "random symbols",
        minutes: 2,
        shows: "information decays with distance: gradient and recall of each cell against it",
        config: || MemoryHorizon(memory_horizon::memory_horizon()),
    },
    Experiment {
        name: "long-range",
        system: "CNN, RNN, LSTM and Transformer of 32",
        data: "random symbols",
        minutes: 2,
        shows: "what each sees, recalls and takes: field, Jacobian and recall against distance, steps and time against length",
        config: || LongRange(long_range::long_range()),
    },
    Experiment {
        name: "elmo-books",
        system: "ELMo, 2+2 layers of 256, projected to 64",
        data: "austen, shakespeare",
        minutes: 15,
        shows: "the next word and the one before from characters, and one word that has several meanings",
        config: || ElmoPretraining(elmo_books::elmo_books()),
    },
    Experiment {
        name: "elmo-features",
        system: "bidirectional LSTM of 64, beside ELMo of elmo.path=DIRECTORY",
        data: "author-id",
        minutes: 4,
        shows: "whose a sentence is, with the layers of a frozen ELMo beside the word vectors and without",
        config: || ElmoFeatures(elmo_features::elmo_features()),
    },
    Experiment {
        name: "copy",
        system: "Transformer, 2+2 layers of 64",
        data: "random sequences",
        minutes: 1,
        shows: "attention alone is exact on sequences that it has never seen: it writes what it reads",
        config: || Translation(toy_sequences::copy()),
    },
    Experiment {
        name: "sort",
        system: "Transformer, 2+2 layers of 64",
        data: "random sequences",
        minutes: 1,
        shows: "attention alone is exact on sequences that it has never seen: it puts them in order",
        config: || Translation(toy_sequences::sort()),
    },
    Experiment {
        name: "reverse",
        system: "Transformer, 2+2 layers of 64",
        data: "random sequences",
        minutes: 1,
        shows: "attention alone is exact on sequences that it has never seen: it turns them around",
        config: || Translation(toy_sequences::reverse()),
    },
    Experiment {
        name: "cmudict-seq2seq",
        system: "Sutskever's LSTMs, 1+1 layers of 208",
        data: "cmudict",
        minutes: 2,
        shows: "letters become phonemes through one vector for the whole word",
        config: || Translation(pronunciation::cmudict_seq2seq()),
    },
    Experiment {
        name: "cmudict-attention",
        system: "Bahdanau's GRUs of 128",
        data: "cmudict",
        minutes: 4,
        shows: "a look at every letter for each phoneme, at the parameters and updates of cmudict-seq2seq",
        config: || Translation(pronunciation::cmudict_attention()),
    },
    Experiment {
        name: "cmudict-transformer",
        system: "Transformer, 2+2 layers of 96",
        data: "cmudict",
        minutes: 4,
        shows: "attention without recurrence, at the parameters and updates of cmudict-seq2seq",
        config: || Translation(pronunciation::cmudict_transformer()),
    },
    Experiment {
        name: "bible-translate",
        system: "Transformer, 3+3 layers of 128",
        data: "bible-parallel",
        minutes: 18,
        shows: "English verses into Spanish, over one list of byte pairs for both",
        config: || Translation(translate::bible_translate()),
    },
    Experiment {
        name: "tatoeba-translate",
        system: "Transformer, 3+3 layers of 128",
        data: "data.path=FILE",
        minutes: 18,
        shows: "English into Chinese characters, from lines of Tatoeba",
        config: || Translation(translate::tatoeba_translate()),
    },
    Experiment {
        name: "multi30k-lstm",
        system: "Sutskever's LSTMs, 2+2 layers of 256",
        data: "data.path=FOLDER",
        minutes: 16,
        shows: "German captions into English through the states of an LSTM",
        config: || Translation(multi30k::multi30k_lstm()),
    },
    Experiment {
        name: "multi30k-gru",
        system: "Cho's GRUs, 1+1 layers of 384",
        data: "data.path=FOLDER",
        minutes: 14,
        shows: "German captions into English through one vector that every step reads",
        config: || Translation(multi30k::multi30k_gru()),
    },
    Experiment {
        name: "multi30k-attention",
        system: "Bahdanau's GRUs of 256",
        data: "data.path=FOLDER",
        minutes: 20,
        shows: "German captions into English with a look at every word of the source",
        config: || Translation(multi30k::multi30k_attention()),
    },
    Experiment {
        name: "multi30k-transformer",
        system: "Transformer, 3+3 layers of 192",
        data: "data.path=FOLDER",
        minutes: 20,
        shows: "German captions into English by attention alone",
        config: || Translation(multi30k::multi30k_transformer()),
    },
    Experiment {
        name: "char-gpt",
        system: "GPT-2, 4 layers of 128",
        data: "shakespeare",
        minutes: 3,
        shows: "attention alone learns spelling and the form of a play, 64 characters at a time",
        config: || Gpt(char_gpt::char_gpt()),
    },
    Experiment {
        name: "gpt-bpe",
        system: "GPT-2, 4 layers of 128",
        data: "shakespeare",
        minutes: 4,
        shows: "the same over 2,000 byte pairs, which are learnt from the text",
        config: || Gpt(char_gpt::gpt_bpe()),
    },
    Experiment {
        name: "gpt1-classify",
        system: "GPT-1, 4 layers of 128",
        data: "shakespeare, austen, author-id",
        minutes: 10,
        shows: "a model of language that read books learns whose a sentence is, and goes on predicting its words",
        config: || Gpt1Classification(gpt1_classify::gpt1_classify()),
    },
    Experiment {
        name: "gpt2-finetune",
        system: "GPT-2 of model.path=DIRECTORY",
        data: "data.path=TEXT",
        minutes: 15,
        shows: "a published model goes on learning from your own text, and is saved for Python too",
        config: || Gpt2Finetuning(gpt2_finetune::gpt2_finetune()),
    },
    Experiment {
        name: "gpt3-banded",
        system: "GPT-3, 4 layers of 128, dense and banded",
        data: "shakespeare, austen",
        minutes: 6,
        shows: "attention in a band of 16 in every second layer against dense attention, at the same tokens",
        config: || Banded(gpt3_banded::gpt3_banded()),
    },
    Experiment {
        name: "icl-emerges",
        system: "GPT-2s, 1, 2, 4 layers of 64",
        data: "random tasks",
        minutes: 10,
        shows: "new tasks learnt from examples in the prompt, against examples, updates and layers; by chance without any",
        config: || ManyTasks(icl_emerges::icl_emerges()),
    },
    Experiment {
        name: "ar-sums-to-one",
        system: "GPT-2, 2 layers of 32",
        data: "random symbols",
        minutes: 1,
        shows: "an autoregressive model is a distribution: the probabilities of all sequences sum to one",
        config: || SumsToOne(ar_sums_to_one::ar_sums_to_one()),
    },
    Experiment {
        name: "bert-pretrain-tiny",
        system: "BERT, 2 layers of 128",
        data: "austen, shakespeare",
        minutes: 8,
        shows: "words from both of their sides, and whether two sentences belong together, from raw books",
        config: || BertPretraining(bert_pretrain::bert_pretrain_tiny()),
    },
    Experiment {
        name: "masking-ablation",
        system: "BERT, 2 layers of 128, four times",
        data: "austen, shakespeare, author-id",
        minutes: 11,
        shows: "why masked tokens become [MASK], random or themselves: each way alone against all three",
        config: || MaskingAblation(masking_ablation::masking_ablation()),
    },
    Experiment {
        name: "bert-classify",
        system: "BERT of model.path=DIRECTORY, or 2 layers of 128",
        data: "austen, shakespeare, author-id",
        minutes: 7,
        shows: "whose a sentence is, with and without having read books; your own texts by data.path and data.columns",
        config: || BertClassification(bert_classify::bert_classify()),
    },
    Experiment {
        name: "bert-sst2",
        system: "BERT of model.path=DIRECTORY, or 2 layers of 128",
        data: "data.path=FOLDER",
        minutes: 10,
        shows: "whether a sentence likes its film, with and without pretraining",
        config: || BertClassification(bert_classify::bert_sst2()),
    },
    Experiment {
        name: "bert-mrpc",
        system: "BERT of model.path=DIRECTORY, or 2 layers of 128",
        data: "data.path=FOLDER",
        minutes: 9,
        shows: "whether two sentences say the same, with and without pretraining",
        config: || BertClassification(bert_classify::bert_mrpc()),
    },
    Experiment {
        name: "bert-cola",
        system: "BERT of model.path=DIRECTORY, or 2 layers of 128",
        data: "data.path=FOLDER",
        minutes: 9,
        shows: "whether a sentence is English, by Matthews' correlation, with and without pretraining",
        config: || BertClassification(bert_classify::bert_cola()),
    },
    Experiment {
        name: "bert-ag-news",
        system: "BERT of model.path=DIRECTORY, or 2 layers of 128",
        data: "data.path=FILE",
        minutes: 10,
        shows: "what a piece of news is about, with and without pretraining",
        config: || BertClassification(bert_classify::bert_ag_news()),
    },
    Experiment {
        name: "bert-ner",
        system: "BERT of model.path=DIRECTORY, or 2 layers of 128",
        data: "data.path=FOLDER",
        minutes: 9,
        shows: "names in sentences of WNUT 2017, a tag for the first piece of each word",
        config: || BertTagging(bert_ner::bert_ner()),
    },
    Experiment {
        name: "bert-qa",
        system: "BERT of model.path=DIRECTORY, or 2 layers of 128",
        data: "data.path=FILE",
        minutes: 15,
        shows: "answers cut out of passages of XQuAD, which are read in windows",
        config: || BertAnswers(bert_qa::bert_qa()),
    },
    Experiment {
        name: "bert-sentences",
        system: "BERT of model.path=DIRECTORY, or 2 layers of 128",
        data: "austen, shakespeare, author-id",
        minutes: 7,
        shows: "which sentences are alike by the mean of their vectors, and what a linear layer finds in it",
        config: || BertSentences(bert_sentences::bert_sentences()),
    },
    Experiment {
        name: "digits-transfer",
        system: "CNN, 3 layers of 16, 32, 64",
        data: "digits",
        minutes: 2,
        shows: "new digits from few images, by a network that knows others: frozen, fine-tuned, or from scratch",
        config: || DigitsTransfer(digits_transfer::digits_transfer()),
    },
    Experiment {
        name: "transfer-text",
        system: "ELMo, GPT-1 and BERT, 2 layers of 128 each",
        data: "austen, shakespeare, author-id",
        minutes: 25,
        shows: "whose a sentence is, from 60, 300 or 3,000 of them: frozen, unfrozen, fine-tuned, adapted, from scratch",
        config: || TransferText(transfer_text::transfer_text()),
    },
];

/// The experiment of that name.
///
/// # Errors
/// If there is none, with the nearest.
pub fn find(name: &str) -> Result<&'static Experiment> {
    let names = EXPERIMENTS.iter().map(|experiment| experiment.name);
    let found = EXPERIMENTS.iter().find(|experiment| experiment.name == name);
    found.with_context(|| format!("there is no experiment `{name}`; {}", names::hint(name, names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_run_and_survives_its_config_file() {
        for experiment in EXPERIMENTS {
            let config = (experiment.config)();
            assert_eq!(config.experiment(), experiment.name);
            config.validate().unwrap();
            let written = toml::to_string(&config).unwrap();
            assert!(written.starts_with(&format!("task = \"{}\"\n", config.task())), "{written}");
            assert_eq!(RunConfig::parse(&written).unwrap(), config);
        }
    }
}
