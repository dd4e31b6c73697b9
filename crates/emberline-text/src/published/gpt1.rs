//! How GPT-1 reads a text, in two ways: as OpenAI did, and as `transformers` does.

use serde::{Deserialize, Serialize};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{BertNormalizer, Lowercase, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, SplitDelimiterBehavior};

use crate::error::TextError;
use crate::tokenizer::pipeline_error;

/// How a text becomes the words that GPT-1 cuts into byte pairs. Both are pipelines of `tokenizer.json`, so that a
/// saved tokenizer reads as it did, in Python too, but for the class `OpenAIGPTTokenizer`, which always reads as
/// [`Hf`](Self::Hf) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpt1Text {
    /// As the published code of GPT-1 does, and as its training text was read: signs are set apart and blanks made one
    /// (`text_standardize`), and English contractions and abbreviations are known (spaCy): `don't` is `do n't`, `Mr.`
    /// is a word, a line break is a token, accents stay.
    ///
    /// Of `ftfy`, which comes first there, only quotation marks are straightened. Of spaCy's rules, those for
    /// contractions, times, abbreviations, units, and signs before, behind and within a word are here; emoticons and
    /// addresses of the web with a capital after a dot are not. On 681,000 words of novels, plays and news the two
    /// differ in one of 9,000.
    #[serde(rename = "openai")]
    OpenAi,
    /// As `transformers` does, which follows BERT: accents go, every sign stands alone (`don't` is `don ' t`), and line
    /// breaks are blanks.
    Hf,
}

impl Gpt1Text {
    pub(super) fn read_with(self, pipeline: &mut tokenizers::Tokenizer) -> Result<(), TextError> {
        let normalizer: NormalizerWrapper = match self {
            Self::OpenAi => Sequence::new(standardized()).into(),
            Self::Hf => BertNormalizer::new(true, true, None, true).into(),
        };
        pipeline
            .with_normalizer(Some(normalizer))
            .map_err(pipeline_error("take the normalizer of GPT-1"))?;
        match self {
            Self::OpenAi => pipeline.with_pre_tokenizer(Some(split_into_words())),
            Self::Hf => pipeline.with_pre_tokenizer(Some(BertPreTokenizer)),
        };
        Ok(())
    }
}

// The patterns below are read by this library and by Python's `tokenizers`, whose regular expressions differ: what
// stands behind a place has one length in each alternative.

/// What `text_standardize` sets apart, for a class of characters.
const SET_APART: &str = r#"\-~/|!";?+,)(*\[\]}{_"#;
/// What spaCy cuts off before a word.
const PREFIXES: &str = r"'`:<>#&%=\p{Sc}§¿¡«»„‚。、！？，；：·";
/// What spaCy cuts off behind a word.
const SUFFIXES: &str = r"'`:<>#&«»„‚。、！？，；：·";

/// Abbreviations with a period that is not the end of a sentence, as spaCy writes them.
const ABBREVIATIONS: &str = "a.m Adm Ak Ala Apr Ariz Ark Aug Bros Calif co Co Colo Conn Corp D.C Dec Del Dr e.g E.g E.G \
    Feb Fla Ga Gen Gov i.e I.e I.E Ia Id Ill Inc Ind Jan Jr Jul Jun Kan Kans Ky La Ltd Mar Mass Md Messrs Mich Minn \
    Miss Mo Mont Mr Mrs Ms Mt N.C N.D N.H N.J N.M N.Y Neb Nebr Nev Nov Oct Okla Ore p.m Pa Ph.D Prof Rep Rev S.C Sen \
    Sep Sept St Tenn v.s Va vs Wash Wis";

/// `text_standardize`, and what of spaCy depends on capitals, which are gone after it.
///
/// The runs of signs that the former sets apart are cut later, by [`split_into_words`].
fn standardized() -> Vec<NormalizerWrapper> {
    let replace = |pattern: String, with: &str| -> NormalizerWrapper {
        let pattern = ReplacePattern::Regex(pattern);
        Replace::new(pattern, with).expect("the pattern is valid").into()
    };
    vec![
        replace("[‘’‛]".into(), "'"),
        replace("[“”]".into(), "\""),
        replace("[—–―]".into(), "-"),
        replace("…".into(), "..."),
        replace("´".into(), "'"),
        replace(r"\s*\n\s*".into(), " \n "),
        replace(last_period(), " . "),
        replace(r"\.(?<=\p{Ll}\.)(?=\p{Lu})".into(), " . "),
        Lowercase.into(),
        Strip::new(true, true).into(),
    ]
}

/// A period at the end of a word, signs aside, that is no part of it: not that of an abbreviation, of a single letter,
/// or after a single capital.
fn last_period() -> String {
    let abbreviations: Vec<&str> = ABBREVIATIONS.split(' ').collect();
    let longest = abbreviations.iter().map(|word| word.len()).max().unwrap_or(0);
    let no_abbreviation: String = (1..=longest)
        .map(|length| {
            let words = abbreviations.iter().filter(|word| word.len() == length);
            let words: Vec<String> = words.map(|word| word.replace('.', r"\.")).collect();
            format!(r"(?<!\b(?:{})\.)", words.join("|"))
        })
        .filter(|pattern| !pattern.contains("(?:)"))
        .collect();
    let at_the_end = format!(r#"\.(?=['":;!?()\[\]{{}},*_&#<>~/|+\-]*(?:[\s{SET_APART}]|$))"#);
    let after_a_word = r#"(?:(?<=[\p{Ll}\p{Lo}\p{Nd}%²\-+'")\]}]\.)|(?<=\p{Lu}\p{Lu}\.))"#;
    let no_letter = r#"(?<!^[a-z]\.)(?<![\s"(\[*_\-][a-z]\.)(?<!\d[ap]\.m\.)"#;
    [&at_the_end, after_a_word, no_letter, &no_abbreviation].concat()
}

/// Cuts standardised text into words, first alternative first.
fn split_into_words() -> Split {
    let pattern = SplitPattern::Regex(word());
    Split::new(pattern, SplitDelimiterBehavior::Removed, true).expect("the pattern is valid")
}

fn word() -> String {
    // The word ends here, but for signs behind it.
    let end = format!(r"(?=[{SUFFIXES}]*(?:[\s{SET_APART}\p{{So}}]|$))");
    // The first of two words that are written as one.
    let first = |words: &str, rest: &str| format!("(?:{words})(?={rest}{end})");
    let subject = "he|she|it|we|they|who|what|when|where|why|how|there|that|this|these|those";
    let plural = "we|they|who|what|when|where|why|how|there|these|those";
    let modal = "ca|could|do|does|did|had|may|might|must|need|ought|sha|should|wo|would";
    let have = "could|might|must|should|would|not";
    let units = "km|m|dm|cm|mm|ha|nm|yd|in|ft|kg|g|mg|t|lb|oz|kmh|mph|mb|kb|gb|tb|k|hpa|pa|mbar";

    // A word starts and ends with what is cut off neither before nor behind it; `:<>=` are cut before a letter.
    let bare = format!(r"[^\s{SET_APART}\p{{So}}{PREFIXES}]");
    let ends = format!(r"(?<=[^\s{SET_APART}\p{{So}}{SUFFIXES}])");
    let within = format!(
        r"(?:[^\s{SET_APART}\p{{So}}:<>=.]|\.(?!\.)|(?<![\p{{L}}\p{{N}}])[:<>=]|[:<>=](?!\p{{L}}))+"
    );
    let plain = format!("(?={bare}){within}{ends}");
    [
        r"\n".to_string(),
        r"-+|~+|/+|\|+|\.\.+".to_string(),
        format!(r"[{SET_APART}\p{{So}}]"),
        first(&format!("{modal}|ai|are|is|was|were|have|has|dare"), "n'?t"),
        first(modal, "n't've"),
        format!("n't(?=(?:'ve)?{end})|'(?:ll|d)(?='ve{end})"),
        first("i", "'?m"),
        first(&format!("i|you|{subject}"), "'(?:ll|d)(?:'ve)?"),
        first(&format!("i|you|{plural}|{have}"), "'?ve"),
        first(&format!("you|{plural}"), "'re"),
        first("you|they|what|when|where|why|how|there|these|those", "re"),
        first("you|he|it|we|they|who|what|when|where|why|how|there|that|this|these|those", "d"),
        first("you|it|they|who|what|when|where|why|how|there|that|this|these|those", "ll"),
        first("he|she|who|what|when|where|why|how|there|that|this", "s"),
        first("can", "not"),
        first("gon", "na"),
        first("got", "ta"),
        first("y'?", "all"),
        first("c'm", "on"),
        first("1[0-2]|[1-9]", r"[ap](?:m|\.m\.)"),
        format!("(?:doin|goin|nothin|nuthin|ol|somethin|lovin|havin)'{end}"),
        format!("'(?:em|ll|nuff|s|re|cause|cos|coz|cuz|bout|d|m|ve){end}"),
        format!(r"''(?=[\s{SET_APART}]|$)"),
        format!("[{PREFIXES}]"),
        format!(r"[\d.]*\d(?=(?:(?:{units})[²³]?|%|\p{{Sc}}){end})"),
        format!("{plain}(?='s{end})"),
        plain,
        // What is left of what no rule foresaw.
        r"\S".to_string(),
    ]
    .join("|")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use tokenizers::{
        NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
        PreTokenizer,
    };

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        text: String,
        words: Vec<String>,
    }

    fn words(text: &str) -> Vec<String> {
        let mut normalized = NormalizedString::from(text);
        Sequence::new(standardized()).normalize(&mut normalized).unwrap();
        let mut pieces = PreTokenizedString::from(normalized);
        split_into_words().pre_tokenize(&mut pieces).unwrap();
        let pieces = pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        pieces.into_iter().map(|(word, ..)| word.to_string()).collect()
    }

    #[test]
    fn the_words_of_openai_are_those_of_spacy() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/gpt1_words.json")).unwrap();
        for Case { text, words: expected } in cases {
            assert_eq!(words(&text), expected, "{text}");
        }
    }

    #[test]
    fn runs_of_signs_are_set_apart_and_only_dashes_bars_and_tildes_stay_together() {
        assert_eq!(words("a--b~~c//d||e"), ["a", "--", "b", "~~", "c", "//", "d", "||", "e"]);
        assert_eq!(words("a!!b\"\"c;;d"), ["a", "!", "!", "b", "\"", "\"", "c", ";", ";", "d"]);
        assert_eq!(words("a\\b"), ["a\\b"]);
    }

    #[test]
    fn a_line_break_with_the_blanks_around_it_is_one_word() {
        assert_eq!(words(" \n a \t\n\n b\r\nc \n"), ["a", "\n", "b", "\n", "c"]);
    }
}
