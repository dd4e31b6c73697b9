//! Sentences as vectors of a BERT that is not trained on them: which ones are alike, and how much of their class a linear
//! layer finds in the vectors alone.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::Stored;
use emberline_core::Stream;
use emberline_evaluation::{ConfusionMatrix, spearman};
use emberline_finetuning::Batches;
use emberline_models::bert::{Bert, Pooling, SentenceEncoder};
use emberline_text::{Example, LabelledText, LabelledTexts, TextColumns, Vocabulary};
use emberline_training::{Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::bert_finetuning::{Beginning, ClassifiedConfig, PretrainingConfig, TaskData, examples};
use super::sentence_vectors::{cosine, shared, vectors, words};
use super::trainee::{Session, Trainee};
use super::vector_probe::{Probe, VectorBatch, VectorClass, VectorExample};
use super::{Findings, Kind, Prepared, Stage};
use crate::config::RunConfig;
use crate::datasets;

/// The sentences that are shown with the one that is most alike.
const SHOWN: usize = 12;

/// Vectors of sentences, and a linear layer on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BertSentencesConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// Sentences with a class each.
    pub data: ClassifiedConfig,
    /// Pairs of sentences that somebody judged; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<JudgedConfig>,
    /// Pairs of sentences whose cosine is told.
    pub told: Vec<[String; 2]>,
    /// What makes the vectors.
    pub model: EncoderConfig,
    /// How the linear layer learns; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// Where the model comes from, unless `model.path` names one.
    pub pretraining: PretrainingConfig,
}

/// A file of pairs, each with a number that says how alike they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedConfig {
    /// The file.
    pub path: String,
    /// Where the sentences and their numbers are.
    pub columns: TextColumns,
}

/// A BERT that makes a vector of a sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// The directory of a BERT, or of a sentence-transformer on one; without it one is pretrained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Which vectors of a sentence become one.
    pub pooling: Pooling,
}

impl Kind for BertSentencesConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        if let Some(judged) = &self.judged {
            ensure!(judged.columns.second.is_some(), "`judged.columns.second` is missing");
        }
        self.pretraining.validate().context("`pretraining` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// Pairs of sentences with the number of each.
struct Judged {
    texts: LabelledTexts,
    numbers: Vec<f64>,
}

impl JudgedConfig {
    /// The pairs; the config from now on names their file in full.
    fn read(&mut self) -> Result<Judged> {
        let file = datasets::find(&mut self.path, "tsv")?;
        let texts = LabelledTexts::from_table(file, &self.columns)?;
        let number = |text: &LabelledText| {
            let place = || format!("{}:{}: {:?} is no number", texts.name(), text.line, text.label);
            text.label.trim().parse::<f64>().with_context(place)
        };
        let numbers = texts.texts().iter().map(number).collect::<Result<_>>()?;
        Ok(Judged { texts, numbers })
    }
}

/// Texts with their rows.
struct Part {
    texts: LabelledTexts,
    rows: Vec<Example>,
}

/// The sentences, the encoder, the device.
struct PreparedSentences {
    config: BertSentencesConfig,
    beginning: Beginning,
    classes: Vocabulary,
    /// For training, validation and test.
    parts: [Part; 3],
    judged: Option<Judged>,
    /// With the weights of a directory, or with random ones where books are still to be read.
    encoder: SentenceEncoder,
    trainee: Trainee<Probe>,
    random: Stream,
}

/// Reads the model and the sentences, and opens the device; writes nothing.
///
/// # Errors
/// If the directory of the model or a file cannot be used, or the model does not fit.
fn prepare(mut config: BertSentencesConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let BertSentencesConfig { model, pretraining, data, judged, .. } = &mut config;
    let beginning =
        Beginning::new(&mut model.path, pretraining, random.named("pretraining"), &device)?;
    beginning.check_length(data.max_length)?;
    let parts = data.parts()?;
    let classes = Vocabulary::of_labels(&parts[0].labels());
    let [training, validation, test] = parts.map(|texts| -> Result<Part> {
        let rows = examples(&texts, &classes, &beginning.tokenizer, data.max_length)?;
        Ok(Part { texts, rows })
    });
    let judged = judged.as_mut().map(JudgedConfig::read);

    let plain = device.clone().inner();
    let (bert, pooling) = (&beginning.config, model.pooling);
    let bert = match pooling {
        Pooling::Mean | Pooling::Cls => bert.init_without_pooler(random.named("encoder"), &plain),
        Pooling::Pooler => bert.init(random.named("encoder"), &plain),
    };
    let bert = beginning.begun(bert, false)?;
    let encoder = SentenceEncoder { bert, pooling, normalizes: true };
    let (d_model, n_classes) = (beginning.config.d_model, classes.size());
    let trainee = Trainee::new(
        ((d_model + 1) * n_classes) as u64,
        |device| Probe::init(d_model, n_classes, random.named("probe"), device),
        Stored::same,
        device,
    )?;
    let (parts, judged) = ([training?, validation?, test?], judged.transpose()?);
    Ok(Box::new(PreparedSentences {
        config,
        beginning,
        classes,
        parts,
        judged,
        encoder,
        trainee,
        random,
    }))
}

impl Prepared for PreparedSentences {
    fn config(&self) -> RunConfig {
        RunConfig::BertSentences(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        let BertSentencesConfig { training, pretraining, .. } = &self.config;
        self.beginning.stage(pretraining, training.seed).into_iter().collect()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        let encoder = self.pretrained(session.directory)?;
        let examples = |part: &Part| -> Vec<VectorExample> {
            let vectors = self.vectors(&encoder, &part.rows).into_iter().zip(&part.rows);
            vectors.map(|(vector, row)| VectorExample { vector, class: row.labels[0] }).collect()
        };
        let [training, validation, _] = &self.parts;
        let (training, validation) = (examples(training), examples(validation));
        let batch_size = self.config.data.batch_size;
        let (random, device) = (self.random.named("data"), &self.trainee.device);
        let data = Batches::<VectorBatch>::new(training, validation, batch_size, random, device)?;
        let BertSentencesConfig { data: read, model, pretraining, .. } = &self.config;
        self.trainee.train(
            session,
            &VectorClass,
            &data,
            &|_| Ok(()),
            &json!({ "model": model, "data": read, "pretraining": pretraining }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let encoder = self.pretrained(directory)?;
        let [training, _, test] = &self.parts;
        let [known, asked] = [training, test].map(|part| self.vectors(&encoder, &part.rows));
        let nearest = nearest_of(&known, &asked, |one, other| cosine(one, other));
        let untrained = SentenceEncoder { bert: self.untrained(), ..encoder.clone() };
        let [known_so, asked_so] =
            [training, test].map(|part| self.vectors(&untrained, &part.rows));
        let by_untrained = nearest_of(&known_so, &asked_so, |one, other| cosine(one, other));
        let [known_words, asked_words] = [training, test].map(|part| {
            part.texts.texts().iter().map(|text| words(&text.text)).collect::<Vec<_>>()
        });
        let by_words = nearest_of(&known_words, &asked_words, shared);
        let probe = self.trainee.best(directory)?.valid();
        let mut metrics = BTreeMap::new();
        for (name, nearest) in [
            ("nearest_sentence", &nearest),
            ("nearest_untrained", &by_untrained),
            ("most_shared_words", &by_words),
        ] {
            let classes = nearest.iter().map(|(place, _)| training.rows[*place].labels[0]);
            metrics.insert(format!("test_accuracy_of_{name}"), self.accuracy(classes));
        }
        let by_layer = probe.classes(&asked, &self.device());
        metrics.insert("test_accuracy_of_linear_layer".into(), self.accuracy(by_layer));
        metrics.insert("test_count".into(), asked.len() as f64);
        metrics.extend(self.judged(&encoder)?);
        metrics.extend(self.beginning.findings(directory)?);
        let mut samples = self.told(&encoder)?;
        for place in (0..asked.len()).step_by(asked.len().div_ceil(SHOWN).max(1)) {
            let (other, cosine) = nearest[place];
            let [text, other] =
                [&test.texts.texts()[place], &training.texts.texts()[other]].map(|text| &text.text);
            samples += &format!("{text}\n    {cosine:.3} {other}\n");
        }
        Ok(Findings { metrics, samples, ..Findings::default() })
    }
}

/// For each asked text the known one that is most alike, the first of several, and how alike it is.
fn nearest_of<T>(known: &[T], asked: &[T], alike: impl Fn(&T, &T) -> f64) -> Vec<(usize, f64)> {
    let better = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    let nearest = |asked: &T| {
        let numbers = known.iter().map(|known| alike(asked, known)).enumerate();
        numbers.fold((0, f64::NEG_INFINITY), better)
    };
    asked.iter().map(nearest).collect()
}

impl PreparedSentences {
    fn device(&self) -> Device {
        self.trainee.device.clone().inner()
    }

    /// The encoder with what it read in a run directory.
    fn pretrained(&self, run: &Path) -> Result<SentenceEncoder> {
        let bert = self.beginning.pretrained(self.encoder.bert.clone(), run)?;
        Ok(SentenceEncoder { bert, ..self.encoder.clone() })
    }

    /// The same model at random weights.
    fn untrained(&self) -> Bert {
        self.beginning.config.init(self.random.named("encoder"), &self.device())
    }

    fn vectors(&self, encoder: &SentenceEncoder, rows: &[Example]) -> Vec<Vec<f32>> {
        vectors(encoder, rows, self.config.data.batch_size, &self.device())
    }

    fn accuracy(&self, classes: impl IntoIterator<Item = u32>) -> f64 {
        let mut matrix = ConfusionMatrix::new(self.classes.size());
        let [.., test] = &self.parts;
        test.rows.iter().zip(classes).for_each(|(row, class)| matrix.add(row.labels[0], class));
        matrix.accuracy()
    }

    /// The cosine of each pair.
    fn pairs(&self, encoder: &SentenceEncoder, pairs: &[[&str; 2]]) -> Result<Vec<f64>> {
        let mut sides = Vec::new();
        for side in [0, 1] {
            let row = |pair: &[&str; 2]| -> Result<Example> {
                let row =
                    self.beginning.tokenizer.row(pair[side], None, self.config.data.max_length)?;
                Ok(Example { tokens: row.tokens, ..Example::default() })
            };
            let rows = pairs.iter().map(row).collect::<Result<Vec<Example>>>()?;
            sides.push(self.vectors(encoder, &rows));
        }
        Ok(sides[0].iter().zip(&sides[1]).map(|(one, other)| cosine(one, other)).collect())
    }

    /// How well cosines go along with what somebody judged, and how well shared words do.
    fn judged(&self, encoder: &SentenceEncoder) -> Result<BTreeMap<String, f64>> {
        let Some(judged) = &self.judged else { return Ok(BTreeMap::new()) };
        let Judged { texts, numbers } = judged;
        let texts = texts.texts().iter();
        let pairs: Vec<[&str; 2]> = texts
            .map(|pair| [&pair.text[..], pair.second.as_deref().unwrap_or_default()])
            .collect();
        let by_words: Vec<f64> =
            pairs.iter().map(|[one, other]| shared(&words(one), &words(other))).collect();
        let metrics = [
            ("judged_spearman_of_cosine", spearman(numbers, &self.pairs(encoder, &pairs)?)),
            ("judged_spearman_of_shared_words", spearman(numbers, &by_words)),
            ("judged_count", Some(numbers.len() as f64)),
        ];
        let metrics = metrics.into_iter();
        Ok(metrics.filter_map(|(name, value)| Some((name.to_string(), value?))).collect())
    }

    fn told(&self, encoder: &SentenceEncoder) -> Result<String> {
        let pairs: Vec<[&str; 2]> =
            self.config.told.iter().map(|pair| pair.each_ref().map(String::as_str)).collect();
        let mut told = String::new();
        for ([one, other], cosine) in pairs.iter().zip(self.pairs(encoder, &pairs)?) {
            told += &format!("{cosine:.3}  {one} | {other}\n");
        }
        Ok(told + "\n")
    }
}
