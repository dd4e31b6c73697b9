//! A classifier of sentences with the vectors of a frozen ELMo beside its own, against the same without.
//!
//! Both learn from the same batches, in the same updates, with layers of the same width; the second reads
//! `[x; γ Σ_j s_j h_j]` where the first reads `x` (Peters and others, 2018, section 3.3).

mod arms;
mod features;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::Stored;
use emberline_core::{CharacterEncoder, Stream};
use emberline_evaluation::ConfusionMatrix;
use emberline_finetuning::{ExampleBatch, LabelledBatch, LabelledBatches};
use emberline_text::{
    Example, FirstLine, LabelColumn, LabelledTexts, Lexicon, TokenCounts, Vocabulary, split_words,
};
use emberline_training::{Data, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::arms::{ARMS, Arms, BothClassify, Reader, Sizes};
use self::features::{FeatureBatch, FeatureBatches, Features, frozen};
use super::labelled::{self, ModelConfig};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::datasets;
use crate::result::Table;

/// Two classifiers of sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElmoFeaturesConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: DataConfig,
    /// The frozen model.
    pub elmo: FrozenConfig,
    /// What learns, twice.
    pub model: ModelConfig,
    /// How both learn; its seed is that of the whole run.
    pub training: TrainingConfig,
}

/// Sentences with a class each, in three files, and their batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A folder, or one of `datasets/`, with `train.tsv`, `dev.tsv` and `test.tsv`.
    pub path: String,
    /// What the SHA-256 of the three files, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Words seen less often in the training part have one vector of their own together. An ELMo reads them as they are.
    pub min_count: u64,
    /// The sentences of an update.
    pub batch_size: usize,
}

/// Where an ELMo is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenConfig {
    /// A directory of a run of `elmo-books`, one of its checkpoints, or a folder with a published `options.json` and one
    /// file of weights in HDF5.
    pub path: String,
    /// λ of the penalty `λ Σ_j w_j²` on the mix of its layers, 0 for none.
    #[serde(default)]
    pub mix_penalty: f64,
}

impl Kind for ElmoFeaturesConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        check_sizes(&[("data.batch_size", self.data.batch_size)])?;
        let penalty = self.elmo.mix_penalty;
        ensure!(
            penalty.is_finite() && penalty >= 0.0,
            "`elmo.mix_penalty` is {penalty}: expected 0 or more"
        );
        let norm = self.training.max_grad_norm;
        ensure!(
            norm.is_none(),
            "`training.max_grad_norm` must be absent: it would tie both classifiers"
        );
        self.model.validate()
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// The sentences, both classifiers, the frozen model.
struct PreparedFeatures {
    config: ElmoFeaturesConfig,
    classes: Vocabulary,
    data: FeatureBatches,
    test: Vec<Example>,
    trainee: Trainee<Arms>,
}

/// Reads the sentences and the frozen model, and makes the classifiers; writes nothing.
///
/// # Errors
/// If a line of a file is not as expected, there is no ELMo at the path, or the model does not fit.
fn prepare(mut config: ElmoFeaturesConfig) -> Result<Box<dyn Prepared>> {
    let path = &config.elmo.path;
    ensure!(!path.is_empty(), "`elmo.path` is not set: --set elmo.path=DIRECTORY names an ELMo");
    let folder = datasets::find_folder(&mut config.elmo.path)?;
    let device = config.device.open()?.autodiff();
    let elmo = frozen(&folder, &device.clone().inner())?;
    let parts = read(&mut config.data)?;
    let classes = Vocabulary::of_labels(&parts[0].labels());
    let mut lexicon = Lexicon::default();
    let words = parts.each_ref().map(words_of);
    let [training, validation, test] = words;
    let (training, validation, test) = (training?, validation?, test?);
    let counts: TokenCounts = training.iter().flatten().map(String::as_str).collect();
    let vocabulary = labelled::vocabulary(&counts, config.data.min_count)?;
    // The marks of sentences are no words of the classifiers.
    let mut ids = vec![0; 2];
    let mut examples = |part: usize, sentences: &[Vec<String>]| -> Result<Vec<Example>> {
        let labels = parts[part].label_ids(&classes)?;
        let mut number = |word: &String| {
            let number = lexicon.add(word);
            if number as usize == ids.len() {
                ids.push(vocabulary.id(word)?);
            }
            anyhow::Ok(number)
        };
        let example = |(words, label): (&Vec<String>, u32)| {
            let tokens = words.iter().map(&mut number).collect::<Result<_>>()?;
            Ok(Example { tokens, labels: vec![label], ..Example::default() })
        };
        sentences.iter().zip(labels).map(example).collect()
    };
    let (training, validation) = (examples(0, &training)?, examples(1, &validation)?);
    let test = examples(2, &test)?;
    let random = Stream::new(config.training.seed);
    let batch_size = config.data.batch_size;
    let labelled =
        LabelledBatches::new(training, validation, batch_size, random.named("data"), &device)?;
    let sizes = Sizes {
        model: config.model.clone(),
        vocab_size: vocabulary.size(),
        n_classes: classes.size(),
        d_features: elmo.d_model(),
        n_layers: elmo.forward.len() + 1,
    };
    let trainee = Trainee::new(
        sizes.parameter_count(),
        |device| sizes.init(random.named("model"), device),
        Stored::same,
        device.clone(),
    )?;
    let features = Features { elmo, lexicon, ids, device: device.inner() };
    let data = FeatureBatches { labelled, features };
    Ok(Box::new(PreparedFeatures { config, classes, data, test, trainee }))
}

/// The parts of a config, which from now on names their folder and their checksum.
fn read(data: &mut DataConfig) -> Result<[LabelledTexts; 3]> {
    let folder = datasets::find_folder(&mut data.path)?;
    let files: [PathBuf; 3] = ["train.tsv", "dev.tsv", "test.tsv"].map(|name| folder.join(name));
    let [training, validation, test] = files
        .each_ref()
        .map(|file| LabelledTexts::from_columns(file, FirstLine::Header, LabelColumn::First));
    let parts = [training?, validation?, test?];
    datasets::check(&files.each_ref().map(PathBuf::as_path), &mut data.sha256)?;
    Ok(parts)
}

/// The words of each text.
///
/// # Errors
/// If one has none.
pub fn words_of(texts: &LabelledTexts) -> Result<Vec<Vec<String>>> {
    let words = texts.texts().iter().map(|text| {
        let words = split_words(&text.text)?;
        if words.is_empty() {
            bail!("{}: {:?} has no word", texts.name(), text.text);
        }
        Ok(words)
    });
    words.collect()
}

impl Prepared for PreparedFeatures {
    fn config(&self) -> RunConfig {
        RunConfig::ElmoFeatures(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        let ElmoFeaturesConfig { data, elmo, model, .. } = &self.config;
        let identity = json!({ "model": model, "data": data, "elmo": elmo });
        let objective = BothClassify { mix_penalty: elmo.mix_penalty };
        self.trainee.train(session, &objective, &self.data, &|_| Ok(()), &identity)
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        // Not at their best: both at the end of the same budget.
        let model = self.trainee.last(directory)?.valid();
        let mut metrics = BTreeMap::new();
        let mut rows = Vec::new();
        for (name, reader) in ARMS.into_iter().zip(model.readers()) {
            let validation = self.data.validation();
            let [validation, test] =
                [self.scores(reader, validation), self.scores(reader, self.test_batches())];
            metrics.insert(format!("validation_accuracy_{name}"), validation.accuracy());
            metrics.insert(format!("test_accuracy_{name}"), test.accuracy());
            let numbers = vec![validation.accuracy(), test.accuracy(), test.macro_f1()];
            rows.push((name.to_string(), numbers));
        }
        let columns = ["validation accuracy", "test accuracy", "test macro F1"];
        let mut tables = vec![Table {
            title: "without ELMo's layers and with them".into(),
            columns: columns.map(String::from).into(),
            rows,
        }];
        if let Some(mix) = &model.with.mix {
            let numbers = |tensor: Tensor<1>| -> Vec<f64> { tensor.into_data().iter().collect() };
            let shares = numbers(softmax(mix.weights.val(), 0));
            let gamma = numbers(mix.gamma.val())[0];
            tables.push(Table {
                title: "what the classifier takes of each layer".into(),
                columns: (0..shares.len()).map(|layer| format!("layer {layer}")).collect(),
                rows: vec![(format!("gamma {gamma:.3}"), shares)],
            });
        }
        Ok(Findings { metrics, tables, ..Findings::default() })
    }
}

impl PreparedFeatures {
    fn test_batches(&self) -> impl Iterator<Item = FeatureBatch> {
        let Features { device, .. } = &self.data.features;
        self.test.chunks(self.config.data.batch_size).map(move |examples| {
            let examples: Vec<&Example> = examples.iter().collect();
            self.data.features.batch(LabelledBatch::new(&examples, device))
        })
    }

    fn scores(
        &self,
        reader: &Reader,
        batches: impl Iterator<Item = FeatureBatch>,
    ) -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new(self.classes.size());
        for batch in batches {
            let predicted = reader.logits(&batch, None).argmax(1).into_data();
            let expected = batch.labels.into_data();
            for (expected, predicted) in expected.iter::<u32>().zip(predicted.iter::<u32>()) {
                matrix.add(expected, predicted);
            }
        }
        matrix
    }
}
