//! Directories of `sentence-transformers`: a small one that `tests/fixtures/bert.py` writes, and a real one where it is
//! there.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{
    OtherHeads, Weights, load_tensors, load_weights, load_weights_but_heads, read_config,
    read_sentence_modules,
};
use emberline_core::{HiddenStates, Stream, TokenBatch};
use emberline_models::bert::{Bert, BertConfig, Pooling, SentenceEncoder};
use serde::Deserialize;

use crate::fixture;

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter().collect()
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < tolerance, "{what}: {found} for {expected}");
    }
}

#[test]
fn a_directory_of_sentence_transformers_gives_its_vectors() {
    let directory = fixture("bert_sentences");
    let modules = read_sentence_modules(&directory).unwrap().unwrap();
    assert_eq!(modules.max_seq_length, Some(8));
    let config: BertConfig = read_config(directory.join(&modules.encoder)).unwrap();
    let names = &Bert::PUBLISHED_NAMES;
    let weights = Weights::open_published(directory.join(&modules.encoder), names).unwrap();
    let bert = config.init_without_pooler(Stream::new(1), &test_device());
    let (bert, other) = load_weights_but_heads(bert, &weights, names, &Bert::stored_name).unwrap();
    let pooler = ["bert.pooler.dense.bias", "bert.pooler.dense.weight"].map(str::to_string);
    assert_eq!(other, OtherHeads { new: Vec::new(), unused: pooler.to_vec() });
    let pooling = Pooling::from(modules.pooling);
    let encoder = SentenceEncoder { bert, pooling, normalizes: modules.normalizes };

    let values = load_tensors(directory.join("values.safetensors")).unwrap();
    let of =
        |name: &str| -> &TensorData { &values.iter().find(|(known, _)| known == name).unwrap().1 };
    let rows = [0, 1, 2, 3].map(|n| of(&format!("row.{n}")).iter::<u32>().collect::<Vec<_>>());
    let rows = rows.each_ref().map(Vec::as_slice);
    let found = numbers(encoder.embed(&TokenBatch::padded(&rows, &test_device())));
    assert_near(&found, &of("embeddings").iter().collect::<Vec<_>>(), 1e-5, "the embeddings");
}

/// What another implementation made of the real weights.
#[derive(Deserialize)]
struct Expected {
    ids_reduced_vocab: Vec<Vec<u32>>,
    reduced_f16_weights: OfWeights,
}

#[derive(Deserialize)]
struct OfWeights {
    per_sentence: Vec<Sentence>,
    sentence_embeddings: Vec<Vec<f64>>,
    cosine: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Sentence {
    last_hidden_first_token_dims0_8: Vec<f64>,
    last_hidden_last_token_dims0_8: Vec<f64>,
    embedding_layer_token1_dims0_8: Vec<f64>,
    hidden_norms_per_layer: Vec<f64>,
}

/// The folder of the real weights, which are too large to be committed.
fn minilm() -> Option<PathBuf> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/weights/minilm-l6");
    if !folder.join("expected.json").is_file() {
        println!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn minilm_gives_the_vectors_that_it_gives_elsewhere() {
    let Some(folder) = minilm() else { return };
    let text = std::fs::read(folder.join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&text).unwrap();
    let config: BertConfig = read_config(&folder).unwrap();
    let weights = Weights::open_published(&folder, &Bert::PUBLISHED_NAMES).unwrap();
    let bert = config.init(Stream::new(1), &test_device());
    let bert = load_weights(bert, &weights, &Bert::stored_name).unwrap();
    let rows: Vec<&[u32]> = expected.ids_reduced_vocab.iter().map(Vec::as_slice).collect();
    let batch = TokenBatch::padded(&rows, &test_device());
    let states = bert.hidden_states(&batch);
    let encoder = SentenceEncoder { bert, pooling: Pooling::Mean, normalizes: true };
    let embeddings = encoder.embed(&batch);
    let OfWeights { per_sentence, sentence_embeddings, cosine } = expected.reduced_f16_weights;
    for (row, sentence) in per_sentence.iter().enumerate() {
        let n_tokens = rows[row].len();
        let of = |layer: usize, token: usize| {
            numbers(states[layer].clone().slice([row..row + 1, token..token + 1, 0..8]))
        };
        let last = states.len() - 1;
        for (found, expected) in [
            (of(last, 0), &sentence.last_hidden_first_token_dims0_8),
            (of(last, n_tokens - 1), &sentence.last_hidden_last_token_dims0_8),
            (of(0, 1), &sentence.embedding_layer_token1_dims0_8),
        ] {
            assert_near(&found, expected, 1e-3, &format!("sentence {row}"));
        }
        let norms: Vec<f64> = states
            .iter()
            .map(|state| {
                let valid = state.clone().narrow(0, row, 1).narrow(1, 0, n_tokens);
                numbers(valid).iter().map(|number| number * number).sum::<f64>().sqrt()
            })
            .collect();
        for (found, expected) in norms.iter().zip(&sentence.hidden_norms_per_layer) {
            assert!((found / expected - 1.0).abs() < 1e-3, "{found} for {expected}");
        }
        let found = numbers(embeddings.clone().narrow(0, row, 1));
        assert_near(&found, &sentence_embeddings[row], 1e-3, &format!("the vector of {row}"));
        let cosine: f64 = found.iter().zip(&sentence_embeddings[row]).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "the cosine of sentence {row} with itself elsewhere is {cosine}");
    }
    let found = numbers(embeddings.clone().matmul(embeddings.transpose()));
    assert_near(&found, &cosine.concat(), 1e-3, "the cosines");
    let published = found[1];
    assert!((published - 0.755).abs() < 1e-3, "{published}");
}
