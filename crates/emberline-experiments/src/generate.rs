//! `emberline generate`: a trained model continues a prompt.

use std::io::Write;
use std::ops::ControlFlow;

use emberline_generation::{GenerationConfig, GenerationError, Sampling, generate_text};
use serde_json::json;

use crate::cli::GenerateArguments;
use crate::failure::{Failure, Outcome};
use crate::model_directory::{self, Loaded};
use crate::terminal;

/// How to pick at a temperature, of which 0 means the most likely token.
///
/// # Errors
/// Those of [`Sampling::validate`], also for settings that do not matter at temperature 0.
pub fn sampling(
    temperature: f64,
    top_k: Option<usize>,
    top_p: Option<f64>,
) -> Result<Sampling, GenerationError> {
    let is_greedy = temperature == 0.0;
    let temperature = if is_greedy { 1.0 } else { temperature };
    let random = Sampling::Random { temperature, top_k, top_p };
    random.validate()?;
    Ok(if is_greedy { Sampling::Greedy } else { random })
}

/// Streams the prompt and what follows it to stdout.
pub fn run(arguments: GenerateArguments) -> Outcome {
    let sampling = sampling(arguments.temperature, arguments.top_k, arguments.top_p)
        .map_err(|error| Failure::Usage(error.into()))?;
    if arguments.prompt.is_empty() {
        return Err(Failure::usage("--prompt is empty: a model goes on from one token at least"));
    }
    let (max_new_tokens, seed) = (arguments.max_new_tokens, arguments.seed);
    let config = GenerationConfig { sampling, max_new_tokens, seed, ..GenerationConfig::default() };

    let directory = model_directory::resolve(&arguments.model)?;
    let loaded = model_directory::load(&directory, &arguments.device.open()?)?;
    let prompt = &arguments.prompt;
    if arguments.json {
        let generated_text =
            loaded.continue_text(prompt, &config, |_| ControlFlow::Continue(()))?;
        let line = json!({
            "prompt": prompt,
            "generated_text": generated_text,
            "model": directory,
            "seed": seed,
        });
        return Ok(terminal::result(format_args!("{line}\n"))?);
    }
    // The prompt is known to be the model's only with the first piece that follows it.
    let mut before = prompt.as_str();
    loaded.continue_text(prompt, &config, |piece| {
        let mut stdout = std::io::stdout().lock();
        let written = write!(stdout, "{}{piece}", std::mem::take(&mut before));
        // Who has stopped reading wants no more.
        match written.and_then(|()| stdout.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(terminal::result(format_args!("{before}\n"))?)
}

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
        generate_text(&self.model, &self.tokenizer, prompt, config, &self.device, on_text)
    }
}
