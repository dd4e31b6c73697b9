//! Modules and parameters by patterns of their paths.

/// A pattern of a path: names joined by dots, in which `*` stands for any part of a name.
///
/// It matches where its names follow each other somewhere in a path, so that what stands before and after can be left out:
/// `blocks.1` is everything inside of that layer, `attention.query` the queries of every layer, and `bias` every bias. It
/// never matches a part of a name: `blocks.1` is not in `blocks.10`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern<'a>(pub &'a str);

impl Pattern<'_> {
    pub fn matches(self, path: &str) -> bool {
        let wanted: Vec<&str> = self.0.split('.').collect();
        let names: Vec<&str> = path.split('.').collect();
        names.windows(wanted.len()).any(|window| {
            wanted.iter().zip(window).all(|(pattern, name)| matches_name(pattern, name))
        })
    }

    /// Whether the path ends where the pattern does, as a module that is named does.
    pub fn matches_end(self, path: &str) -> bool {
        let n_names = self.0.split('.').count();
        let start = path.split('.').count().checked_sub(n_names);
        let end = start.map(|start| path.split('.').skip(start).collect::<Vec<_>>().join("."));
        end.is_some_and(|end| self.matches(&end))
    }
}

fn matches_name(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().expect("a text has at least one part");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "bert.blocks.10.attention.query.weight";

    #[test]
    fn a_pattern_matches_whole_names_that_follow_each_other() {
        for pattern in
            ["blocks.10", "query", "attention.query", "weight", QUERY, "blocks.*.attention", "b*"]
        {
            assert!(Pattern(pattern).matches(QUERY), "{pattern}");
        }
        for pattern in ["blocks.1", "block", "blocks.attention", "quer", "", "query.bias"] {
            assert!(!Pattern(pattern).matches(QUERY), "{pattern}");
        }
    }

    #[test]
    fn a_star_is_any_part_of_one_name() {
        for pattern in ["*", "a*", "*c", "a*c", "*b*", "abc*", "a*b*c"] {
            assert!(matches_name(pattern, "abc"), "{pattern}");
        }
        for pattern in ["", "b*", "*b", "a*d", "abc*c", "a*b", "ab*bc"] {
            assert!(!matches_name(pattern, "abc"), "{pattern}");
        }
    }

    #[test]
    fn a_module_is_named_by_its_end() {
        assert!(Pattern("attention.query").matches_end("blocks.0.attention.query"));
        assert!(Pattern("qu*").matches_end("query"));
        assert!(!Pattern("attention").matches_end("blocks.0.attention.query"));
        assert!(!Pattern("blocks.0.query").matches_end("query"));
    }
}
