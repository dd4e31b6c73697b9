//! Beam search: the most probable texts, as far as following the best few beginnings finds them.
//!
//! The search is that of Hugging Face's `transformers`: in each step, of all continuations of a row's beams, those that
//! stop and are among the best `beam_size` are complete, and the best `beam_size` that do not stop go on, all by their
//! log-probability; at the maximum length the best `beam_size` are complete as they are. Scores compare only complete
//! hypotheses. What may not come, before the minimum length, in a repeated n-gram or in a bad word, is ruled out without
//! changing the probability of anything else.

mod candidates;
mod config;
mod sentence;
#[cfg(test)]
mod tests;

use burn::tensor::Device;
use emberline_backend::log_sum_exp;
use emberline_core::{EncoderDecoder, Incremental};

use self::candidates::Candidates;
pub use self::config::{BeamConfig, BeamScoring, EarlyStopping};
pub use self::sentence::Hypothesis;
use self::sentence::{Beam, Sentence};
use crate::batches::{batches_by_length, batches_of_one_length, each_batch};
use crate::decoder::{Continuation, Decoder, Target, to_numbers};
use crate::error::GenerationError;
use crate::input;

/// The best continuations found of every prompt, best first; `n_best` of them, or fewer if fewer are possible.
///
/// Prompts of one length share a batch. No prompt's result depends on another's, but for rounding.
///
/// # Errors
/// [`EmptyPrompt`](GenerationError::EmptyPrompt), [`UnknownToken`](GenerationError::UnknownToken),
/// [`BadWord`](GenerationError::BadWord) and [`Setting`](GenerationError::Setting) before anything is searched;
/// [`NoAttention`](GenerationError::NoAttention) with a coverage penalty;
/// [`NotANumber`](GenerationError::NotANumber) if the model's scores are not.
pub fn beam_search<M: Incremental + Sync>(
    model: &M,
    prompts: &[&[u32]],
    config: &BeamConfig,
    device: &Device,
) -> Result<Vec<Vec<Hypothesis>>, GenerationError> {
    config.validate()?;
    input::check_prompts(prompts, model.vocab_size())?;
    config.restrictions().check_bad_words(model.vocab_size())?;
    let batches = batches_of_one_length(prompts, config.batch_size);
    let found = each_batch(batches, device, |rows| {
        let sentence = |row: usize| Sentence::new(row, prompts[row], 0, config.limit(prompts[row]));
        let sentences = rows.into_iter().map(sentence).collect();
        search(Continuation::new(model, device), sentences, config)
    })?;
    Ok(in_order(found))
}

/// The best targets found for every source, best first; `n_best` of them, or fewer if fewer are possible. A target
/// follows `start_token`, which is not part of it.
///
/// Sources of similar length share a batch. No source's result depends on another's, but for rounding.
///
/// # Errors
/// [`EmptySource`](GenerationError::EmptySource), [`BadWord`](GenerationError::BadWord) and
/// [`Setting`](GenerationError::Setting) before anything is searched; [`NoAttention`](GenerationError::NoAttention) with a coverage penalty and a model without attention;
/// [`NotANumber`](GenerationError::NotANumber) if the model's scores are not.
pub fn beam_search_target<M: EncoderDecoder + Sync>(
    model: &M,
    sources: &[&[u32]],
    start_token: u32,
    config: &BeamConfig,
    device: &Device,
) -> Result<Vec<Vec<Hypothesis>>, GenerationError> {
    config.validate()?;
    input::check_sources(sources, start_token, model.vocab_size())?;
    config.restrictions().check_bad_words(model.vocab_size())?;
    let batches = batches_by_length(sources, config.batch_size);
    let found = each_batch(batches, device, |rows| {
        let batch: Vec<&[u32]> = rows.iter().map(|row| sources[*row]).collect();
        let sentence = |row: usize| {
            let source = sources[row];
            Sentence::new(row, &[start_token], source.len(), config.limit(source))
        };
        let sentences = rows.into_iter().map(sentence).collect();
        search(Target::new(model, &batch, device), sentences, config)
    })?;
    Ok(in_order(found))
}

/// What was found of each row, in the order of the rows.
fn in_order(found: Vec<Vec<(usize, Vec<Hypothesis>)>>) -> Vec<Vec<Hypothesis>> {
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_by_key(|(row, _)| *row);
    found.into_iter().map(|(_, hypotheses)| hypotheses).collect()
}

/// Searches for the sentences of a batch, which begin with equally many tokens; gives what was found with the rows.
fn search<D: Decoder>(
    mut decoder: D,
    mut sentences: Vec<Sentence>,
    config: &BeamConfig,
) -> Result<Vec<(usize, Vec<Hypothesis>)>, GenerationError> {
    let mut found = Vec::with_capacity(sentences.len());
    let vocab_size = decoder.vocab_size();
    let mut candidates = Candidates::new(config.n_candidates());
    let mut n_read = 0;
    loop {
        let next: Vec<&[u32]> = beams(&sentences).map(|beam| &beam.tokens[n_read..]).collect();
        let n_rows = next.len();
        n_read += next[0].len();
        let (scores, attention);
        (scores, attention, decoder) = if config.scoring.needs_attention() {
            let (scores, attention, decoder) = decoder.advance_with_attention(&next);
            (scores, Some(attention.ok_or(GenerationError::NoAttention)?), decoder)
        } else {
            let (scores, decoder) = decoder.advance(&next);
            (scores, None, decoder)
        };
        let totals = to_numbers(log_sum_exp(scores.clone()));
        let mut scores = to_numbers(scores);
        let source_length = attention.as_ref().map_or(0, Vec::len) / n_rows;

        // For each row of the next step, the one it continues.
        let mut parents = Vec::with_capacity(n_rows);
        let mut end = 0;
        for sentence in &mut sentences {
            let start = end;
            end += sentence.beams.len();
            let scores = &mut scores[start * vocab_size..end * vocab_size];
            let attention =
                attention.as_ref().map(|all| &all[start * source_length..end * source_length]);
            sentence.consider(scores, &totals[start..end], config, &mut candidates)?;
            let places = sentence.follow(candidates.best(), attention, config);
            parents.extend(places.into_iter().map(|place| start + place));
        }
        for done in sentences.extract_if(.., |sentence| sentence.beams.is_empty()) {
            found.push((done.index, done.into_best(config.n_best)));
        }
        if sentences.is_empty() {
            return Ok(found);
        }
        if !parents.iter().copied().eq(0..n_rows) {
            decoder = decoder.select_rows(&parents);
        }
    }
}

fn beams(sentences: &[Sentence]) -> impl Iterator<Item = &Beam> {
    sentences.iter().flat_map(|sentence| &sentence.beams)
}
