//! Published files of ELMo: those of AllenNLP where they are, and what is wrong with others.

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use emberline_backend::test_device;
use emberline_embeddings::elmo::{ElmoError, load_published, read_options};
use emberline_text::Lexicon;
use hdf5_pure::File;

use crate::elmo::differences_of_bank;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/elmo").join(name)
}

/// The folder of AllenNLP's fixture, unless this machine has none; says so then.
fn allennlp() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/tests");
    let folder = folder.join("elmo-allennlp");
    if !folder.exists() {
        println!("skipped: no published ELMo at {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Ten batches of three sentences, each going on from the one before, as the published code computed them.
#[test]
fn the_vectors_of_the_published_code_come_out() {
    let Some(folder) = allennlp() else { return };
    let device = test_device();
    let weights = folder.join("lm_weights.hdf5");
    let (config, elmo) = load_published(folder.join("options.json"), weights, &device).unwrap();
    assert_eq!(config.parameter_count(), 105_120);
    let sentences = std::fs::read(folder.join("sentences.json")).unwrap();
    let sentences: Vec<Vec<String>> = serde_json::from_slice(&sentences).unwrap();
    let expected =
        [0, 1, 2].map(|row| File::open(folder.join(format!("lm_embeddings_{row}.hdf5"))).unwrap());
    let mut state = None;
    for index in 0..sentences[0].len() {
        let rows: Vec<Vec<&str>> =
            sentences.iter().map(|row| row[index].split(' ').collect()).collect();
        let batch = Lexicon::sentences(&rows, &device);
        let (mut layers, after) = elmo.layers_from(&batch, state);
        state = Some(after);
        let top = layers.pop().unwrap();
        for (row, words) in rows.iter().enumerate() {
            let expected = expected[row].dataset(&index.to_string()).unwrap();
            let expected = expected.read_f32().unwrap();
            // Forward and backward one after the other, without the marks of the sentence.
            let own = top.clone().narrow(0, row, 1).narrow(1, 1, words.len());
            let own: Vec<f32> = Tensor::cat(own.chunk(2, 2), 0).into_data().iter().collect();
            assert_eq!(own.len(), expected.len());
            for (own, expected) in own.iter().zip(&expected) {
                assert!((own - expected).abs() < 1e-5, "{own} for {expected} in batch {index}");
            }
        }
    }
    let differences = differences_of_bank(&elmo, &device);
    assert_eq!(differences[0], 0.0);
    assert!(differences[1..].iter().all(|difference| *difference > 0.01), "{differences:?}");
}

/// The options of the fixture with something changed, and the error of loading the weights with them.
fn error_of(change: impl Fn(&mut serde_json::Value)) -> ElmoError {
    let folder = tempfile::tempdir().unwrap();
    let options = std::fs::read(fixture("options.json")).unwrap();
    let mut options: serde_json::Value = serde_json::from_slice(&options).unwrap();
    change(&mut options);
    let path = folder.path().join("options.json");
    std::fs::write(&path, options.to_string()).unwrap();
    load_published(path, fixture("weights.hdf5"), &test_device()).unwrap_err()
}

#[test]
fn options_that_disagree_with_the_weights_are_an_error_that_names_every_tensor() {
    let message = |change: &dyn Fn(&mut serde_json::Value)| {
        let error = error_of(change);
        assert!(matches!(error, ElmoError::Disagree { .. }), "{error:?}");
        std::error::Error::source(&error).unwrap().to_string()
    };
    let wider = message(&|options| options["char_cnn"]["embedding"]["dim"] = 5.into());
    assert!(wider.contains("char_embed is [261, 4], expected [261, 5]"), "{wider}");
    let deeper = message(&|options| options["lstm"]["n_layers"] = 3.into());
    assert!(deeper.contains("6 missing: RNN_0/RNN/MultiRNNCell/Cell2/LSTMCell/B"), "{deeper}");
    let fewer = message(&|options| options["char_cnn"]["n_highway"] = 1.into());
    assert!(fewer.contains("4 unexpected: CNN_high_1/W_carry"), "{fewer}");
}

#[test]
fn options_of_no_model_are_an_error_that_names_the_option() {
    let message = |change: &dyn Fn(&mut serde_json::Value)| {
        let error = error_of(change);
        assert!(matches!(error, ElmoError::Invalid { .. }), "{error:?}");
        std::error::Error::source(&error).unwrap().to_string()
    };
    let characters = message(&|options| options["char_cnn"]["n_characters"] = 300.into());
    assert_eq!(characters, "char_cnn.n_characters must be 261 or 262, but is 300");
    let no_layers = message(&|options| options["lstm"]["n_layers"] = 0.into());
    assert_eq!(no_layers, "n_layers must be at least 1, but is 0");
    let wide = message(&|options| options["char_cnn"]["filters"][0][0] = 51.into());
    assert!(wide.contains("at most the 50 characters of a word, but is 51"), "{wide}");

    // A model of a fixed vocabulary, without characters.
    let error = error_of(|options| {
        options.as_object_mut().unwrap().remove("char_cnn");
    });
    assert!(matches!(error, ElmoError::NotOptions { .. }), "{error:?}");
}

#[test]
fn files_that_are_absent_cut_or_of_another_kind_are_errors_that_name_them() {
    let (device, folder) = (test_device(), tempfile::tempdir().unwrap());
    let options = fixture("options.json");
    let absent = folder.path().join("absent");
    let error = read_options(&absent).unwrap_err();
    assert!(matches!(error, ElmoError::Read { .. }), "{error:?}");
    let error = load_published(&options, &absent, &device).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}", absent.display()));

    let whole = std::fs::read(fixture("weights.hdf5")).unwrap();
    let path = folder.path().join("weights.hdf5");
    for bytes in [&b"not HDF5"[..], &[], &whole[..whole.len() / 2], &whole[..whole.len() - 1]] {
        std::fs::write(&path, bytes).unwrap();
        let error = load_published(&options, &path, &device).unwrap_err();
        assert!(error.to_string().contains("weights.hdf5"), "{error}");
    }
}
