//! A trained model with its tokenizers: its files, and what it writes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use emberline_checkpoint::write_config;
use emberline_checkpoint::{CheckpointError, is_complete, read_config, verify, write_atomically};
use emberline_core::{EncoderDecoder, Stream};
use emberline_generation::{BeamConfig, Hypothesis, beam_search_target};
use emberline_models::attention_seq2seq::{BahdanauConfig, LuongConfig};
use emberline_models::seq2seq::{ChoConfig, SutskeverConfig};
use emberline_models::transformer::TransformerConfig;
use emberline_text::TranslationTokenizer;
use serde::Serialize;
use serde_json::Value;

use super::config::TranslatorConfig;
use crate::config::check_memory;
use crate::model_directory::load_weights_into;
use crate::names;

const SOURCE_TOKENIZER: &str = "source_tokenizer.json";
const TARGET_TOKENIZER: &str = "target_tokenizer.json";

/// A model that can read and write text.
pub struct Translator<'a, M> {
    pub model: &'a M,
    pub tokenizers: &'a [TranslationTokenizer; 2],
    pub device: &'a Device,
}

impl<M: EncoderDecoder + Sync> Translator<'_, M> {
    /// The best translation found of each source, which ends with its `</s>`.
    ///
    /// # Errors
    /// Those of [`beam_search_target`].
    pub fn search(&self, sources: &[&[u32]], beam: &BeamConfig) -> Result<Vec<Vec<u32>>> {
        let [_, target] = self.tokenizers;
        let beam = BeamConfig { stop_tokens: vec![target.end_token()], ..beam.clone() };
        let start = target.start_token();
        let found = beam_search_target(self.model, sources, start, &beam, self.device)?;
        let best =
            |hypotheses: Vec<Hypothesis>| hypotheses.into_iter().next().map(|best| best.tokens);
        Ok(found.into_iter().map(|hypotheses| best(hypotheses).unwrap_or_default()).collect())
    }

    /// The texts of what was found.
    ///
    /// # Errors
    /// Those of [`TranslationTokenizer::decode`].
    pub fn texts(&self, found: &[Vec<u32>]) -> Result<Vec<String>> {
        Ok(found.iter().map(|ids| self.tokenizers[1].decode(ids)).collect::<Result<_, _>>()?)
    }
}

/// Whether a model has room for every source and for all that a search may write.
///
/// # Errors
/// If it has not, with the numbers.
pub fn check_length(max_length: Option<usize>, longest: usize, what: &str) -> Result<()> {
    let Some(max_length) = max_length else { return Ok(()) };
    ensure!(
        longest <= max_length,
        "{what} may have {longest} tokens, and the model has room for {max_length}"
    );
    Ok(())
}

/// Writes the config of a model and its tokenizers into a directory that is there.
pub fn write_others(
    config: &impl Serialize,
    [source, target]: &[TranslationTokenizer; 2],
    directory: &Path,
) -> Result<(), CheckpointError> {
    write_config(directory, config)?;
    write_atomically(directory.join(SOURCE_TOKENIZER), &source.to_json())?;
    write_atomically(directory.join(TARGET_TOKENIZER), &target.to_json())
}

/// Translates sentences, whatever the model.
pub trait Translate {
    /// The best translation found of each sentence.
    ///
    /// # Errors
    /// If a sentence is empty or longer than the model takes.
    fn translate(&self, sentences: &[String], beam: &BeamConfig) -> Result<Vec<String>>;
}

struct Loaded<M> {
    model: M,
    tokenizers: [TranslationTokenizer; 2],
    device: Device,
    max_length: Option<usize>,
}

impl<M: EncoderDecoder + Sync> Translate for Loaded<M> {
    fn translate(&self, sentences: &[String], beam: &BeamConfig) -> Result<Vec<String>> {
        let mut beam = beam.clone();
        if let Some(max_length) = self.max_length {
            beam.max_new_tokens = beam.max_new_tokens.min(max_length);
            beam.max_per_input_token = 0.0;
        }
        let encode = |(line, sentence): (usize, &String)| -> Result<Vec<u32>> {
            let ids =
                self.tokenizers[0].encode(sentence).with_context(|| format!("line {line}"))?;
            check_length(self.max_length, ids.len(), &format!("line {line}"))?;
            Ok(ids)
        };
        let sources: Vec<_> = (1..).zip(sentences).map(encode).collect::<Result<_>>()?;
        let sources: Vec<&[u32]> = sources.iter().map(|ids| &ids[..]).collect();
        let Self { model, tokenizers, device, .. } = self;
        let translator = Translator { model, tokenizers, device };
        translator.texts(&translator.search(&sources, &beam)?)
    }
}

/// Reads the directory of a model that translates, strictly.
///
/// # Errors
/// If it is none, a file is missing or foreign, a tensor does not fit, or a tokenizer is of another vocabulary.
pub fn load(directory: &Path, device: &Device) -> Result<Box<dyn Translate>> {
    // A plain model directory has no checksums.
    if is_complete(directory) {
        verify(directory)?;
    }
    let config: Value = read_config(directory)?;
    let model_type = config["model_type"].as_str().unwrap_or_default();
    match model_type {
        "sutskever" => load_as::<SutskeverConfig>(directory, device),
        "cho" => load_as::<ChoConfig>(directory, device),
        "bahdanau" => load_as::<BahdanauConfig>(directory, device),
        "luong" => load_as::<LuongConfig>(directory, device),
        "transformer" => load_as::<TransformerConfig>(directory, device),
        other => {
            let known = ["sutskever", "cho", "bahdanau", "luong", "transformer"];
            anyhow::bail!(
                "{} is of the kind `{other}`, which does not translate; {}",
                directory.display(),
                names::hint(other, known)
            )
        }
    }
}

fn load_as<C: TranslatorConfig>(directory: &Path, device: &Device) -> Result<Box<dyn Translate>> {
    let config: C = read_config(directory)?;
    config
        .check()
        .and_then(|()| check_memory(config.parameter_count(), 1))
        .with_context(|| format!("the config.json of {} cannot be used", directory.display()))?;
    let read = |name| TranslationTokenizer::from_file(directory.join(name));
    let tokenizers = [read(SOURCE_TOKENIZER)?, read(TARGET_TOKENIZER)?];
    let [found, expected] =
        [tokenizers.each_ref().map(TranslationTokenizer::vocab_size), config.vocab_sizes()];
    ensure!(
        found == expected,
        "{} has vocabularies of {found:?} tokens, and its model of {expected:?}",
        directory.display()
    );
    // The random weights are replaced, all of them or none.
    let model = config.init(Stream::new(0), device);
    let model = load_weights_into(model, &C::stored_name, directory)?;
    let max_length = config.max_length();
    Ok(Box::new(Loaded { model, tokenizers, device: device.clone(), max_length }))
}
