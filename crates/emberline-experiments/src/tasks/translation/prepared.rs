//! The run of one model.

use std::path::Path;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::Device;
use emberline_checkpoint::remove_directory;
use emberline_core::Stream;
use emberline_generation::target_log_probabilities;
use emberline_pretraining::{Translation, TranslationBatches};
use emberline_text::{EncodedPairs, Pair, ParallelCorpus, TokenPair, TranslationTokenizer};
use emberline_training::{Trained, average_checkpoints};
use serde_json::json;

use super::TranslationConfig;
use super::config::TranslatorConfig;
use super::data::Parts;
use super::translator::{self, Translator, check_length};
use crate::config::RunConfig;
use crate::model_directory::AVERAGED;
use crate::tasks::trainee::{Session, Trainee};
use crate::tasks::{Findings, Prepared};
use crate::terminal;

/// The pairs that are shown with what the model wrote.
const SHOWN: usize = 12;
/// The first of them, whose attention is drawn.
const DRAWN: usize = 4;

/// The pairs as batches, the model, the device.
struct PreparedTranslator<C: TranslatorConfig> {
    config: TranslationConfig,
    tokenizers: [TranslationTokenizer; 2],
    data: TranslationBatches,
    test: Vec<Pair>,
    test_pairs: Vec<TokenPair>,
    model_config: C,
    trainee: Trainee<C::Model>,
}

/// Opens the device and makes the model; writes nothing.
///
/// # Errors
/// If a sentence has no token, or more than the model takes, and is not to be skipped; if the model does not fit.
pub fn prepare<C: TranslatorConfig>(
    config: TranslationConfig,
    model_config: C,
    parts: Parts,
    tokenizers: [TranslationTokenizer; 2],
) -> Result<Box<dyn Prepared>> {
    let [source, target] = &tokenizers;
    model_config.check().context("`model` cannot be used")?;
    let room = model_config.max_length();
    let Parts { training, validation, test, mut skipped } = parts;
    let mut encode = |corpus: &ParallelCorpus, room| -> Result<EncodedPairs> {
        let mut encoded = corpus.encode(source, target, room, config.bad_lines)?;
        skipped.append(&mut encoded.skipped);
        Ok(encoded)
    };
    let training_pairs = match config.batches.max_tokens {
        None => encode(&training, room)?.pairs,
        Some(max_tokens) => {
            check_length(room, max_tokens, "`batches.max_tokens`: a sentence")?;
            not_longer(encode(&training, None)?.pairs, max_tokens, training.name())
        }
    };
    let validation_pairs = encode(&validation, room)?.pairs;
    let EncodedPairs { pairs: test_pairs, places, .. } = encode(&test, room)?;
    let test: Vec<Pair> = places.into_iter().map(|place| test.pairs()[place].clone()).collect();
    if let Some(first) = skipped.first() {
        let n = skipped.len();
        terminal::note(format_args!("warning: {n} bad lines are left out, the first is {first}"));
    }
    let longest = test_pairs.iter().map(|pair| pair.source.len()).max().unwrap_or(0);
    let more = longest as f64 * config.beam.max_per_input_token;
    let limit = config.beam.max_new_tokens.saturating_add(more as usize);
    check_length(room, limit, "`beam`: a translation of the test part")?;

    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let mut data = TranslationBatches::new(
        training_pairs,
        validation_pairs,
        config.batches.size,
        target.start_token(),
        random.named("data"),
        &device,
    )?;
    if let Some(schedule) = config.scheduled_sampling {
        data = data.with_scheduled_sampling(schedule);
    }
    let trainee = Trainee::new(
        model_config.parameter_count(),
        |device| model_config.init(random.named("model"), device),
        C::stored_name,
        device,
    )?;
    Ok(Box::new(PreparedTranslator {
        config,
        tokenizers,
        data,
        test,
        test_pairs,
        model_config,
        trainee,
    }))
}

/// The pairs without those that have more tokens on a side.
fn not_longer(pairs: Vec<TokenPair>, max_tokens: usize, name: &str) -> Vec<TokenPair> {
    let (kept, longer): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|pair| pair.lengths().into_iter().all(|n| n <= max_tokens));
    if !longer.is_empty() {
        let n = longer.len();
        terminal::note(format_args!(
            "{n} training pairs of {name} have more than {max_tokens} tokens, and are left out"
        ));
    }
    kept
}

impl<C: TranslatorConfig> Prepared for PreparedTranslator<C> {
    fn config(&self) -> RunConfig {
        RunConfig::Translation(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        let config = &self.config;
        self.trainee.train(
            session,
            &Translation { smoothing: config.smoothing },
            &self.data,
            &|directory| translator::write_others(&self.model_config, &self.tokenizers, directory),
            &json!({
                "model": config.model,
                "data": config.data,
                "bad_lines": config.bad_lines,
                "tokens": config.tokens,
                "batches": config.batches,
                "smoothing": config.smoothing,
                "scheduled_sampling": config.scheduled_sampling,
            }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let model = self.tested(directory)?.valid();
        let device = self.trainee.device.clone().inner();
        let translator =
            Translator { model: &model, tokenizers: &self.tokenizers, device: &device };
        let sources: Vec<&[u32]> = self.test_pairs.iter().map(|pair| &pair.source[..]).collect();
        let found = translator.search(&sources, &self.config.beam)?;
        let hypotheses = translator.texts(&found)?;
        let references: Vec<&str> = self.test.iter().map(|pair| &pair.target[..]).collect();

        let scored = self.config.scores.score(&hypotheses, &references)?;
        let mut metrics = scored.metrics;
        metrics.insert("test_count".into(), references.len() as f64);
        metrics.insert("averaged_checkpoints".into(), self.config.averaged_checkpoints as f64);
        let perplexity = self.perplexity(&model, &sources, &device)?;
        metrics.extend(perplexity.map(|perplexity| ("test_perplexity".into(), perplexity)));

        let mut samples = scored.notes;
        let mut heatmaps = Vec::new();
        let shown = (0..sources.len()).step_by(sources.len().div_ceil(SHOWN).max(1));
        for (number, place) in (1..).zip(shown) {
            let pair = &self.test[place];
            let (source, reference, written) = (&pair.source, &pair.target, &hypotheses[place]);
            samples += &format!("source      {source}\nreference   {reference}\n");
            samples += &format!("hypothesis  {written}\n\n");
            if number <= DRAWN {
                let title = format!("attention of sample {number}");
                heatmaps.extend(translator.attention(title, sources[place], &found[place])?);
            }
        }
        Ok(Findings { metrics, samples, heatmaps, ..Findings::default() })
    }
}

impl<C: TranslatorConfig> PreparedTranslator<C> {
    /// The mean of the last checkpoints, or the best one.
    fn tested(&self, directory: &Path) -> Result<C::Model> {
        match self.config.averaged_checkpoints {
            1 => self.trainee.best(directory),
            n => {
                let averaged = directory.join(AVERAGED);
                // Of a session that may not have come to its end.
                if averaged.exists() {
                    remove_directory(&averaged)?;
                }
                average_checkpoints(directory, n, &averaged)?;
                self.trainee.load(&averaged)
            }
        }
    }

    /// That of a token of the test's targets; `None` where it is beyond all numbers.
    fn perplexity(
        &self,
        model: &C::Model,
        sources: &[&[u32]],
        device: &Device,
    ) -> Result<Option<f64>> {
        let targets: Vec<&[u32]> = self.test_pairs.iter().map(|pair| &pair.target[..]).collect();
        let (start, rows) = (self.tokenizers[1].start_token(), self.config.beam.batch_size);
        let scores = target_log_probabilities(model, sources, start, &targets, rows, device)?;
        let count = scores.iter().map(Vec::len).sum::<usize>();
        let sum: f64 = scores.iter().flatten().sum();
        Ok(Some((-sum / count.max(1) as f64).exp()).filter(|perplexity| perplexity.is_finite()))
    }
}
