//! Texts that end a text, found while it comes in pieces.

/// Gives a text on as it comes, up to the first stop string, wherever the pieces of the text have their borders.
///
/// What may become a stop string is held back until it is one or cannot be.
#[derive(Clone)]
pub(crate) struct StopScan<'a> {
    stop_strings: &'a [String],
    /// What came and was not given on.
    held: String,
}

impl<'a> StopScan<'a> {
    /// None of the stop strings is empty.
    pub fn new(stop_strings: &'a [String]) -> Self {
        Self { stop_strings, held: String::new() }
    }

    /// What can be given on with the next piece of the text, and whether a stop string ends the text there.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        if let Some(start) = self.first_stop() {
            self.held.truncate(start);
            return (self.finish(), true);
        }
        let rest = self.held.split_off(self.n_safe());
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, when the text has ended.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the stop string begins that is complete first, as if the text came character by character; the longest of
    /// those that are.
    fn first_stop(&self) -> Option<usize> {
        let found = self.stop_strings.iter().filter_map(|stop| {
            let start = self.held.find(stop)?;
            Some((start + stop.len(), start))
        });
        found.min().map(|(_, start)| start)
    }

    /// The length of what no stop string can begin in.
    fn n_safe(&self) -> usize {
        let may_begin = |tail: &str| self.stop_strings.iter().any(|stop| stop.starts_with(tail));
        let starts = self.held.char_indices().map(|(start, _)| start);
        starts.into_iter().find(|start| may_begin(&self.held[*start..])).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use emberline_core::Stream;

    use super::*;

    fn scan(stop_strings: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let stop_strings: Vec<String> = stop_strings.iter().map(|stop| stop.to_string()).collect();
        let mut scan = StopScan::new(&stop_strings);
        let mut given = Vec::new();
        for piece in pieces {
            let (text, is_stopped) = scan.push(piece);
            given.push(text);
            if is_stopped {
                return (given, true);
            }
        }
        given.push(scan.finish());
        (given, false)
    }

    #[test]
    fn a_text_ends_before_a_stop_string_that_several_pieces_make() {
        let (given, is_stopped) = scan(&["\n\nQ:"], &["4", "2\n", "\nQ", ": 7"]);
        assert!(is_stopped);
        assert_eq!(given, ["4", "2", "", ""]);
    }

    #[test]
    fn what_does_not_become_a_stop_string_is_given_late_but_whole() {
        let (given, is_stopped) = scan(&["abac"], &["x", "ab", "aba", "b", "a"]);
        assert!(!is_stopped);
        assert_eq!(given, ["x", "", "ab", "ab", "", "aba"]);
    }

    #[test]
    fn of_several_the_one_that_is_complete_first_ends_the_text_and_the_longest_of_those() {
        assert_eq!(scan(&["cd", "abcde"], &["xabcdef"]).0.concat(), "xab");
        assert_eq!(scan(&["c", "bc"], &["abc"]).0.concat(), "a");
        assert_eq!(scan(&["é"], &["caf", "é"]).0.concat(), "caf");
    }

    #[test]
    fn the_borders_of_pieces_do_not_matter() {
        let stop_strings = ["aab", "bb", "cab", "é\u{fffd}"];
        let letters = ["a", "b", "c", "é", "\u{fffd}"];
        let mut n_stopped = 0;
        for case in 0..500 {
            let chance = Stream::new(9).at(case);
            let text: String = (0..8).map(|place| letters[chance.below(place, 5)]).collect();
            let characters: Vec<String> = text.chars().map(String::from).collect();
            let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
            let (by_character, is_stopped) = scan(&stop_strings, &characters);
            n_stopped += u32::from(is_stopped);
            let mut pieces = vec![String::new()];
            for (place, character) in (8..).zip(text.chars()) {
                if chance.uniform(place) < 0.4 {
                    pieces.push(String::new());
                }
                pieces.last_mut().unwrap().push(character);
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (by_piece, also_stopped) = scan(&stop_strings, &pieces);
            assert_eq!((by_piece.concat(), also_stopped), (by_character.concat(), is_stopped));
            let given = by_character.concat();
            assert!(stop_strings.iter().all(|stop| !given.contains(stop)), "{given} of {text}");
            assert!(text.starts_with(&given) && (is_stopped || text == given));
        }
        assert!((100..400).contains(&n_stopped), "{n_stopped}");
    }

    #[test]
    fn without_stop_strings_every_piece_is_given_at_once() {
        assert_eq!(scan(&[], &["a", "", "bc"]).0, ["a", "", "bc", ""]);
    }
}
