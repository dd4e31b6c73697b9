//! BERT with every head against those of `transformers`, with the directories that `tests/fixtures/bert.py` writes.

use burn::optim::GradientsParams;
use burn::tensor::activation::relu;
use burn::tensor::{Int, Tensor, TensorData};
use emberline_backend::{CrossEntropyOptions, cross_entropy, linear_cross_entropy, test_device};
use emberline_checkpoint::{Weights, load_weights, read_config};
use emberline_core::{
    HiddenStates, SentencePair, Stream, TaskModel, TokenBatch, TokenEncoder, VocabularyHead,
};
use emberline_models::bert::{
    Bert, BertConfig, BertFor, BertForMaskedLm, BertForMultipleChoice, BertForNextSentence,
    BertForPreTraining, BertForQuestionAnswering, BertForSequenceClassification,
    BertForTokenClassification, Head,
};
use emberline_training::{AdamWConfig, OptimizerConfig};

use crate::fixture;
use crate::values::Values;

/// The batch of a case.
pub fn batch_of(values: &Values) -> TokenBatch {
    let lengths: Vec<usize> =
        values.tensors["lengths"].iter::<i64>().map(|length| length as usize).collect();
    let tokens = values.tokens("tokens");
    let is_full = lengths.iter().all(|length| *length == tokens.dims()[1]);
    TokenBatch {
        segments: Some(values.tokens("segments")),
        lengths: (!is_full).then_some(lengths),
        ..TokenBatch::new(tokens)
    }
}

/// The targets of a case, all in one axis, without those that are not asked for.
fn targets(values: &Values, name: &str) -> Tensor<1, Int> {
    let asked = values.tensors[name].iter::<i32>().filter(|target| *target >= 0);
    let asked: Vec<i32> = asked.collect();
    Tensor::from_data(asked.as_slice(), &test_device().autodiff())
}

/// The mean cross-entropy of scores, `[n, n_classes]`.
fn mean(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let n = targets.dims()[0] as f64;
    // Burn's gradient of a quotient has the divisor in f32.
    cross_entropy(logits, targets) * (1.0 / n)
}

/// The mean cross-entropy of the words that are asked for.
fn word_loss<M: TokenEncoder + VocabularyHead>(
    model: &M,
    hidden: Tensor<3>,
    values: &Values,
) -> Tensor<1> {
    let n = hidden.dims()[0] * hidden.dims()[1];
    let hidden = model.head_input(hidden.reshape([n, model.d_model()]));
    let asked = targets(values, "word_targets").dims()[0] as f64;
    let options = CrossEntropyOptions { ignored: Some(-100), ..CrossEntropyOptions::default() };
    let targets = values.tokens("word_targets").reshape([n]);
    linear_cross_entropy(hidden, model.head_weights(), targets, options) * (1.0 / asked)
}

/// The scores of all words at all positions.
fn word_logits<M: TokenEncoder + VocabularyHead>(model: &M, batch: &TokenBatch) -> Tensor<3> {
    let [batch_size, seq_length] = batch.dims();
    let hidden = model.encode(batch).reshape([batch_size * seq_length, model.d_model()]);
    model.head(hidden).reshape([batch_size, seq_length, model.vocab_size()])
}

/// A score, with its name in the file.
type Score = (&'static str, TensorData);

/// Hidden states, pooled vectors, scores, loss and gradients of a model.
fn agrees<H: Head>(
    case: &str,
    scores: impl Fn(&BertFor<H>, &TokenBatch) -> Vec<Score>,
    loss: impl Fn(&BertFor<H>, &TokenBatch, &Values) -> Tensor<1>,
) {
    let directory = fixture(case);
    let config: BertConfig = read_config(&directory).unwrap();
    config.validate().unwrap();
    let weights = Weights::open_published(&directory, &Bert::PUBLISHED_NAMES).unwrap();
    for values in Values::both(&directory.join("values")) {
        let device = test_device().autodiff();
        let model = values.cast(config.init_for::<H>(Stream::new(1), &device));
        let mut model = load_weights(model, &weights, &Bert::stored_name).unwrap();
        let batch = batch_of(&values);
        check_states(&values, &model.bert, &batch);
        for (name, found) in scores(&model, &batch) {
            values.check(name, found);
        }
        let found = loss(&model, &batch, &values);
        values.check("loss", found.to_data());
        values.check_gradients(&model, &found.backward(), &Bert::stored_name);

        let Some(losses) = values.tensors.get("losses") else { continue };
        let adamw = AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() };
        let mut optimizer = OptimizerConfig::AdamW(adamw).init(&model);
        for expected in losses.iter::<f64>() {
            let loss = loss(&model, &batch, &values);
            let found = loss.clone().into_scalar::<f64>();
            assert!((found - expected).abs() < 1e-4, "{found} is not torch's {expected}");
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(1e-2, model, gradients);
        }
    }
}

fn check_states(values: &Values, bert: &Bert, batch: &TokenBatch) {
    let states = bert.hidden_states(batch);
    let known = values.tensors.keys().filter(|name| name.starts_with("hidden."));
    assert_eq!(states.len(), known.count());
    let pooled = bert.pooled(states.last().unwrap().clone());
    assert_eq!(pooled.is_some(), values.tensors.contains_key("pooled"));
    if let Some(pooled) = pooled {
        values.check("pooled", pooled.into_data());
    }
    for (layer, hidden) in states.into_iter().enumerate() {
        values.check(&format!("hidden.{layer}"), hidden.into_data());
    }
}

#[test]
fn bert_alone_computes_as_that_of_transformers() {
    let directory = fixture("bert_alone");
    let config: BertConfig = read_config(&directory).unwrap();
    let weights = Weights::open_published(&directory, &Bert::PUBLISHED_NAMES).unwrap();
    for values in Values::both(&directory.join("values")) {
        let bert = values.cast(config.init(Stream::new(1), &test_device().autodiff()));
        let bert = load_weights(bert, &weights, &Bert::stored_name).unwrap();
        check_states(&values, &bert, &batch_of(&values));
    }
}

#[test]
fn pretraining_computes_and_learns_as_that_of_transformers() {
    for case in ["bert_pretraining", "bert_pretraining_deep"] {
        agrees(
            case,
            |model: &BertForPreTraining, batch| {
                let pairs = model.pair_logits(model.encode(batch));
                vec![
                    ("prediction_logits", word_logits(model, batch).into_data()),
                    ("seq_relationship_logits", pairs.into_data()),
                ]
            },
            |model, batch, values| {
                let hidden = model.encode(batch);
                let pairs =
                    mean(model.pair_logits(hidden.clone()), targets(values, "pair_targets"));
                word_loss(model, hidden, values) + pairs
            },
        );
    }
}

#[test]
fn masked_words_are_scored_as_by_transformers() {
    agrees(
        "bert_words",
        |model: &BertForMaskedLm, batch| vec![("logits", word_logits(model, batch).into_data())],
        |model, batch, values| word_loss(model, model.encode(batch), values),
    );
}

#[test]
fn next_sentences_are_scored_as_by_transformers() {
    agrees(
        "bert_pairs",
        |model: &BertForNextSentence, batch| vec![("logits", model.logits(batch).into_data())],
        |model, batch, values| mean(model.logits(batch), targets(values, "pair_targets")),
    );
}

/// The scores of a classifier of texts.
fn of_texts(model: &BertForSequenceClassification, batch: &TokenBatch) -> Vec<Score> {
    vec![("logits", model.logits(batch).into_data())]
}

#[test]
fn classes_of_texts_are_scored_as_by_transformers() {
    agrees("bert_classes", of_texts, |model, batch, values| {
        mean(model.logits(batch), targets(values, "labels"))
    });
}

/// The targets of a case that are numbers, as the scores are.
fn numbers(values: &Values, like: &Tensor<2>) -> Tensor<2> {
    let labels = values.tensors["labels"].clone();
    Tensor::<1>::from_data(
        TensorData::new(labels.iter::<f64>().collect(), [labels.num_elements()]),
        (&test_device().autodiff(), values.dtype),
    )
    .reshape(like.dims())
}

#[test]
fn labels_of_texts_are_scored_as_by_transformers() {
    agrees("bert_labels", of_texts, |model, batch, values| {
        let logits = model.logits(batch);
        let labels = numbers(values, &logits);
        let n = labels.shape().num_elements() as f64;
        // Of the logistic function of each score: -log p where a label is there, -log(1 - p) where not.
        let rest = logits.clone().abs().neg().exp().log1p();
        (relu(logits.clone()) - logits * labels + rest).sum() * (1.0 / n)
    });
}

#[test]
fn a_number_of_a_text_is_as_by_transformers() {
    agrees("bert_number", of_texts, |model, batch, values| {
        let found = model.logits(batch);
        let expected = numbers(values, &found);
        let n = expected.dims()[0] as f64;
        (found - expected).square().sum() * (1.0 / n)
    });
}

#[test]
fn classes_of_tokens_are_scored_as_by_transformers() {
    agrees(
        "bert_tags",
        |model: &BertForTokenClassification, batch| {
            let logits = model.head.classifier.forward(model.encode(batch));
            vec![("logits", logits.into_data())]
        },
        |model, batch, values| mean(model.logits(batch), targets(values, "token_labels")),
    );
}

#[test]
fn answers_are_scored_as_by_transformers() {
    let scores = |model: &BertForQuestionAnswering, batch: &TokenBatch| {
        let scores = model.head.answers.forward(model.encode(batch));
        [0, 1].map(|kind| scores.clone().narrow(2, kind, 1).squeeze_dim::<2>(2))
    };
    agrees(
        "bert_answers",
        |model, batch| {
            let [starts, ends] = scores(model, batch).map(|scores| scores.into_data());
            vec![("start_logits", starts), ("end_logits", ends)]
        },
        |model, batch, values| {
            let [starts, ends] = scores(model, batch);
            let starts = mean(starts, targets(values, "starts"));
            (starts + mean(ends, targets(values, "ends"))) * 0.5
        },
    );
}

#[test]
fn choices_are_scored_as_by_transformers() {
    let scores =
        |model: &BertForMultipleChoice, batch: &TokenBatch| model.logits(batch).reshape([2, 2]);
    agrees(
        "bert_choices",
        |model, batch| vec![("logits", scores(model, batch).into_data())],
        |model, batch, values| mean(scores(model, batch), targets(values, "labels")),
    );
}
