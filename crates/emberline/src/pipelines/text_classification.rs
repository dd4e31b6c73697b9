//! The classes of a text or of a pair of texts, or the number that it is given.

use std::path::Path;

use burn::tensor::Device;
use emberline_core::{Stream, TaskModel};
use emberline_models::bert::{
    Architecture, BertConfig, BertForSequenceClassification, ProblemType,
};
use serde::Serialize;

use super::reader::{Opened, Reader, check_numbers, numbers_of_rows, open, probabilities};
use super::{Pipeline, Predictions};
use crate::error::Error;

/// A BERT with its head over the classes of a text.
#[derive(Debug)]
pub struct TextClassification {
    model: BertForSequenceClassification,
    reader: Reader,
    labels: Vec<String>,
    scale: Scale,
}

/// What is classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextOrPair<'a> {
    /// The text, or the first of two.
    pub text: &'a str,
    /// The second.
    pub pair: Option<&'a str>,
}

/// A class and its score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelScore {
    /// The name of the class.
    pub label: String,
    /// Its probability: of one of all, or where a text may have any number of them, of this one; or the number that the
    /// model gives to the text.
    pub score: f32,
}

/// What scores are turned into.
#[derive(Clone, Copy, Debug)]
enum Scale {
    /// Probabilities of which one is right.
    Softmax,
    /// Probabilities of each by itself.
    Sigmoid,
    /// They are numbers.
    Plain,
}

impl<'a> From<&'a str> for TextOrPair<'a> {
    fn from(text: &'a str) -> Self {
        Self { text, pair: None }
    }
}

impl<'a> From<(&'a str, &'a str)> for TextOrPair<'a> {
    fn from((text, pair): (&'a str, &'a str)) -> Self {
        Self { text, pair: Some(pair) }
    }
}

impl Scale {
    /// That of `transformers`, which takes one class without a `problem_type` for a probability.
    fn of(config: &BertConfig) -> Self {
        match config.problem_type {
            Some(ProblemType::Regression) => Self::Plain,
            Some(ProblemType::MultiLabelClassification) => Self::Sigmoid,
            _ if config.n_classes() == 1 => Self::Sigmoid,
            _ => Self::Softmax,
        }
    }

    fn of_scores(self, scores: &[f32]) -> Vec<f32> {
        match self {
            Self::Softmax => probabilities(scores),
            Self::Sigmoid => scores.iter().map(|score| 1.0 / (1.0 + (-score).exp())).collect(),
            Self::Plain => scores.to_vec(),
        }
    }
}

impl Pipeline for TextClassification {
    fn opened(
        directory: &Path,
        random: Option<Stream>,
        device: &Device,
    ) -> Result<(Self, Vec<String>), Error> {
        let opened = open(directory, Architecture::SequenceClassification, random, device)?;
        let Opened { model, config, reader, new } = opened;
        let (labels, scale) = (config.labels(), Scale::of(&config));
        Ok((Self { model, reader, labels, scale }, new))
    }
}

impl TextClassification {
    /// The `top_k` classes of the highest scores of each text or pair, the highest first.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::NotANumber`]; [`Error::Text`].
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn predict<'a, T: Copy + Into<TextOrPair<'a>>>(
        &self,
        texts: &[T],
        top_k: usize,
        batch_size: usize,
    ) -> Result<Predictions<Vec<LabelScore>>, Error> {
        let texts: Vec<TextOrPair> = texts.iter().map(|text| (*text).into()).collect();
        let rows = self.rows(&texts)?;
        let scores = self
            .reader
            .of_rows(&rows, batch_size, |batch| numbers_of_rows(self.model.logits(batch)));
        check_numbers(scores.iter().map(Vec::as_slice).enumerate())?;
        let of_text = |scores: Vec<f32>| {
            let label = |(label, score): (&String, f32)| LabelScore { label: label.clone(), score };
            let mut found: Vec<LabelScore> =
                self.labels.iter().zip(self.scale.of_scores(&scores)).map(label).collect();
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(top_k);
            found
        };
        Ok(Predictions::of(&rows, scores.into_iter().map(of_text).collect()))
    }

    fn rows(&self, texts: &[TextOrPair]) -> Result<Vec<emberline_text::BertRow>, Error> {
        let Reader { tokenizer, max_length, .. } = &self.reader;
        let firsts: Vec<&str> = texts.iter().map(|text| text.text).collect();
        let firsts = self.reader.pieces(&firsts)?;
        let row = |(text, first): (&TextOrPair, _)| {
            let second = text.pair.map(|second| tokenizer.pieces(second)).transpose()?;
            tokenizer.row_of_pieces(first, second, *max_length)
        };
        Ok(texts.iter().zip(firsts).map(row).collect::<Result<_, _>>()?)
    }
}
