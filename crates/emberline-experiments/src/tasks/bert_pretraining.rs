//! A BERT learns to guess masked words and whether sentences follow each other, and fills gaps.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::device::DeviceName;
use emberline_core::{Stream, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_models::bert::{Architecture, Bert, BertConfig, BertForPreTraining};
use emberline_pretraining::{
    Documents, MaskedTokenAndNextSentence, Masking, MaskingConfig, MaskingTime, RightGuesses,
    SentencePairBatches, SentencePairsConfig,
};
use emberline_text::BertTokenizer;
use emberline_training::{Data, Objective, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::books::{self, Chapter};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_dropout, check_sizes};
use crate::model_directory;

/// The guesses that are told for a gap.
const GUESSES: usize = 5;

/// A BERT on books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BertPretrainingConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: DataConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How it learns; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// Texts with `[MASK]` in them, which the trained model fills.
    pub gaps: Vec<String>,
}

/// Books, their word pieces, pairs and masks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Files, folders of `datasets/`, or data sets that `emberline data` fetched. Their chapters are documents.
    pub books: Vec<String>,
    /// What the SHA-256 of the books, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The word pieces that are learnt from the training documents, special ones included.
    pub vocab_size: usize,
    /// How pairs are made.
    pub pairs: SentencePairsConfig,
    /// What is masked.
    pub masking: MaskingConfig,
    /// When masks are drawn.
    pub masking_time: MaskingTime,
    /// The pairs of an update.
    pub batch_size: usize,
}

/// The sizes of a BERT; its vocabulary is that of the books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The width between the layers.
    pub d_model: usize,
    /// The layers on top of each other.
    pub n_layers: usize,
    /// The heads of every attention.
    pub n_heads: usize,
    /// The probability that a number is dropped in training.
    pub dropout: f64,
}

impl Kind for BertPretrainingConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.model.validate().context("`model` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl DataConfig {
    /// Whether the values can be read with; the error names the first that cannot.
    pub fn validate(&self) -> Result<()> {
        let Self { books, vocab_size, pairs, masking, batch_size, .. } = self;
        ensure!(!books.is_empty(), "`data.books` is empty");
        check_sizes(&[
            ("data.batch_size", *batch_size),
            ("data.vocab_size", *vocab_size),
            ("data.pairs.n_duplicates", pairs.n_duplicates),
            ("data.masking.max_predictions", masking.max_predictions),
        ])?;
        ensure!(
            (5..=1 << 20).contains(&pairs.max_seq_length),
            "`data.pairs.max_seq_length` must be 5 to 1048576, but is {}",
            pairs.max_seq_length
        );
        for (key, probability) in [
            ("data.pairs.short_probability", pairs.short_probability),
            ("data.pairs.random_probability", pairs.random_probability),
            ("data.masking.fraction", masking.fraction),
            ("data.masking.mask", masking.mask),
            ("data.masking.random", masking.random),
            ("data.masking.mask and random together", masking.mask + masking.random),
        ] {
            ensure!(
                (0.0..=1.0).contains(&probability),
                "`{key}` must be 0 to 1, but is {probability}"
            );
        }
        Ok(())
    }

    /// The books, which from now on are named in full, as pairs in batches, and their tokenizer.
    ///
    /// # Errors
    /// If a book cannot be read or has too few chapters.
    pub fn read(
        &mut self,
        random: Stream,
        device: &Device,
    ) -> Result<(BertTokenizer, SentencePairBatches)> {
        let chapters = books::chapters(&mut self.books, &mut self.sha256)?;
        self.read_chapters(&chapters, random, device)
    }

    /// Chapters for training and for validation as pairs in batches, and their tokenizer.
    ///
    /// # Errors
    /// If there are too few.
    pub fn read_chapters(
        &self,
        [training, validation]: &[Vec<Chapter>; 2],
        random: Stream,
        device: &Device,
    ) -> Result<(BertTokenizer, SentencePairBatches)> {
        let texts = training.iter().flatten().map(String::as_str);
        let tokenizer = BertTokenizer::learn(texts, self.vocab_size, true)?;
        let pairs = |name: &str, documents: &[Chapter], pairs: &SentencePairsConfig| {
            let documents = Documents::encode(name, documents, &tokenizer)?;
            let random = random.named(name);
            anyhow::Ok(documents.pairs(pairs, tokenizer.special_tokens(), random))
        };
        let training = pairs("the training part", training, &self.pairs)?;
        let once = SentencePairsConfig { n_duplicates: 1, ..self.pairs };
        let validation = pairs("the validation part", validation, &once)?;
        let batches = SentencePairBatches::new(
            training,
            validation,
            Masking::new(self.masking, &tokenizer),
            self.masking_time,
            self.batch_size,
            random.named("batches"),
            device,
        )?;
        Ok((tokenizer, batches))
    }
}

impl ModelConfig {
    /// Whether a model of these sizes can be made; the error names the first that cannot.
    pub fn validate(&self) -> Result<()> {
        let Self { d_model, n_layers, n_heads, dropout } = *self;
        check_sizes(&[("d_model", d_model), ("n_layers", n_layers), ("n_heads", n_heads)])?;
        if !d_model.is_multiple_of(n_heads) {
            bail!("`d_model` must be a multiple of the {n_heads} heads, but is {d_model}");
        }
        check_dropout(dropout)
    }

    /// The config of the model for a vocabulary and rows of a length.
    pub fn for_rows(&self, vocab_size: usize, n_positions: usize) -> BertConfig {
        let Self { d_model, n_layers, n_heads, dropout } = *self;
        let config = BertConfig {
            vocab_size,
            n_positions,
            d_model,
            n_layers,
            n_heads,
            d_ff: 4 * d_model,
            dropout,
            attention_dropout: dropout,
            ..BertConfig::default()
        };
        config.with_architecture(Architecture::PreTraining)
    }
}

/// The books as pairs, the model, the device.
struct PreparedBert {
    config: BertPretrainingConfig,
    tokenizer: BertTokenizer,
    data: SentencePairBatches,
    model_config: BertConfig,
    trainee: Trainee<BertForPreTraining>,
    /// Of the labels of the validation masks, the part of the most frequent one: what guessing it always would score.
    share_of_most_frequent: f64,
}

/// Reads the books, learns their pieces, makes pairs and the model; writes nothing.
///
/// # Errors
/// If a book cannot be read or has too few chapters, a gap has no `[MASK]`, or the model does not fit.
fn prepare(mut config: BertPretrainingConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let (tokenizer, data) = config.data.read(random, &device)?;
    for gap in &config.gaps {
        // Better now than after the training.
        let row = tokenizer.row(gap, None, config.data.pairs.max_seq_length)?;
        ensure!(
            row.tokens.contains(&tokenizer.special_tokens().mask),
            "`gaps`: {gap:?} has no `[MASK]` within the {} tokens of a row",
            config.data.pairs.max_seq_length
        );
    }
    let model_config =
        config.model.for_rows(tokenizer.vocab_size(), config.data.pairs.max_seq_length);
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init_for(random.named("model"), device),
        Bert::stored_name,
        device,
    )?;
    let share_of_most_frequent = share_of_most_frequent(&data);
    Ok(Box::new(PreparedBert {
        config,
        tokenizer,
        data,
        model_config,
        trainee,
        share_of_most_frequent,
    }))
}

/// Of the labels of the validation masks, the part of the most frequent one.
pub fn share_of_most_frequent(data: &SentencePairBatches) -> f64 {
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    for batch in data.validation() {
        for label in batch.labels.to_data().iter::<i64>() {
            *counts.entry(label).or_default() += 1;
        }
    }
    let most = counts.values().max().copied().unwrap_or(0);
    most as f64 / counts.values().sum::<u64>().max(1) as f64
}

impl Prepared for PreparedBert {
    fn config(&self) -> RunConfig {
        RunConfig::BertPretraining(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &MaskedTokenAndNextSentence,
            &self.data,
            &|directory| {
                let tokenizer = self.tokenizer.tokenizer();
                model_directory::write_others(&self.model_config, tokenizer, directory)
            },
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let model = self.trainee.best(directory)?.valid();
        let (losses, guesses) = self.validate(&model);
        let [masked, next] = losses;
        let share = |right: u64, all: u64| right as f64 / all.max(1) as f64;
        let metrics = BTreeMap::from([
            ("masked_token_loss".into(), masked),
            ("masked_token_accuracy".into(), share(guesses.tokens, guesses.masked)),
            ("most_frequent_token".into(), self.share_of_most_frequent),
            ("next_sentence_loss".into(), next),
            ("next_sentence_accuracy".into(), share(guesses.pairs, guesses.rows)),
        ]);
        Ok(Findings { metrics, samples: self.samples(&model)?, ..Findings::default() })
    }
}

impl PreparedBert {
    /// The means of both losses over the validation pairs, and how many guesses are right.
    fn validate(&self, model: &BertForPreTraining) -> ([f64; 2], RightGuesses) {
        let (mut sums, mut all) = ([0.0; 2], RightGuesses::default());
        for batch in self.data.validation() {
            let (loss, ()) = MaskedTokenAndNextSentence.loss(model, &batch, None, None);
            for (sum, term) in sums.iter_mut().zip(loss.terms) {
                *sum += term.sum.into_scalar::<f64>();
            }
            let RightGuesses { tokens, masked, pairs, rows } = batch.right_guesses(model);
            all.tokens += tokens;
            all.masked += masked;
            all.pairs += pairs;
            all.rows += rows;
        }
        let [masked, next] = sums;
        ([masked / all.masked.max(1) as f64, next / all.rows.max(1) as f64], all)
    }

    /// The gaps, and below each what may fill it, the best first.
    fn samples(&self, model: &BertForPreTraining) -> Result<String> {
        let device = self.trainee.device.clone().inner();
        let mut samples = String::new();
        for gap in &self.config.gaps {
            let guesses = self.guesses(model, gap, &device)?.join(", ");
            samples.push_str(&format!("{gap}\n    {guesses}\n"));
        }
        Ok(samples)
    }

    fn guesses(
        &self,
        model: &BertForPreTraining,
        gap: &str,
        device: &Device,
    ) -> Result<Vec<String>> {
        let row = self.tokenizer.row(gap, None, self.model_config.n_positions)?;
        let mask = self.tokenizer.special_tokens().mask;
        let place = row.tokens.iter().position(|token| *token == mask);
        let place = place.context("a gap has a mask")?;
        let batch = TokenBatch::from_rows(&[&row.tokens], device);
        let hidden: Tensor<2> = model.encode(&batch).narrow(1, place, 1).squeeze_dim(1);
        let scores = model.head(hidden);
        let (_, best) = scores.topk_with_indices(GUESSES.min(self.tokenizer.vocab_size()), 1);
        let ids: Vec<i64> = best.into_data().iter().collect();
        let word = |id: i64| Ok(self.tokenizer.tokenizer().decode(&[id as u32])?);
        ids.into_iter().map(word).collect()
    }
}
