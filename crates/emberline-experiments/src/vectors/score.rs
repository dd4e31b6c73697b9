//! The standard tests of vectors.

use emberline_embeddings::{AnalogyQuestions, SectionScore, SimilarityPairs};
use serde_json::{Map, Value, json};

use super::arguments::EvaluateArguments;
use super::ask::combination;
use super::open;
use crate::failure::Outcome;
use crate::terminal;

/// Prints the scores.
pub fn run(arguments: &EvaluateArguments) -> Outcome {
    let questions = arguments.questions.as_ref().map(AnalogyQuestions::read).transpose()?;
    let pairs: Vec<SimilarityPairs> =
        arguments.pairs.iter().map(SimilarityPairs::read).collect::<Result<_, _>>()?;
    let vectors = open(&arguments.vectors)?;
    let (mut text, mut found) = (String::new(), Map::new());
    if let Some(questions) = questions {
        let how = combination(arguments.multiplicative);
        let mut sections = questions.score(&vectors, arguments.vocabulary, how);
        sections.push(SectionScore::total(&sections));
        for SectionScore { name, right, asked, unknown } in &sections {
            let share = 100.0 * *right as f64 / (*asked).max(1) as f64;
            text += &format!("{share:6.2} %  {right} of {asked}, {unknown} unknown  {name}\n");
        }
        let section = |s: &SectionScore| {
            let SectionScore { name, right, asked, unknown } = s;
            json!({ "name": name, "right": right, "asked": asked, "unknown": unknown })
        };
        found.insert("analogies".into(), sections.iter().map(section).collect());
    }
    let mut scores = Vec::new();
    for (path, pairs) in arguments.pairs.iter().zip(pairs) {
        let score = pairs.score(&vectors, arguments.vocabulary);
        let number =
            |value: Option<f64>| value.map_or("none".into(), |value| format!("{value:.4}"));
        let (pearson, spearman) = (number(score.pearson), number(score.spearman));
        let (compared, unknown) = (score.compared, score.unknown);
        text += &format!(
            "Spearman {spearman}  Pearson {pearson}  {compared} pairs, {unknown} unknown  {}\n",
            path.display()
        );
        scores.push(json!({
            "pairs": path, "spearman": score.spearman, "pearson": score.pearson,
            "compared": compared, "unknown": unknown,
        }));
    }
    found.insert("similarities".into(), scores.into());
    Ok(terminal::result(match arguments.json {
        true => format!("{}\n", Value::Object(found)),
        false => text,
    })?)
}
