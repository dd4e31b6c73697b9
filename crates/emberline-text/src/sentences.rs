//! Documents as lists of sentences, from which pairs of sentences are drawn.

use std::ops::Range;

/// The documents of a text with a sentence a line and an empty line after each document, as BERT's pretraining reads
/// them. Documents without a sentence are left out.
///
/// ```
/// use emberline_text::documents_of_lines;
///
/// let documents = documents_of_lines("One.\nTwo.\n\n\nThree.\n");
/// assert_eq!(documents, [vec!["One.", "Two."], vec!["Three."]]);
/// ```
pub fn documents_of_lines(text: &str) -> Vec<Vec<&str>> {
    let mut documents = vec![Vec::new()];
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            documents.push(Vec::new());
        } else {
            documents.last_mut().expect("there is a last document").push(line);
        }
    }
    documents.retain(|document| !document.is_empty());
    documents
}

/// The chapters of a book as documents, and the sentences of each; what stands before the first heading is one, too. A
/// random sentence for one of the book is then one of another chapter.
///
/// A chapter starts with a line such as `Chapter 1`, `ACT I.` or `Scene II. A street.`, which is no sentence of it. A
/// sentence ends with its paragraph, or with a `.`, `!` or `?`, and the quotes and brackets that it closes, before a blank
/// and a capital, a number or an opening quote. `Mr.` and its kind end none, nor does a single capital.
///
/// ```
/// use emberline_text::documents_of_book;
///
/// let book = "Chapter 1\n\nMr. B. came\nin. \"Sit!\" he said.\n\n\"No.\" So\n\nChapter 2\n\nIt rained.\n";
/// let documents = documents_of_book(book);
/// assert_eq!(documents[0], ["Mr. B. came in.", "\"Sit!\" he said.", "\"No.\"", "So"]);
/// assert_eq!(documents[1], ["It rained."]);
/// ```
pub fn documents_of_book(text: &str) -> Vec<Vec<String>> {
    let mut documents = vec![Vec::new()];
    let mut paragraph = String::new();
    for line in text.lines().map(str::trim).chain([""]) {
        let is_heading = is_heading(line);
        if !line.is_empty() && !is_heading {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line);
            continue;
        }
        let sentences = sentences(&paragraph).into_iter().map(|at| paragraph[at].to_string());
        documents.last_mut().expect("there is a last document").extend(sentences);
        paragraph.clear();
        if is_heading {
            documents.push(Vec::new());
        }
    }
    documents.retain(|document| !document.is_empty());
    documents
}

const HEADINGS: [&str; 8] =
    ["chapter", "act", "scene", "book", "volume", "part", "canto", "letter"];

/// Words whose period ends no sentence.
const ABBREVIATIONS: [&str; 12] =
    ["Mr", "Mrs", "Ms", "Dr", "St", "Messrs", "Esq", "Capt", "Col", "Gen", "Rev", "Hon"];

fn is_heading(line: &str) -> bool {
    let Some((first, rest)) = line.split_once(' ') else { return false };
    let number_end = rest.find(|sign: char| !sign.is_alphanumeric()).unwrap_or(rest.len());
    let (number, after) = rest.split_at(number_end);
    let is_number = number.chars().all(|sign| sign.is_ascii_digit() || "IVXLCDM".contains(sign));
    // A sentence may start with `Letter I wrote`.
    HEADINGS.contains(&&first.to_lowercase()[..])
        && is_number
        && !number.is_empty()
        && !after.starts_with(' ')
}

/// Where the sentences of a paragraph are.
fn sentences(paragraph: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for (blank, _) in paragraph.match_indices(' ') {
        if blank > start && ends_sentence(&paragraph[start..blank], &paragraph[blank + 1..]) {
            found.push(start..blank);
            start = blank + 1;
        }
    }
    if start < paragraph.len() {
        found.push(start..paragraph.len());
    }
    found
}

fn ends_sentence(before: &str, after: &str) -> bool {
    let closed = before.trim_end_matches(['"', '\'', '”', '’', ')', ']', '_', '»']);
    let starts_anew = after.starts_with(|sign: char| {
        sign.is_uppercase() || sign.is_numeric() || "\"'“‘([_«".contains(sign)
    });
    let Some(word) = closed.strip_suffix('.') else {
        return starts_anew && closed.ends_with(['!', '?', '…']);
    };
    let word = word.rsplit(|sign: char| !sign.is_alphanumeric()).next().unwrap_or("");
    let is_initial =
        word.chars().count() == 1 && word.starts_with(char::is_uppercase) && word != "I";
    starts_anew && !is_initial && !ABBREVIATIONS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(paragraph: &str) -> Vec<&str> {
        sentences(paragraph).into_iter().map(|at| &paragraph[at]).collect()
    }

    #[test]
    fn a_sentence_ends_before_a_capital_a_number_or_a_quote() {
        assert_eq!(
            cut("He came. She went! 1812 ended? \"Yes.\""),
            ["He came.", "She went!", "1812 ended?", "\"Yes.\""]
        );
        assert_eq!(
            cut("\"Is it?\" said he. “Yes.” (So.) It is I. End"),
            ["\"Is it?\" said he.", "“Yes.”", "(So.)", "It is I.", "End"]
        );
        assert_eq!(cut("at 3.5 p.m. today"), ["at 3.5 p.m. today"]);
    }

    #[test]
    fn abbreviations_and_initials_end_none() {
        assert_eq!(
            cut("Mr. Bennet met J. R. Smith, Esq. Long ago."),
            ["Mr. Bennet met J. R. Smith, Esq. Long ago."]
        );
        assert!(cut("").is_empty());
    }

    #[test]
    fn headings_have_a_number_and_no_other_line_is_one() {
        for line in ["Chapter 1", "ACT I.", "Scene II. A street.", "CHAPTER XIV", "Book 2: Home"] {
            assert!(is_heading(line), "{line}");
        }
        for line in [
            "Act well",
            "The chapter 1",
            "Letter",
            "",
            "Part of it",
            "Acts 2",
            "\"Act I\"",
            "Letter I wrote",
        ] {
            assert!(!is_heading(line), "{line}");
        }
    }

    #[test]
    fn lines_are_trimmed_and_documents_without_one_are_none() {
        assert_eq!(documents_of_lines("\n a \nb\n \n\nc"), [vec!["a", "b"], vec!["c"]]);
        assert!(documents_of_lines("\n\n").is_empty());
        assert!(documents_of_book("Chapter 1\n\n").is_empty());
    }
}
