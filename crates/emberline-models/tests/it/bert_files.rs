//! The files of BERTs: those that others wrote, in every dialect, and ours that others read.

use std::path::{Path, PathBuf};
use std::process::Command;

use burn::tensor::{Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{
    CheckpointError, OtherHeads, Weights, load_tensors, load_weights, load_weights_but_heads,
    read_config, save_tensors, save_weights, write_config,
};
use emberline_core::{SentencePair, Stream, TaskModel, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_models::bert::{
    AnyBert, Architecture, Bert, BertConfig, BertFor, BertForMaskedLm, BertForPreTraining,
    ClassificationHead, Head, WordHead,
};

use crate::bert::batch_of;
use crate::fixture;
use crate::values::Values;

const WEIGHTS: &str = "model.safetensors";
const CASES: [&str; 11] = [
    "bert_alone",
    "bert_pretraining",
    "bert_pretraining_deep",
    "bert_words",
    "bert_pairs",
    "bert_classes",
    "bert_labels",
    "bert_number",
    "bert_tags",
    "bert_answers",
    "bert_choices",
];

/// The model of a directory, with the head that its config names.
fn open_any(directory: &Path) -> AnyBert {
    let config: BertConfig = read_config(directory).unwrap();
    let model = config.init_any(config.architecture().unwrap(), Stream::new(1), &test_device());
    let weights = Weights::open_published(directory, &Bert::PUBLISHED_NAMES).unwrap();
    load_weights(model, &weights, &Bert::stored_name).unwrap()
}

/// A model with a head, of the config of a case, and the tensors of a file or folder.
fn open<H: Head>(case: &str, weights: &Path) -> Result<BertFor<H>, CheckpointError> {
    let config: BertConfig = read_config(fixture(case)).unwrap();
    let weights = Weights::open_published(weights, &Bert::PUBLISHED_NAMES)?;
    load_weights(config.init_for(Stream::new(1), &test_device()), &weights, &Bert::stored_name)
}

fn batch() -> TokenBatch {
    let batch = TokenBatch::padded(&[&[1, 2, 3, 4], &[5, 6]], &test_device());
    batch.with_segments(&[&[0, 0, 1, 1], &[0, 1]])
}

/// The scores of all words at all positions, and of the pairs.
fn scores(model: &BertForPreTraining) -> [TensorData; 2] {
    let hidden = model.encode(&batch());
    let words = model.head(hidden.clone().reshape([8, model.d_model()]));
    [words.into_data(), model.pair_logits(hidden).into_data()]
}

/// The tensors of a case.
fn tensors(case: &str) -> Vec<(String, TensorData)> {
    load_tensors(fixture(case).join(WEIGHTS)).unwrap()
}

/// What opens as a model of pretraining from these tensors.
fn opened(tensors: Vec<(String, TensorData)>) -> Result<BertForPreTraining, CheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    save_tensors(folder.path().join(WEIGHTS), tensors).unwrap();
    open("bert_pretraining", folder.path())
}

#[test]
fn weights_come_back_under_the_same_names_bit_for_bit() {
    for case in CASES {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        save_weights(&open_any(&fixture(case)), first.path().join(WEIGHTS), &Bert::stored_name)
            .unwrap();
        let config: BertConfig = read_config(fixture(case)).unwrap();
        write_config(first.path(), &config).unwrap();
        assert_eq!(read_config::<BertConfig>(first.path()).unwrap(), config);

        let published = Weights::open_published(fixture(case), &Bert::PUBLISHED_NAMES).unwrap();
        let saved = Weights::open(first.path()).unwrap();
        assert_eq!(saved.names().collect::<Vec<_>>(), published.names().collect::<Vec<_>>());
        for name in published.names() {
            let expected = published.read(name).unwrap().unwrap().convert::<f32>();
            assert_eq!(saved.read(name).unwrap().unwrap(), expected, "{name}");
        }
        let again = open_any(first.path());
        save_weights(&again, second.path().join(WEIGHTS), &Bert::stored_name).unwrap();
        let bytes = |folder: &Path| std::fs::read(folder.join(WEIGHTS)).unwrap();
        assert_eq!(bytes(first.path()), bytes(second.path()));
    }
}

#[test]
fn files_open_with_and_without_prefix_decoder_and_buffers_and_under_old_names() {
    let plain = tensors("bert_pretraining");
    let expected = scores(&opened(plain.clone()).unwrap());

    let old = |name: &str| {
        let name = name.strip_prefix("bert.").unwrap_or(name);
        name.replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let mut other: Vec<_> = plain.iter().map(|(name, data)| (old(name), data.clone())).collect();
    let find = |tensors: &[(String, TensorData)], name: &str| {
        tensors.iter().find(|(known, _)| known == name).unwrap().1.clone()
    };
    let table = find(&other, "embeddings.word_embeddings.weight");
    let bias = find(&other, "cls.predictions.bias");
    other.push(("cls.predictions.decoder.weight".to_string(), table.clone()));
    other.push(("cls.predictions.decoder.bias".to_string(), bias));
    let places = TensorData::new((0..9i64).collect(), [1, 9]);
    other.push(("embeddings.position_ids".to_string(), places));
    assert_eq!(scores(&opened(other.clone()).unwrap()), expected);

    // The bias under the decoder's name alone.
    let without = other.iter().filter(|(name, _)| name != "cls.predictions.bias").cloned();
    assert_eq!(scores(&opened(without.collect()).unwrap()), expected);

    let (_, decoder) =
        other.iter_mut().find(|(name, _)| name == "cls.predictions.decoder.weight").unwrap();
    *decoder = TensorData::new(vec![0.0f64; table.num_elements()], table.shape().clone());
    let error = opened(other).expect_err("two tables").to_string();
    let complaint = "cls.predictions.decoder.weight is not the bert.embeddings.word_embeddings.weight that it is tied to";
    assert!(error.ends_with(complaint), "{error}");
}

#[test]
fn a_file_of_torch_save_is_the_same_model() {
    let open = |path: PathBuf| open::<WordHead>("bert_words", &path).unwrap();
    let scores = |model: BertForMaskedLm| {
        let hidden = model.encode(&batch()).reshape([8, model.d_model()]);
        model.head(hidden).into_data()
    };
    let expected = scores(open(fixture("bert_words")));
    assert_eq!(scores(open(fixture("bert_words.bin"))), expected);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("bert_words.bin"), folder.path().join("pytorch_model.bin")).unwrap();
    assert_eq!(scores(open(folder.path().to_path_buf())), expected);
}

#[test]
fn shards_are_the_same_model() {
    let expected = scores(&opened(tensors("bert_pretraining")).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (first, second): (Vec<_>, Vec<_>) =
        tensors("bert_pretraining").into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    let mut index = serde_json::Map::new();
    for (file, shard) in [("one.safetensors", first), ("two.safetensors", second)] {
        let shard: Vec<_> = shard.into_iter().map(|(_, tensor)| tensor).collect();
        index.extend(shard.iter().map(|(name, _)| (name.clone(), file.into())));
        save_tensors(folder.path().join(file), shard).unwrap();
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": index});
    std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    assert_eq!(scores(&open("bert_pretraining", folder.path()).unwrap()), expected);
}

#[test]
fn a_file_with_the_names_of_tensorflow_is_the_same_model() {
    let model = opened(tensors("bert_pretraining")).unwrap();
    let expected = scores(&model);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(WEIGHTS);
    save_weights(&model, &path, &Bert::tensorflow_name).unwrap();
    let mut tensors = load_tensors(&path).unwrap();
    let kept = |name: &str| (name.to_string(), TensorData::from([0.0f32]));
    tensors.extend([kept("bert/pooler/dense/kernel/adam_m"), kept("global_step")]);
    save_tensors(&path, tensors).unwrap();

    let config: BertConfig = read_config(fixture("bert_pretraining")).unwrap();
    let weights = Weights::open_published(&path, &Bert::TENSORFLOW_NAMES).unwrap();
    let model = config.init_for(Stream::new(2), &test_device());
    let model = load_weights(model, &weights, &Bert::tensorflow_name).unwrap();
    assert_eq!(scores(&model), expected);
}

/// A classifier of three classes of texts from the file of a case.
fn classifier(case: &str) -> Result<OtherHeads, CheckpointError> {
    let config: BertConfig = read_config(fixture("bert_classes")).unwrap();
    let model = config.init_for::<ClassificationHead>(Stream::new(1), &test_device());
    let names = &Bert::PUBLISHED_NAMES;
    let weights = Weights::open_published(fixture(case), names).unwrap();
    let (_, other) = load_weights_but_heads(model, &weights, names, &Bert::stored_name)?;
    Ok(other)
}

#[test]
fn a_classifier_of_a_pretrained_model_says_that_its_head_is_new() {
    let other = classifier("bert_pretraining").unwrap();
    assert_eq!(other.new, ["classifier.weight", "classifier.bias"]);
    assert_eq!(other.unused.len(), 7);
    assert!(other.unused.iter().all(|name| name.starts_with("cls.")), "{:?}", other.unused);
    assert_eq!(classifier("bert_classes").unwrap(), OtherHeads::default());
}

#[test]
fn a_head_of_another_number_of_classes_is_refused_with_both_shapes() {
    let error = classifier("bert_number").unwrap_err().to_string();
    for part in ["classifier.weight is [1, 12], expected [3, 12]", "classifier.bias is [1]"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn files_of_other_models_are_refused_with_what_does_not_fit() {
    let other = |name: &str| {
        name.replace("encoder.layer.1.output.dense.bias", "encoder.layer.1.output.dense.extra")
    };
    let tensors = tensors("bert_pretraining");
    let tensors = tensors.into_iter().map(|(name, data)| (other(&name), data)).collect();
    let error = opened(tensors).expect_err("a mismatch").to_string();
    for part in [
        "1 missing: bert.encoder.layer.1.output.dense.bias",
        "1 unexpected: bert.encoder.layer.1.output.dense.extra",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

/// What a model makes of a batch, under the names of the output of its class.
fn outputs(model: &AnyBert, batch: &TokenBatch) -> Vec<(String, TensorData)> {
    let hidden = model.bert().encode(batch);
    let [batch_size, seq_length, d_model] = hidden.dims();
    let rows = hidden.clone().reshape([batch_size * seq_length, d_model]);
    let words = |scores: Tensor<2>| {
        let n = scores.dims()[1];
        scores.reshape([batch_size, seq_length, n]).into_data()
    };
    let mut outputs = vec![("last".to_string(), hidden.clone().into_data())];
    let mut add = |name: &str, scores: TensorData| outputs.push((name.to_string(), scores));
    match model {
        AnyBert::Model(model) => {
            add("pooler_output", model.pooled(hidden).unwrap().into_data());
        }
        AnyBert::PreTraining(model) => {
            add("prediction_logits", words(model.head(rows)));
            add("seq_relationship_logits", model.pair_logits(hidden).into_data());
        }
        AnyBert::MaskedLm(model) => add("logits", words(model.head(rows))),
        AnyBert::NextSentence(model) => add("logits", model.logits(batch).into_data()),
        AnyBert::SequenceClassification(model) => add("logits", model.logits(batch).into_data()),
        AnyBert::TokenClassification(model) => {
            add("logits", model.head.classifier.forward(hidden).into_data());
        }
        AnyBert::QuestionAnswering(model) => {
            let scores = model.head.answers.forward(hidden);
            for (kind, name) in ["start_logits", "end_logits"].into_iter().enumerate() {
                add(name, scores.clone().narrow(2, kind, 1).squeeze_dim::<2>(2).into_data());
            }
        }
        AnyBert::MultipleChoice(model) => {
            add("logits", model.logits(batch).reshape([batch_size as i64 / 2, 2]).into_data());
        }
    }
    outputs
}

/// Writes a directory of a model, with what `bert.py check` compares.
fn write(folder: &Path, name: &str, case: &str, model: &AnyBert, config: &BertConfig) -> String {
    let directory = folder.join(name);
    std::fs::create_dir(&directory).unwrap();
    write_config(&directory, config).unwrap();
    save_weights(model, directory.join(WEIGHTS), &Bert::stored_name).unwrap();
    let [_, values] = Values::both(&fixture(case).join("values"));
    let mut expected = outputs(model, &batch_of(&values));
    for name in ["tokens", "segments", "lengths"] {
        expected.push((name.to_string(), values.tensors[name].clone()));
    }
    save_tensors(directory.join("expected.safetensors"), expected).unwrap();
    directory.display().to_string()
}

#[test]
fn transformers_opens_what_is_saved_here() {
    let Some(python) = std::env::var_os("EMBERLINE_PYTHON") else {
        println!("skipped: EMBERLINE_PYTHON names no Python that has transformers");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut directories: Vec<String> = CASES
        .iter()
        .map(|case| {
            let config: BertConfig = read_config(fixture(case)).unwrap();
            write(folder.path(), case, case, &open_any(&fixture(case)), &config)
        })
        .collect();
    // A model that was made here, with classes of its own.
    let config: BertConfig = read_config(fixture("bert_alone")).unwrap();
    let labels = ["bad", "fine", "good", "best"];
    let config = BertConfig { deviation: 0.3, ..config }.with_labels(labels);
    let config = config.with_architecture(Architecture::TokenClassification);
    let model = config.init_any(Architecture::TokenClassification, Stream::new(1), &test_device());
    let directory = write(folder.path(), "made_here", "bert_alone", &model, &config);
    std::fs::write(
        Path::new(&directory).join("labels.json"),
        serde_json::json!(labels).to_string(),
    )
    .unwrap();
    directories.push(directory);
    let script = fixture("bert.py");
    let output = Command::new(python).arg(script).arg("check").args(directories).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
