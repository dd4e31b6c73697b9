//! Answers and scores against gensim's on the same vectors (tests/fixtures/from_gensim.py), and against what is known of
//! published vectors.

use std::path::{Path, PathBuf};

use emberline_embeddings::{
    AnalogyQuestions, Combination, PairScore, Scored, SectionScore, SimilarityPairs, WordVectors,
    read_vectors,
};
use serde_json::Value;

use crate::{fixture, shared};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The sections and pairs of vectors as in `expected`.
fn agrees(vectors: &WordVectors, questions: &Path, pairs: &[(&str, PathBuf)], expected: &Value) {
    let restrict = expected["restrict"].as_u64().unwrap() as usize;
    let questions = AnalogyQuestions::read(questions).unwrap();
    let sections = questions.score(vectors, restrict, Combination::Additive);
    let known = expected["sections"].as_array().unwrap();
    let asked: Vec<&SectionScore> = sections.iter().filter(|section| section.asked > 0).collect();
    let expected_asked: Vec<&Value> = known.iter().filter(|section| section[2] != 0).collect();
    assert_eq!(asked.len(), expected_asked.len());
    for (section, known) in asked.iter().zip(expected_asked) {
        assert_eq!(section.name, known[0].as_str().unwrap());
        let counts = (section.right as u64, section.asked as u64);
        let known = (known[1].as_u64().unwrap(), known[2].as_u64().unwrap());
        assert_eq!(counts, known, "{}", section.name);
    }
    let accuracy = SectionScore::total(&sections).accuracy().unwrap();
    assert!((accuracy - expected["analogies"].as_f64().unwrap()).abs() < 1e-12);
    for (name, path) in pairs {
        let PairScore { pearson, spearman, compared, unknown } =
            SimilarityPairs::read(path).unwrap().score(vectors, restrict);
        let share = 100.0 * unknown as f64 / (unknown + compared) as f64;
        for (found, field) in
            [(pearson, "pearson"), (spearman, "spearman"), (Some(share), "unknown")]
        {
            let known = expected[name][field].as_f64().unwrap();
            assert!((found.unwrap() - known).abs() < 1e-5, "{name} {field}: {found:?} for {known}");
        }
    }
}

#[test]
fn scores_of_a_small_table_equal_gensims() {
    let vectors = read_vectors(fixture("gensim_vectors.bin")).unwrap();
    let expected = json(&fixture("gensim_scores.json"));
    let pairs = [("pairs", fixture("gensim_pairs.tsv"))];
    for restricted in ["top100", "top60"] {
        agrees(&vectors, &fixture("gensim_questions.txt"), &pairs, &expected[restricted]);
    }
}

#[test]
fn scores_of_published_tables_equal_gensims() {
    let (Some(evaluation), Some(fixtures), Some(glove)) = (
        shared("project/word-eval"),
        shared("tests/gensim-fixtures"),
        shared("project/glove-6b-50d"),
    ) else {
        return;
    };
    let expected = json(&fixture("gensim_shared.json"));
    let pairs = [
        ("wordsim353", evaluation.join("wordsim353.tsv")),
        ("simlex999", fixtures.join("simlex999.txt")),
    ];
    let questions = evaluation.join("questions-words.txt");
    for (name, path) in [
        ("euclidean", fixtures.join("euclidean_vectors.bin")),
        ("glove", glove.join("glove-6b-50d-top6000.bin")),
    ] {
        agrees(&read_vectors(path).unwrap(), &questions, &pairs, &expected[name]);
    }
}

#[test]
fn glove_answers_as_it_is_known_to() {
    let (Some(evaluation), Some(glove)) =
        (shared("project/word-eval"), shared("project/glove-6b-50d"))
    else {
        return;
    };
    let vectors = read_vectors(glove.join("glove-6b-50d-top6000.bin")).unwrap();
    let expected = &json(&glove.join("expected.json"))["top6000"];
    assert_eq!(vectors.len() as u64, expected["vocabulary"].as_u64().unwrap());
    let questions = AnalogyQuestions::read(evaluation.join("questions-words.txt")).unwrap();
    let sections = questions.score(&vectors, usize::MAX, Combination::Additive);
    for section in sections.iter().filter(|section| section.asked > 0) {
        let known = &expected["analogy_sections"][&section.name];
        let known = [0, 1].map(|index| known[index].as_u64().unwrap() as usize);
        assert_eq!([section.right, section.asked], known, "{}", section.name);
    }
    let pairs = SimilarityPairs::read(evaluation.join("wordsim353.tsv")).unwrap();
    let score = pairs.score(&vectors, usize::MAX);
    assert_eq!(score.compared as u64, expected["wordsim353_pairs"].as_u64().unwrap());
    let known = expected["wordsim353_spearman"].as_f64().unwrap();
    assert!((score.spearman.unwrap() - known).abs() < 5e-5);
    for (word, nearest) in expected["nearest"].as_object().unwrap() {
        let place = vectors.place(word).unwrap();
        let found = vectors.nearest(vectors.vector(place), 5, &[place]);
        same_words(&vectors, &found, nearest, 5e-5);
    }
}

fn same_words(vectors: &WordVectors, found: &[Scored], expected: &Value, tolerance: f64) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(vectors.words().text(found.place), expected[0].as_str().unwrap());
        assert!((f64::from(found.score) - expected[1].as_f64().unwrap()).abs() < tolerance);
    }
}

#[test]
fn answers_equal_gensims() {
    let vectors = read_vectors(fixture("gensim_vectors.bin")).unwrap();
    let expected = json(&fixture("gensim_scores.json"));
    let place = |word: &str| vectors.place(word).unwrap();
    let (positive, negative) = ([place("b3-s"), place("B4")], [place("B3")]);
    let additive = vectors.analogy(&positive, &negative, Combination::Additive, 5);
    same_words(&vectors, &additive, &expected["additive"], 1e-5);
    let multiplicative = vectors.analogy(&positive, &negative, Combination::Multiplicative, 5);
    same_words(&vectors, &multiplicative, &expected["multiplicative"], 1e-5);
    let nearest = vectors.nearest(vectors.vector(place("é")), 4, &[place("é")]);
    same_words(&vectors, &nearest, &expected["nearest"], 1e-5);
    let odd = vectors.odd_one_out(&["A1", "A2", "d3-s", "naïve"].map(place)).unwrap();
    assert_eq!(vectors.words().text(odd), expected["odd"].as_str().unwrap());
    let similarity = f64::from(vectors.similarity(place("A1"), place("中文")));
    assert!((similarity - expected["similarity"].as_f64().unwrap()).abs() < 1e-6);
}
