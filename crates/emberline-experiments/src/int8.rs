//! Weights of int8 for decoding, and what they cost.

use anyhow::{Result, bail};
use emberline_generation::{LogLikelihood, Window, rolling_log_likelihoods};

use crate::model_directory::{AnyModel, Loaded, with_model};
use crate::terminal;

/// The tokens that a model without positions reads at once.
const WINDOW: usize = 512;

impl Loaded {
    /// The same model with int8 weights; tells what that costs on a text, which is `named`, in perplexity.
    ///
    /// # Errors
    /// If the model is of a kind that has none, or the text is not of its tokens.
    pub fn into_int8(self, text: &str, named: &str) -> Result<Self> {
        let before = self.log_likelihood(text)?;
        let model = match self.model {
            AnyModel::Gpt1(model) => AnyModel::Gpt1(model.into_int8()),
            AnyModel::Gpt2(model) => AnyModel::Gpt2(model.into_int8()),
            AnyModel::Gpt3(model) => AnyModel::Gpt3(model.into_int8()),
            AnyModel::Recurrent(_) => bail!("--int8 is for GPTs, and this is a recurrent model"),
        };
        let loaded = Self { model, ..self };
        if before.n_tokens == 0 {
            terminal::note(format_args!(
                "int8: nothing follows the first token of {named}; --perplexity-of tells what it costs"
            ));
            return Ok(loaded);
        }
        let [before, after] = [before, loaded.log_likelihood(text)?].map(perplexity);
        terminal::note(format_args!(
            "int8: perplexity {after:.4} a token of {named}, {before:.4} with f32: {:+.3} %",
            (after / before - 1.0) * 100.0
        ));
        Ok(loaded)
    }

    /// That of every token of a text but the first, each after half a window at least where there are so many.
    fn log_likelihood(&self, text: &str) -> Result<LogLikelihood> {
        let tokens = self.tokenizer.encode(text)?;
        if tokens.len() < 2 {
            return Ok(LogLikelihood::default());
        }
        let max_positions = self.n_positions.unwrap_or(WINDOW).min(tokens.len());
        let window = Window { max_positions, stride: max_positions.div_ceil(2) };
        let Self { model, device, .. } = self;
        let found = with_model!(model, model => rolling_log_likelihoods(model, &[&tokens], window, 1, device));
        Ok(found?.remove(0))
    }
}

fn perplexity(LogLikelihood { sum, n_tokens }: LogLikelihood) -> f64 {
    (-sum / n_tokens as f64).exp()
}
