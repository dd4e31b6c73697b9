//! The answers to a question that stand in a text.

use std::path::Path;

use burn::tensor::Device;
use emberline_core::{Stream, TaskModel};
use emberline_models::bert::{Architecture, BertForQuestionAnswering};
use emberline_text::BertRow;
use serde::Serialize;

use super::Pipeline;
use super::places::Places;
use super::reader::{Opened, Reader, check_numbers, of_tokens, open, probabilities};
use crate::error::Error;

/// The longest row that is read at a time, as in `transformers`: longer ones gain little and cost much.
const MAX_LENGTH: usize = 384;

/// A BERT with its head that marks where an answer starts and ends.
#[derive(Debug)]
pub struct QuestionAnswering {
    model: BertForQuestionAnswering,
    reader: Reader,
}

/// Which answers are looked for. The defaults are those of `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerOptions {
    /// How many are given at most.
    pub top_k: usize,
    /// The tokens of the longest.
    pub max_answer_tokens: usize,
    /// Whether there may be no answer, which is then an empty one.
    pub may_be_none: bool,
    /// The tokens with which a window starts that the one before ended with, where the text is too long to be read at a
    /// time; `None` is 128, or half a window if that is less.
    pub stride: Option<usize>,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self { top_k: 1, max_answer_tokens: 15, may_be_none: false, stride: None }
    }
}

/// A part of a text that answers a question; whole words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Its probability; where it was found at several places, that of all together.
    pub score: f64,
    /// Its first character in the text.
    pub start: usize,
    /// The character after its last.
    pub end: usize,
    /// The answer.
    pub answer: String,
}

impl Pipeline for QuestionAnswering {
    fn opened(
        directory: &Path,
        random: Option<Stream>,
        device: &Device,
    ) -> Result<(Self, Vec<String>), Error> {
        let opened = open(directory, Architecture::QuestionAnswering, random, device)?;
        let Opened { model, mut reader, new, .. } = opened;
        reader.max_length = reader.max_length.min(MAX_LENGTH);
        Ok((Self { model, reader }, new))
    }
}

impl QuestionAnswering {
    /// The best answers to each question, of which each comes with the text to look in. A long text is read in windows.
    ///
    /// # Errors
    /// [`Error::EmptyText`] if a question or its text is empty, [`Error::NoRoom`] if a question leaves no room for its
    /// text, [`Error::NotANumber`]; [`Error::Text`].
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn predict(
        &self,
        asked: &[(&str, &str)],
        options: &AnswerOptions,
        batch_size: usize,
    ) -> Result<Vec<Vec<Answer>>, Error> {
        let Reader { tokenizer, max_length, .. } = &self.reader;
        let (questions, texts): (Vec<&str>, Vec<&str>) = asked.iter().copied().unzip();
        self.reader.pieces(&questions)?;
        self.reader.pieces(&texts)?;
        let stride = options.stride.unwrap_or(128.min(max_length / 2));
        let (mut rows, mut of_question) = (Vec::new(), Vec::new());
        for (text, (question, content)) in asked.iter().enumerate() {
            let windows = tokenizer.windows(Some(question), content, *max_length, stride);
            rows.extend(windows.map_err(|source| Error::NoRoom { text, source })?);
            of_question.resize(rows.len(), text);
        }
        let scores = self
            .reader
            .of_rows(&rows, batch_size, |batch| of_tokens(batch, self.model.logits(batch)));
        let of_tokens = of_question.iter().zip(&scores);
        check_numbers(of_tokens.flat_map(|(text, of)| of.iter().map(|of| (*text, &of[..]))))?;

        let mut windows: Vec<Vec<Window>> = asked.iter().map(|_| Vec::new()).collect();
        for ((row, scores), question) in rows.iter().zip(&scores).zip(of_question) {
            windows[question].push(self.window(row, scores));
        }
        let answers = |(windows, (_, text)): (Vec<Window>, &(&str, &str))| {
            best_answers(&windows, text, options)
        };
        Ok(windows.into_iter().zip(asked).map(answers).collect())
    }

    /// The tokens of the text in a row, and how likely each starts or ends an answer.
    fn window(&self, row: &BertRow, scores: &[Vec<f32>]) -> Window {
        // What stands for no answer, and the tokens of the text, without the end of the row.
        let first = row.segments.iter().position(|segment| *segment == 1);
        let text = first.expect("a pair of texts")..row.tokens.len() - 1;
        let share = |kind: usize| {
            let of = |token: usize| scores[token][kind];
            let scores: Vec<f32> = std::iter::once(0).chain(text.clone()).map(of).collect();
            probabilities(&scores)
        };
        let [starts, ends] = [0, 1].map(share);
        let mut words: Vec<std::ops::Range<usize>> = Vec::new();
        for index in text {
            let place = row.places[index].clone().expect("the place of a token of the text");
            let continues = self.reader.tokenizer.continues_word()[row.tokens[index] as usize];
            let word = match words.last() {
                Some(word) if continues => word.start..place.end,
                _ => place,
            };
            // All tokens of a word have the whole of it.
            let same = words.iter_mut().rev().take_while(|other| other.start == word.start);
            same.for_each(|other| other.end = word.end);
            words.push(word);
        }
        Window { none: f64::from(starts[0]) * f64::from(ends[0]), starts, ends, words }
    }
}

/// What a model makes of a part of a text.
struct Window {
    /// The probability of no answer.
    none: f64,
    /// The probabilities of no answer and then of each token to start one.
    starts: Vec<f32>,
    /// The same to end one.
    ends: Vec<f32>,
    /// The bytes of the word of each token.
    words: Vec<std::ops::Range<usize>>,
}

impl Window {
    /// The likeliest pairs of a first and a last token.
    fn candidates(&self, n: usize, max_answer_tokens: usize) -> Vec<(f64, usize, usize)> {
        let mut found = Vec::new();
        for start in 0..self.words.len() {
            for end in start..self.words.len().min(start.saturating_add(max_answer_tokens)) {
                // The first is that of no answer.
                let score = f64::from(self.starts[start + 1]) * f64::from(self.ends[end + 1]);
                found.push((score, start, end));
            }
        }
        found.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        found.truncate(n);
        found
    }
}

fn best_answers(windows: &[Window], text: &str, options: &AnswerOptions) -> Vec<Answer> {
    let places = Places::of(text);
    // Several may be one answer once they are whole words; so many `transformers` looks at.
    let n_candidates = options.top_k.saturating_mul(2).saturating_add(10);
    let mut answers: Vec<Answer> = Vec::new();
    for window in windows {
        for (score, start, end) in window.candidates(n_candidates, options.max_answer_tokens) {
            let bytes = window.words[start].start..window.words[end].end;
            let answer = &text[bytes.clone()];
            let lower = answer.to_lowercase();
            match answers.iter_mut().find(|other| other.answer.to_lowercase() == lower) {
                Some(same) => same.score += score,
                None => {
                    let place = places.characters(&bytes);
                    let (start, end, answer) = (place.start, place.end, answer.to_string());
                    answers.push(Answer { score, start, end, answer });
                }
            }
        }
    }
    if options.may_be_none {
        let score = windows.iter().map(|window| window.none).fold(f64::INFINITY, f64::min);
        answers.push(Answer { score, start: 0, end: 0, answer: String::new() });
    }
    answers.sort_by(|a, b| b.score.total_cmp(&a.score));
    answers.truncate(options.top_k);
    answers
}
