//! What a loaded language model writes after a text.

use std::ops::ControlFlow;

use anyhow::{Result, ensure};
use emberline_generation::{
    BeamConfig, ContextLimit, GenerationConfig, GenerationError, Hypothesis, TextStep,
    beam_search_text, generate_text, generate_texts,
};

use crate::model_directory::{Loaded, with_model};
use crate::terminal;

impl Loaded {
    /// Continues a text; `on_text` sees each piece as it comes, and may end it.
    ///
    /// # Errors
    /// Those of [`generate_text`].
    pub fn continue_text(
        &self,
        prompt: &str,
        config: &GenerationConfig,
        on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<String, GenerationError> {
        let Self { model, tokenizer, device, .. } = self;
        with_model!(model, model => generate_text(model, tokenizer, prompt, config, device, on_text))
    }

    /// Continues texts, each as often as the config asks for; `on_step` sees each token.
    ///
    /// # Errors
    /// Those of [`generate_texts`].
    pub fn continue_texts(
        &self,
        prompts: &[&str],
        config: &GenerationConfig,
        on_step: impl FnMut(&TextStep<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>, GenerationError> {
        let Self { model, tokenizer, device, .. } = self;
        if let ContextLimit::Ends(n_positions) = config.context_limit {
            let tokens = prompts.iter().map(|prompt| Ok(tokenizer.encode(prompt)?.len()));
            let longest = tokens.collect::<Result<Vec<_>, GenerationError>>()?.into_iter().max();
            note_room(n_positions.saturating_sub(longest.unwrap_or(0)), config.max_new_tokens);
        }
        with_model!(model, model => generate_texts(model, tokenizer, prompts, config, device, on_step))
    }

    /// The best continuations of a text that are found.
    ///
    /// # Errors
    /// Those of [`beam_search_text`], and if the model has no position for what follows.
    pub fn search(&self, prompt: &str, config: &BeamConfig) -> Result<Vec<(String, Hypothesis)>> {
        let Self { model, tokenizer, device, .. } = self;
        let mut config = config.clone();
        if let Some(n_positions) = self.n_positions {
            let n_tokens = tokenizer.encode(prompt)?.len();
            ensure!(
                n_tokens < n_positions,
                GenerationError::PromptTooLong { row: 0, n_tokens, max_positions: n_positions }
            );
            let room = n_positions - n_tokens;
            note_room(room, config.max_new_tokens);
            config.max_new_tokens = config.max_new_tokens.min(room);
        }
        let found = with_model!(model, model => beam_search_text(model, tokenizer, prompt, &config, device));
        Ok(found?)
    }
}

/// Says that a text ends before it has as many tokens as are asked for.
fn note_room(room: usize, max_new_tokens: usize) {
    if (1..max_new_tokens).contains(&room) {
        terminal::note(format_args!("the positions of the model end after {room} new tokens"));
    }
}
