//! Frozen, fine-tuned or adapted, as the notes have it with text, and what the objective of pretraining is worth: a GPT-1,
//! a BERT and an ELMo read the same chapters in as many updates of as many tokens, and then learn from few or many texts
//! whose they are, in each way.
//!
//! Nothing has capitals: the pieces of GPT-1 and BERT, which are the same, have none, and so the letters of ELMo have none.
//! All models are taken as they are after their last update, and are asked about the same test.

mod kept;
mod learning;
mod readers;
mod report;
mod word_encoder;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_core::Stream;
use emberline_embeddings::elmo::ElmoConfig;
use emberline_finetuning::Pooling;
use emberline_text::{TokenCounts, Vocabulary};
use emberline_training::{Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::kept::Kept;
use self::learning::schedule;
use self::readers::{BertReader, ElmoReader, Gpt1Reader, Reader, Sources};
use self::report::Compared;
use super::bert_finetuning::ClassifiedConfig;
use super::bert_pretraining::{self, DataConfig};
use super::books::{self, Chapter};
use super::trainee::Session;
use super::{Findings, Kind, Prepared, Stage, elmo_pretraining, gpt};
use crate::config::{RunConfig, check_dropout, check_sizes};

/// Three models on books, and then on labelled texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferTextConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What all read: rows are as many and as long for each; pairs and masks are those of BERT.
    pub data: DataConfig,
    /// What learns.
    pub model: ModelsConfig,
    /// How each learns from books; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// Whose a text is.
    pub texts: ClassifiedConfig,
    /// How each learns from the texts.
    pub transfer: TransferConfig,
}

/// The three models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsConfig {
    /// The one that predicts the next token.
    pub gpt1: gpt::ModelConfig,
    /// The one that guesses masked tokens.
    pub bert: bert_pretraining::ModelConfig,
    /// The one that predicts words in both directions.
    pub elmo: ElmoConfig,
    /// What the ELMo predicts.
    pub predicted: PredictedConfig,
}

/// The words that are predicted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictedConfig {
    /// Words seen less often are predicted as one. They are read as they are.
    pub min_count: u64,
    /// How many words stand for the vocabulary in training; all of it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_sampled: Option<usize>,
}

/// How a model learns from texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferConfig {
    /// From how many texts, one number after the other.
    pub sizes: Vec<SizeConfig>,
    /// What the head reads.
    pub pooling: Pooling,
    /// The probability that a number that the head reads is dropped in training.
    pub dropout: f64,
    /// The peaks of the learning rates, along slanted triangles.
    pub rates: RatesConfig,
    /// The adapters.
    pub lora: LoraSizes,
}

/// A number of texts, and what every way gets with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeConfig {
    /// The texts to learn from, as many of each class.
    pub n_texts: usize,
    /// The number of updates.
    pub steps: u64,
    /// How often it is done, with other texts and another head.
    pub n_seeds: usize,
}

/// A learning rate for each way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesConfig {
    /// Of all, from random weights.
    pub scratch: f64,
    /// Of the head alone.
    pub frozen: f64,
    /// Of the head, and 2.6 times less with every layer below it.
    pub gradual: f64,
    /// Of all, from where it was.
    pub fine_tuned: f64,
    /// Of the head and the adapters.
    pub lora: f64,
}

/// The sizes of adapters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSizes {
    /// The width between the two matrices of an adapter.
    pub rank: usize,
    /// What an adapter adds is scaled by `alpha / rank`.
    pub alpha: f64,
}

impl Kind for TransferTextConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.model.validate().context("`model` cannot be used")?;
        check_sizes(&[
            ("texts.batch_size", self.texts.batch_size),
            ("texts.max_length", self.texts.max_length),
        ])?;
        self.transfer.validate().context("`transfer` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl ModelsConfig {
    fn validate(&self) -> Result<()> {
        self.gpt1.validate().context("`gpt1`")?;
        self.bert.validate().context("`bert`")?;
        elmo_pretraining::check_model(&self.elmo).context("`elmo`")
    }
}

impl TransferConfig {
    fn validate(&self) -> Result<()> {
        let Self { sizes, dropout, lora, rates, .. } = self;
        ensure!(!sizes.is_empty(), "`sizes` is empty");
        for SizeConfig { n_texts, steps, n_seeds } in sizes {
            check_sizes(&[("sizes.n_texts", *n_texts), ("sizes.n_seeds", *n_seeds)])?;
            for way in learning::WAYS {
                schedule(rates.of(way)).validate(*steps).with_context(|| way.name())?;
            }
        }
        let rises = sizes.is_sorted_by(|a, b| a.n_texts < b.n_texts);
        ensure!(rises, "the `n_texts` of `sizes` must rise");
        check_sizes(&[("lora.rank", lora.rank)])?;
        check_dropout(*dropout)
    }

    /// Whether there are as many texts of each class as are asked for.
    fn check_texts(&self, labels: &TokenCounts, classes: &Vocabulary) -> Result<()> {
        let n_classes = classes.size();
        for SizeConfig { n_texts, .. } in &self.sizes {
            ensure!(
                n_texts.is_multiple_of(n_classes),
                "`n_texts` must be a multiple of the {n_classes} classes, but is {n_texts}"
            );
            let n_each = n_texts / n_classes;
            for class in classes.tokens() {
                let found = labels.count(class);
                ensure!(
                    found >= n_each as u64,
                    "{n_texts} texts are {n_each} of each class, but of {class} there are {found}"
                );
            }
        }
        Ok(())
    }
}

/// The models with what they read, the classes of the texts, the device.
struct PreparedTransferText {
    config: TransferTextConfig,
    elmo: ElmoReader,
    gpt1: Gpt1Reader,
    bert: BertReader,
    classes: Vocabulary,
    device: Device,
}

/// Reads the books and the texts, opens the device and makes the models; writes nothing.
///
/// # Errors
/// If a book or a text cannot be read, there are too few texts, or a model does not fit.
fn prepare(mut config: TransferTextConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let chapters = books::chapters(&mut config.data.books, &mut config.data.sha256)?;
    let lower = |chapter: &Chapter| -> Chapter {
        chapter.iter().map(|sentence| sentence.to_lowercase()).collect()
    };
    let chapters: [Vec<Chapter>; 2] = chapters.map(|chapters| chapters.iter().map(lower).collect());
    let [known, _, asked] = config.texts.parts()?;
    let labels = known.labels();
    let classes = Vocabulary::of_labels(&labels);
    config.transfer.check_texts(&labels, &classes).context("`transfer.sizes` cannot be used")?;
    let sources = Sources {
        data: &config.data,
        model: &config.model,
        chapters: &chapters,
        texts: &[known.lower_case(), asked.lower_case()],
        classes: &classes,
        random,
        device: &device,
    };
    let max_length = config.texts.max_length.min(config.data.pairs.max_seq_length);
    let elmo = ElmoReader::new(&sources)?;
    let bert = BertReader::new(&sources, max_length)?;
    let gpt1 = Gpt1Reader::new(&sources, &bert)?;
    Ok(Box::new(PreparedTransferText { config, elmo, gpt1, bert, classes, device }))
}

impl Prepared for PreparedTransferText {
    fn config(&self) -> RunConfig {
        RunConfig::TransferText(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.bert.trainee.parameters()
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        vec![self.stage(&self.elmo), self.stage(&self.gpt1)]
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.bert.train(session, &self.identity())
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let mut kept = Kept::open(directory, &self.config)?;
        let [elmo, gpt1] = [ElmoReader::KEY, Gpt1Reader::KEY].map(|key| directory.join(key));
        let all = [
            self.compared(&self.elmo, &elmo, directory, &mut kept)?,
            self.compared(&self.gpt1, &gpt1, directory, &mut kept)?,
            self.compared(&self.bert, directory, directory, &mut kept)?,
        ];
        let n_asked = self.bert.texts().asked.len();
        Ok(report::findings(&all, &self.config.transfer.sizes, n_asked))
    }
}

impl PreparedTransferText {
    fn stage<'a, R: Reader>(&'a self, reader: &'a R) -> Stage<'a> {
        let train = move |session: Session<'_>| reader.train(session, &self.identity());
        Stage { folder: R::KEY, training: &self.config.training, train: Box::new(train) }
    }

    fn identity(&self) -> Value {
        json!({ "model": self.config.model, "data": self.config.data })
    }

    /// What a model that has read books in `books` makes of the texts.
    fn compared<R: Reader>(
        &self,
        reader: &R,
        books: &Path,
        directory: &Path,
        kept: &mut Kept,
    ) -> Result<Compared> {
        Compared::new::<R>(books, self.compare(reader, books, directory, kept)?)
    }
}
