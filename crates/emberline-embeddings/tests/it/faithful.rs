//! `faithful` against the C program itself (tests/fixtures/word2vec_c.py).

use emberline_embeddings::read_vectors;
use emberline_embeddings::word2vec::{Word2VecConfig, faithful};

use crate::fixture;

fn equals_the_program(name: &str, config: Word2VecConfig) {
    let config = Word2VecConfig { d_embedding: 7, window: 4, epochs: 2, ..config };
    let found = faithful::train(&fixture("word2vec_corpus.txt"), &config).unwrap();
    let expected = read_vectors(fixture(&format!("word2vec_c_{name}.bin"))).unwrap();
    assert_eq!(found.len(), expected.len());
    for place in 0..expected.len() {
        let word = expected.words().get(place);
        assert_eq!(found.words().get(place), word);
        assert_eq!(found.vector(place), expected.vector(place), "{}", found.words().text(place));
    }
}

#[test]
fn cbow_with_negative_samples_equals_the_c_program() {
    equals_the_program("cbow_negative", Word2VecConfig::cbow());
}

#[test]
fn cbow_with_a_tree_equals_the_c_program() {
    let tree = Word2VecConfig { negative: 0, hierarchical_softmax: true, ..Word2VecConfig::cbow() };
    equals_the_program("cbow_tree", tree);
}

#[test]
fn skip_gram_with_negative_samples_equals_the_c_program() {
    equals_the_program("skip_gram_negative", Word2VecConfig::skip_gram());
}

#[test]
fn skip_gram_with_a_tree_equals_the_c_program() {
    let base = Word2VecConfig::skip_gram();
    let tree = Word2VecConfig { negative: 0, hierarchical_softmax: true, ..base };
    equals_the_program("skip_gram_tree", tree);
}

#[test]
fn skip_gram_with_both_and_no_subsampling_equals_the_c_program() {
    let base = Word2VecConfig::skip_gram();
    let both = Word2VecConfig { negative: 3, hierarchical_softmax: true, subsampling: 0.0, ..base };
    equals_the_program("skip_gram_both", both);
}
