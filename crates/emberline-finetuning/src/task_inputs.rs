//! How a task is written as a text for a model that reads from left to right (Radford, Narasimhan, Salimans, Sutskever:
//! "Improving language understanding by generative pre-training", 2018, section 3.3 and figure 1).
//!
//! Three tokens are the task's own: one that begins a text, one between two parts of it, and one that ends it, at which the
//! head reads. So a model that was trained on plain text takes any task without a change.

/// The tokens of a task, and the room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskInputs {
    /// Begins every text.
    pub start: u32,
    /// Stands between two parts.
    pub delimiter: u32,
    /// Ends every text.
    pub extract: u32,
    /// The tokens of a text at most, the task's own among them: the ends of longer parts are left out.
    pub max_length: usize,
}

impl TaskInputs {
    /// What the published code calls the three: start, delimiter, extract.
    pub const TOKENS: [&str; 3] = ["_start_", "_delimiter_", "_classify_"];

    /// Classification: `[start; text; extract]`.
    pub fn text(&self, text: &[u32]) -> Vec<u32> {
        let text = &text[..text.len().min(self.room(2))];
        [&[self.start], text, &[self.extract]].concat()
    }

    /// Entailment: `[start; premise; delimiter; hypothesis; extract]`.
    ///
    /// Where both are too long each gets half of the room, and what one does not need is the other's.
    pub fn pair(&self, first: &[u32], second: &[u32]) -> Vec<u32> {
        let room = self.room(3);
        let of_second = second.len().min((room / 2).max(room.saturating_sub(first.len())));
        let of_first = first.len().min(room - of_second);
        let (first, second) = (&first[..of_first], &second[..of_second]);
        [&[self.start], first, &[self.delimiter], second, &[self.extract]].concat()
    }

    /// Similarity: a pair in both orders, since neither text comes first.
    pub fn both_orders(&self, first: &[u32], second: &[u32]) -> Vec<Vec<u32>> {
        vec![self.pair(first, second), self.pair(second, first)]
    }

    /// Multiple choice: the context, a document with its question, with each answer.
    pub fn choices(&self, context: &[u32], answers: &[&[u32]]) -> Vec<Vec<u32>> {
        answers.iter().map(|answer| self.pair(context, answer)).collect()
    }

    /// # Panics
    /// If there is none.
    fn room(&self, n_own: usize) -> usize {
        let max_length = self.max_length;
        assert!(
            max_length > n_own,
            "no room in {max_length} tokens, {n_own} of which are the task's"
        );
        max_length - n_own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u32 = 90;
    const D: u32 = 91;
    const E: u32 = 92;

    fn inputs(max_length: usize) -> TaskInputs {
        TaskInputs { start: S, delimiter: D, extract: E, max_length }
    }

    #[test]
    fn a_text_stands_between_its_ends() {
        assert_eq!(inputs(9).text(&[1, 2, 3]), [S, 1, 2, 3, E]);
        assert_eq!(inputs(4).text(&[1, 2, 3]), [S, 1, 2, E]);
        assert_eq!(inputs(4).text(&[]), [S, E]);
    }

    #[test]
    fn parts_of_a_pair_have_the_delimiter_between_them() {
        assert_eq!(inputs(9).pair(&[1, 2], &[3]), [S, 1, 2, D, 3, E]);
        assert_eq!(
            inputs(9).both_orders(&[1, 2], &[3]),
            [vec![S, 1, 2, D, 3, E], vec![S, 3, D, 1, 2, E]]
        );
        let choices = inputs(9).choices(&[1, 2], &[&[3], &[4, 5]]);
        assert_eq!(choices, [vec![S, 1, 2, D, 3, E], vec![S, 1, 2, D, 4, 5, E]]);
    }

    #[test]
    fn parts_that_are_too_long_share_the_room() {
        let lengths = |first: usize, second: usize| {
            let pair = inputs(9).pair(&vec![1; first], &vec![2; second]);
            assert_eq!((pair[0], pair[pair.len() - 1]), (S, E));
            [1, 2].map(|id| pair.iter().filter(|token| **token == id).count())
        };
        assert_eq!(lengths(5, 5), [3, 3]);
        assert_eq!(lengths(50, 1), [5, 1]);
        assert_eq!(lengths(2, 50), [2, 4]);
        assert_eq!(lengths(0, 50), [0, 6]);
        assert_eq!(lengths(4, 2), [4, 2]);
    }

    #[test]
    #[should_panic(expected = "no room in 3 tokens")]
    fn a_length_without_room_is_refused() {
        inputs(3).pair(&[1], &[2]);
    }
}
