//! Items whose answers are written.

use std::ops::ControlFlow;

use emberline_core::Incremental;
use emberline_generation::{
    BeamConfig, ContextLimit, GenerationConfig, GenerationError, beam_search_text, generate_texts,
};

use super::{AskConfig, Asker};
use crate::in_context::error::InContextError;
use crate::in_context::prompts::Prompt;
use crate::in_context::report::{Answer, Sample};
use crate::in_context::requests::{KnownAnswers, key};
use crate::in_context::task::{Item, Task};

impl<M: Incremental + Sync> Asker<'_, M> {
    /// Asks the items whose answers are written.
    pub(super) fn write(
        &self,
        prompts: &[Prompt],
        known: &mut KnownAnswers,
    ) -> Result<Vec<Sample>, InContextError> {
        let Self { task, config, .. } = self;
        let mut samples = Vec::new();
        for (item, prompt) in prompts.iter().enumerate() {
            if matches!(task.items[item], Item::Text { .. }) {
                samples.push(self.sample(item, prompt));
            }
        }
        // A blank at the end would be one that belongs to the first token of the answer.
        let texts = samples.iter().map(|sample| sample.prompt.trim_end_matches(' '));
        let texts: Vec<&str> = texts.collect();
        let AskConfig { n_beams, max_positions, start_token, .. } = **config;
        let how = (task.max_new_tokens, &task.stop_strings, start_token, max_positions, n_beams);
        let keys = texts.iter().map(|text| key(&(text, how))).collect();
        let written = known.texts(keys, |new| {
            let texts: Vec<&str> = new.iter().map(|place| texts[*place]).collect();
            match n_beams {
                0 | 1 => self.write_greedily(&texts),
                _ => texts.iter().map(|text| self.write_by_beams(text)).collect(),
            }
        })?;
        for (sample, written) in samples.iter_mut().zip(written) {
            let is_right = task.items[sample.item].is_right(&written, task);
            sample.values = vec![("exact_match", f64::from(u8::from(is_right)))];
            sample.answer = Answer::Written(written);
        }
        Ok(samples)
    }

    fn write_greedily(&self, texts: &[&str]) -> Result<Vec<String>, GenerationError> {
        let Self { model, tokenizer, task, config, device } = self;
        let ends = config.max_positions.map_or(ContextLimit::None, ContextLimit::Ends);
        let config = GenerationConfig {
            max_new_tokens: task.max_new_tokens,
            context_limit: ends,
            stop_strings: task.stop_strings.clone(),
            stop_tokens: config.start_token.into_iter().collect(),
            batch_size: config.batch_size,
            ..GenerationConfig::default()
        };
        generate_texts(*model, tokenizer, texts, &config, device, |_| ControlFlow::Continue(()))
    }

    /// By the length penalty of GNMT with 0.6, as GPT-3 wrote its answers.
    fn write_by_beams(&self, text: &str) -> Result<String, GenerationError> {
        let Self { model, tokenizer, task, config, device } = self;
        let beams = BeamConfig {
            beam_size: config.n_beams,
            max_new_tokens: task.max_new_tokens,
            max_per_input_token: 0.0,
            stop_tokens: config.start_token.into_iter().collect(),
            ..BeamConfig::default()
        };
        let found = beam_search_text(*model, tokenizer, text, &beams, device)?;
        let written = found.into_iter().next().map_or(String::new(), |(written, _)| written);
        let ends = task.stop_strings.iter().filter_map(|stop| written.find(stop));
        Ok(written[..ends.min().unwrap_or(written.len())].to_string())
    }
}

impl Item {
    /// Whether what counts of a written answer is a target, blanks around both aside.
    fn is_right(&self, written: &str, task: &Task) -> bool {
        let counts = match &task.output_pattern {
            Some(pattern) => pattern.find(written).map_or("", |found| found.as_str()),
            None => written,
        };
        let Self::Text { targets, .. } = self else { return false };
        targets.iter().any(|target| target.trim() == counts.trim())
    }
}
