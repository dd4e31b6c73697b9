//! Where a BERT comes from that goes on to a task: a directory, or books that it reads first.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline::auto::{AutoConfig, encoder_directory};
use emberline_checkpoint::{OtherHeads, Weights, is_complete, load_weights_but_heads, verify};
use emberline_core::Stream;
use emberline_models::bert::{Architecture, Bert, BertConfig, BertForPreTraining};
use emberline_pretraining::{MaskedTokenAndNextSentence, SentencePairBatches};
use emberline_text::{BertTokenizer, Vocabulary};
use emberline_training::{TrainingConfig, best_checkpoint};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model_directory;
use crate::tasks::bert_pretraining::{DataConfig, ModelConfig};
use crate::tasks::trainee::{Session, Trainee};
use crate::tasks::{PRETRAINING, Stage, stage_loss};
use crate::{datasets, terminal};

/// Which model goes on to a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetunedConfig {
    /// The directory of a BERT to begin with, as `transformers` saves it, or of a run; without it one is pretrained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether a head that the directory does not have is an error. Else it is new, and random at first.
    pub strict: bool,
    /// Whether the same model is trained from random weights, too.
    pub compared: bool,
}

/// A BERT on books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainingConfig {
    /// What is read.
    pub data: DataConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How it learns; everything random is of the seed of the run.
    pub training: TrainingConfig,
}

impl PretrainingConfig {
    /// Whether the values can be used; the error names the first that cannot.
    pub fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.model.validate().context("`model` cannot be used")?;
        self.training.validate().context("`training` cannot be used")
    }
}

/// A BERT before the task.
pub struct Beginning {
    /// Its tokens.
    pub tokenizer: BertTokenizer,
    /// Its config, with the head of a task before, if it had one.
    pub config: BertConfig,
    source: Source,
}

enum Source {
    Directory(PathBuf),
    /// The pairs of books, and the model that is still to read them.
    Books(Box<Trainee<BertForPreTraining>>, Box<SentencePairBatches>),
}

impl Beginning {
    /// Reads the directory or the books, which the configs from now on name in full.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn new(
        path: &mut Option<String>,
        pretraining: &mut PretrainingConfig,
        random: Stream,
        device: &Device,
    ) -> Result<Self> {
        if let Some(path) = path {
            let directory = model_directory::resolve(&datasets::find_folder(path)?)?;
            return Self::of_directory(&encoder_directory(&directory)?);
        }
        let PretrainingConfig { data, model, .. } = pretraining;
        let (tokenizer, batches) = data.read(random, device)?;
        let config = model.for_rows(tokenizer.vocab_size(), data.pairs.max_seq_length);
        let trainee = Trainee::new(
            config.parameter_count(),
            |device| config.init_for(random.named("model"), device),
            Bert::stored_name,
            device.clone(),
        )?;
        let source = Source::Books(Box::new(trainee), Box::new(batches));
        Ok(Self { tokenizer, config, source })
    }

    fn of_directory(directory: &Path) -> Result<Self> {
        let name = directory.display();
        let AutoConfig::Bert(config) = AutoConfig::read(directory)? else {
            bail!("{name} holds a model of another kind than BERT");
        };
        let tokenizer = BertTokenizer::from_directory(directory)?;
        let (n_tokens, vocab_size) = (tokenizer.vocab_size(), config.vocab_size);
        ensure!(
            n_tokens <= vocab_size,
            "{name} has a vocabulary of {n_tokens} tokens, and its model one of {vocab_size}"
        );
        Ok(Self { tokenizer, config, source: Source::Directory(directory.to_path_buf()) })
    }

    /// Whether rows may be so long.
    ///
    /// # Errors
    /// If the model has fewer positions.
    pub fn check_length(&self, max_length: usize) -> Result<()> {
        let n_positions = self.config.n_positions;
        ensure!(
            max_length <= n_positions,
            "`data.max_length` is {max_length}, but the model has {n_positions} positions"
        );
        Ok(())
    }

    /// The config with a head of these classes.
    ///
    /// # Errors
    /// If the directory has such a head already, of others.
    pub fn with_classes(
        &self,
        architecture: Architecture,
        classes: &Vocabulary,
    ) -> Result<BertConfig> {
        let config = self.config.clone();
        if let (Source::Directory(directory), Ok(found)) = (&self.source, config.architecture())
            && found == architecture
        {
            let (n, names) = (config.n_classes(), config.id2label.clone().unwrap_or_default());
            let are_named = |(id, name): (&usize, &String)| {
                *name == format!("LABEL_{id}") || classes.token(*id as u32) == Some(name)
            };
            ensure!(
                n == classes.size() && names.iter().all(are_named),
                "{} has a head of {n} classes {:?}, but the labels of the data are {:?}",
                directory.display(),
                names.values().collect::<Vec<_>>(),
                classes.tokens()
            );
        }
        Ok(config.with_labels(classes.tokens()).with_architecture(architecture))
    }

    /// A model with the weights of the directory; the model itself where there is none.
    ///
    /// # Errors
    /// If weights do not fit, or a head is missing and `strict`.
    pub fn begun<M: Module>(&self, model: M, strict: bool) -> Result<M> {
        let Source::Directory(directory) = &self.source else { return Ok(model) };
        let (model, OtherHeads { new, .. }) = load(model, directory)?;
        if !new.is_empty() {
            let (name, new) = (directory.display(), new.join(", "));
            ensure!(!strict, "{name} has no {new}, and `model.strict` allows no new head");
            terminal::note(format_args!("{name} has no {new}: new, and random at first"));
        }
        Ok(model)
    }

    /// A model with the weights that the reading of books in a run directory came to; the model itself where none were
    /// read.
    ///
    /// # Errors
    /// If a checkpoint cannot be read.
    pub fn pretrained<M: Module>(&self, model: M, run: &Path) -> Result<M> {
        let best = match self.source {
            Source::Books(..) => best_checkpoint(&run.join(PRETRAINING))?,
            Source::Directory(_) => None,
        };
        match best {
            Some(best) => Ok(load(model, &best)?.0),
            None => Ok(model),
        }
    }

    /// The reading of books, if there are any.
    pub fn stage<'a>(&'a self, config: &'a PretrainingConfig, seed: u64) -> Option<Stage<'a>> {
        let Source::Books(trainee, batches) = &self.source else { return None };
        let train = move |session: Session<'_>| {
            trainee.train(
                session,
                &MaskedTokenAndNextSentence,
                &**batches,
                &|directory| {
                    let tokenizer = self.tokenizer.tokenizer();
                    model_directory::write_others(&self.config, tokenizer, directory)
                },
                &json!({ "model": config.model, "data": config.data, "seed": seed }),
            )
        };
        Some(Stage { folder: PRETRAINING, training: &config.training, train: Box::new(train) })
    }

    /// The lowest validation loss of the reading in a run directory, if there was one.
    ///
    /// # Errors
    /// If the metrics cannot be read.
    pub fn findings(&self, run: &Path) -> Result<Option<(String, f64)>> {
        stage_loss(run, PRETRAINING)
    }
}

/// The model with the weights of a directory, and which of its own it kept.
fn load<M: Module>(model: M, directory: &Path) -> Result<(M, OtherHeads)> {
    if is_complete(directory) {
        verify(directory)?;
    }
    let (names, table) = Bert::names_of(&Weights::open(directory)?);
    let weights = Weights::open_published(directory, names)?;
    Ok(load_weights_but_heads(model, &weights, names, &table)?)
}
