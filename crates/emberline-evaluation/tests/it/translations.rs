//! What holds of BLEU and chrF whatever the segments.

use emberline_core::Stream;
use emberline_evaluation::{Bleu, BleuTokenizer, Chrf};

/// Segments of 4 to 11 of a few words, some with marks and numbers.
fn segments(stream: Stream) -> Vec<String> {
    const WORDS: [&str; 8] = ["the", "cat,", "sat", "on", "1,000.5", "mats.", "你好", "R&amp;D"];
    let segment = |index| {
        let stream = stream.at(index);
        let length = 4 + stream.named("length").below(0, 8) as u64;
        let words: Vec<_> =
            (0..length).map(|word| WORDS[stream.below(word, WORDS.len())]).collect();
        words.join(" ")
    };
    (0..12).map(segment).collect()
}

/// BLEU with every tokenizer.
fn every_bleu() -> impl Iterator<Item = Bleu> {
    use BleuTokenizer::{Char, Intl, None, V13a, Zh};
    [V13a, Intl, Zh, Char, None].map(|tokenizer| Bleu { tokenizer, ..Bleu::default() }).into_iter()
}

/// chrF and chrF++.
fn every_chrf() -> impl Iterator<Item = Chrf> {
    [0, 2].map(|word_order| Chrf { word_order, lowercase: false }).into_iter()
}

#[test]
fn a_corpus_scores_a_hundred_against_itself_and_less_against_another() {
    let (one, other) = (segments(Stream::new(1)), segments(Stream::new(2)));
    let references: Vec<_> = one.iter().map(std::slice::from_ref).collect();
    for bleu in every_bleu() {
        let score = |hypotheses| bleu.corpus(hypotheses, &references).unwrap().score;
        assert_eq!(score(&one), 100.0);
        assert!((1.0..90.0).contains(&score(&other)));
    }
    for chrf in every_chrf() {
        let score = |hypotheses| chrf.corpus(hypotheses, &references).unwrap().score;
        assert_eq!(score(&one), 100.0);
        assert!((1.0..90.0).contains(&score(&other)));
    }
}

#[test]
fn the_order_of_the_segments_does_not_matter() {
    let (hypotheses, references) = (segments(Stream::new(1)), segments(Stream::new(2)));
    let references: Vec<_> = references.iter().map(std::slice::from_ref).collect();
    let order = Stream::new(3).permutation(hypotheses.len());
    let shuffled: Vec<_> = order.iter().map(|index| &hypotheses[*index]).collect();
    let of_shuffled: Vec<_> = order.iter().map(|index| references[*index]).collect();
    for bleu in every_bleu() {
        let in_order = bleu.corpus(&hypotheses, &references);
        assert_eq!(bleu.corpus(&shuffled, &of_shuffled), in_order);
    }
    for chrf in every_chrf() {
        let in_order = chrf.corpus(&hypotheses, &references);
        assert_eq!(chrf.corpus(&shuffled, &of_shuffled), in_order);
    }
}

#[test]
fn a_further_reference_takes_no_match_away() {
    let (hypotheses, [one, other]) =
        (segments(Stream::new(1)), [2, 3].map(|seed| segments(Stream::new(seed))));
    for bleu in every_bleu() {
        for ((hypothesis, one), other) in hypotheses.iter().zip(&one).zip(&other) {
            let alone = bleu.counts(hypothesis, &[one]).correct;
            let both = bleu.counts(hypothesis, &[one, other]).correct;
            assert!(alone.iter().zip(both).all(|(alone, both)| *alone <= both));
        }
    }
}
