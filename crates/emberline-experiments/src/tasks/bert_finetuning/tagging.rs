//! A BERT gives each word a tag. A word is tagged by the first of its pieces; the others have no tag, and are not learnt.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use burn::tensor::Device;
use emberline_core::Stream;
use emberline_evaluation::{ConfusionMatrix, SpanScores, best_class};
use emberline_finetuning::{LabelledBatch, LabelledBatches, TokenClassification};
use emberline_models::bert::{
    Architecture, BertConfig, BertForTokenClassification, TokenClassificationHead,
};
use emberline_text::{
    BertTokenizer, Example, Separator, TaggedSentence, TaggedSentences, UNLABELLED, Vocabulary,
};
use serde::{Deserialize, Serialize};

use super::classification::note_cut;
use super::{Beginning, BertFinetuningConfig, LabelledRows, Task, TaskData};
use crate::config::{RunConfig, check_sizes};
use crate::tasks::{Findings, labelled, tagging};

/// The tag of a word that is of no span.
const OUTSIDE: &str = "O";

/// Sentences with a tag for each word, in three files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaggedConfig {
    /// A folder, or one of `datasets/`.
    pub path: String,
    /// The file of it that is learnt from.
    pub training: String,
    /// The file that decides between checkpoints.
    pub validation: String,
    /// The file that is looked at last.
    pub test: String,
    /// What the SHA-256 of the three files, one after the other, must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What stands between the columns.
    pub separator: Separator,
    /// The tokens of a row at most; words that have no place in it get no tag.
    pub max_length: usize,
    /// The rows of an update.
    pub batch_size: usize,
}

/// The sentences as rows.
pub struct TaggingTask {
    rows: LabelledRows,
    test: TaggedSentences,
    /// For each test sentence the tags that its words have most often in training.
    looked_up: Vec<Vec<String>>,
}

impl TaskData for TaggedConfig {
    type Task = TaggingTask;

    fn run_config(config: BertFinetuningConfig<Self>) -> RunConfig {
        RunConfig::BertTagging(config)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        check_sizes(&[("data.batch_size", self.batch_size), ("data.max_length", self.max_length)])
    }

    fn read(
        &mut self,
        beginning: &Beginning,
        random: Stream,
        device: &Device,
    ) -> Result<TaggingTask> {
        beginning.check_length(self.max_length)?;
        let Self { path, training, validation, test, sha256, separator, .. } = self;
        let [training, validation, test] =
            tagging::read(path, [training, validation, test], sha256, *separator)?;
        let tags = Vocabulary::of_labels(&training.tags());
        let rows = |sentences: &TaggedSentences| {
            examples(sentences, &tags, &beginning.tokenizer, self.max_length)
        };
        let rows = [rows(&training)?, rows(&validation)?, rows(&test)?];
        let (head, batch_size) = (Architecture::TokenClassification, self.batch_size);
        let rows = LabelledRows::new(beginning, head, tags, rows, batch_size, random, device)?;
        Ok(TaggingTask { rows, looked_up: looked_up(&training, &test), test })
    }
}

/// The sentences as rows; how many had to be cut is told.
fn examples(
    sentences: &TaggedSentences,
    tags: &Vocabulary,
    tokenizer: &BertTokenizer,
    max_length: usize,
) -> Result<Vec<Example>> {
    let labels = sentences.tag_ids(tags)?;
    let mut n_cut = 0;
    let mut rows = Vec::with_capacity(labels.len());
    for (sentence, labels) in sentences.sentences().iter().zip(labels) {
        let row = example(&sentence.words, &labels, tokenizer, max_length);
        let row = row.with_context(|| format!("{}:{}", sentences.name(), sentence.line))?;
        n_cut += usize::from(n_tagged(&row) < labels.len());
        rows.push(row);
    }
    note_cut(n_cut, rows.len(), "sentences", sentences.name(), max_length);
    Ok(rows)
}

/// `[CLS]`, the pieces of the words, `[SEP]`, where the first piece of each word has its label.
fn example(
    words: &[String],
    labels: &[u32],
    tokenizer: &BertTokenizer,
    max_length: usize,
) -> Result<Example> {
    let special = tokenizer.special_tokens();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (mut tokens, mut of_tokens) = (vec![special.class], vec![UNLABELLED]);
    for (pieces, label) in tokenizer.pieces_of_all(&words)?.into_iter().zip(labels) {
        let mut pieces: Vec<u32> = pieces.into_iter().map(|piece| piece.token).collect();
        if pieces.is_empty() {
            // Of a word of control characters nothing is left, and yet it has a tag.
            pieces.push(special.unknown);
        }
        of_tokens.push(*label);
        of_tokens.extend(pieces[1..].iter().map(|_| UNLABELLED));
        tokens.extend(pieces);
    }
    let room = max_length.saturating_sub(1);
    tokens.truncate(room);
    of_tokens.truncate(room);
    tokens.push(special.separator);
    of_tokens.push(UNLABELLED);
    Ok(Example { tokens, segments: Vec::new(), labels: of_tokens })
}

/// The words of a row that have a tag.
fn n_tagged(row: &Example) -> usize {
    row.labels.iter().filter(|label| **label != UNLABELLED).count()
}

/// The tag that each word of a test has most often in training, the first of several; [`OUTSIDE`] for an unknown word.
fn looked_up(training: &TaggedSentences, test: &TaggedSentences) -> Vec<Vec<String>> {
    let mut counts: HashMap<&str, BTreeMap<&str, u64>> = HashMap::new();
    for TaggedSentence { words, tags, .. } in training.sentences() {
        for (word, tag) in words.iter().zip(tags) {
            *counts.entry(word).or_default().entry(tag).or_default() += 1;
        }
    }
    let tag = |word: &String| {
        let tags = counts.get(word.as_str());
        let most = tags.and_then(|tags| tags.iter().rev().max_by_key(|(_, count)| **count));
        most.map_or(OUTSIDE, |(tag, _)| tag).to_string()
    };
    let sentences = test.sentences().iter();
    sentences.map(|sentence| sentence.words.iter().map(tag).collect()).collect()
}

impl Task for TaggingTask {
    type Head = TokenClassificationHead;
    type Batch = LabelledBatch;
    type Objective = TokenClassification;
    const OBJECTIVE: TokenClassification = TokenClassification;

    fn data(&self) -> &LabelledBatches {
        &self.rows.data
    }

    fn model_config(&self) -> &BertConfig {
        &self.rows.model_config
    }

    fn baselines(&self) -> BTreeMap<String, f64> {
        let looked_up: Vec<Vec<&str>> =
            self.looked_up.iter().map(|tags| tags.iter().map(String::as_str).collect()).collect();
        BTreeMap::from([
            ("test_span_f1_of_looking_up".into(), self.spans(&looked_up).overall().f1()),
            ("test_count".into(), self.rows.test.iter().map(n_tagged).sum::<usize>() as f64),
        ])
    }

    fn findings(&self, model: &BertForTokenClassification, device: &Device) -> Result<Findings> {
        let LabelledRows { classes, test, .. } = &self.rows;
        let scores = self.rows.test_scores(model, device);
        let mut matrix = ConfusionMatrix::new(classes.size());
        let mut tags: Vec<Vec<&str>> = Vec::with_capacity(scores.len());
        let sentences = self.test.sentences();
        for ((example, scores), sentence) in test.iter().zip(&scores).zip(sentences) {
            let mut found = Vec::with_capacity(sentence.words.len());
            for (label, scores) in example.labels.iter().zip(scores) {
                if *label != UNLABELLED {
                    let class = best_class(scores);
                    matrix.add(*label, class);
                    found.push(classes.token(class).unwrap_or(OUTSIDE));
                }
            }
            found.resize(sentence.words.len(), OUTSIDE);
            tags.push(found);
        }
        let spans = self.spans(&tags);
        let overall = spans.overall();
        let metrics = [
            ("test_span_precision", overall.precision()),
            ("test_span_recall", overall.recall()),
            ("test_span_f1", overall.f1()),
            ("test_accuracy", matrix.accuracy()),
        ];
        let by_kind = spans.by_kind().iter().map(|(kind, scores)| (kind, *scores));
        Ok(Findings {
            metrics: metrics.map(|(name, value)| (name.to_string(), value)).into(),
            samples: tagging::samples(sentences, &tags),
            tables: vec![
                labelled::scores_table("spans of the test part", by_kind),
                labelled::confusion_table(&matrix, classes),
            ],
            ..Findings::default()
        })
    }
}

impl TaggingTask {
    fn spans(&self, predicted: &[Vec<&str>]) -> SpanScores {
        let mut spans = SpanScores::new();
        for (sentence, predicted) in self.test.sentences().iter().zip(predicted) {
            let expected: Vec<&str> = sentence.tags.iter().map(String::as_str).collect();
            spans.add(&expected, predicted);
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use emberline_text::BertTokenizer;

    use super::*;

    #[test]
    fn the_first_piece_of_a_word_has_its_tag_and_what_has_no_place_has_none() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/bert-vocab");
        let tokenizer = BertTokenizer::from_directory(folder).unwrap();
        let words = ["is", "unaffable", "\u{200b}", "?"].map(String::from);
        let row = |max_length| example(&words, &[1, 2, 3, 4], &tokenizer, max_length).unwrap();
        let (none, [class, separator, unknown]) = (UNLABELLED, [101, 102, 100]);
        let whole = row(16);
        assert_eq!(whole.tokens, [class, 2003, 14477, 20961, 3468, unknown, 1029, separator]);
        assert_eq!(whole.labels, [none, 1, 2, none, none, 3, 4, none]);
        let cut = row(4);
        assert_eq!(cut.tokens, [class, 2003, 14477, separator]);
        assert_eq!((cut.labels.clone(), n_tagged(&cut)), (vec![none, 1, 2, none], 2));
    }
}
