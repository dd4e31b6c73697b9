use emberline_text::{Corpus, SplitFractions, TextError, Tokenizer, VocabularyConfig};

use crate::{austen, shakespeare};

#[test]
fn shakespeare_by_characters_has_a_small_vocabulary_and_is_given_back() {
    let corpus = shakespeare();
    let tokenizer = Tokenizer::characters(&corpus);
    let ids = tokenizer.encode(corpus.text()).unwrap();
    assert_eq!(ids.len(), corpus.text().chars().count());
    assert_eq!(tokenizer.vocab_size(), 72);
    assert_eq!(tokenizer.decode(&ids).unwrap(), corpus.text());
}

#[test]
fn a_whole_text_by_byte_pairs_is_given_back_in_a_third_of_the_tokens() {
    let corpus = austen();
    let tokenizer = Tokenizer::byte_pair(&corpus, 2000).unwrap();
    assert_eq!(tokenizer.vocab_size(), 2000);
    let ids = tokenizer.encode(corpus.text()).unwrap();
    assert!(ids.len() * 3 < corpus.text().len());
    assert_eq!(tokenizer.decode(&ids).unwrap(), corpus.text());
}

#[test]
fn byte_pairs_learned_twice_are_the_same() {
    let corpus = shakespeare();
    let splits = corpus.split(SplitFractions { train: 0.3, validation: 0.0 }).unwrap();
    let part = Corpus::new("part", splits.train).unwrap();
    let learn = || Tokenizer::byte_pair(&part, 1000).unwrap().to_json();
    let first = learn();
    assert!((0..3).all(|_| learn() == first));
}

#[test]
fn a_word_of_one_book_is_unknown_in_the_other() {
    let tokenizer = Tokenizer::words(&austen(), &VocabularyConfig::default()).unwrap();
    assert_eq!(tokenizer.encode("Horatio").unwrap(), [tokenizer.id("<unk>").unwrap()]);

    let strict = VocabularyConfig { min_count: 1, specials: Vec::new(), unknown: None };
    let tokenizer = Tokenizer::words(&austen(), &strict).unwrap();
    let error = tokenizer.encode(shakespeare().text()).unwrap_err();
    // "ACT I." is in the first line.
    assert!(
        matches!(&error, TextError::UnknownWord { word, line: 1, .. } if word == "ACT"),
        "{error}"
    );
}
