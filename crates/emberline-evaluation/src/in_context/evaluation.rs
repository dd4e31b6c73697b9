//! Asking a model all items of a task.

use std::collections::HashMap;
use std::ops::ControlFlow;

use burn::tensor::Device;
use emberline_core::Incremental;
use emberline_generation::{
    BeamConfig, ContextLimit, GenerationConfig, GenerationError, Likelihood, beam_search_text,
    generate_texts, likelihoods_sharing_prefixes,
};
use emberline_text::Tokenizer;

use super::choices::{ChoiceScore, ScoredChoice};
use super::error::InContextError;
use super::prompts::{Draw, FewShot, Prompt};
use super::report::{Answer, Sample, TaskReport};
use super::task::{Choice, Item, Task};
use crate::continuations::encode_continuation;

/// How a task is asked.
#[derive(Clone, Debug)]
pub struct AskConfig {
    /// The examples of prompts.
    pub few_shot: FewShot,
    /// How many of the items are asked, the first ones; all if there are fewer.
    pub limit: Option<usize>,
    /// How many tokens the model reads.
    pub max_positions: Option<usize>,
    /// Whether a prompt that does not fit is an error; else the furthest examples are left out.
    pub is_strict: bool,
    /// What an answer follows that follows nothing else, such as GPT-2's `<|endoftext|>`; without it there is no
    /// [`ChoiceScore::MutualInformation`].
    pub start_token: Option<u32>,
    /// How many beams write an answer; 1 takes the most probable token at each step. GPT-3 was asked with 4.
    pub n_beams: usize,
    /// How many rows are read at a time at most.
    pub batch_size: usize,
    /// How many times the items are resampled for the error of a share.
    pub n_resamples: usize,
}

impl Default for AskConfig {
    /// Without examples, all items, greedy.
    fn default() -> Self {
        Self {
            few_shot: FewShot { n_shots: 0, draw: Draw::default(), seed: 0 },
            limit: None,
            max_positions: None,
            is_strict: false,
            start_token: None,
            n_beams: 1,
            batch_size: 8,
            n_resamples: 1000,
        }
    }
}

/// Asks a model the items of a task. What several prompts share is read once, the same request is made once, and rows of
/// similar length share a batch.
///
/// # Errors
/// [`InContextError`].
pub fn evaluate_task<M: Incremental + Sync>(
    model: &M,
    tokenizer: &Tokenizer,
    task: &Task,
    config: &AskConfig,
    device: &Device,
) -> Result<TaskReport, InContextError> {
    let asker = Asker { model, tokenizer, task, config, device };
    let n_items = config.limit.unwrap_or(usize::MAX).min(task.items.len());
    let prompts: Vec<Prompt> =
        (0..n_items).map(|item| asker.prompt(item)).collect::<Result<_, _>>()?;
    let mut samples = asker.choose(&prompts)?;
    samples.extend(asker.write(&prompts)?);
    samples.sort_by_key(|sample| sample.item);
    Ok(TaskReport::new(&task.name, samples, config.n_resamples, config.few_shot.seed))
}

struct Asker<'a, M> {
    model: &'a M,
    tokenizer: &'a Tokenizer,
    task: &'a Task,
    config: &'a AskConfig,
    device: &'a Device,
}

impl<M: Incremental + Sync> Asker<'_, M> {
    /// The prompt of an item, with as many examples as fit.
    fn prompt(&self, item: usize) -> Result<Prompt, InContextError> {
        let Self { task, config, .. } = self;
        let asked = &task.items[item];
        let examples = config.few_shot.examples(task, item)?;
        if let (true, Some(max_positions)) = (config.is_strict, config.max_positions) {
            let n_tokens = self.n_read(&Prompt::new(task, &examples), asked)?;
            if n_tokens > max_positions {
                let task = task.name.clone();
                return Err(InContextError::PromptTooLong { task, item, n_tokens, max_positions });
            }
        }
        let n_read = |prompt: &Prompt| self.n_read(prompt, asked);
        Ok(Prompt::fitted(task, &examples, config.max_positions, n_read)?)
    }

    /// How many tokens the model reads of a prompt and of the longest answer, whose last token it does not read.
    fn n_read(
        &self,
        Prompt { before, .. }: &Prompt,
        item: &Item,
    ) -> Result<usize, GenerationError> {
        let n_tokens = |parts: &[&str]| -> Result<usize, GenerationError> {
            Ok(self.tokenizer.encode(&parts.concat())?.len())
        };
        let n_tokens = match item {
            Item::Choice { context, choices } => {
                let with = |choice: &Choice| n_tokens(&[before, context, &choice.text]);
                choices
                    .iter()
                    .map(with)
                    .try_fold(0, |most, n| Ok::<_, GenerationError>(most.max(n?)))
            }
            Item::Partial { contexts, ending, .. } => {
                let with = |context: &String| n_tokens(&[before, context, ending]);
                contexts
                    .iter()
                    .map(with)
                    .try_fold(0, |most, n| Ok::<_, GenerationError>(most.max(n?)))
            }
            Item::Text { context, .. } => {
                Ok(n_tokens(&[before, context])? + self.task.max_new_tokens)
            }
        };
        Ok(n_tokens?.saturating_sub(1))
    }

    /// Asks the items whose answers are compared.
    fn choose(&self, prompts: &[Prompt]) -> Result<Vec<Sample>, InContextError> {
        let mut requests = Requests::default();
        let mut asked = Vec::new();
        for (item, prompt) in prompts.iter().enumerate() {
            let rows = match &self.task.items[item] {
                Item::Text { .. } => continue,
                Item::Choice { context, choices } => {
                    let before = [&prompt.before, context.as_str()].concat();
                    let rows = choices.iter().map(|choice| {
                        let text = choice.text.as_str();
                        let after_answer_context = self.task.answer_context.as_deref();
                        Ok(Asked {
                            after: requests.place(self.request(item, &before, text)?),
                            after_answer_context: after_answer_context
                                .map(|context| self.request(item, context, text))
                                .transpose()?
                                .map(|request| requests.place(request)),
                            alone: self
                                .config
                                .start_token
                                .map(|_| self.request(item, "", text))
                                .transpose()?
                                .map(|request| requests.place(request)),
                            n_characters: text.trim_start().chars().count(),
                        })
                    });
                    rows.collect::<Result<Vec<_>, InContextError>>()?
                }
                Item::Partial { contexts, ending, .. } => {
                    let rows = contexts.iter().map(|context| {
                        let before = [&prompt.before, context.as_str()].concat();
                        Ok(Asked {
                            after: requests.place(self.request(item, &before, ending)?),
                            after_answer_context: None,
                            alone: None,
                            n_characters: ending.trim_start().chars().count(),
                        })
                    });
                    rows.collect::<Result<Vec<_>, InContextError>>()?
                }
            };
            asked.push((item, rows));
        }
        let found = self.likelihoods(&requests.all)?;
        let sum = |place: usize| found[place].total().sum;
        let sample = |(item, rows): (usize, Vec<Asked>)| {
            let scored = rows.iter().map(|row| ScoredChoice {
                log_likelihood: found[row.after].total(),
                is_greedy: found[row.after].is_greedy,
                n_characters: row.n_characters,
                after_answer_context: row.after_answer_context.map(sum),
                alone: row.alone.map(sum),
            });
            let scored: Vec<ScoredChoice> = scored.collect();
            let longest = rows.iter().map(|row| requests.all[row.after].n_read()).max();
            Sample {
                is_truncated: self.config.max_positions.is_some_and(|most| longest > Some(most)),
                values: self.task.items[item].values(&scored),
                answer: Answer::Scored(scored),
                ..self.sample(item, &prompts[item])
            }
        };
        Ok(asked.into_iter().map(sample).collect())
    }

    /// A sample that has no answer yet.
    fn sample(&self, item: usize, prompt: &Prompt) -> Sample {
        let context = match &self.task.items[item] {
            Item::Choice { context, .. } | Item::Text { context, .. } => context,
            Item::Partial { .. } => "",
        };
        Sample {
            item,
            prompt: [&prompt.before, context].concat(),
            n_shots: prompt.n_shots,
            is_truncated: false,
            answer: Answer::Scored(Vec::new()),
            values: Vec::new(),
        }
    }

    /// An answer after what comes before it, or after the start token.
    fn request(&self, item: usize, before: &str, answer: &str) -> Result<Request, InContextError> {
        let (mut before, answer) =
            encode_continuation(self.tokenizer, before, answer).map_err(GenerationError::from)?;
        if before.is_empty() {
            let start = self.config.start_token;
            let task = || self.task.name.clone();
            before.push(start.ok_or_else(|| InContextError::NothingBefore { task: task(), item })?);
        }
        Ok(Request { before, answer })
    }

    fn likelihoods(&self, requests: &[Request]) -> Result<Vec<Likelihood>, GenerationError> {
        let before: Vec<&[u32]> = requests.iter().map(|request| &request.before[..]).collect();
        let answers: Vec<&[u32]> = requests.iter().map(|request| &request.answer[..]).collect();
        let AskConfig { max_positions, batch_size, .. } = *self.config;
        let Self { model, device, .. } = self;
        likelihoods_sharing_prefixes(*model, &before, &answers, max_positions, batch_size, device)
    }

    /// Asks the items whose answers are written.
    fn write(&self, prompts: &[Prompt]) -> Result<Vec<Sample>, InContextError> {
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
        let written = match config.n_beams {
            0 | 1 => self.write_greedily(&texts)?,
            _ => texts.iter().map(|text| self.write_by_beams(text)).collect::<Result<_, _>>()?,
        };
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
    /// What the best answer by each score is worth.
    fn values(&self, scored: &[ScoredChoice]) -> Vec<(&'static str, f64)> {
        let value = |score: ChoiceScore| {
            let best = score.best(scored)?;
            match self {
                Self::Choice { choices, .. } => Some((score.name(), choices[best].grade)),
                // All endings are the same.
                Self::Partial { right, .. } => (score == ChoiceScore::Sum)
                    .then_some((score.name(), f64::from(u8::from(best == *right)))),
                Self::Text { .. } => None,
            }
        };
        ChoiceScore::ALL.into_iter().filter_map(value).collect()
    }

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

/// The tokens before an answer and those of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    before: Vec<u32>,
    answer: Vec<u32>,
}

impl Request {
    fn n_read(&self) -> usize {
        self.before.len() + self.answer.len().saturating_sub(1)
    }
}

/// What is asked, each request once.
#[derive(Default)]
struct Requests {
    all: Vec<Request>,
    places: HashMap<Request, usize>,
}

impl Requests {
    fn place(&mut self, request: Request) -> usize {
        *self.places.entry(request).or_insert_with_key(|request| {
            self.all.push(request.clone());
            self.all.len() - 1
        })
    }
}

/// Where what an answer is compared by stands among the requests.
struct Asked {
    after: usize,
    after_answer_context: Option<usize>,
    alone: Option<usize>,
    n_characters: usize,
}

#[cfg(test)]
mod tests;
