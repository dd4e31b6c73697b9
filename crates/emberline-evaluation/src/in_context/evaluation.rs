//! Asking a model all items of a task.

mod written;

use burn::tensor::Device;
use emberline_core::Incremental;
use emberline_generation::{GenerationError, Likelihood, likelihoods_sharing_prefixes};
use emberline_text::Tokenizer;

use super::choices::{ChoiceScore, ScoredChoice};
use super::error::InContextError;
use super::prompts::{Draw, FewShot, Prompt};
use super::report::{Answer, Sample, TaskReport};
use super::requests::{KnownAnswers, Request, Requests, key};
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
    evaluate_task_knowing(model, tokenizer, task, config, device, &mut KnownAnswers::default())
}

/// The same, where some of it has been asked before: only what is not known is asked, and then known too.
///
/// # Errors
/// [`InContextError`].
pub fn evaluate_task_knowing<M: Incremental + Sync>(
    model: &M,
    tokenizer: &Tokenizer,
    task: &Task,
    config: &AskConfig,
    device: &Device,
    known: &mut KnownAnswers,
) -> Result<TaskReport, InContextError> {
    let asker = Asker { model, tokenizer, task, config, device };
    let n_items = config.limit.unwrap_or(usize::MAX).min(task.items.len());
    let prompts: Vec<Prompt> =
        (0..n_items).map(|item| asker.prompt(item)).collect::<Result<_, _>>()?;
    let mut samples = asker.choose(&prompts, known)?;
    samples.extend(asker.write(&prompts, known)?);
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
    fn choose(
        &self,
        prompts: &[Prompt],
        known: &mut KnownAnswers,
    ) -> Result<Vec<Sample>, InContextError> {
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
        let found = self.likelihoods(&requests.all, known)?;
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

    fn likelihoods(
        &self,
        requests: &[Request],
        known: &mut KnownAnswers,
    ) -> Result<Vec<Likelihood>, GenerationError> {
        let AskConfig { max_positions, batch_size, .. } = *self.config;
        let Self { model, device, .. } = self;
        let keys =
            requests.iter().map(|Request { before, answer }| key(&(before, answer, max_positions)));
        known.likelihoods(keys.collect(), |new| {
            let asked = new.iter().map(|place| &requests[*place]);
            let before: Vec<&[u32]> = asked.clone().map(|request| &request.before[..]).collect();
            let answers: Vec<&[u32]> = asked.map(|request| &request.answer[..]).collect();
            likelihoods_sharing_prefixes(
                *model,
                &before,
                &answers,
                max_positions,
                batch_size,
                device,
            )
        })
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
