//! How good vectors are by the standard tests: questions of analogy, and pairs of words that people have said to be more or
//! less alike. As gensim scores them: without regard to case, and without what the vectors do not know.

use std::path::{Path, PathBuf};

use emberline_core::{pearson, spearman};
use rayon::prelude::*;

use crate::error::EmbeddingsError;
use crate::queries::{Combination, Cosines, EPSILON, from_0_to_1};
use crate::simd;
use crate::vectors::WordVectors;
use crate::words::Words;

/// Words whose cosines with all words of the questions are held together.
const ROWS: usize = 1 << 10;

/// Questions "a is to b as c is to what?", as in Google's `questions-words.txt`.
#[derive(Clone, Debug)]
pub struct AnalogyQuestions {
    sections: Vec<(String, Vec<[String; 4]>)>,
}

/// How a section of questions went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionScore {
    /// Its name.
    pub name: String,
    /// Questions answered right.
    pub right: usize,
    /// Questions asked.
    pub asked: usize,
    /// Questions with a word that has no vector, which were not asked.
    pub unknown: usize,
}

/// Pairs of words with how alike people find them, as in WordSim-353 and SimLex-999.
#[derive(Clone, Debug)]
pub struct SimilarityPairs {
    pairs: Vec<(String, String, f64)>,
}

/// How the cosines of pairs go along with what people say.
#[derive(Clone, Debug, PartialEq)]
pub struct PairScore {
    /// Pearson's correlation, of two pairs at least.
    pub pearson: Option<f64>,
    /// Spearman's.
    pub spearman: Option<f64>,
    /// Pairs compared.
    pub compared: usize,
    /// Pairs with a word that has no vector.
    pub unknown: usize,
}

impl SectionScore {
    /// The share of right answers.
    pub fn accuracy(&self) -> Option<f64> {
        (self.asked > 0).then(|| self.right as f64 / self.asked as f64)
    }

    /// All sections as one.
    pub fn total(sections: &[Self]) -> Self {
        sections.iter().fold(Self { name: "total".into(), ..Self::default() }, |total, section| {
            Self {
                right: total.right + section.right,
                asked: total.asked + section.asked,
                unknown: total.unknown + section.unknown,
                ..total
            }
        })
    }
}

impl AnalogyQuestions {
    /// Reads sections, each with a line `: name` and then questions of four words a line.
    ///
    /// # Errors
    /// [`Read`](EmbeddingsError::Read); [`Question`](EmbeddingsError::Question) for a line that is neither, or comes before
    /// the first section.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, EmbeddingsError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(EmbeddingsError::read(path))?;
        let mut sections: Vec<(String, Vec<[String; 4]>)> = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            if let Some(name) = line.strip_prefix(':') {
                sections.push((name.trim().into(), Vec::new()));
                continue;
            }
            let words: Vec<String> = line.split_whitespace().map(fold).collect();
            match (sections.last_mut(), words.try_into()) {
                (Some((_, questions)), Ok(words)) => questions.push(words),
                _ => return Err(EmbeddingsError::Question { path: path.into(), line: index + 1 }),
            }
        }
        Ok(Self { sections })
    }

    /// Asks every question of which all four words are among the first `vocab_size`; the answer is among those too, and
    /// none of the three words of the question.
    pub fn score(
        &self,
        vectors: &WordVectors,
        vocab_size: usize,
        combination: Combination,
    ) -> Vec<SectionScore> {
        let known = Folded::new(vectors, vocab_size);
        let mut asked: Vec<(usize, [usize; 4])> = Vec::new();
        let mut scores = Vec::new();
        for (section, (name, questions)) in self.sections.iter().enumerate() {
            let mut score = SectionScore { name: name.clone(), ..SectionScore::default() };
            for question in questions {
                let ids = question.each_ref().map(|word| known.words.place(word));
                match ids {
                    [Some(a), Some(b), Some(c), Some(d)] => asked.push((section, [a, b, c, d])),
                    _ => score.unknown += 1,
                }
            }
            scores.push(score);
        }
        let questions: Vec<[usize; 4]> = asked.iter().map(|(_, question)| *question).collect();
        for ((section, question), answer) in
            asked.iter().zip(answers(vectors, &known, &questions, combination))
        {
            scores[*section].asked += 1;
            scores[*section].right += usize::from(answer == Some(question[3]));
        }
        scores
    }
}

/// The words of vectors without regard to case.
struct Folded {
    /// The different ones.
    words: Words,
    /// Which of them each row is.
    of_row: Vec<usize>,
    /// The first row of each, which is the most frequent spelling: the one that is asked about.
    rows: Vec<usize>,
}

impl Folded {
    fn new(vectors: &WordVectors, vocab_size: usize) -> Self {
        let mut folded = Self { words: Words::default(), of_row: Vec::new(), rows: Vec::new() };
        for row in 0..vectors.len().min(vocab_size) {
            let (word, is_new) = folded.words.insert(fold(&vectors.words().text(row)).as_bytes());
            folded.of_row.push(word);
            if is_new {
                folded.rows.push(row);
            }
        }
        folded
    }
}

fn fold(word: &str) -> String {
    word.to_uppercase()
}

/// The answer to each question, as a folded word.
fn answers(
    vectors: &WordVectors,
    known: &Folded,
    questions: &[[usize; 4]],
    combination: Combination,
) -> Vec<Option<usize>> {
    // Few different words are in many questions: the cosines of those with all rows are all there is to compute.
    let mut asked: Vec<usize> =
        questions.iter().flat_map(|question| &question[..3]).copied().collect();
    asked.sort_unstable();
    asked.dedup();
    let index = |word: usize| asked.binary_search(&word).expect("a word of a question");
    let starts: Vec<usize> = (0..known.of_row.len()).step_by(ROWS).collect();
    let blocks: Vec<Vec<(f32, usize)>> = starts
        .into_par_iter()
        .map(|first| {
            let n_rows = ROWS.min(known.of_row.len() - first);
            let mut cosines = vec![0.0; asked.len() * n_rows];
            for (word, cosines) in asked.iter().zip(cosines.chunks_exact_mut(n_rows)) {
                let row = known.rows[*word];
                let (query, scale) = (vectors.table().lanes_of(row), vectors.scales()[row]);
                simd::run(Cosines { vectors, first, query, scale, cosines });
            }
            let cosines = |word: usize| &cosines[index(word) * n_rows..][..n_rows];
            let mut scores = vec![0.0; n_rows];
            let best = |[a, b, c, _]: &[usize; 4]| {
                combine(combination, cosines(*a), cosines(*b), cosines(*c), &mut scores);
                let mut best = (f32::NEG_INFINITY, usize::MAX);
                for (row, score) in (first..).zip(&scores) {
                    if *score > best.0 && ![a, b, c].contains(&&known.of_row[row]) {
                        best = (*score, known.of_row[row]);
                    }
                }
                best
            };
            questions.iter().map(best).collect()
        })
        .collect();
    let best = |question: usize| {
        let start = (f32::NEG_INFINITY, usize::MAX);
        let (_, word) = blocks.iter().fold(start, |best, block| {
            if block[question].0 > best.0 { block[question] } else { best }
        });
        (word != usize::MAX).then_some(word)
    };
    (0..questions.len()).map(best).collect()
}

fn combine(combination: Combination, a: &[f32], b: &[f32], c: &[f32], scores: &mut [f32]) {
    for (score, ((a, b), c)) in scores.iter_mut().zip(a.iter().zip(b).zip(c)) {
        *score = match combination {
            // The cosine with the sum of three vectors, but for its length, which is the same for every row.
            Combination::Additive => b - a + c,
            Combination::Multiplicative => {
                from_0_to_1(*b) * from_0_to_1(*c) / (from_0_to_1(*a) + EPSILON)
            }
        };
    }
}

impl SimilarityPairs {
    /// Reads two words and a number a line, between tabs; a line that begins with `#` says nothing.
    ///
    /// # Errors
    /// [`Read`](EmbeddingsError::Read); [`Pair`](EmbeddingsError::Pair) for another line.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, EmbeddingsError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(EmbeddingsError::read(path))?;
        let lines = text.lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
        let pair = |(index, line): (usize, &str)| {
            let mut columns = line.split('\t').map(str::trim);
            let (one, other) = (columns.next().map(fold), columns.next().map(fold));
            let number = columns.next().and_then(|number| number.parse::<f64>().ok());
            match (one, other, number.filter(|number| number.is_finite())) {
                (Some(one), Some(other), Some(number)) => Ok((one, other, number)),
                _ => Err(EmbeddingsError::Pair { path: PathBuf::from(path), line: index + 1 }),
            }
        };
        Ok(Self { pairs: lines.map(pair).collect::<Result<_, _>>()? })
    }

    /// Compares the pairs of which both words are among the first `vocab_size`.
    pub fn score(&self, vectors: &WordVectors, vocab_size: usize) -> PairScore {
        let known = Folded::new(vectors, vocab_size);
        let (mut expected, mut cosines) = (Vec::new(), Vec::new());
        for (one, other, number) in &self.pairs {
            let rows = [one, other].map(|word| known.words.place(word).map(|w| known.rows[w]));
            if let [Some(one), Some(other)] = rows {
                expected.push(*number);
                cosines.push(f64::from(vectors.similarity(one, other)));
            }
        }
        PairScore {
            pearson: pearson(&expected, &cosines),
            spearman: spearman(&expected, &cosines),
            compared: expected.len(),
            unknown: self.pairs.len() - expected.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    fn vectors() -> WordVectors {
        WordVectors::from_rows(&[
            ("Man", vec![0.1, -1.0]),
            ("woman", vec![0.1, 1.0]),
            ("king", vec![1.0, -1.0]),
            ("KING", vec![1.0, 1.1]),
            ("queen", vec![1.0, 1.0]),
            ("prince", vec![0.9, -0.9]),
        ])
    }

    #[test]
    fn questions_are_asked_by_section_and_those_with_unknown_words_counted() {
        let questions = file(
            ": family\nman woman king queen\nman woman boy girl\n\n: other\nking man queen king\n",
        );
        let questions = AnalogyQuestions::read(questions).unwrap();
        for combination in [Combination::Additive, Combination::Multiplicative] {
            let scores = questions.score(&vectors(), usize::MAX, combination);
            let counts = |s: &SectionScore| (s.right, s.asked, s.unknown);
            assert_eq!(scores.iter().map(counts).collect::<Vec<_>>(), [(1, 1, 1), (0, 1, 0)]);
            assert_eq!(counts(&SectionScore::total(&scores)), (1, 2, 1));
        }
        let restricted = questions.score(&vectors(), 4, Combination::Additive);
        assert_eq!(SectionScore::total(&restricted).asked, 0);
    }

    #[test]
    fn pairs_are_compared_by_their_cosines() {
        let pairs = file("# a comment\nking\tqueen\t1\nMAN\tking\t9.5\nman\tapple\t3\n");
        let score = SimilarityPairs::read(pairs).unwrap().score(&vectors(), usize::MAX);
        assert_eq!((score.compared, score.unknown), (2, 1));
        assert!((score.spearman.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_line_that_is_no_question_or_pair_is_named() {
        let questions = file(": a\na b c\n");
        let error = AnalogyQuestions::read(questions.path()).unwrap_err().to_string();
        assert!(error.contains(":2:"), "{error}");
        let questions = file("a b c d\n");
        assert!(AnalogyQuestions::read(questions.path()).is_err());
        let pairs = file("a\tb\t1\na b 1\n");
        let error = SimilarityPairs::read(pairs.path()).unwrap_err().to_string();
        assert!(error.contains(":2:"), "{error}");
    }
}
