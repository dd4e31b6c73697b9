//! Words that are alike, and analogies.

use emberline_embeddings::{Combination, Scored, WordVectors};
use serde_json::json;

use super::arguments::{AnalogyArguments, NearestArguments};
use super::{open, places};
use crate::failure::Outcome;
use crate::terminal;

/// Prints the words that are most like a word.
pub fn nearest(arguments: &NearestArguments) -> Outcome {
    let vectors = open(&arguments.vectors)?;
    let place = vectors.place(&arguments.word)?;
    let nearest = vectors.nearest(vectors.vector(place), arguments.count, &[place]);
    print(&vectors, &nearest, arguments.json)
}

/// Prints what is to C as B is to A.
pub fn analogy(arguments: &AnalogyArguments) -> Outcome {
    let AnalogyArguments { a, b, c, count, .. } = arguments;
    let vectors = open(&arguments.vectors)?;
    let words = places(&vectors, &[a.clone(), b.clone(), c.clone()])?;
    let combination = combination(arguments.multiplicative);
    let answers = vectors.analogy(&words[1..], &words[..1], combination, *count);
    print(&vectors, &answers, arguments.json)
}

pub fn combination(multiplicative: bool) -> Combination {
    if multiplicative { Combination::Multiplicative } else { Combination::Additive }
}

fn print(vectors: &WordVectors, scored: &[Scored], json: bool) -> Outcome {
    let word = |scored: &Scored| vectors.words().text(scored.place).into_owned();
    let text = match json {
        true => {
            let words = scored.iter().map(|s| json!({ "word": word(s), "score": s.score }));
            format!("{}\n", serde_json::Value::from_iter(words))
        }
        false => scored.iter().map(|s| format!("{:.4}  {}\n", s.score, word(s))).collect(),
    };
    Ok(terminal::result(text)?)
}
