//! How sacreBLEU (Post, 2018: "A Call for Clarity in Reporting BLEU Scores") cuts segments into the tokens that it
//! counts, so that a score does not depend on whose tokenizer came before.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::segments::{is_space, words};

/// How segments are cut into tokens before BLEU counts them; in configs and signatures, by the names of sacreBLEU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BleuTokenizer {
    /// That of WMT's `mteval-v13a`, for languages that space their words: ASCII punctuation and symbols are tokens,
    /// but not a full stop or comma before and after a digit, an apostrophe, or a hyphen not after a digit.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// That of `mteval-v14`: all of Unicode's punctuation and symbols are tokens, but not punctuation between
    /// characters that are numbers.
    Intl,
    /// For Chinese: its characters are tokens, and what is between them is cut as in `13a`.
    Zh,
    /// Every character but white space is a token.
    Char,
    /// Words are already spaced: nothing else is a token.
    None,
}

/// A pattern, and by what its matches are replaced.
type Rule = (Regex, &'static str);

static LATIN: LazyLock<[Rule; 4]> = LazyLock::new(|| {
    [
        rule(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])", " $1 "),
        rule(r"([^0-9])([\.,])", "$1 $2 "),
        rule(r"([\.,])([^0-9])", " $1 $2"),
        rule(r"([0-9])(-)", "$1 $2 "),
    ]
});

static INTERNATIONAL: LazyLock<[Rule; 3]> = LazyLock::new(|| {
    [rule(r"(\P{N})(\p{P})", "$1 $2 "), rule(r"(\p{P})(\P{N})", " $1 $2"), rule(r"(\p{S})", " $1 ")]
});

/// sacreBLEU's ranges, as Python reads them: it means to have U+20000 to U+2A6D6, but writes them with four digits,
/// so that the first bound is a string of U+2000 and "0". What it gets is U+2001 to U+2A6D, with dashes, quotation
/// marks, arrows and dingbats. For the same reason U+2F800 to U+2FA1D are U+2F81 to U+2FA1, which the radicals contain.
const CHINESE: [(char, char); 19] = [
    ('\u{3400}', '\u{4db5}'),
    ('\u{4e00}', '\u{9fa5}'),
    ('\u{9fa6}', '\u{9fbb}'),
    ('\u{f900}', '\u{fa2d}'),
    ('\u{fa30}', '\u{fa6a}'),
    ('\u{fa70}', '\u{fad9}'),
    ('\u{2001}', '\u{2a6d}'),
    ('\u{ff00}', '\u{ffef}'),
    ('\u{2e80}', '\u{2eff}'),
    ('\u{3000}', '\u{303f}'),
    ('\u{31c0}', '\u{31ef}'),
    ('\u{2f00}', '\u{2fdf}'),
    ('\u{2ff0}', '\u{2fff}'),
    ('\u{3100}', '\u{312f}'),
    ('\u{31a0}', '\u{31bf}'),
    ('\u{fe10}', '\u{fe1f}'),
    ('\u{fe30}', '\u{fe4f}'),
    ('\u{3200}', '\u{32ff}'),
    ('\u{3300}', '\u{33ff}'),
];

impl BleuTokenizer {
    /// The tokens of a segment.
    ///
    /// ```
    /// use emberline_evaluation::BleuTokenizer;
    ///
    /// assert_eq!(BleuTokenizer::V13a.tokens("It's 1,000.5 km."), ["It's", "1,000.5", "km", "."]);
    /// assert_eq!(BleuTokenizer::Zh.tokens("你好 world!"), ["你", "好", "world", "!"]);
    /// ```
    pub fn tokens(self, segment: &str) -> Vec<String> {
        let segment = segment.trim_end_matches(is_space);
        match self {
            Self::V13a => owned(&apply(&*LATIN, format!(" {} ", unescaped(segment)))),
            Self::Intl => owned(&apply(&*INTERNATIONAL, segment.into())),
            Self::Zh => owned(&apply(&*LATIN, spaced_chinese(segment.trim_matches(is_space)))),
            Self::Char => {
                let characters = segment.chars().filter(|character| !is_space(*character));
                characters.map(String::from).collect()
            }
            Self::None => owned(segment),
        }
    }

    /// Its name in sacreBLEU.
    pub fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::Intl => "intl",
            Self::Zh => "zh",
            Self::Char => "char",
            Self::None => "none",
        }
    }
}

fn rule(pattern: &str, replacement: &'static str) -> Rule {
    (Regex::new(pattern).expect("the pattern is right"), replacement)
}

fn owned(segment: &str) -> Vec<String> {
    words(segment).map(String::from).collect()
}

fn apply(rules: &[Rule], segment: String) -> String {
    rules.iter().fold(segment, |segment, (pattern, replacement)| {
        match pattern.replace_all(&segment, *replacement) {
            Cow::Borrowed(_) => segment,
            Cow::Owned(replaced) => replaced,
        }
    })
}

/// Without what SGML and line ends leave behind.
fn unescaped(segment: &str) -> String {
    const REPLACEMENTS: [(&str, &str); 7] = [
        ("<skipped>", ""),
        ("-\n", ""),
        ("\n", " "),
        ("&quot;", "\""),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ];
    REPLACEMENTS.iter().fold(segment.into(), |segment, (from, to)| segment.replace(from, to))
}

/// With spaces around each Chinese character.
fn spaced_chinese(segment: &str) -> String {
    let mut spaced = String::with_capacity(2 * segment.len());
    for character in segment.chars() {
        if CHINESE.iter().any(|(first, last)| (first..=last).contains(&&character)) {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(character);
        }
    }
    spaced
}

#[cfg(test)]
mod tests {
    use BleuTokenizer::{Char, Intl, None, V13a, Zh};

    use super::*;

    fn tokens(tokenizer: BleuTokenizer, segment: &str) -> String {
        tokenizer.tokens(segment).join(" ")
    }

    #[test]
    fn a_config_knows_tokenizers_by_the_names_of_sacrebleu() {
        for tokenizer in [V13a, Intl, Zh, Char, None] {
            let name = format!("\"{}\"", tokenizer.name());
            assert_eq!(serde_json::to_string(&tokenizer).unwrap(), name);
            assert_eq!(serde_json::from_str::<BleuTokenizer>(&name).unwrap(), tokenizer);
        }
        let unknown = serde_json::from_str::<BleuTokenizer>("\"14a\"").unwrap_err().to_string();
        let expected = "unknown variant `14a`, expected one of `13a`, `intl`, `zh`, `char`, `none`";
        assert!(unknown.starts_with(expected), "{unknown}");
    }

    #[test]
    fn a_number_keeps_its_separators_and_a_word_its_apostrophe_and_hyphen() {
        assert_eq!(tokens(V13a, "1,000.5, it's well-known."), "1,000.5 , it's well-known .");
        assert_eq!(tokens(V13a, "1990-2000"), "1990 - 2000");
        assert_eq!(tokens(None, "1,000.5, it's."), "1,000.5, it's.");
    }

    #[test]
    fn entities_are_what_they_stand_for_in_13a_only() {
        assert_eq!(tokens(V13a, "&quot;R&amp;D&quot;"), "\" R & D \"");
        assert_eq!(tokens(Intl, "R&amp;D"), "R & amp ; D");
    }

    #[test]
    fn dashes_of_unicode_are_tokens_in_intl_and_by_an_oversight_in_zh() {
        assert_eq!(tokens(V13a, "a–b"), "a–b");
        assert_eq!(tokens(Intl, "a–b"), "a – b");
        assert_eq!(tokens(Zh, "a–b 𠀀𠀁"), "a – b 𠀀𠀁");
    }

    #[test]
    fn intl_leaves_the_stop_of_a_number_that_ends_the_segment() {
        assert_eq!(tokens(Intl, "in 2014."), "in 2014.");
        assert_eq!(tokens(V13a, "in 2014."), "in 2014 .");
    }

    #[test]
    fn characters_are_tokens_in_char() {
        assert_eq!(tokens(Char, "a bc\u{3000}你"), "a b c 你");
    }
}
