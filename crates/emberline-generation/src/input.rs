//! What every way of decoding asks of its input.

use crate::error::GenerationError;

pub(crate) fn check_prompts(prompts: &[&[u32]], vocab_size: usize) -> Result<(), GenerationError> {
    for (row, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(GenerationError::EmptyPrompt { row });
        }
        check_tokens(row, prompt, vocab_size)?;
    }
    Ok(())
}

pub(crate) fn check_tokens(
    row: usize,
    tokens: &[u32],
    vocab_size: usize,
) -> Result<(), GenerationError> {
    match tokens.iter().find(|token| **token as usize >= vocab_size) {
        Some(&token) => Err(GenerationError::UnknownToken { row, token, vocab_size }),
        None => Ok(()),
    }
}

/// The tokens of a source are of another vocabulary, which only the model knows.
pub(crate) fn check_sources(
    sources: &[&[u32]],
    start_token: u32,
    vocab_size: usize,
) -> Result<(), GenerationError> {
    let is_known = (start_token as usize) < vocab_size;
    let expected = "a token of the model's target";
    check(is_known, "start_token", f64::from(start_token), expected)?;
    match sources.iter().position(|source| source.is_empty()) {
        Some(row) => Err(GenerationError::EmptySource { row }),
        None => Ok(()),
    }
}

pub(crate) fn check(
    holds: bool,
    setting: &'static str,
    value: f64,
    expected: &'static str,
) -> Result<(), GenerationError> {
    if holds { Ok(()) } else { Err(GenerationError::Setting { setting, value, expected }) }
}

pub(crate) fn check_at_least_1(setting: &'static str, value: usize) -> Result<(), GenerationError> {
    check(value > 0, setting, value as f64, "at least 1")
}

pub(crate) fn check_per_input_token(value: f64) -> Result<(), GenerationError> {
    let holds = value >= 0.0 && value.is_finite();
    check(holds, "max_per_input_token", value, "a number not below 0")
}

/// How many tokens the row of an input gets at most.
pub(crate) fn limit(max_new_tokens: usize, per_input_token: f64, input: &[u32]) -> usize {
    max_new_tokens.saturating_add((per_input_token * input.len() as f64) as usize)
}
