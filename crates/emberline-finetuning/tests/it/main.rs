//! The objectives with the trainer on whole models: they learn what they can, and only that.

mod features;
mod frozen;
mod peft;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::{Embedding, Linear, LinearConfig, test_device};
use emberline_checkpoint::CheckpointError;
use emberline_core::parameters::ModulePath;
use emberline_core::task::Token;
use emberline_core::{Stream, TaskModel, TokenBatch};
use emberline_evaluation::{predict_rows, predict_tokens};
use emberline_finetuning::{
    Classification, ExampleBatch, LabelledBatch, LabelledBatches, Planned, TokenClassification,
};
use emberline_models::recurrent_classifier::{self, RecurrentClassifierConfig};
use emberline_models::recurrent_tagger::{self, RecurrentTaggerConfig};
use emberline_recurrent::{AnyConfig, AnyStack, CellKind, Merge};
use emberline_text::Example;
use emberline_training::{
    AdamWConfig, Data, ModelFiles, Objective, OptimizerConfig, Schedule, Trainer, TrainingConfig,
};
use serde_json::Value;

const VOCAB_SIZE: usize = 6;

/// Trains a model for some updates of 16 examples, and gives it back without its history.
fn train<M, O>(model: M, objective: &O, examples: &[Example], steps: u64, device: &Device) -> M
where
    M: Module,
    O: Objective<M, Batch = LabelledBatch>,
{
    run(model, objective, &batches(examples, device), steps, device, None).valid()
}

/// The same by a plan, and with gradients.
fn train_planned<M, O>(
    model: M,
    objective: &O,
    examples: &[Example],
    steps: u64,
    planned: &Planned,
) -> M
where
    M: Module,
    O: Objective<M, Batch = LabelledBatch>,
{
    let device = test_device().autodiff();
    run(model, objective, &batches(examples, &device), steps, &device, Some(planned))
}

fn batches(examples: &[Example], device: &Device) -> LabelledBatches {
    let (training, validation) = (examples.to_vec(), examples[..4].to_vec());
    LabelledBatches::new(training, validation, 16, Stream::new(2), device).unwrap()
}

fn run<M, O, D>(
    model: M,
    objective: &O,
    data: &D,
    steps: u64,
    device: &Device,
    planned: Option<&Planned>,
) -> M
where
    M: Module,
    O: Objective<M>,
    D: Data<Batch = O::Batch>,
{
    let config = TrainingConfig {
        steps,
        seed: 1,
        optimizer: OptimizerConfig::AdamW(AdamWConfig::default()),
        schedule: Schedule::Constant { learning_rate: 0.02, warmup_steps: 0 },
        max_grad_norm: Some(1.0),
        log_every: steps,
        evaluate_every: steps,
        checkpoint_every: steps,
        keep_checkpoints: 1,
        early_stopping: None,
    };
    let directory = tempfile::tempdir().unwrap();
    // The model is not read again.
    let save = |_: &M, _: &std::path::Path| Ok::<_, CheckpointError>(());
    let load = |model: M, _: &std::path::Path| Ok::<_, CheckpointError>(model);
    let trainer = Trainer {
        config: &config,
        objective,
        data,
        optimizer: planned.map(|planned| planned.optimizer(&config.optimizer, &model)),
        device,
        directory: directory.path(),
        files: ModelFiles { save: &save, load: &load },
        identity: &Value::Null,
        observer: &mut (),
        interrupt: &AtomicBool::new(false),
    };
    let prepare = |step, model| match planned {
        Some(planned) => planned.prepare(step, model),
        None => model,
    };
    trainer.start_with(model, &prepare).unwrap().model
}

/// The bits of every parameter, by its path.
fn bits_of<M: Module>(model: &M) -> BTreeMap<String, Vec<u32>> {
    #[derive(Default)]
    struct Bits(ModulePath, BTreeMap<String, Vec<u32>>);
    impl ModuleVisitor for Bits {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let bits = parameter.base().into_data().iter::<f32>().map(f32::to_bits).collect();
            self.1.insert(self.0.joined(), bits);
        }

        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
    }
    let mut bits = Bits::default();
    model.visit(&mut bits);
    bits.1
}

/// Rows of 1 to 9 random tokens, with labels by a rule.
fn examples(seed: u64, rule: impl Fn(&[u32]) -> Vec<u32>) -> Vec<Example> {
    (0..200)
        .map(|row| {
            let random = Stream::new(seed).at(row);
            let length = 1 + random.below(0, 9) as u64;
            let tokens: Vec<u32> =
                (1..=length).map(|token| random.below(token, VOCAB_SIZE) as u32).collect();
            Example { labels: rule(&tokens), tokens, ..Example::default() }
        })
        .collect()
}

/// The part of the labels that were predicted.
fn accuracy(examples: &[Example], predicted: &[Vec<u32>]) -> f64 {
    let right = examples.iter().zip(predicted).flat_map(|(example, predicted)| {
        assert_eq!(example.labels.len(), predicted.len());
        example.labels.iter().zip(predicted).map(|(label, predicted)| label == predicted)
    });
    let right: Vec<bool> = right.collect();
    right.iter().filter(|right| **right).count() as f64 / right.len() as f64
}

fn rows(examples: &[Example]) -> Vec<&[u32]> {
    examples.iter().map(|example| &example.tokens[..]).collect()
}

fn classifier(n_layers: usize) -> RecurrentClassifierConfig {
    RecurrentClassifierConfig {
        model_type: recurrent_classifier::ModelType::default(),
        vocab_size: VOCAB_SIZE,
        n_classes: 2,
        cell: CellKind::Gru,
        merge: Merge::Sum,
        d_embedding: 8,
        d_hidden: 16,
        n_layers,
        dropout: 0.0,
    }
}

fn tagger(n_layers: usize) -> RecurrentTaggerConfig {
    RecurrentTaggerConfig {
        model_type: recurrent_tagger::ModelType::default(),
        vocab_size: VOCAB_SIZE,
        n_classes: 2,
        cell: CellKind::Lstm,
        merge: Merge::Concat,
        d_embedding: 8,
        d_hidden: 8,
        n_layers,
        dropout: 0.0,
    }
}

/// The bits of the loss and of the gradients of all parameters, with this token in the padding.
fn bits<M, O>(model: &M, objective: &O, examples: &[Example], padding: i32) -> Vec<u32>
where
    M: Module,
    O: Objective<M, Batch = LabelledBatch>,
{
    struct Bits(GradientsParams, Vec<u32>);
    impl ModuleVisitor for Bits {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(parameter.id).expect("each parameter has a gradient");
            self.1.extend(gradient.into_data().iter::<f32>().map(f32::to_bits));
        }
    }
    let mut batch = LabelledBatch::new(&examples.iter().collect::<Vec<_>>(), &test_device());
    let lengths = batch.tokens.lengths.clone().expect("the rows differ in length");
    let [_, seq_length] = batch.tokens.dims();
    let mut ids: Vec<i32> = batch.tokens.tokens.to_data().iter().collect();
    for (row, length) in ids.chunks_mut(seq_length).zip(lengths) {
        row[length..].fill(padding);
    }
    let ids = TensorData::new(ids, batch.tokens.dims());
    batch.tokens.tokens = Tensor::from_data(ids, &test_device());

    let (loss, _) = objective.loss(model, &batch, None, None);
    let sum = loss.terms[0].sum.clone();
    let gradients = GradientsParams::from_grads(sum.backward(), model);
    let mut bits = Bits(gradients, vec![sum.into_scalar::<f32>().to_bits()]);
    model.visit(&mut bits);
    bits.1
}

#[test]
fn what_stands_in_the_padding_changes_no_bit_of_loss_and_gradients() {
    let device = test_device().autodiff();
    let model = classifier(2).init(Stream::new(1), &device);
    let rows = &examples(1, |_| vec![1])[..8];
    let of = |padding| bits(&model, &Classification, rows, padding);
    assert_eq!(of(0).len() as u64, 1 + classifier(2).parameter_count());
    assert_eq!(of(0), of(4));

    let model = tagger(2).init(Stream::new(1), &device);
    let rows = &examples(1, next_is_zero)[..8];
    let of = |padding| bits(&model, &TokenClassification, rows, padding);
    assert_eq!(of(0).len() as u64, 1 + tagger(2).parameter_count());
    assert_eq!(of(0), of(4));
}

#[test]
fn a_classifier_learns_which_rows_hold_a_token() {
    let rule = |tokens: &[u32]| vec![u32::from(tokens.contains(&0))];
    let device = test_device().autodiff();
    let model = classifier(1).init(Stream::new(1), &device);
    let model = train(model, &Classification, &examples(1, rule), 200, &device);
    let unseen = examples(2, rule);
    let predicted = predict_rows(&model, &rows(&unseen), 32, &test_device());
    let predicted: Vec<Vec<u32>> = predicted.into_iter().map(|class| vec![class]).collect();
    assert_eq!(accuracy(&unseen, &predicted), 1.0);
}

/// Whether the token after each is 0: no reader that only goes forward can know.
fn next_is_zero(tokens: &[u32]) -> Vec<u32> {
    let next = tokens[1..].iter().map(|token| u32::from(*token == 0));
    next.chain([0]).collect()
}

fn tagger_accuracy<M>(model: M, device: &Device) -> f64
where
    M: Module + TaskModel<Item = Token>,
{
    let model = train(model, &TokenClassification, &examples(1, next_is_zero), 150, device);
    let unseen = examples(2, next_is_zero);
    accuracy(&unseen, &predict_tokens(&model, &rows(&unseen), 32, &test_device()))
}

#[test]
fn a_tagger_learns_a_rule_about_the_token_to_come() {
    let device = test_device().autodiff();
    assert_eq!(tagger_accuracy(tagger(1).init(Stream::new(1), &device), &device), 1.0);
}

/// The tagger with one direction only.
#[derive(Module, Debug)]
struct ForwardTagger {
    embedding: Embedding,
    recurrent: AnyStack,
    head: Linear,
}

impl TaskModel for ForwardTagger {
    type Item = Token;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        let vectors = self.embedding.forward(batch.tokens.clone());
        let (hidden, _) = self.recurrent.forward(vectors, None, batch.lengths.as_deref(), None);
        self.head.forward(batch.valid(hidden))
    }

    fn n_classes(&self) -> usize {
        2
    }
}

#[test]
fn a_tagger_that_only_reads_forward_cannot_learn_it() {
    let device = test_device().autodiff();
    let random = Stream::new(1);
    let recurrent =
        AnyConfig { cell: CellKind::Lstm, d_input: 8, d_hidden: 8, n_layers: 1, dropout: 0.0 };
    let model = ForwardTagger {
        embedding: Embedding::init(VOCAB_SIZE, 8, 1.0, random.named("embedding"), &device),
        recurrent: recurrent.init(random.named("recurrent"), &device),
        head: LinearConfig::new(8, 2).init(random.named("head"), &device),
    };
    let always_no: Vec<Vec<u32>> =
        examples(2, next_is_zero).iter().map(|row| vec![0; row.tokens.len()]).collect();
    let of_always_no = accuracy(&examples(2, next_is_zero), &always_no);
    let accuracy = tagger_accuracy(model, &device);
    assert!(accuracy < of_always_no + 0.03, "{accuracy}, and {of_always_no} without a model");
}
