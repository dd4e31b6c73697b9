//! How a language model is told by the text alone what to do, as GPT-2 was (Radford et al. 2019, section 3): nothing is
//! trained, and the task is what the text so far makes likely.
//!
//! A choice between continuations needs no text of its own: the most probable of their
//! [`likelihoods`](emberline_generation::likelihoods) is it.

/// An article, and what invites a summary of it. The paper draws 100 tokens from the two most probable ones each, and
/// takes the first three sentences ([`first_sentences`]).
pub fn summary_prompt(article: &str) -> String {
    format!("{}\nTL;DR:", article.trim_end())
}

/// Sentences with their translations, `english sentence = french sentence`, and one that has none yet.
pub fn translation_prompt(examples: &[(&str, &str)], sentence: &str) -> String {
    let line = |(source, target): &(&str, &str)| format!("{source} = {target}\n");
    examples.iter().map(line).collect::<String>() + sentence + " ="
}

/// What questions are about, which may be empty, some with their answers, and one that has none yet.
pub fn question_prompt(context: &str, examples: &[(&str, &str)], question: &str) -> String {
    let context = match context.trim_end() {
        "" => String::new(),
        context => format!("{context}\n"),
    };
    let line = |(question, answer): &(&str, &str)| format!("Q: {question}\nA: {answer}\n");
    context + &examples.iter().map(line).collect::<String>() + &format!("Q: {question}\nA:")
}

/// The first `n` sentences of a text: each ends with `.`, `!` or `?` before white space or the end. Fewer where the text
/// has fewer.
pub fn first_sentences(text: &str, n: usize) -> &str {
    let ends_sentence = |(index, sign): &(usize, char)| {
        let after = text[index + sign.len_utf8()..].chars().next();
        matches!(sign, '.' | '!' | '?') && after.is_none_or(char::is_whitespace)
    };
    if n == 0 {
        return "";
    }
    let mut ends = text.char_indices().filter(ends_sentence);
    match ends.nth(n - 1) {
        Some((index, sign)) => &text[..index + sign.len_utf8()],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_is_in_the_text() {
        assert_eq!(summary_prompt("It rained.\n"), "It rained.\nTL;DR:");
        let french = translation_prompt(&[("a cat", "un chat"), ("a dog", "un chien")], "a hen");
        assert_eq!(french, "a cat = un chat\na dog = un chien\na hen =");
        let asked = question_prompt("It rained.\n\n", &[("Did it?", "yes")], "Was it dry?");
        assert_eq!(asked, "It rained.\nQ: Did it?\nA: yes\nQ: Was it dry?\nA:");
        assert_eq!(question_prompt("", &[], "Why?"), "Q: Why?\nA:");
    }

    #[test]
    fn sentences_end_with_a_sign_before_white_space() {
        let text = "It cost 3.5 francs… Did it? Yes!\nSo they say. And";
        assert_eq!(first_sentences(text, 0), "");
        assert_eq!(first_sentences(text, 1), "It cost 3.5 francs… Did it?");
        assert_eq!(first_sentences(text, 3), "It cost 3.5 francs… Did it? Yes!\nSo they say.");
        assert_eq!(first_sentences(text, 4), text);
        assert_eq!(first_sentences("Yes.", 1), "Yes.");
    }
}
