//! Names that may be misspelt.

/// What to say about a `kind` of thing that has none of the candidates' names: the nearest, else all of them.
pub fn unknown<'a>(
    kind: &str,
    name: &str,
    candidates: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let nearest = candidates
        .clone()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 3));
    match nearest {
        Some((_, near)) => format!("there is no {kind} `{name}`; did you mean `{near}`?"),
        None => {
            let all: Vec<_> = candidates.map(|name| format!("`{name}`")).collect();
            format!("there is no {kind} `{name}`; there are {}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_gets_the_nearest_or_all() {
        let of = |name: &str| unknown("verb", name, ["list", "run"].into_iter());
        assert_eq!(of("rnu"), "there is no verb `rnu`; did you mean `run`?");
        assert_eq!(
            of("fly-to-the-moon"),
            "there is no verb `fly-to-the-moon`; there are `list`, `run`"
        );
    }
}
