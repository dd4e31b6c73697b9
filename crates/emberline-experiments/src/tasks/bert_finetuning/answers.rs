//! A BERT finds the answer to a question in a passage. A passage that is too long for a row is read in windows that
//! overlap, and the best answer of all of them counts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use emberline_core::Stream;
use emberline_evaluation::{AnswerScores, SquadVersion, example_scores};
use emberline_finetuning::{AnswerBatch, AnswerBatches, Answers};
use emberline_models::bert::{AnswerHead, Architecture, BertConfig, BertForQuestionAnswering};
use emberline_text::{Article, Articles, BertRow, BertTokenizer, Example, Passage};
use serde::{Deserialize, Serialize};

use super::{Beginning, BertFinetuningConfig, Task, TaskData};
use crate::config::{RunConfig, check_sizes};
use crate::datasets;
use crate::tasks::Findings;
use crate::tasks::sentence_vectors::words;

/// The questions that are shown with their answers.
const SHOWN: usize = 12;
/// Of ten articles in a row the last two are for the test and the one before for validation.
const ARTICLES: usize = 10;

/// Passages with questions, in a file of SQuAD's format. Whole articles are for training, validation or the test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedConfig {
    /// The file.
    pub path: String,
    /// What its SHA-256 must be; the run writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The tokens of a row at most, the question among them.
    pub max_length: usize,
    /// The pieces of a passage that a window has in common with the one before.
    pub stride: usize,
    /// The tokens of an answer at most.
    pub max_answer_length: usize,
    /// The rows of an update.
    pub batch_size: usize,
}

/// A question with the windows of its passage.
struct Asked {
    question: String,
    passage: String,
    /// The right answers.
    answers: Vec<Range<usize>>,
    windows: Vec<BertRow>,
}

/// The questions as rows.
pub struct AnswerTask {
    batch_size: usize,
    max_answer_length: usize,
    data: AnswerBatches,
    test: Vec<Asked>,
    model_config: BertConfig,
}

impl TaskData for AskedConfig {
    type Task = AnswerTask;

    fn run_config(config: BertFinetuningConfig<Self>) -> RunConfig {
        RunConfig::BertAnswers(config)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        let Self { max_length, stride, max_answer_length, batch_size, .. } = *self;
        check_sizes(&[
            ("data.batch_size", batch_size),
            ("data.max_length", max_length),
            ("data.max_answer_length", max_answer_length),
        ])?;
        ensure!(
            stride < max_length,
            "`data.stride` must be below `data.max_length` {max_length}, but is {stride}"
        );
        Ok(())
    }

    fn read(
        &mut self,
        beginning: &Beginning,
        random: Stream,
        device: &Device,
    ) -> Result<AnswerTask> {
        ensure!(Path::new(&self.path).is_file(), "there is no file {}", self.path);
        beginning.check_length(self.max_length)?;
        let file = datasets::find(&mut self.path, "json")?;
        let articles = Articles::from_file(&file)?;
        datasets::check(&[&file], &mut self.sha256)?;
        let asked = |is_of_part: &dyn Fn(usize) -> bool| {
            let articles = articles.articles().iter().enumerate();
            let of_part = articles.filter(|(index, _)| is_of_part(index % ARTICLES));
            self.asked(of_part.map(|(_, article)| article), &beginning.tokenizer)
        };
        let training = asked(&|place| place < ARTICLES - 3)?;
        let validation = asked(&|place| place == ARTICLES - 3)?;
        let test = asked(&|place| place > ARTICLES - 3)?;
        ensure!(!test.is_empty(), "{}: fewer than {} articles", self.path, ARTICLES - 1);
        let rows = |asked: &[Asked]| asked.iter().flat_map(Asked::examples).collect();
        let data =
            AnswerBatches::new(rows(&training), rows(&validation), self.batch_size, random, device);
        let config = beginning.config.clone();
        Ok(AnswerTask {
            batch_size: self.batch_size,
            max_answer_length: self.max_answer_length,
            data: data.with_context(|| self.path.clone())?,
            test,
            model_config: config.with_architecture(Architecture::QuestionAnswering),
        })
    }
}

impl AskedConfig {
    fn asked<'a>(
        &self,
        articles: impl Iterator<Item = &'a Article>,
        tokenizer: &BertTokenizer,
    ) -> Result<Vec<Asked>> {
        let mut all = Vec::new();
        for Passage { text: passage, questions } in articles.flat_map(|article| &article.passages) {
            for question in questions {
                let Self { max_length, stride, .. } = *self;
                let windows = tokenizer.windows(Some(&question.text), passage, max_length, stride);
                all.push(Asked {
                    question: question.text.clone(),
                    passage: passage.clone(),
                    answers: question.answers.clone(),
                    windows: windows.with_context(|| format!("question {}", question.id))?,
                });
            }
        }
        Ok(all)
    }
}

impl Asked {
    /// A row for each window. Where the answer is not in it, it is said to be at `[CLS]`.
    fn examples(&self) -> impl Iterator<Item = Example> {
        self.windows.iter().map(|window| {
            let places = tokens_of(window, &self.answers[0]).unwrap_or([0, 0]);
            Example {
                tokens: window.tokens.clone(),
                segments: window.segments.clone(),
                labels: places.map(|place| place as u32).into(),
            }
        })
    }

    /// The text of an answer.
    fn text(&self, place: &Range<usize>) -> &str {
        &self.passage[place.clone()]
    }

    /// The bytes of the passage from the best start to the best end, given the scores of each window.
    fn best<'a>(
        &self,
        scores: impl Iterator<Item = &'a Vec<Vec<f32>>>,
        max_answer_length: usize,
    ) -> Range<usize> {
        let mut best = (f32::NEG_INFINITY, 0..0);
        for (window, scores) in self.windows.iter().zip(scores) {
            for (start, first) in passage_places(window) {
                for (end, last) in passage_places(window) {
                    if !(start..start + max_answer_length).contains(&end) {
                        continue;
                    }
                    let score = scores[start][0] + scores[end][1];
                    if score > best.0 {
                        best = (score, first.start..last.end);
                    }
                }
            }
        }
        best.1
    }

    fn score(&self, answer: &str) -> AnswerScores {
        let right: Vec<&str> = self.answers.iter().map(|place| self.text(place)).collect();
        AnswerScores::of(answer, &right, SquadVersion::V1)
    }

    /// The sentence of the passage that shares most words with the question, the first of several: an answer without any
    /// model.
    fn nearest_sentence<'a>(&'a self) -> &'a str {
        let asked = words(&self.question);
        let shared = |sentence: &str| words(sentence).intersection(&asked).count();
        let sentences = self.passage.split_inclusive(". ");
        let better = |best: (usize, &'a str), sentence| match shared(sentence) {
            more if more > best.0 => (more, sentence),
            _ => best,
        };
        sentences.fold((0, ""), better).1
    }
}

/// The tokens of a window that are of the passage, with what they stand for.
fn passage_places(window: &BertRow) -> impl Iterator<Item = (usize, &Range<usize>)> {
    let places = window.places.iter().zip(&window.segments).enumerate();
    places.filter_map(|(token, (place, segment))| {
        (*segment == 1).then_some(place.as_ref()).flatten().map(|place| (token, place))
    })
}

/// The first and the last token of an answer, if all of it is in the window.
fn tokens_of(window: &BertRow, answer: &Range<usize>) -> Option<[usize; 2]> {
    let place = |byte: usize| {
        passage_places(window).find(|(_, place)| place.contains(&byte)).map(|(token, _)| token)
    };
    Some([place(answer.start)?, place(answer.end - 1)?])
}

impl Task for AnswerTask {
    type Head = AnswerHead;
    type Batch = AnswerBatch;
    type Objective = Answers;
    const OBJECTIVE: Answers = Answers;

    fn data(&self) -> &AnswerBatches {
        &self.data
    }

    fn model_config(&self) -> &BertConfig {
        &self.model_config
    }

    fn baselines(&self) -> BTreeMap<String, f64> {
        let scores = self.test.iter().map(|asked| asked.score(asked.nearest_sentence()));
        let scores = scores.fold(AnswerScores::default(), |all, scores| all + scores);
        BTreeMap::from([
            ("test_f1_of_nearest_sentence".into(), scores.f1()),
            ("test_count".into(), self.test.len() as f64),
        ])
    }

    fn findings(&self, model: &BertForQuestionAnswering, device: &Device) -> Result<Findings> {
        let rows: Vec<Example> = self.test.iter().flat_map(Asked::examples).collect();
        let scores = example_scores(model, &rows, self.batch_size, device);
        let mut scores = scores.iter();
        let mut all = AnswerScores::default();
        let mut samples = String::new();
        let step = self.test.len().div_ceil(SHOWN).max(1);
        for (index, asked) in self.test.iter().enumerate() {
            let of_windows = scores.by_ref().take(asked.windows.len());
            let answer = asked.text(&asked.best(of_windows, self.max_answer_length));
            all = all + asked.score(answer);
            if index % step == 0 {
                let (question, right) = (&asked.question, asked.text(&asked.answers[0]));
                samples += &format!("{question}\n    {answer}\n    right: {right}\n");
            }
        }
        let metrics = [("test_exact_match", all.exact_match()), ("test_f1", all.f1())];
        Ok(Findings {
            metrics: metrics.map(|(name, value)| (name.to_string(), value)).into(),
            samples,
            ..Findings::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use emberline_text::BertTokenizer;

    use super::*;

    fn asked(max_length: usize) -> Asked {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/bert-vocab");
        let tokenizer = BertTokenizer::from_directory(folder).unwrap();
        let passage = "He was born in 1809. Mr. Darcy died in the north.";
        let (question, answer) = ("Who died?", "Mr. Darcy");
        let start = passage.find(answer).unwrap();
        let place = start..start + answer.len();
        Asked {
            question: question.into(),
            passage: passage.into(),
            answers: Vec::from([place]),
            windows: tokenizer.windows(Some(question), passage, max_length, 2).unwrap(),
        }
    }

    #[test]
    fn an_answer_is_where_its_tokens_are_and_at_the_first_token_of_other_windows() {
        let whole = asked(64);
        let [row] = &whole.examples().collect::<Vec<_>>()[..] else { panic!("one window") };
        let [first, last] = [0, 1].map(|end| row.labels[end] as usize);
        let places = &whole.windows[0].places;
        let bytes = places[first].clone().unwrap().start..places[last].clone().unwrap().end;
        assert_eq!(whole.text(&bytes), "Mr. Darcy");
        let parts = asked(14);
        let rows: Vec<Example> = parts.examples().collect();
        assert!(rows.len() > 1);
        assert!(rows.iter().any(|row| row.labels == [0, 0]));
        assert!(rows.iter().any(|row| row.labels != [0, 0]));
    }

    #[test]
    fn the_best_answer_of_all_windows_counts_and_ends_after_it_starts() {
        let asked = asked(14);
        let answer = &asked.answers[0];
        let scores: Vec<Vec<Vec<f32>>> = asked
            .windows
            .iter()
            .map(|window| {
                let mut scores = vec![vec![-50.0, 0.0]; window.tokens.len()];
                // The question and the special tokens are no answers, however high they score.
                scores[0] = vec![100.0, 100.0];
                scores[1] = vec![100.0, 100.0];
                if let Some([first, last]) = tokens_of(window, answer) {
                    scores[first][0] = 5.0;
                    scores[last][1] = 5.0;
                    // An end before the start.
                    scores[first - 1][1] = 50.0;
                }
                scores
            })
            .collect();
        assert_eq!(asked.text(&asked.best(scores.iter(), 30)), "Mr. Darcy");
        assert_eq!(asked.text(&asked.best(scores.iter(), 1)), "Mr");
    }

    #[test]
    fn without_a_model_the_sentence_with_the_words_of_the_question_is_the_answer() {
        let asked = asked(64);
        assert_eq!(asked.nearest_sentence(), "Darcy died in the north.");
        assert_eq!(asked.score("the Mr Darcy").exact_match(), 1.0);
    }
}
