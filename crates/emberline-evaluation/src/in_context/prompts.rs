//! A description, examples and a question as one text.

use emberline_core::Stream;
use emberline_generation::GenerationError;

use super::error::InContextError;
use super::task::{Item, Task};

/// The examples that a prompt has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FewShot {
    /// How many: none is zero-shot, one one-shot.
    pub n_shots: usize,
    /// For whom they are drawn.
    pub draw: Draw,
    /// The seed of the draw.
    pub seed: u64,
}

/// For whom examples are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draw {
    /// For each item anew, as in the paper.
    #[default]
    EachItem,
    /// Once: all prompts begin alike, and what they share is read once.
    Once,
}

/// What the model reads before an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Description and examples, each of which has the separator after it.
    pub before: String,
    /// How many examples there are.
    pub n_shots: usize,
}

impl FewShot {
    /// The examples of an item, drawn without replacement; an item is never its own example.
    ///
    /// # Errors
    /// [`InContextError::TooFewExamples`].
    pub fn examples<'a>(
        &self,
        task: &'a Task,
        item: usize,
    ) -> Result<Vec<&'a Item>, InContextError> {
        let has_own = !task.examples.is_empty();
        let pool = if has_own { &task.examples } else { &task.items };
        let n_examples = pool.len() - usize::from(!has_own);
        if n_examples < self.n_shots {
            return Err(InContextError::TooFewExamples {
                task: task.name.clone(),
                n_examples,
                n_shots: self.n_shots,
            });
        }
        let random = Stream::new(self.seed).named("examples");
        let random = match self.draw {
            Draw::EachItem => random.at(item as u64),
            Draw::Once => random,
        };
        let drawn = random.permutation(pool.len()).into_iter();
        let drawn = drawn.filter(|example| has_own || *example != item).take(self.n_shots);
        Ok(drawn.map(|example| &pool[example]).collect())
    }
}

impl Prompt {
    /// A description and examples.
    pub fn new(task: &Task, examples: &[&Item]) -> Self {
        let separated = |example: &&Item| example.as_example() + &task.separator;
        let before = task.description.clone() + &examples.iter().map(separated).collect::<String>();
        Self { before, n_shots: examples.len() }
    }

    /// The longest one that `n_tokens` says to fit `max_positions`, of the last examples: those furthest from the
    /// question are left out first. Without any, it is the description, whether it fits or not.
    ///
    /// # Errors
    /// Those of `n_tokens`, which counts a prompt with the question and its longest answer.
    pub fn fitted(
        task: &Task,
        examples: &[&Item],
        max_positions: Option<usize>,
        n_tokens: impl Fn(&Self) -> Result<usize, GenerationError>,
    ) -> Result<Self, GenerationError> {
        let mut left = examples;
        loop {
            let prompt = Self::new(task, left);
            let Some(max_positions) = max_positions else { return Ok(prompt) };
            match left.split_first() {
                Some((_, nearer)) if n_tokens(&prompt)? > max_positions => left = nearer,
                _ => return Ok(prompt),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(n_items: usize) -> Task {
        let item = |index: usize| Item::Text {
            context: format!("{index} ="),
            targets: vec![format!(" {index}")],
        };
        Task {
            description: "Repeat.\n\n".into(),
            ..Task::new("repeat", (0..n_items).map(item).collect())
        }
    }

    fn few(n_shots: usize, draw: Draw) -> FewShot {
        FewShot { n_shots, draw, seed: 1 }
    }

    #[test]
    fn a_prompt_is_its_parts_with_separators() {
        let task = task(3);
        let examples = [&task.items[0], &task.items[2]];
        let prompt = Prompt::new(&task, &examples);
        assert_eq!(prompt.before, "Repeat.\n\n0 = 0\n\n2 = 2\n\n");
        let bare = Task { description: String::new(), ..task.clone() };
        assert_eq!(Prompt::new(&bare, &[]), Prompt { before: String::new(), n_shots: 0 });
    }

    #[test]
    fn an_item_is_never_its_own_example_and_none_comes_twice() {
        let task = task(5);
        for draw in [Draw::EachItem, Draw::Once] {
            for item in 0..5 {
                let mut examples = few(4, draw).examples(&task, item).unwrap();
                assert!(!examples.contains(&&task.items[item]));
                examples.sort_by_key(|example| example.as_example());
                examples.dedup();
                assert_eq!(examples.len(), 4);
            }
        }
        let error = few(5, Draw::EachItem).examples(&task, 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "repeat has 4 examples beside an item: expected at least the 5 of a prompt"
        );
    }

    #[test]
    fn examples_are_drawn_for_each_item_or_once() {
        let task = Task { examples: task(20).items, ..task(4) };
        let of = |draw, item| few(3, draw).examples(&task, item).unwrap();
        assert_eq!(of(Draw::Once, 0), of(Draw::Once, 3));
        assert_ne!(of(Draw::EachItem, 0), of(Draw::EachItem, 3));
        assert_eq!(of(Draw::EachItem, 2), of(Draw::EachItem, 2));
    }

    #[test]
    fn the_furthest_example_is_left_out_first() {
        let task = task(4);
        let examples: Vec<&Item> = task.items.iter().collect();
        let fitted = |max_positions| {
            let length = |prompt: &Prompt| Ok(prompt.before.len());
            Prompt::fitted(&task, &examples, max_positions, length).unwrap()
        };
        assert_eq!(fitted(None).n_shots, 4);
        assert_eq!(fitted(Some(9 + 14)).before, "Repeat.\n\n2 = 2\n\n3 = 3\n\n");
        assert_eq!(fitted(Some(9 + 13)).before, "Repeat.\n\n3 = 3\n\n");
        assert_eq!(fitted(Some(1)), Prompt { before: "Repeat.\n\n".into(), n_shots: 0 });
    }
}
