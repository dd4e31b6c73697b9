//! An ELMo learns to predict the next word of books and the one before, and is asked what a word means in its sentences.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::Tensor;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::{CheckpointError, Stored, write_atomically, write_config};
use emberline_core::{CharacterEncoder, Stream};
use emberline_embeddings::elmo::{ElmoConfig, ElmoLanguageModel, ElmoLanguageModelConfig};
use emberline_pretraining::{BothWaysWindows, NextWordBothWays, ReadBothWays, predicted_words};
use emberline_text::{Lexicon, Vocabulary, split_words};
use emberline_training::{Data, Objective, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::books::{self, Chapter};
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::result::Heatmap;

/// The file of the predicted words in a model directory.
const VOCABULARY: &str = "vocabulary.json";

/// An ELMo on books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElmoPretrainingConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// How many words stand for the vocabulary in training; all of it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_sampled: Option<usize>,
    /// What is read.
    pub data: DataConfig,
    /// What learns.
    pub model: ElmoConfig,
    /// How it learns; its seed is that of the whole run.
    pub training: TrainingConfig,
    /// What the trained model is asked.
    pub meanings: MeaningsConfig,
}

/// Books, the words that are predicted, and windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Files, folders of `datasets/`, or data sets that `emberline data` fetched. Every tenth chapter is for validation.
    pub books: Vec<String>,
    /// What the SHA-256 of the books, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Words seen less often are predicted as one. They are read as they are.
    pub min_count: u64,
    /// The texts of an update.
    pub batch_size: usize,
    /// The words of each text of an update.
    pub seq_length: usize,
}

/// A word in several sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeaningsConfig {
    /// The word.
    pub word: String,
    /// Sentences with it.
    pub sentences: Vec<String>,
}

impl Kind for ElmoPretrainingConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        let DataConfig { books, batch_size, seq_length, .. } = &self.data;
        ensure!(!books.is_empty(), "`data.books` is empty");
        check_sizes(&[("data.batch_size", *batch_size), ("data.seq_length", *seq_length)])?;
        if let Some(n_sampled) = self.n_sampled {
            check_sizes(&[("n_sampled", n_sampled)])?;
        }
        check_model(&self.model).context("`model` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

/// Whether a model of these sizes can be made; the error names the first that cannot.
///
/// # Errors
/// If one cannot.
pub fn check_model(config: &ElmoConfig) -> Result<()> {
    let ElmoConfig { d_hidden, d_output, n_layers, ref characters, .. } = *config;
    check_sizes(&[
        ("d_hidden", d_hidden),
        ("d_output", d_output),
        ("n_layers", n_layers),
        ("characters.n_characters", characters.n_characters),
        ("characters.d_character", characters.d_character),
        ("characters.filters", characters.filters.len()),
    ])?;
    Ok(config.validate()?)
}

impl MeaningsConfig {
    /// The words of the sentences, and where the word is in each.
    fn split(&self) -> Result<Vec<(Vec<String>, usize)>> {
        let split = |sentence: &String| {
            let words = split_words(sentence)?;
            let place = words.iter().position(|word| *word == self.word);
            let place = place.with_context(|| {
                format!("`meanings.sentences`: {sentence:?} has no word {:?}", self.word)
            })?;
            Ok((words, place))
        };
        self.sentences.iter().map(split).collect()
    }
}

/// The books as windows, the model, the device.
struct PreparedElmo {
    config: ElmoPretrainingConfig,
    vocabulary: Vocabulary,
    data: BothWaysWindows,
    model_config: ElmoLanguageModelConfig,
    trainee: Trainee<ElmoLanguageModel>,
    /// The perplexity of the validation words for who knows how often each was seen in training, and nothing else.
    unigram_perplexity: f64,
}

/// Reads the books, counts their words, opens the device and makes the model; writes nothing.
///
/// # Errors
/// If a book cannot be read or is too short, a sentence has not its word, or the model does not fit.
fn prepare(mut config: ElmoPretrainingConfig) -> Result<Box<dyn Prepared>> {
    config.meanings.split()?;
    let DataConfig { books, sha256, min_count, batch_size, seq_length } = &mut config.data;
    let chapters = books::chapters(books, sha256)?;
    let (vocabulary, [training, validation]) = read_both_ways(&chapters, *min_count)?;
    let vocab_size = vocabulary.size();
    check_sampled(config.n_sampled, vocab_size)?;
    let unigram_perplexity =
        unigram_perplexity(training.targets(), validation.targets(), vocab_size);
    let device = config.device.open()?.autodiff();
    let sizes = [*batch_size, *seq_length];
    let data = BothWaysWindows::new(training, validation, sizes, &device)?;
    let model_config = ElmoLanguageModelConfig { elmo: config.model.clone(), vocab_size };
    let random = Stream::new(config.training.seed);
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init(random.named("model"), device),
        Stored::same,
        device,
    )?;
    Ok(Box::new(PreparedElmo {
        config,
        vocabulary,
        data,
        model_config,
        trainee,
        unigram_perplexity,
    }))
}

/// The words of chapters for training that are predicted, and all words of these and of those for validation.
///
/// # Errors
/// None that a text gives reason for.
pub fn read_both_ways(
    chapters: &[Vec<Chapter>; 2],
    min_count: u64,
) -> Result<(Vocabulary, [ReadBothWays; 2])> {
    let [training, validation] = chapters.each_ref().map(|chapters| words_of(chapters));
    let (training, validation) = (training?, validation?);
    let vocabulary = predicted_words(&training, min_count)?;
    let read = |words: &[Vec<String>]| ReadBothWays::new(words, &vocabulary);
    let parts = [read(&training)?, read(&validation)?];
    Ok((vocabulary, parts))
}

/// The words of each sentence of all chapters.
fn words_of(chapters: &[Chapter]) -> Result<Vec<Vec<String>>> {
    chapters.iter().flatten().map(|sentence| Ok(split_words(sentence)?)).collect()
}

/// Whether so many words can stand for the vocabulary.
///
/// # Errors
/// If it has fewer.
pub fn check_sampled(n_sampled: Option<usize>, vocab_size: usize) -> Result<()> {
    let n_sampled = n_sampled.unwrap_or(0);
    ensure!(
        n_sampled <= vocab_size,
        "`n_sampled` is {n_sampled}, but only {vocab_size} words are predicted"
    );
    Ok(())
}

/// Writes the config of a model and the words that it predicts into a directory that is there.
pub fn write_others(
    config: &ElmoLanguageModelConfig,
    vocabulary: &Vocabulary,
    directory: &Path,
) -> Result<(), CheckpointError> {
    write_config(directory, config)?;
    write_atomically(directory.join(VOCABULARY), &vocabulary.to_json())
}

/// With one more of each word than was seen, so that none is impossible.
fn unigram_perplexity(training: &[u32], validation: &[u32], vocab_size: usize) -> f64 {
    let mut counts = vec![1.0; vocab_size];
    training.iter().for_each(|word| counts[*word as usize] += 1.0);
    let total = (training.len() + vocab_size) as f64;
    let loss = |word: &u32| -(counts[*word as usize] / total).ln();
    (validation.iter().map(loss).sum::<f64>() / validation.len() as f64).exp()
}

impl Prepared for PreparedElmo {
    fn config(&self) -> RunConfig {
        RunConfig::ElmoPretraining(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &NextWordBothWays { n_sampled: self.config.n_sampled },
            &self.data,
            &|directory| write_others(&self.model_config, &self.vocabulary, directory),
            &json!({
                "model": self.config.model,
                "data": self.config.data,
                "n_sampled": self.config.n_sampled,
            }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let model = self.trainee.best(directory)?.valid();
        let [forward, reverse] = self.losses(&model);
        let metrics = BTreeMap::from([
            ("perplexity_forward".into(), forward.exp()),
            ("perplexity_reverse".into(), reverse.exp()),
            ("perplexity".into(), ((forward + reverse) / 2.0).exp()),
            ("perplexity_unigram".into(), self.unigram_perplexity),
            ("predicted_words".into(), self.vocabulary.size() as f64),
        ]);
        let heatmaps = self.meanings(&model)?;
        Ok(Findings { metrics, samples: self.samples(&heatmaps), heatmaps, ..Findings::default() })
    }
}

impl PreparedElmo {
    /// The mean losses of both directions over the validation text.
    fn losses(&self, model: &ElmoLanguageModel) -> [f64; 2] {
        let objective = NextWordBothWays::default();
        let (mut sums, mut count, mut carry) = ([0.0; 2], 0.0, None);
        for batch in self.data.validation() {
            count += Objective::<ElmoLanguageModel>::counts(&objective, &batch)[0].count;
            let (loss, after) = objective.loss(model, &batch, carry, None);
            for (sum, term) in sums.iter_mut().zip(loss.terms) {
                *sum += term.sum.into_scalar::<f64>();
            }
            carry = Some(after);
        }
        sums.map(|sum| sum / count)
    }

    /// How alike the vectors of the word are in its sentences, by layer.
    fn meanings(&self, model: &ElmoLanguageModel) -> Result<Vec<Heatmap>> {
        let device = self.trainee.device.clone().inner();
        let mut vectors: Vec<Vec<Vec<f32>>> = Vec::new();
        for (words, place) in self.config.meanings.split()? {
            let layers = model.elmo.layers(&Lexicon::sentences(&[words], &device));
            // A mark stands before the sentence.
            let vector =
                |layer: Tensor<3>| layer.narrow(1, place + 1, 1).into_data().iter().collect();
            vectors.push(layers.into_iter().map(vector).collect());
        }
        let names: Vec<String> = (1..=vectors.len()).map(|number| number.to_string()).collect();
        let n_layers = vectors.first().map_or(0, Vec::len);
        let heatmap = |layer: usize| Heatmap {
            title: format!(
                "cosine of {} in two sentences, layer {layer}",
                self.config.meanings.word
            ),
            columns: names.clone(),
            rows: names.clone(),
            values: vectors
                .iter()
                .map(|a| vectors.iter().map(|b| cosine(&a[layer], &b[layer])).collect())
                .collect(),
        };
        Ok((0..n_layers).map(heatmap).collect())
    }

    /// The sentences by number, and the cosines of the word in each two of them, layer by layer.
    fn samples(&self, heatmaps: &[Heatmap]) -> String {
        let sentences = (1..).zip(&self.config.meanings.sentences);
        let mut samples: String =
            sentences.map(|(number, sentence)| format!("{number}  {sentence}\n")).collect();
        for Heatmap { title, values, .. } in heatmaps {
            samples += &format!("\n{title}\n");
            for row in values {
                let row: Vec<String> = row.iter().map(|cosine| format!("{cosine:.3}")).collect();
                samples += &(row.join(" ") + "\n");
            }
        }
        samples
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_text_has_the_perplexity_of_its_words() {
        let text = [0, 1, 2, 3];
        assert!((unigram_perplexity(&text, &text, 4) - 4.0).abs() < 1e-9);
        // 5 of 8 and 1 of 8.
        let expected = (0.5 * (8.0f64 / 5.0).ln() + 0.5 * 8.0f64.ln()).exp();
        assert!((unigram_perplexity(&[0; 4], &[0, 3], 4) - expected).abs() < 1e-9);
    }
}
