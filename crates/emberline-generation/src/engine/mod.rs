//! Tokens one at a time, for every model that goes on from where it stopped: after a prompt, or for a source.

mod config;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::slice;

use burn::tensor::Device;
use emberline_core::{EncoderDecoder, Incremental, Stream};

pub use self::config::{ContextLimit, GenerationConfig};
use crate::batches::{batches_by_length, batches_of_one_length};
use crate::decoder::{Continuation, Decoder, Target, to_numbers};
use crate::error::GenerationError;
use crate::input;
use crate::pick::Pick;
use crate::sampling::highest;

/// Continues every prompt; `on_token` sees each new token with the index of its row as soon as it is picked, and may end
/// that row with `Break`. The rows are those of the first prompt, `n_sequences` of them, then those of the second.
///
/// A prompt is encoded once, and then each new token alone: the work for a token does not grow with the
/// text where the model's cache does not. Prompts of similar length share a batch, of one length where the model does
/// not read rows that are padded on the left. A row after which every token is ruled out ends as it is.
///
/// # Errors
/// [`EmptyPrompt`](GenerationError::EmptyPrompt), [`UnknownToken`](GenerationError::UnknownToken),
/// [`PromptTooLong`](GenerationError::PromptTooLong), [`BadWord`](GenerationError::BadWord) and those of [`GenerationConfig::validate`] before anything is generated, and
/// [`StopStringsOfTokens`](GenerationError::StopStringsOfTokens);
/// [`NotANumber`](GenerationError::NotANumber) if the model's scores are not.
pub fn generate<M: Incremental>(
    model: &M,
    prompts: &[&[u32]],
    config: &GenerationConfig,
    device: &Device,
    on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerationError> {
    generate_with_scores(model, prompts, config, device, tokens_only(on_token))
}

/// The same; `on_pick` sees how probable each token was, and stop tokens too.
///
/// # Errors
/// Those of [`generate`].
pub fn generate_with_scores<M: Incremental>(
    model: &M,
    prompts: &[&[u32]],
    config: &GenerationConfig,
    device: &Device,
    on_pick: impl FnMut(usize, &Pick<'_>) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerationError> {
    config.validate_for_tokens()?;
    continue_prompts(model, prompts, config, device, on_pick)
}

/// The same, whatever the stop strings, and for a valid config.
pub(crate) fn continue_prompts<M: Incremental>(
    model: &M,
    prompts: &[&[u32]],
    config: &GenerationConfig,
    device: &Device,
    mut on_pick: impl FnMut(usize, &Pick<'_>) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerationError> {
    input::check_prompts(prompts, model.vocab_size())?;
    config.restrictions().check_bad_words(model.vocab_size())?;
    let limits =
        prompts.iter().enumerate().map(|(row, prompt)| config.limit_of_prompt(row, prompt));
    let limits: Vec<usize> = limits.collect::<Result<_, _>>()?;
    let prompts = config.repeated(prompts);
    let limit = |row: usize| limits[row / config.n_sequences];
    let mut generated = vec![Vec::new(); prompts.len()];
    let batches = match M::READS_LEFT_PADDING {
        true => batches_by_length(&prompts, config.batch_size),
        false => batches_of_one_length(&prompts, config.batch_size),
    };
    for mut batch in batches {
        batch.retain(|row| limit(*row) > 0);
        if batch.is_empty() {
            continue;
        }
        let distinct = Distinct::new(&batch, config.n_sequences);
        let read = |row: &usize| &prompts[*row][config.context_limit.start(prompts[*row].len())..];
        let first: Vec<&[u32]> = distinct.rows.iter().map(read).collect();
        let row = |index: usize| {
            Row::new(index, prompts[index], limit(index), config.context_limit, config)
        };
        let rows = batch.into_iter().map(row).collect();
        let decoder = Continuation::new(model, device);
        write_rows(decoder, rows, &first, distinct, config, &mut on_pick, &mut generated)?;
    }
    Ok(generated)
}

/// Writes a target for every source, after `start_token`, which is not part of it; `on_token` sees each token with the
/// index of its row as soon as it is picked, and may end that row with `Break`. The rows are those of the first source,
/// `n_sequences` of them, then those of the second.
///
/// A source is read once. Sources of similar length share a batch.
///
/// # Errors
/// [`EmptySource`](GenerationError::EmptySource), [`BadWord`](GenerationError::BadWord) and those of
/// [`GenerationConfig::validate`] before anything is generated, and
/// [`StopStringsOfTokens`](GenerationError::StopStringsOfTokens);
/// [`NotANumber`](GenerationError::NotANumber) if the model's scores are not.
pub fn generate_target<M: EncoderDecoder>(
    model: &M,
    sources: &[&[u32]],
    start_token: u32,
    config: &GenerationConfig,
    device: &Device,
    on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Vec<u32>>, GenerationError> {
    config.validate_for_tokens()?;
    input::check_sources(sources, start_token, model.vocab_size())?;
    config.restrictions().check_bad_words(model.vocab_size())?;
    let mut on_pick = tokens_only(on_token);
    let sources = config.repeated(sources);
    let mut generated = vec![Vec::new(); sources.len()];
    for mut batch in batches_by_length(&sources, config.batch_size) {
        batch.retain(|row| config.limit(sources[*row]) > 0);
        if batch.is_empty() {
            continue;
        }
        let distinct = Distinct::new(&batch, config.n_sequences);
        let read: Vec<&[u32]> = distinct.rows.iter().map(|row| sources[*row]).collect();
        let start = slice::from_ref(&start_token);
        let row = |index: usize| {
            Row::new(index, start, config.limit(sources[index]), ContextLimit::None, config)
        };
        let rows = batch.into_iter().map(row).collect();
        let first = vec![start; read.len()];
        let decoder = Target::new(model, &read, device);
        write_rows(decoder, rows, &first, distinct, config, &mut on_pick, &mut generated)?;
    }
    Ok(generated)
}

fn tokens_only(
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> impl FnMut(usize, &Pick<'_>) -> ControlFlow<()> {
    move |row, pick| {
        if pick.is_stop { ControlFlow::Continue(()) } else { on_token(row, pick.token) }
    }
}

/// The rows of a batch of which each input is read once: the first of each.
struct Distinct {
    rows: Vec<usize>,
    /// For each row of the batch, the place of the one that is read.
    places: Vec<usize>,
}

impl Distinct {
    /// The sequences of an input are neighbours.
    fn new(batch: &[usize], n_sequences: usize) -> Self {
        let mut rows: Vec<usize> = Vec::new();
        let mut places = Vec::with_capacity(batch.len());
        for row in batch {
            if rows.last().is_none_or(|last| last / n_sequences != row / n_sequences) {
                rows.push(*row);
            }
            places.push(rows.len() - 1);
        }
        Self { rows, places }
    }
}

/// A row of a batch.
struct Row {
    /// The index among all rows.
    index: usize,
    chance: Stream,
    /// The prompt or start token, and all tokens since.
    tokens: Vec<u32>,
    n_first: usize,
    /// How many new tokens it gets at most.
    limit: usize,
    context_limit: ContextLimit,
    /// The first of the tokens that the model reads.
    start: usize,
}

impl Row {
    fn new(
        index: usize,
        first: &[u32],
        limit: usize,
        context_limit: ContextLimit,
        config: &GenerationConfig,
    ) -> Self {
        let (chance, tokens, n_first) = (config.chance(index), first.to_vec(), first.len());
        let start = context_limit.start(first.len());
        Self { index, chance, tokens, n_first, limit, context_limit, start }
    }

    /// Lets the model begin to read further on if the tokens have become too many; whether it does.
    fn slide(&mut self) -> bool {
        let start = self.context_limit.slid(self.start, self.tokens.len());
        let slides = start != self.start;
        self.start = start;
        slides
    }

    fn n_new(&self) -> usize {
        self.tokens.len() - self.n_first
    }

    /// Picks the next token by the scores of all; whether the row goes on.
    fn grow(
        &mut self,
        scores: &[f32],
        config: &GenerationConfig,
        on_pick: &mut impl FnMut(usize, &Pick<'_>) -> ControlFlow<()>,
    ) -> Result<bool, GenerationError> {
        let (position, restrictions, sampling) =
            (self.n_new(), config.restrictions(), &config.sampling);
        let not_a_number = GenerationError::NotANumber { row: self.index, position };
        let mut restricted = Vec::new();
        let processed = if restrictions.are_none() {
            scores
        } else if highest(scores).is_none() {
            return Err(not_a_number);
        } else {
            restricted.extend_from_slice(scores);
            restrictions.apply(&mut restricted, 0.0, &self.tokens, position);
            &restricted
        };
        let Some(token) = sampling.pick(processed, self.chance.uniform(position as u64)) else {
            let all_is_ruled_out = !restrictions.are_none();
            return if all_is_ruled_out { Ok(false) } else { Err(not_a_number) };
        };
        let is_stop = config.stop_tokens.contains(&token);
        let flow = on_pick(self.index, &Pick { token, is_stop, sampling, scores, processed });
        if !is_stop {
            self.tokens.push(token);
        }
        Ok(!is_stop && flow.is_continue() && self.n_new() < self.limit)
    }
}

/// Writes the given rows, after what they are `first` to read, into `generated`.
fn write_rows<D: Decoder>(
    mut decoder: D,
    mut rows: Vec<Row>,
    first: &[&[u32]],
    distinct: Distinct,
    config: &GenerationConfig,
    on_pick: &mut impl FnMut(usize, &Pick<'_>) -> ControlFlow<()>,
    generated: &mut [Vec<u32>],
) -> Result<(), GenerationError> {
    let vocab_size = decoder.vocab_size();
    let mut scores;
    (scores, decoder) = decoder.advance(first);
    // Where the scores of each row are.
    let mut places = distinct.places;
    loop {
        let numbers = to_numbers(scores);
        let (mut going_on, mut parents) = (Vec::with_capacity(rows.len()), Vec::new());
        for (mut row, place) in rows.into_iter().zip(places) {
            let scores = &numbers[place * vocab_size..][..vocab_size];
            if row.grow(scores, config, on_pick)? {
                going_on.push(row);
                parents.push(place);
            } else {
                generated[row.index] = row.tokens.split_off(row.n_first);
            }
        }
        if going_on.is_empty() {
            return Ok(());
        }
        rows = going_on;
        places = (0..rows.len()).collect();
        let n_slides = rows.iter_mut().filter_map(|row| row.slide().then_some(())).count();
        if n_slides > 0 {
            decoder = decoder.forget();
        } else if !parents.iter().copied().eq(0..numbers.len() / vocab_size) {
            decoder = decoder.select_rows(&parents);
        }
        let unread = |row: &Row| if n_slides > 0 { row.start } else { row.tokens.len() - 1 };
        let next: Vec<&[u32]> = rows.iter().map(|row| &row.tokens[unread(row)..]).collect();
        (scores, decoder) = decoder.advance(&next);
    }
}
