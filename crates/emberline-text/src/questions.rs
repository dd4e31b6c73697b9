//! Questions whose answers stand in a passage, in the JSON of SQuAD (Rajpurkar and others, 2016).

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use crate::corpus::Corpus;
use crate::error::TextError;

/// The passages of an article with what is asked about each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Article {
    /// The passages, in the order of the file.
    pub passages: Vec<Passage>,
}

/// A text and questions that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The text.
    pub text: String,
    /// What is asked.
    pub questions: Vec<Question>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What the file calls it.
    pub id: String,
    /// The question, never blank.
    pub text: String,
    /// Where right answers stand in the passage, in bytes; at least one.
    pub answers: Vec<Range<usize>>,
}

/// The articles of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Articles {
    name: String,
    articles: Vec<Article>,
}

impl Articles {
    /// Reads a file of SQuAD 1.1, in which every question has an answer. A file whose name ends in `.gz` is unpacked.
    ///
    /// # Errors
    /// Those of [`Corpus::from_file`]; [`TextError::NotQuestions`]; [`TextError::Misplaced`] and
    /// [`TextError::Unanswerable`] with the question; [`TextError::NoExample`] without any.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TextError> {
        Self::parse(&Corpus::from_file(path)?)
    }

    fn parse(corpus: &Corpus) -> Result<Self, TextError> {
        let name = corpus.name();
        let file: File = serde_json::from_str(corpus.text())
            .map_err(|source| TextError::NotQuestions { name: name.to_string(), source })?;
        let articles: Vec<Article> =
            file.data.into_iter().map(|article| article.read(name)).collect::<Result<_, _>>()?;
        let passages = articles.iter().flat_map(|article| &article.passages);
        if passages.map(|passage| passage.questions.len()).sum::<usize>() == 0 {
            return Err(TextError::NoExample { name: name.to_string() });
        }
        Ok(Self { name: name.to_string(), articles })
    }

    /// The file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The articles, in the order of the file.
    pub fn articles(&self) -> &[Article] {
        &self.articles
    }
}

impl Passage {
    /// The text of an answer.
    pub fn answer(&self, place: &Range<usize>) -> &str {
        &self.text[place.clone()]
    }
}

/// As the file has it.
#[derive(Deserialize)]
struct File {
    data: Vec<FileArticle>,
}

#[derive(Deserialize)]
struct FileArticle {
    paragraphs: Vec<FilePassage>,
}

#[derive(Deserialize)]
struct FilePassage {
    context: String,
    qas: Vec<FileQuestion>,
}

#[derive(Deserialize)]
struct FileQuestion {
    id: String,
    question: String,
    answers: Vec<FileAnswer>,
}

#[derive(Deserialize)]
struct FileAnswer {
    text: String,
    /// In characters.
    answer_start: usize,
}

impl FileArticle {
    fn read(self, name: &str) -> Result<Article, TextError> {
        let passages = self.paragraphs.into_iter().map(|passage| passage.read(name));
        Ok(Article { passages: passages.collect::<Result<_, _>>()? })
    }
}

impl FilePassage {
    fn read(self, name: &str) -> Result<Passage, TextError> {
        let Self { context: text, qas } = self;
        let questions = qas.into_iter().map(|question| question.read(&text, name));
        Ok(Passage { questions: questions.collect::<Result<_, _>>()?, text })
    }
}

impl FileQuestion {
    fn read(self, passage: &str, name: &str) -> Result<Question, TextError> {
        let Self { id, question, answers } = self;
        let (name, of) = (|| name.to_string(), id.clone());
        if question.trim().is_empty() || answers.is_empty() {
            return Err(TextError::Unanswerable { name: name(), id });
        }
        let place = |answer: FileAnswer| {
            let place = answer.place(passage);
            let FileAnswer { text: answer, answer_start: start } = answer;
            place.ok_or_else(|| TextError::Misplaced {
                name: name(),
                id: of.clone(),
                answer,
                start,
            })
        };
        let answers = answers.into_iter().map(place).collect::<Result<_, _>>()?;
        Ok(Question { id, text: question, answers })
    }
}

impl FileAnswer {
    /// Its bytes in the passage, if it stands there.
    fn place(&self, passage: &str) -> Option<Range<usize>> {
        let (start, _) = passage.char_indices().nth(self.answer_start)?;
        let stands = !self.text.is_empty() && passage[start..].starts_with(&self.text);
        stands.then(|| start..start + self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(passage: &str, questions: &str) -> Result<Articles, TextError> {
        let file = format!(
            r#"{{"version": "1.1", "data": [{{"title": "T", "paragraphs": [
                {{"context": "{passage}", "qas": [{questions}]}}]}}]}}"#
        );
        Articles::parse(&Corpus::new("squad.json", file)?)
    }

    fn question(text: &str, answers: &str) -> String {
        format!(r#"{{"id": "q7", "question": "{text}", "answers": [{answers}]}}"#)
    }

    #[test]
    fn answers_are_counted_in_characters_and_kept_in_bytes() {
        let answers = r#"{"text": "Zoë", "answer_start": 4}, {"text": "é", "answer_start": 3}"#;
        let articles = parse("caféZoë.", &question("Who?", answers)).unwrap();
        let passage = &articles.articles()[0].passages[0];
        let question = &passage.questions[0];
        assert_eq!((&question.id[..], &question.text[..]), ("q7", "Who?"));
        assert_eq!(question.answers, [5..9, 3..5]);
        assert_eq!(passage.answer(&question.answers[0]), "Zoë");
    }

    #[test]
    fn an_answer_that_is_not_where_the_file_says_is_named_with_its_question() {
        for (text, start) in [("bc", 0), ("b", 9), ("", 1)] {
            let answer = format!(r#"{{"text": "{text}", "answer_start": {start}}}"#);
            let error = parse("abc", &question("Who?", &answer)).unwrap_err().to_string();
            let expected = format!(
                "squad.json: the answer {text:?} of question q7 is not at character {start}"
            );
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_question_without_words_or_answers_and_a_file_without_questions_are_refused() {
        let answer = r#"{"text": "a", "answer_start": 0}"#;
        for (text, answers) in [("Who?", ""), (" ", answer)] {
            let error = parse("abc", &question(text, answers)).unwrap_err().to_string();
            assert_eq!(error, "squad.json: question q7 has no words or no answer");
        }
        assert_eq!(parse("abc", "").unwrap_err().to_string(), "squad.json has no example");
        let file = Corpus::new("squad.json", r#"{"data": 1}"#).unwrap();
        let error = Articles::parse(&file).unwrap_err().to_string();
        assert_eq!(error, "squad.json does not hold questions as SQuAD does");
    }
}
