//! `emberline generate`: a trained model continues prompts.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;

use anyhow::{Context, Result, ensure};
use emberline_backend::device::DeviceName;
use emberline_generation::{
    BeamConfig, GenerationConfig, GenerationError, Hypothesis, Pick, Sampling, TextStep, TopP,
    beam_search_text, generate_text, generate_texts,
};
use emberline_text::{TextError, Tokenizer};
use serde_json::{Value, json};

use crate::cli::GenerateArguments;
use crate::failure::{Failure, Outcome};
use crate::model_directory::{self, Loaded, with_model};
use crate::terminal;

/// What stands between the texts of one prompt.
const SEPARATOR: &str = "\n\n--------\n\n";

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
    let random = Sampling::Random { temperature, top_k, top_p: top_p.map(TopP::Reaching) };
    random.validate()?;
    Ok(if is_greedy { Sampling::Greedy } else { random })
}

/// Streams each prompt and what follows it to stdout.
pub fn run(arguments: GenerateArguments) -> Outcome {
    let decoding = Decoding::new(&arguments).map_err(named_as_flag);
    let mut decoding = decoding.map_err(|error| Failure::Usage(error.into()))?;
    if arguments.prompt.is_empty() {
        return Err(Failure::usage("--prompt is empty: a model goes on from one token at least"));
    }
    if arguments.bad_words.iter().any(String::is_empty) {
        return Err(Failure::usage("--bad-words is empty: it would be everywhere"));
    }
    if arguments.int8 && arguments.device != DeviceName::Flex {
        return Err(Failure::usage("--int8 is for the CPU, --device flex"));
    }
    let directory = model_directory::resolve(&arguments.model)?;
    let mut loaded = model_directory::load(&directory, &arguments.device.open()?)?;
    if arguments.int8 {
        let (text, named) = match &arguments.perplexity_of {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                (text, path.display().to_string())
            }
            None => (arguments.prompt.clone(), "the prompt".to_string()),
        };
        loaded = loaded.into_int8(&text, &named)?;
    }
    decoding.set_bad_words(&arguments.bad_words, &loaded.tokenizer)?;
    let writer = Writer {
        loaded: &loaded,
        model: directory.display().to_string(),
        n_alternatives: arguments.scores,
        json: arguments.json,
    };
    if !arguments.interactive {
        return Ok(writer.answer(&arguments.prompt, &decoding)?);
    }
    if std::io::stdin().is_terminal() {
        terminal::note("a prompt a line; Ctrl-D ends");
    }
    for (line, n_before) in std::io::stdin().lines().zip(0..) {
        let prompt = line.context("cannot read stdin")?;
        decoding.set_seed(arguments.seed.wrapping_add(n_before));
        // Who has mistyped a prompt has others.
        if let Err(error) = writer.answer(&prompt, &decoding) {
            terminal::note(format_args!("error: {error:#}"));
        }
    }
    Ok(())
}

/// A setting out of its range, by the name of its flag where that is another.
fn named_as_flag(error: GenerationError) -> GenerationError {
    match error {
        GenerationError::Setting { setting, value, expected } => {
            let setting = match setting {
                "beam_size" => "--num-beams",
                "n_best" | "n_sequences" => "--num-return-sequences",
                other => other,
            };
            GenerationError::Setting { setting, value, expected }
        }
        other => other,
    }
}

/// How texts are found.
enum Decoding {
    Draw(GenerationConfig),
    Search(BeamConfig),
}

impl Decoding {
    fn new(arguments: &GenerateArguments) -> Result<Self, GenerationError> {
        let &GenerateArguments {
            max_new_tokens,
            min_new_tokens,
            temperature,
            top_k,
            top_p,
            num_beams,
            num_return_sequences,
            repetition_penalty,
            no_repeat_ngram_size,
            seed,
            ..
        } = arguments;
        if let Some(beam_size) = num_beams {
            let config = BeamConfig {
                beam_size,
                n_best: num_return_sequences,
                min_new_tokens,
                max_new_tokens,
                max_per_input_token: 0.0,
                repetition_penalty,
                no_repeat_ngram_size,
                ..BeamConfig::default()
            };
            return config.validate().map(|()| Self::Search(config));
        }
        let config = GenerationConfig {
            sampling: sampling(temperature, top_k, top_p)?,
            n_sequences: num_return_sequences,
            repetition_penalty,
            no_repeat_ngram_size,
            min_new_tokens,
            max_new_tokens,
            stop_strings: arguments.stop.clone(),
            seed,
            ..GenerationConfig::default()
        };
        config.validate().map(|()| Self::Draw(config))
    }

    fn set_seed(&mut self, seed: u64) {
        if let Self::Draw(config) = self {
            config.seed = seed;
        }
    }

    fn set_bad_words(&mut self, words: &[String], tokenizer: &Tokenizer) -> Result<(), TextError> {
        let (Self::Draw(GenerationConfig { bad_words, .. })
        | Self::Search(BeamConfig { bad_words, .. })) = self;
        for word in words {
            bad_words.push(tokenizer.encode(word)?);
            // Within a text a word may be another token, together with the blank before it.
            bad_words.extend(tokenizer.encode(&format!(" {word}")));
        }
        Ok(())
    }
}

/// Writes answers to stdout.
struct Writer<'a> {
    loaded: &'a Loaded,
    /// The directory of the model.
    model: String,
    /// How many of the most likely tokens to tell with the score of each; `None` for no scores.
    n_alternatives: Option<usize>,
    json: bool,
}

impl Writer<'_> {
    fn answer(&self, prompt: &str, decoding: &Decoding) -> Result<()> {
        match decoding {
            Decoding::Draw(config) => self.draw(prompt, config),
            Decoding::Search(config) => self.search(prompt, config),
        }
    }

    fn draw(&self, prompt: &str, config: &GenerationConfig) -> Result<()> {
        let is_streamed = !self.json && config.n_sequences == 1;
        // The prompt is known to be the model's only with the first piece that follows it.
        let mut before = prompt;
        let mut scores = vec![Vec::new(); config.n_sequences];
        let texts = self.loaded.continue_texts(prompt, config, |step| {
            if let (Some(n), Some(pick)) = (self.n_alternatives, step.pick) {
                scores[step.row].push(self.score(pick, n));
            }
            if !is_streamed || step.piece.is_empty() {
                return ControlFlow::Continue(());
            }
            let mut stdout = std::io::stdout().lock();
            let written = write!(stdout, "{}{}", std::mem::take(&mut before), step.piece);
            // Who has stopped reading wants no more.
            match written.and_then(|()| stdout.flush()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        let mut out = String::new();
        for (sequence, (text, scores)) in texts.iter().zip(&scores).enumerate() {
            if self.json {
                let mut line = json!({
                    "prompt": prompt,
                    "generated_text": text,
                    "model": self.model,
                    "seed": config.seed,
                });
                if config.n_sequences > 1 {
                    line["sequence"] = json!(sequence);
                }
                if self.n_alternatives.is_some() {
                    line["scores"] = json!(scores);
                }
                out += &format!("{line}\n");
                continue;
            }
            if sequence > 0 {
                out += SEPARATOR;
            }
            match is_streamed {
                true => out += before,
                false => out.extend([prompt, text]),
            }
            out += "\n";
            for score in scores {
                out += &format!("{score}\n");
            }
        }
        Ok(terminal::result(out)?)
    }

    fn search(&self, prompt: &str, config: &BeamConfig) -> Result<()> {
        let mut out = String::new();
        for (rank, (text, hypothesis)) in self.loaded.search(prompt, config)?.iter().enumerate() {
            if self.json {
                let line = json!({
                    "prompt": prompt,
                    "generated_text": text,
                    "model": self.model,
                    "score": hypothesis.score,
                    "log_probability": hypothesis.log_probability,
                });
                out += &format!("{line}\n");
                continue;
            }
            if rank > 0 {
                out += SEPARATOR;
            }
            out.extend([prompt, text, "\n"]);
        }
        Ok(terminal::result(out)?)
    }

    /// The probabilities of a token.
    fn score(&self, pick: &Pick<'_>, n_alternatives: usize) -> Value {
        // A token by itself may be a part of a character, of which U+FFFD is shown.
        let token = |token: u32| self.loaded.tokenizer.decode(&[token]).unwrap_or_default();
        let mut score = json!({
            "token": token(pick.token),
            "id": pick.token,
            "log_probability": pick.log_probability(),
            "processed_log_probability": pick.processed_log_probability(),
        });
        if n_alternatives > 0 {
            let likely = pick.most_probable(n_alternatives);
            let likely = likely.into_iter().map(|(id, log_probability)| {
                json!({ "token": token(id), "id": id, "log_probability": log_probability })
            });
            score["most_probable"] = likely.collect();
        }
        score
    }
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
    ) -> Result<String> {
        let config = self.draws(prompt, config)?;
        let Self { model, tokenizer, device, .. } = self;
        let text = with_model!(model, model => generate_text(model, tokenizer, prompt, &config, device, on_text));
        Ok(text?)
    }

    /// The same, as often as the config asks for; `on_step` sees each token.
    ///
    /// # Errors
    /// Those of [`generate_texts`].
    fn continue_texts(
        &self,
        prompt: &str,
        config: &GenerationConfig,
        on_step: impl FnMut(&TextStep<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>> {
        let config = self.draws(prompt, config)?;
        let Self { model, tokenizer, device, .. } = self;
        let texts = with_model!(model, model => generate_texts(model, tokenizer, &[prompt], &config, device, on_step));
        Ok(texts?)
    }

    /// The best continuations of a text that are found.
    ///
    /// # Errors
    /// Those of [`beam_search_text`].
    fn search(&self, prompt: &str, config: &BeamConfig) -> Result<Vec<(String, Hypothesis)>> {
        let max_new_tokens = self.within_positions(prompt, config.max_new_tokens)?;
        let config = BeamConfig { max_new_tokens, ..config.clone() };
        let Self { model, tokenizer, device, .. } = self;
        let found = with_model!(model, model => beam_search_text(model, tokenizer, prompt, &config, device));
        Ok(found?)
    }

    fn draws(&self, prompt: &str, config: &GenerationConfig) -> Result<GenerationConfig> {
        let max_new_tokens = self.within_positions(prompt, config.max_new_tokens)?;
        Ok(GenerationConfig { max_new_tokens, ..config.clone() })
    }

    /// As many of the new tokens as the model has positions for after a prompt.
    ///
    /// # Errors
    /// If the prompt takes them all, or is not of the tokenizer.
    fn within_positions(&self, prompt: &str, max_new_tokens: usize) -> Result<usize> {
        let Some(n_positions) = self.n_positions else { return Ok(max_new_tokens) };
        let n_tokens = self.tokenizer.encode(prompt)?.len();
        ensure!(
            n_tokens < n_positions,
            "the prompt has {n_tokens} tokens, and the model {n_positions} positions: expected at least one for what \
             follows"
        );
        let room = n_positions - n_tokens;
        if room < max_new_tokens {
            terminal::note(format_args!("the positions of the model end after {room} new tokens"));
        }
        Ok(max_new_tokens.min(room))
    }
}
