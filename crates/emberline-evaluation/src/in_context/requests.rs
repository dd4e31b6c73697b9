//! What a model is asked, each request once, and what it has answered before.

use std::collections::{BTreeMap, HashMap};

use emberline_generation::{GenerationError, Likelihood};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The tokens before an answer and those of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub before: Vec<u32>,
    pub answer: Vec<u32>,
}

impl Request {
    pub fn n_read(&self) -> usize {
        self.before.len() + self.answer.len().saturating_sub(1)
    }
}

/// What is asked, each request once.
#[derive(Default)]
pub(super) struct Requests {
    pub all: Vec<Request>,
    places: HashMap<Request, usize>,
}

impl Requests {
    pub fn place(&mut self, request: Request) -> usize {
        *self.places.entry(request).or_insert_with_key(|request| {
            self.all.push(request.clone());
            self.all.len() - 1
        })
    }
}

/// What one model has answered before, with one tokenizer: whoever keeps it knows of which.
///
/// A request is known by the hash of all that its answer hangs on but the model: tokens, positions, beams. Answers of
/// other batches, or of another device, are the same within what differs there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownAnswers {
    likelihoods: BTreeMap<String, Likelihood>,
    texts: BTreeMap<String, String>,
}

impl KnownAnswers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.likelihoods.len() + self.texts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How probable answers are, by their keys; those that are not known are asked all at once, by their places.
    pub(super) fn likelihoods(
        &mut self,
        keys: Vec<String>,
        ask: impl FnOnce(&[usize]) -> Result<Vec<Likelihood>, GenerationError>,
    ) -> Result<Vec<Likelihood>, GenerationError> {
        known_or_asked(&mut self.likelihoods, keys, ask)
    }

    /// What is written, in the same way.
    pub(super) fn texts(
        &mut self,
        keys: Vec<String>,
        ask: impl FnOnce(&[usize]) -> Result<Vec<String>, GenerationError>,
    ) -> Result<Vec<String>, GenerationError> {
        known_or_asked(&mut self.texts, keys, ask)
    }
}

fn known_or_asked<A: Clone>(
    known: &mut BTreeMap<String, A>,
    keys: Vec<String>,
    ask: impl FnOnce(&[usize]) -> Result<Vec<A>, GenerationError>,
) -> Result<Vec<A>, GenerationError> {
    let is_new = |place: &usize| !known.contains_key(&keys[*place]);
    let new: Vec<usize> = (0..keys.len()).filter(is_new).collect();
    if !new.is_empty() {
        let answers = ask(&new)?;
        known.extend(new.iter().map(|place| keys[*place].clone()).zip(answers));
    }
    Ok(keys.iter().map(|key| known[key].clone()).collect())
}

/// The hash of what an answer hangs on.
pub(super) fn key(request: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(request).expect("numbers and texts are JSON");
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_asked_again() {
        let mut known = KnownAnswers::default();
        let mut ask = |texts: [&str; 2], expected: &[usize]| {
            let keys = texts.map(|text| key(&text)).to_vec();
            let answers = |new: &[usize]| {
                assert_eq!(new, expected);
                Ok(new.iter().map(|place| texts[*place].to_uppercase()).collect())
            };
            assert_eq!(known.texts(keys, answers).unwrap(), texts.map(str::to_uppercase));
        };
        ask(["a", "b"], &[0, 1]);
        ask(["c", "b"], &[0]);
        ask(["b", "a"], &[]);
        assert_eq!((known.len(), known.is_empty()), (3, false));
    }

    #[test]
    fn what_is_kept_comes_back_to_the_last_bit() {
        let mut known = KnownAnswers::default();
        let found = Likelihood { log_probabilities: vec![-1.0 / 3.0, -2e-9], is_greedy: true };
        known.likelihoods(vec![key(&1)], |_| Ok(vec![found.clone()])).unwrap();
        let kept = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<KnownAnswers>(&kept).unwrap(), known);
    }
}
