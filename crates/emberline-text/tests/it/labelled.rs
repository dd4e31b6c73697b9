use std::collections::BTreeSet;

use emberline_core::Stream;
use emberline_text::{
    FirstLine, LabelledTexts, Separator, SplitFractions, TaggedSentences, Vocabulary,
    VocabularyConfig,
};

use crate::datasets;

#[test]
fn the_names_are_split_without_one_in_two_parts() {
    let file = datasets().join("names/names.tsv");
    let names = LabelledTexts::from_file(file, FirstLine::Header).unwrap();
    let labels = Vocabulary::of_labels(&names.labels());
    assert_eq!(
        (labels.tokens(), labels.counts()),
        (&["female", "male"].map(String::from)[..], &[4951, 3898][..])
    );

    let fractions = SplitFractions { train: 0.8, validation: 0.1 };
    let parts = names.split(fractions, Stream::new(1).named("split")).unwrap();
    let distinct = |part: &LabelledTexts| -> BTreeSet<String> {
        part.texts().iter().map(|name| name.text.clone()).collect()
    };
    let sets = parts.each_ref().map(distinct);
    assert_eq!(sets.iter().map(BTreeSet::len).sum::<usize>(), distinct(&names).len());
    for (part, share) in parts.iter().zip([0.8, 0.1, 0.1]) {
        let found = part.texts().len() as f64 / names.texts().len() as f64;
        assert!((found - share).abs() < 0.02, "{found} is not {share}");
        // Both labels are in every part as often as in all.
        let female = part.labels().count("female") as f64 / part.texts().len() as f64;
        assert!((female - 0.56).abs() < 0.05, "{female}");
    }
    let characters = Vocabulary::new(&parts[0].characters(), &VocabularyConfig::default()).unwrap();
    let examples = parts[2].encode(&characters, &labels).unwrap();
    assert!(examples.iter().all(|name| name.labels.len() == 1 && name.tokens.len() >= 2));
}

#[test]
fn the_punctuation_is_what_its_readme_counts() {
    let read = |part: &str| {
        let file = datasets().join(format!("punctuation/{part}.tsv"));
        TaggedSentences::from_file(file, Separator::Tab).unwrap()
    };
    for (part, sequences, words, [o, comma, period, question]) in [
        ("train", 1595, 61437, [52659, 4891, 3637, 250]),
        ("dev", 190, 7690, [6604, 588, 473, 25]),
        ("test", 219, 8111, [6941, 656, 470, 44]),
    ] {
        let sentences = read(part);
        assert_eq!(sentences.sentences().len(), sequences);
        let lengths = sentences.sentences().iter().map(|sentence| sentence.words.len());
        assert_eq!((lengths.clone().sum::<usize>(), lengths.max().unwrap()), (words, 60));
        let tags = Vocabulary::of_labels(&sentences.tags());
        assert_eq!(tags.tokens(), ["COMMA", "O", "PERIOD", "QUESTION"]);
        assert_eq!(tags.counts(), [comma, o, period, question]);
    }
}
