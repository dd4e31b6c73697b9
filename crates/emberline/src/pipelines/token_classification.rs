//! The class of each token of a text, and the names that tokens in a row make.

use std::path::Path;

use burn::tensor::Device;
use emberline_core::{Stream, TaskModel};
use emberline_models::bert::{Architecture, BertForTokenClassification};
use emberline_text::BertRow;
use serde::Serialize;

use super::places::Places;
use super::reader::{Opened, Reader, check_numbers, of_tokens, open, probabilities};
use super::{Pipeline, Predictions};
use crate::error::Error;

/// The class of tokens that are part of no name.
const OUTSIDE: &str = "O";

/// A BERT with its head over the classes of each token.
#[derive(Debug)]
pub struct TokenClassification {
    model: BertForTokenClassification,
    reader: Reader,
    labels: Vec<String>,
}

/// A token with its class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entity {
    /// The name of the class.
    pub entity: String,
    /// Its probability.
    pub score: f32,
    /// The place of the token in the row that the model reads, whose first is `[CLS]`.
    pub index: usize,
    /// The token as it is spelled in the vocabulary, or the word of the text that is not in it.
    pub word: String,
    /// The first character of the text that it stands for.
    pub start: usize,
    /// The character after the last.
    pub end: usize,
}

/// Tokens in a row that make a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntityGroup {
    /// What kind of name: its class without `B-` or what else stands before the first stroke.
    pub entity_group: String,
    /// The mean of the probabilities of its parts.
    pub score: f32,
    /// The tokens as a text.
    pub word: String,
    /// The first character of the text that it stands for.
    pub start: usize,
    /// The character after the last.
    pub end: usize,
}

/// What the parts of a name are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// Tokens, each of its own class.
    Simple,
    /// Words, each of the class of its first token.
    First,
}

/// A token or a word with its class.
#[derive(Clone, Debug)]
struct Part {
    entity: Entity,
    /// The tokens that it is spelled with.
    tokens: Vec<String>,
    continues_word: bool,
}

impl Pipeline for TokenClassification {
    fn opened(
        directory: &Path,
        random: Option<Stream>,
        device: &Device,
    ) -> Result<(Self, Vec<String>), Error> {
        let opened = open(directory, Architecture::TokenClassification, random, device)?;
        let Opened { model, config, reader, new } = opened;
        let labels = config.labels();
        Ok((Self { model, reader, labels }, new))
    }
}

impl TokenClassification {
    /// The class of each token of each text, of class `O` too.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::NotANumber`]; [`Error::Text`].
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn predict(
        &self,
        texts: &[&str],
        batch_size: usize,
    ) -> Result<Predictions<Vec<Entity>>, Error> {
        let rows = self.reader.rows(texts)?;
        let of_text: Vec<usize> = (0..texts.len()).collect();
        let parts = self.parts(texts, &rows, &of_text, batch_size)?;
        let entities = |parts: Vec<Part>| parts.into_iter().map(|part| part.entity).collect();
        Ok(Predictions::of(&rows, parts.into_iter().map(entities).collect()))
    }

    /// The names in each text: neighbours of one class, of which the first may be `B-` and the others are not. Tokens of
    /// class `O` are left out.
    ///
    /// # Errors
    /// [`Error::EmptyText`], [`Error::NotANumber`]; [`Error::Text`].
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn predict_groups(
        &self,
        texts: &[&str],
        aggregation: Aggregation,
        batch_size: usize,
    ) -> Result<Predictions<Vec<EntityGroup>>, Error> {
        let rows = self.reader.rows(texts)?;
        let of_text: Vec<usize> = (0..texts.len()).collect();
        let parts = self.parts(texts, &rows, &of_text, batch_size)?;
        let groups = parts.into_iter().map(|parts| self.groups(parts, aggregation));
        Ok(Predictions::of(&rows, groups.collect::<Result<_, _>>()?))
    }

    /// The names in each text, all of it: a text that is too long is read in windows, each of which starts with the last
    /// `stride` tokens of the one before. Of names that overlap there, the longer stays, and of two of one length the
    /// likelier.
    ///
    /// # Errors
    /// As [`predict_groups`](Self::predict_groups), and [`Error::NoRoom`].
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn predict_groups_in_windows(
        &self,
        texts: &[&str],
        aggregation: Aggregation,
        stride: usize,
        batch_size: usize,
    ) -> Result<Vec<Vec<EntityGroup>>, Error> {
        self.reader.pieces(texts)?;
        let Reader { tokenizer, max_length, .. } = &self.reader;
        let (mut rows, mut of_text) = (Vec::new(), Vec::new());
        for (text, content) in texts.iter().enumerate() {
            let windows = tokenizer.windows(None, content, *max_length, stride);
            rows.extend(windows.map_err(|source| Error::NoRoom { text, source })?);
            of_text.resize(rows.len(), text);
        }
        let mut found = vec![Vec::new(); texts.len()];
        for (parts, text) in
            self.parts(texts, &rows, &of_text, batch_size)?.into_iter().zip(of_text)
        {
            found[text].extend(self.groups(parts, aggregation)?);
        }
        Ok(found.into_iter().map(without_overlap).collect())
    }

    /// The tokens of each row, of which each is of a text.
    fn parts(
        &self,
        texts: &[&str],
        rows: &[BertRow],
        of_text: &[usize],
        batch_size: usize,
    ) -> Result<Vec<Vec<Part>>, Error> {
        let scores = self
            .reader
            .of_rows(rows, batch_size, |batch| of_tokens(batch, self.model.logits(batch)));
        check_numbers(
            of_text.iter().zip(&scores).flat_map(|(text, of)| of.iter().map(|of| (*text, &of[..]))),
        )?;
        let places: Vec<Places> = texts.iter().map(|text| Places::of(text)).collect();
        let of_row = |(row, (text, scores)): (&BertRow, (&usize, Vec<Vec<f32>>))| {
            let tokens = row.places.iter().enumerate().zip(scores);
            let parts = tokens.filter_map(|((index, place), scores)| {
                let bytes = place.as_ref()?;
                let place = places[*text].characters(bytes);
                let (entity, score) = self.best(&scores);
                let token = row.tokens[index];
                let continues_word = self.reader.tokenizer.continues_word()[token as usize];
                let is_unknown = token == self.reader.tokenizer.special_tokens().unknown;
                let spelled = self.reader.tokenizer.tokenizer().token(token);
                let word = match spelled {
                    Some(word) if !is_unknown => word,
                    _ => texts[*text][bytes.clone()].to_string(),
                };
                let tokens = vec![word.clone()];
                let entity =
                    Entity { entity, score, index, word, start: place.start, end: place.end };
                Some(Part { entity, tokens, continues_word })
            });
            parts.collect()
        };
        Ok(rows.iter().zip(of_text.iter().zip(scores)).map(of_row).collect())
    }

    /// The class of the highest probability, the first of equal ones.
    fn best(&self, scores: &[f32]) -> (String, f32) {
        let probabilities = probabilities(scores);
        let mut best = 0;
        for class in 1..probabilities.len() {
            if probabilities[class] > probabilities[best] {
                best = class;
            }
        }
        (self.labels[best].clone(), probabilities[best])
    }

    fn groups(
        &self,
        parts: Vec<Part>,
        aggregation: Aggregation,
    ) -> Result<Vec<EntityGroup>, Error> {
        let parts = match aggregation {
            Aggregation::Simple => parts,
            Aggregation::First => words(parts),
        };
        let mut groups: Vec<Vec<Part>> = Vec::new();
        for part in parts {
            let goes_on = |last: &Part| {
                !part.entity.entity.starts_with("B-")
                    && kind(&part.entity.entity) == kind(&last.entity.entity)
            };
            match groups.last_mut() {
                Some(group) if group.last().is_some_and(goes_on) => group.push(part),
                _ => groups.push(vec![part]),
            }
        }
        let groups = groups.into_iter().filter(|group| group[0].entity.entity != OUTSIDE);
        groups.map(|group| self.group(&group)).collect()
    }

    fn group(&self, parts: &[Part]) -> Result<EntityGroup, Error> {
        let (first, last) = (&parts[0].entity, &parts[parts.len() - 1].entity);
        let sum: f32 = parts.iter().map(|part| part.entity.score).sum();
        let tokens = parts.iter().flat_map(|part| part.tokens.clone()).collect();
        Ok(EntityGroup {
            entity_group: first
                .entity
                .split_once('-')
                .map_or(&*first.entity, |(_, kind)| kind)
                .to_string(),
            score: sum / parts.len() as f32,
            word: self.reader.tokenizer.tokenizer().decode_tokens(tokens)?,
            start: first.start,
            end: last.end,
        })
    }
}

/// A class without the `B-` of the first part of a name and the `I-` of the others.
fn kind(class: &str) -> &str {
    class.strip_prefix("B-").or(class.strip_prefix("I-")).unwrap_or(class)
}

/// Tokens joined to words, of the class of their first token.
fn words(tokens: Vec<Part>) -> Vec<Part> {
    let mut words: Vec<Part> = Vec::new();
    for token in tokens {
        match words.last_mut() {
            Some(word) if token.continues_word => {
                word.tokens.extend(token.tokens);
                word.entity.end = token.entity.end;
            }
            _ => words.push(token),
        }
    }
    words
}

/// Names of several windows, of which none begins within another one.
fn without_overlap(mut groups: Vec<EntityGroup>) -> Vec<EntityGroup> {
    groups.sort_by_key(|group| group.start);
    let mut kept: Vec<EntityGroup> = Vec::new();
    for group in groups {
        match kept.last_mut() {
            Some(last) if group.start < last.end => {
                let [length, last_length] = [&group, last].map(|group| group.end - group.start);
                if (length, group.score) > (last_length, last.score) {
                    *last = group;
                }
            }
            _ => kept.push(group),
        }
    }
    kept
}
