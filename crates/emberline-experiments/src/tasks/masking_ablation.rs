//! Why 80, 10 and 10 of 100? Four BERTs read the same rows and guess the same tokens of them; in one the token is always
//! `[MASK]`, in one always a random token, in one it stays, and one has all three, as published.
//!
//! Each is asked for tokens under each of the four, and for a task in which nothing is masked: the class of a text, by the
//! nearest mean of the vectors of its tokens.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_core::Stream;
use emberline_evaluation::ConfusionMatrix;
use emberline_models::bert::{Bert, BertConfig, BertForPreTraining, Pooling, SentenceEncoder};
use emberline_pretraining::{
    MaskedTokenAndNextSentence, Masking, MaskingConfig, SentencePairBatches,
};
use emberline_text::{BertTokenizer, Example, LabelledTexts, Vocabulary};
use emberline_training::{Data, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::bert_finetuning::{ClassifiedConfig, TaskData, examples};
use super::bert_pretraining::{DataConfig, ModelConfig, share_of_most_frequent};
use super::sentence_vectors::{nearest_means, vectors};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared, Stage};
use crate::config::RunConfig;
use crate::model_directory;
use crate::result::Table;

/// The ways of masking, each with the shares of `[MASK]` and of random tokens; the last is that of the run itself.
const WAYS: [(&str, f64, f64); 4] = [
    ("mask_only", 1.0, 0.0),
    ("random_only", 0.0, 1.0),
    ("keep_only", 0.0, 0.0),
    ("all_three", 0.8, 0.1),
];

/// Four BERTs on books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskingAblationConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What all read; the shares of its masking are those of each way.
    pub data: DataConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How each learns; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// The texts whose classes their vectors are to tell.
    pub texts: ClassifiedConfig,
}

impl Kind for MaskingAblationConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        self.texts.validate().context("`texts` cannot be used")?;
        self.model.validate().context("`model` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// Texts with their classes as rows.
struct Texts {
    classes: Vocabulary,
    known: Vec<Example>,
    asked: Vec<Example>,
}

/// The rows, the texts, the model, the device.
struct PreparedAblation {
    config: MaskingAblationConfig,
    tokenizer: BertTokenizer,
    data: SentencePairBatches,
    texts: Texts,
    model_config: BertConfig,
    trainee: Trainee<BertForPreTraining>,
}

/// Reads the books and the texts, and opens the device; writes nothing.
///
/// # Errors
/// If a book or a text cannot be read, or the model does not fit.
fn prepare(mut config: MaskingAblationConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let (tokenizer, data) = config.data.read(random, &device)?;
    let max_length = config.texts.max_length.min(config.data.pairs.max_seq_length);
    let [known, _, asked] = config.texts.parts()?;
    let classes = Vocabulary::of_labels(&known.labels());
    let rows = |texts: &LabelledTexts| examples(texts, &classes, &tokenizer, max_length);
    let texts = Texts { known: rows(&known)?, asked: rows(&asked)?, classes };
    let model_config =
        config.model.for_rows(tokenizer.vocab_size(), config.data.pairs.max_seq_length);
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init_for(random.named("model"), device),
        Bert::stored_name,
        device,
    )?;
    Ok(Box::new(PreparedAblation { config, tokenizer, data, texts, model_config, trainee }))
}

impl Prepared for PreparedAblation {
    fn config(&self) -> RunConfig {
        RunConfig::MaskingAblation(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        let [others @ .., _] = &WAYS;
        let stage = |&(folder, mask, random): &(&'static str, f64, f64)| {
            let masking = self.masking(mask, random);
            Stage {
                folder,
                training: &self.config.training,
                train: Box::new(move |session: Session<'_>| self.learn(masking, session)),
            }
        };
        others.iter().map(stage).collect()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        let [.., (_, mask, random)] = WAYS;
        self.learn(self.masking(mask, random), session)
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let mut metrics = BTreeMap::new();
        let mut rows = Vec::new();
        let [others @ .., (last, ..)] = WAYS;
        let runs = others.map(|(folder, ..)| (folder, directory.join(folder)));
        for (name, run) in runs.into_iter().chain([(last, directory.to_path_buf())]) {
            // Not at their best, which their own masks would tell: all at the end of the same budget.
            let model = self.trainee.last(&run)?.valid();
            let mut row: Vec<f64> =
                WAYS.iter().map(|(_, mask, random)| self.right(&model, *mask, *random)).collect();
            for ((way, ..), accuracy) in WAYS.iter().zip(&row) {
                metrics.insert(format!("{name}_accuracy_on_{way}"), *accuracy);
            }
            let accuracy = self.accuracy_on_texts(&model);
            metrics.insert(format!("{name}_text_accuracy"), accuracy);
            row.push(accuracy);
            rows.push((name.replace('_', " "), row));
        }
        let untrained = self.accuracy_on_texts(&self.trainee.model.valid());
        metrics.insert("untrained_text_accuracy".into(), untrained);
        metrics.insert("most_frequent_token".into(), share_of_most_frequent(&self.data));
        let columns = WAYS.iter().map(|(way, ..)| format!("tokens, {}", way.replace('_', " ")));
        Ok(Findings {
            metrics,
            tables: vec![Table {
                title:
                    "right answers of the models by how they were trained, and what they are asked"
                        .into(),
                columns: columns.chain(["class of a text".to_string()]).collect(),
                rows,
            }],
            ..Findings::default()
        })
    }
}

impl PreparedAblation {
    fn masking(&self, mask: f64, random: f64) -> MaskingConfig {
        MaskingConfig { mask, random, ..self.config.data.masking }
    }

    fn masked(&self, masking: MaskingConfig) -> SentencePairBatches {
        self.data.with_masking(Masking::new(masking, &self.tokenizer))
    }

    fn learn(&self, masking: MaskingConfig, session: Session<'_>) -> Result<Trained<()>> {
        let MaskingAblationConfig { model, data, .. } = &self.config;
        self.trainee.train(
            session,
            &MaskedTokenAndNextSentence,
            &self.masked(masking),
            &|directory| {
                let tokenizer = self.tokenizer.tokenizer();
                model_directory::write_others(&self.model_config, tokenizer, directory)
            },
            &json!({ "model": model, "data": data, "masking": masking }),
        )
    }

    /// The share of tokens of the validation rows that are guessed right where they are masked so.
    fn right(&self, model: &BertForPreTraining, mask: f64, random: f64) -> f64 {
        let (mut right, mut all) = (0, 0);
        for batch in self.masked(self.masking(mask, random)).validation() {
            let guesses = batch.right_guesses(model);
            right += guesses.tokens;
            all += guesses.masked;
        }
        right as f64 / all.max(1) as f64
    }

    /// The share of texts whose class is that of the nearest mean of vectors.
    fn accuracy_on_texts(&self, model: &BertForPreTraining) -> f64 {
        let Texts { classes, known, asked } = &self.texts;
        let device = self.device();
        let bert = model.bert.clone();
        let encoder = SentenceEncoder { bert, pooling: Pooling::Mean, normalizes: false };
        let batch_size = self.config.texts.batch_size;
        let [of_known, of_asked] =
            [known, asked].map(|texts| vectors(&encoder, texts, batch_size, &device));
        let labels: Vec<u32> = known.iter().map(|text| text.labels[0]).collect();
        let mut matrix = ConfusionMatrix::new(classes.size());
        for (text, class) in asked.iter().zip(nearest_means(&of_known, &labels, &of_asked)) {
            matrix.add(text.labels[0], class);
        }
        matrix.accuracy()
    }

    fn device(&self) -> Device {
        self.trainee.device.clone().inner()
    }
}
