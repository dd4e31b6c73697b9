//! The three models: how each reads the same chapters, and then the same texts.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::module::ModuleDisplay;
use burn::tensor::Device;
use emberline_checkpoint::Stored;
use emberline_core::{LayerGroups, Stream, TokenEncoder};
use emberline_embeddings::elmo::{ElmoLanguageModel, ElmoLanguageModelConfig};
use emberline_models::bert::{Bert, BertConfig, BertForPreTraining};
use emberline_models::gpt1::{Gpt1, Gpt1Config};
use emberline_pretraining::{
    BothWaysWindows, Documents, MaskedTokenAndNextSentence, NextToken, NextTokenWindows,
    NextWordBothWays, SentencePairBatches,
};
use emberline_text::{BertTokenizer, Example, LabelledTexts, Lexicon, Vocabulary, Windows, packed};
use emberline_training::Trained;
use serde_json::Value;

use super::word_encoder::WordEncoder;
use super::{ModelsConfig, PredictedConfig};
use crate::model_directory;
use crate::tasks::bert_finetuning;
use crate::tasks::bert_pretraining::DataConfig;
use crate::tasks::books::Chapter;
use crate::tasks::elmo_features::words_of;
use crate::tasks::elmo_pretraining::{self, check_sampled, read_both_ways};
use crate::tasks::trainee::{Session, Trainee};

/// A model that reads books, and then texts.
///
/// Generic over it: the comparison of the ways in which it learns from the texts. Implementors: [`Gpt1Reader`],
/// [`BertReader`], [`ElmoReader`].
pub trait Reader {
    /// What stays of the model for a task.
    type Encoder: TokenEncoder + LayerGroups + ModuleDisplay;
    /// Its name.
    const MODEL: &'static str;
    /// As metrics and folders are called.
    const KEY: &'static str;
    /// What it learns from books.
    const OBJECTIVE: &'static str;
    /// The linear layers beside which it has adapters.
    const ADAPTED: &'static [&'static str];

    /// Reads the books.
    fn train(&self, session: Session<'_>, identity: &Value) -> Result<Trained<()>>;

    /// The encoder as it is after the last update of a run.
    fn pretrained(&self, run: &Path) -> Result<Self::Encoder>;

    /// The encoder at random weights.
    fn random(&self, random: Stream) -> Self::Encoder;

    /// The texts as rows.
    fn texts(&self) -> &Texts;
}

/// Texts with their classes as rows of a model.
pub struct Texts {
    /// Those to learn from.
    pub known: Vec<Example>,
    /// Those of the test.
    pub asked: Vec<Example>,
}

/// What the readers are made of.
pub struct Sources<'a> {
    pub data: &'a DataConfig,
    pub model: &'a ModelsConfig,
    /// For training and for validation.
    pub chapters: &'a [Vec<Chapter>; 2],
    /// To learn from, and of the test.
    pub texts: &'a [LabelledTexts; 2],
    pub classes: &'a Vocabulary,
    pub random: Stream,
    pub device: &'a Device,
}

/// Predicts the next token of windows of chapters.
pub struct Gpt1Reader {
    trainee: Trainee<Gpt1>,
    data: NextTokenWindows,
    config: Gpt1Config,
    tokenizer: BertTokenizer,
    texts: Texts,
}

impl Gpt1Reader {
    /// With the pieces and the rows of texts of BERT; but no token stands before them, and that after them has stood
    /// between chapters.
    pub fn new(sources: &Sources<'_>, bert: &BertReader) -> Result<Self> {
        let &Sources { data, model, chapters, device, .. } = sources;
        let random = sources.random.named(Self::KEY);
        let tokenizer = bert.tokenizer.clone();
        let encode = |name: &str, chapters: &[Chapter]| -> Result<Vec<u32>> {
            let documents = Documents::encode(name, chapters, &tokenizer)?;
            let documents: Vec<Vec<u32>> =
                documents.sentences().iter().map(|sentences| sentences.concat()).collect();
            Ok(packed(&documents, tokenizer.special_tokens().separator))
        };
        let training = encode("the training part", &chapters[0])?;
        let validation = encode("the validation part", &chapters[1])?;
        let seq_length = data.pairs.max_seq_length;
        let windows = Windows::new(training, data.batch_size, seq_length)
            .context("the training part of `data.books`")?;
        let windows = windows.drawn(random.named("windows"));
        let data = NextTokenWindows::new(windows, &validation, device)
            .context("the validation part of `data.books`")?;
        let config = model.gpt1.gpt1(tokenizer.vocab_size(), seq_length);
        let trainee = Trainee::new(
            config.parameter_count(),
            |device| config.init(random.named("model"), device),
            Gpt1::stored_name,
            device.clone(),
        )?;
        let row = |row: &Example| Example {
            tokens: row.tokens[1..].to_vec(),
            segments: Vec::new(),
            labels: row.labels.clone(),
        };
        let rows = |rows: &[Example]| rows.iter().map(row).collect();
        let texts = Texts { known: rows(&bert.texts.known), asked: rows(&bert.texts.asked) };
        Ok(Self { trainee, data, config, tokenizer, texts })
    }
}

impl Reader for Gpt1Reader {
    type Encoder = Gpt1;
    const MODEL: &'static str = "GPT-1";
    const KEY: &'static str = "gpt1";
    const OBJECTIVE: &'static str = "next token";
    const ADAPTED: &'static [&'static str] = &["attention.input"];

    fn train(&self, session: Session<'_>, identity: &Value) -> Result<Trained<()>> {
        let write = |directory: &Path| {
            model_directory::write_others(&self.config, self.tokenizer.tokenizer(), directory)
        };
        self.trainee.train(session, &NextToken, &self.data, &write, identity)
    }

    fn pretrained(&self, run: &Path) -> Result<Gpt1> {
        self.trainee.last(run)
    }

    fn random(&self, random: Stream) -> Gpt1 {
        self.config.init(random, &self.trainee.device)
    }

    fn texts(&self) -> &Texts {
        &self.texts
    }
}

/// Guesses masked tokens of pairs of sentences, and whether the second follows the first.
pub struct BertReader {
    pub trainee: Trainee<BertForPreTraining>,
    data: SentencePairBatches,
    config: BertConfig,
    tokenizer: BertTokenizer,
    texts: Texts,
}

impl BertReader {
    pub fn new(sources: &Sources<'_>, max_length: usize) -> Result<Self> {
        let &Sources { data, model, chapters, classes, device, .. } = sources;
        let random = sources.random.named(Self::KEY);
        let (tokenizer, batches) = data.read_chapters(chapters, random, device)?;
        let config = model.bert.for_rows(tokenizer.vocab_size(), data.pairs.max_seq_length);
        let trainee = Trainee::new(
            config.parameter_count(),
            |device| config.init_for(random.named("model"), device),
            Bert::stored_name,
            device.clone(),
        )?;
        let rows = |texts| bert_finetuning::examples(texts, classes, &tokenizer, max_length);
        let [known, asked] = sources.texts;
        let texts = Texts { known: rows(known)?, asked: rows(asked)? };
        Ok(Self { trainee, data: batches, config, tokenizer, texts })
    }
}

impl Reader for BertReader {
    type Encoder = Bert;
    const MODEL: &'static str = "BERT";
    const KEY: &'static str = "bert";
    const OBJECTIVE: &'static str = "masked token and next sentence";
    const ADAPTED: &'static [&'static str] = &["attention.query", "attention.value"];

    fn train(&self, session: Session<'_>, identity: &Value) -> Result<Trained<()>> {
        let write = |directory: &Path| {
            model_directory::write_others(&self.config, self.tokenizer.tokenizer(), directory)
        };
        self.trainee.train(session, &MaskedTokenAndNextSentence, &self.data, &write, identity)
    }

    fn pretrained(&self, run: &Path) -> Result<Bert> {
        Ok(Bert { pooler: None, ..self.trainee.last(run)?.bert })
    }

    fn random(&self, random: Stream) -> Bert {
        self.config.init_without_pooler(random, &self.trainee.device)
    }

    fn texts(&self) -> &Texts {
        &self.texts
    }
}

/// Predicts the next word and the one before, of which it knows the letters.
pub struct ElmoReader {
    trainee: Trainee<ElmoLanguageModel>,
    data: BothWaysWindows,
    config: ElmoLanguageModelConfig,
    objective: NextWordBothWays,
    vocabulary: Vocabulary,
    lexicon: Arc<Lexicon>,
    texts: Texts,
}

impl ElmoReader {
    pub fn new(sources: &Sources<'_>) -> Result<Self> {
        let &Sources { data, model, chapters, classes, device, .. } = sources;
        let random = sources.random.named(Self::KEY);
        let PredictedConfig { min_count, n_sampled } = model.predicted;
        let (vocabulary, [training, validation]) = read_both_ways(chapters, min_count)?;
        let vocab_size = vocabulary.size();
        check_sampled(n_sampled, vocab_size).context("`model.predicted` cannot be used")?;
        let sizes = [data.batch_size, data.pairs.max_seq_length];
        let data = BothWaysWindows::new(training, validation, sizes, device)?;
        let config = ElmoLanguageModelConfig { elmo: model.elmo.clone(), vocab_size };
        let trainee = Trainee::new(
            config.parameter_count(),
            |device| config.init(random.named("model"), device),
            Stored::same,
            device.clone(),
        )?;
        let mut lexicon = Lexicon::default();
        let mut rows = |texts: &LabelledTexts| -> Result<Vec<Example>> {
            let labels = texts.label_ids(classes)?;
            let example = |(words, label): (Vec<String>, u32)| {
                let tokens = words.iter().map(|word| lexicon.add(word)).collect();
                Example { tokens, labels: vec![label], ..Example::default() }
            };
            Ok(words_of(texts)?.into_iter().zip(labels).map(example).collect())
        };
        let [known, asked] = sources.texts;
        let texts = Texts { known: rows(known)?, asked: rows(asked)? };
        let (objective, lexicon) = (NextWordBothWays { n_sampled }, Arc::new(lexicon));
        Ok(Self { trainee, data, config, objective, vocabulary, lexicon, texts })
    }
}

impl Reader for ElmoReader {
    type Encoder = WordEncoder;
    const MODEL: &'static str = "ELMo";
    const KEY: &'static str = "elmo";
    const OBJECTIVE: &'static str = "next word and the one before";
    /// Its LSTMs have no linear layers: what is left are those of the words.
    const ADAPTED: &'static [&'static str] =
        &["words.highways.*.carry", "words.highways.*.transform", "words.projection"];

    fn train(&self, session: Session<'_>, identity: &Value) -> Result<Trained<()>> {
        let write = |directory: &Path| {
            elmo_pretraining::write_others(&self.config, &self.vocabulary, directory)
        };
        self.trainee.train(session, &self.objective, &self.data, &write, identity)
    }

    fn pretrained(&self, run: &Path) -> Result<WordEncoder> {
        Ok(WordEncoder::new(self.trainee.last(run)?.elmo, self.lexicon.clone()))
    }

    fn random(&self, random: Stream) -> WordEncoder {
        let elmo = self.config.elmo.init(random, &self.trainee.device);
        WordEncoder::new(elmo, self.lexicon.clone())
    }

    fn texts(&self) -> &Texts {
        &self.texts
    }
}
