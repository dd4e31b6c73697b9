//! `emberline predict` for a BERT: the pipelines of the facade, with a line of JSON for each line of text.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use emberline::pipelines::{
    Aggregation, AnswerOptions, FeatureExtraction, FillMask, Pipeline, Pooling, Predictions,
    QuestionAnswering, SentenceEmbeddings, TextClassification, TextOrPair, TokenClassification,
};
use emberline_core::Stream;
use serde::Serialize;

use crate::cli::{
    AggregationName, FeatureExtractionArguments, FillMaskArguments, HeadArguments, LineArguments,
    PoolingName, QuestionAnsweringArguments, TextClassificationArguments,
    TokenClassificationArguments,
};
use crate::documents::Documents;
use crate::failure::{Failure, Outcome};
use crate::{model_directory, terminal};

/// The class of tokens that are part of no name.
const OUTSIDE: &str = "O";
/// How many places a notice names.
const NAMED: usize = 5;

/// Prints the likeliest words for the masks of each line.
pub fn fill_mask(arguments: &FillMaskArguments) -> Outcome {
    let (asked, pipeline) =
        with_head::<FillMask>(&arguments.head, &[("--top-k", arguments.top_k)])?;
    let found = pipeline.predict(&asked.lines.texts(), arguments.top_k, asked.batch_size);
    asked.print(found)
}

/// Prints the classes of each line.
pub fn text_classification(arguments: &TextClassificationArguments) -> Outcome {
    let (asked, pipeline) =
        with_head::<TextClassification>(&arguments.head, &[("--top-k", arguments.top_k)])?;
    let found = pipeline.predict(&asked.texts_or_pairs()?, arguments.top_k, asked.batch_size);
    asked.print(found)
}

/// Prints the tokens of each line with their classes, or the names that they make.
pub fn token_classification(arguments: &TokenClassificationArguments) -> Outcome {
    let aggregation = match arguments.aggregation {
        AggregationName::None => None,
        AggregationName::Simple => Some(Aggregation::Simple),
        AggregationName::First => Some(Aggregation::First),
    };
    if arguments.stride.is_some() && aggregation.is_none() {
        return Err(Failure::usage(
            "--stride puts names of windows together: choose an --aggregation",
        ));
    }
    let (asked, pipeline) = with_head::<TokenClassification>(&arguments.head, &[])?;
    let (texts, batch_size) = (asked.lines.texts(), asked.batch_size);
    let Some(aggregation) = aggregation else {
        let mut found = pipeline.predict(&texts, batch_size);
        if let Ok(found) = &mut found {
            found
                .texts
                .iter_mut()
                .for_each(|tokens| tokens.retain(|token| token.entity != OUTSIDE));
        }
        return asked.print(found);
    };
    let found = match arguments.stride {
        None => pipeline.predict_groups(&texts, aggregation, batch_size),
        Some(stride) => {
            pipeline.predict_groups_in_windows(&texts, aggregation, stride, batch_size).map(whole)
        }
    };
    asked.print(found)
}

/// Prints the answers to the question of each line.
pub fn question_answering(arguments: &QuestionAnsweringArguments) -> Outcome {
    let &QuestionAnsweringArguments { top_k, max_answer_tokens, may_be_none, stride, .. } =
        arguments;
    let (asked, pipeline) = with_head::<QuestionAnswering>(
        &arguments.head,
        &[("--top-k", top_k), ("--max-answer-tokens", max_answer_tokens)],
    )?;
    let context = arguments.context.as_ref().map(|file| {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
    });
    let context = context.transpose()?;
    let questions = asked.questions(context.as_deref())?;
    let options = AnswerOptions { top_k, max_answer_tokens, may_be_none, stride };
    let found = pipeline.predict(&questions, &options, asked.batch_size).map(whole);
    if top_k > 1 {
        return asked.print(found);
    }
    let first = |found: Predictions<Vec<_>>| {
        whole(found.texts.into_iter().map(|answers| answers.into_iter().next()).collect())
    };
    asked.print(found.map(first))
}

/// Prints the vectors of each line, or the one that they make.
pub fn feature_extraction(arguments: &FeatureExtractionArguments) -> Outcome {
    let asked = Asked::new(&arguments.lines, &[])?;
    let (directory, device) = (&asked.directory, &asked.device);
    let (texts, batch_size) = (asked.lines.texts(), asked.batch_size);
    let embeds = match arguments.pooling {
        Some(pooling) => {
            let pooling = match pooling {
                PoolingName::Mean => Pooling::Mean,
                PoolingName::Cls => Pooling::Cls,
                PoolingName::Pooler => Pooling::Pooler,
            };
            SentenceEmbeddings::open_with(directory, pooling, arguments.normalize, device).map(Some)
        }
        None => match SentenceEmbeddings::open(directory, device) {
            Err(emberline::Error::NoModules { .. }) => Ok(None),
            embeds => embeds.map(Some),
        },
    };
    match embeds? {
        Some(embeds) => asked.print(embeds.predict(&texts, batch_size)),
        None => {
            let extracts = FeatureExtraction::open(directory, device)?;
            asked.print(extracts.predict(&texts, batch_size))
        }
    }
}

/// What a command line asks for, apart from its task.
struct Asked {
    directory: PathBuf,
    device: Device,
    lines: Documents,
    batch_size: usize,
}

/// Predictions of texts that were read to their ends.
fn whole<T>(texts: Vec<T>) -> Predictions<T> {
    Predictions { texts, truncated: Vec::new() }
}

/// What is asked for, and the pipeline of its directory; says so if its head is new.
fn with_head<P: Pipeline>(
    arguments: &HeadArguments,
    at_least_one: &[(&str, usize)],
) -> Result<(Asked, P), Failure> {
    let asked = Asked::new(&arguments.lines, at_least_one)?;
    let (directory, device) = (&asked.directory, &asked.device);
    if arguments.strict {
        let pipeline = P::open(directory, device)?;
        return Ok((asked, pipeline));
    }
    let (pipeline, new) = P::open_with_new_head(directory, Stream::new(0), device)?;
    if !new.is_empty() {
        terminal::note(format_args!(
            "{} has no {}: that head is new and of random numbers, and so is what it says; --strict refuses it",
            directory.display(),
            new.join(", ")
        ));
    }
    Ok((asked, pipeline))
}

impl Asked {
    fn new(arguments: &LineArguments, at_least_one: &[(&str, usize)]) -> Result<Self, Failure> {
        let batch_size = arguments.batch_size;
        let numbers = at_least_one.iter().copied().chain([("--batch-size", batch_size)]);
        if let Some((flag, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
            return Err(Failure::usage(format!("{flag} is at least 1")));
        }
        let directory = model_directory::resolve(&arguments.model)?;
        model_directory::config(&directory)?;
        let device = arguments.device.open()?;
        let lines = match (&arguments.text, &arguments.file) {
            (Some(text), _) => Documents::of_text(text, "--text"),
            (None, file) => Documents::lines(file.as_deref().unwrap_or(Path::new("-")))?,
        };
        Ok(Self { directory, device, lines, batch_size })
    }

    /// The lines, or where one has a tab the two texts beside it.
    fn texts_or_pairs<'a>(&'a self) -> Result<Vec<TextOrPair<'a>>> {
        let split = |(line, text): (usize, &'a str)| match text.split_once('\t') {
            None => Ok(TextOrPair::from(text)),
            Some((first, second)) if !second.contains('\t') => Ok((first, second).into()),
            Some(_) => {
                bail!("{}: expected a text, or two with a tab between", self.lines.place(line))
            }
        };
        self.lines.texts().into_iter().enumerate().map(split).collect()
    }

    /// The lines as questions, each with the text to look in.
    fn questions<'a>(&'a self, context: Option<&'a str>) -> Result<Vec<(&'a str, &'a str)>> {
        let split = |(line, text): (usize, &'a str)| match (context, text.split_once('\t')) {
            (Some(context), None) => Ok((text, context)),
            (None, Some(pair)) => Ok(pair),
            (Some(_), Some(_)) => {
                bail!("{}: has a tab, and --context is given too", self.lines.place(line))
            }
            (None, None) => bail!(
                "{}: expected a question, a tab and the text to look in, or --context",
                self.lines.place(line)
            ),
        };
        self.lines.texts().into_iter().enumerate().map(split).collect()
    }

    /// Prints a line of JSON for each line, and how many lines were cut.
    fn print<T: Serialize>(&self, found: Result<Predictions<T>, emberline::Error>) -> Outcome {
        let text = found.as_ref().err().and_then(emberline::Error::text);
        let found = match text {
            Some(text) => found.with_context(|| self.lines.place(text).to_string())?,
            None => found?,
        };
        self.tell(&found.truncated);
        let mut lines = String::new();
        for line in &found.texts {
            lines += &serde_json::to_string(line)?;
            lines.push('\n');
        }
        Ok(terminal::result(lines)?)
    }

    fn tell(&self, truncated: &[usize]) {
        if truncated.is_empty() {
            return;
        }
        let named: Vec<&str> =
            truncated.iter().take(NAMED).map(|text| self.lines.place(*text)).collect();
        terminal::note(format_args!(
            "{} of {} lines had more tokens than the model reads, and lost their ends: {}{}",
            truncated.len(),
            self.lines.texts().len(),
            named.join(", "),
            if truncated.len() > NAMED { ", …" } else { "" }
        ));
    }
}
