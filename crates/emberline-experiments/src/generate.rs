//! `emberline generate`: a trained model continues prompts.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;

use anyhow::{Context, Result, ensure};
use emberline_backend::device::DeviceName;
use emberline_generation::{
    BeamConfig, ContextLimit, GenerationConfig, GenerationError, Pick, Sampling, TopP,
};
use emberline_text::{TextError, Tokenizer};
use serde_json::{Value, json};

use crate::cli::GenerateArguments;
use crate::documents::Documents;
use crate::failure::{Failure, Outcome};
use crate::model_directory::{self, Loaded};
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
    top_p: Option<TopP>,
) -> Result<Sampling, GenerationError> {
    let is_greedy = temperature == 0.0;
    let temperature = if is_greedy { 1.0 } else { temperature };
    let random = Sampling::Random { temperature, top_k, top_p };
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
    decoding.suit(&loaded, arguments.slide);
    let writer = Writer {
        loaded: &loaded,
        model: directory.display().to_string(),
        n_alternatives: arguments.scores,
        json: arguments.json,
    };
    if let Some(file) = &arguments.prompts {
        return Ok(writer.answer_lines(&Documents::lines(file)?, &decoding)?);
    }
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
            openai_top_p,
            num_beams,
            num_return_sequences,
            repetition_penalty,
            no_repeat_ngram_size,
            batch_size,
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
        let top_p = top_p.map(TopP::Reaching).or(openai_top_p.map(TopP::Within));
        let config = GenerationConfig {
            sampling: sampling(temperature, top_k, top_p)?,
            n_sequences: num_return_sequences,
            repetition_penalty,
            no_repeat_ngram_size,
            min_new_tokens,
            max_new_tokens,
            stop_strings: arguments.stop.clone(),
            batch_size,
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

    /// Takes on what the model knows: its positions, and the tokens that end its texts.
    fn suit(&mut self, loaded: &Loaded, slides: bool) {
        match self {
            Self::Draw(config) => {
                config.context_limit = match loaded.n_positions {
                    Some(n_positions) if slides => ContextLimit::Slides(n_positions),
                    Some(n_positions) => ContextLimit::Ends(n_positions),
                    None => ContextLimit::None,
                };
                config.stop_tokens.clone_from(&loaded.stop_tokens);
            }
            Self::Search(config) => config.stop_tokens.clone_from(&loaded.stop_tokens),
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
            Decoding::Draw(config) => Ok(self.draw(&[prompt], config)??),
            Decoding::Search(config) => self.search(prompt, config),
        }
    }

    /// Answers all lines of a file together.
    fn answer_lines(&self, lines: &Documents, decoding: &Decoding) -> Result<()> {
        let Decoding::Draw(config) = decoding else { unreachable!("a search has one prompt") };
        lines.check(|line| {
            let n_tokens = self.loaded.tokenizer.encode(line)?.len();
            ensure!(n_tokens > 0, "the line is empty: a model goes on from one token at least");
            Ok(())
        })?;
        lines.at_its_place(self.draw(&lines.texts(), config)?, config.n_sequences)
    }

    /// The outer error is that of stdout.
    fn draw(
        &self,
        prompts: &[&str],
        config: &GenerationConfig,
    ) -> Result<Result<(), GenerationError>> {
        let n_rows = prompts.len() * config.n_sequences;
        let is_streamed = !self.json && n_rows == 1;
        // The prompt is known to be the model's only with the first piece that follows it.
        let mut before = prompts[0];
        let mut scores = vec![Vec::new(); n_rows];
        let texts = self.loaded.continue_texts(prompts, config, |step| {
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
        });
        let texts = match texts {
            Ok(texts) => texts,
            Err(error) => return Ok(Err(error)),
        };
        let mut out = String::new();
        for (row, (text, scores)) in texts.iter().zip(&scores).enumerate() {
            let (index, sequence) = (row / config.n_sequences, row % config.n_sequences);
            let prompt = prompts[index];
            if self.json {
                let mut line = json!({
                    "prompt": prompt,
                    "generated_text": text,
                    "model": self.model,
                    "seed": config.seed,
                });
                if prompts.len() > 1 {
                    line["index"] = json!(index);
                }
                if config.n_sequences > 1 {
                    line["sequence"] = json!(sequence);
                }
                if self.n_alternatives.is_some() {
                    line["scores"] = json!(scores);
                }
                out += &format!("{line}\n");
                continue;
            }
            if row > 0 {
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
        Ok(Ok(terminal::result(out)?))
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
