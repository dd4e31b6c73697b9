//! A language model of one's own, in `model.rs`, through all that Emberline does with models: it is pretrained, fine-tuned
//! with a part of it frozen, adapted by LoRA, scored, asked and sampled. No crate names it: each asks for traits of
//! `emberline-core`, and `model.rs` says which.
//!
//!     cargo run -p emberline-example-own-model

mod model;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::tensor::Device;
use emberline_backend::DeviceName;
use emberline_checkpoint::{Stored, Weights, load_weights, save_weights};
use emberline_core::Stream;
use emberline_evaluation::in_context::{AskConfig, FewShot, TaskReport, evaluate_task, toml_task};
use emberline_evaluation::text_likelihoods;
use emberline_finetuning::{
    LoraAdapter, LoraConfig, PeftNames, Plan, Planned, Train, attach, merge,
};
use emberline_generation::{GenerationConfig, Window, generate_text};
use emberline_pretraining::{NextToken, NextTokenWindows};
use emberline_text::{Corpus, Tokenizer, Windows};
use emberline_training::{ModelFiles, OptimizerConfig, Schedule, Trainer, TrainingConfig};

use model::GatedConvolutions;

const PLAYS: &str = include_str!("../../../datasets/shakespeare/shakespeare.txt");
const NOVEL: &str = include_str!("../../../datasets/austen/pride_and_prejudice.txt");
const LEARNING_RATE: f64 = 0.003;
/// Files hold the parameters of the model under their own names.
const NAMES: PeftNames<'static> = PeftNames { table: &Stored::same, left_out: "" };
/// Who is in the novel, and not in the plays.
const TASK: &str = r#"
    name = "characters"
    items = [
        { context = "said Mr.", choices = [" Darcy", " Hamlet"], right = 0 },
        { context = "said Miss", choices = [" Juliet", " Bennet"], right = 1 },
        { context = "said Mrs.", choices = [" Bennet", " Macbeth"], right = 0 },
    ]
"#;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let device = DeviceName::Flex.open()?;
    let (plays, novel, unseen) = (&PLAYS[..150_000], &NOVEL[..150_000], &NOVEL[150_000..170_000]);
    let tokenizer = Tokenizer::byte_pair(&Corpus::new("both", [plays, novel].concat())?, 512)?;
    let show = |name: &str, model: &GatedConvolutions| -> Outcome {
        let window = Window { max_positions: 256, stride: 128 };
        let found = text_likelihoods(model, &tokenizer, &[unseen], None, window, 8, &device)?;
        let perplexity = found[0].token_perplexity();
        let accuracy = ask(model, &tokenizer, &device)?.metrics[0].mean;
        println!("{name}: perplexity {perplexity:.1} of the novel, {accuracy:.2} of the answers");
        Ok(())
    };

    let (random, training) = (Stream::new(1), device.clone().autodiff());
    let model = GatedConvolutions::init(tokenizer.vocab_size(), random, &training);
    let pretrained = train(model, &windows(&tokenizer, plays, &device)?, 300, None)?;
    show("pretrained on plays", &pretrained.valid())?;

    let data = windows(&tokenizer, novel, &device)?;
    let planned = Plan::new(Train::LastLayers { n_layers: 1 }).of(&pretrained)?;
    print!("\n{}", planned.table(LEARNING_RATE, 0.01));
    let tuned = train(pretrained.clone(), &data, 200, Some(&planned))?;
    show("the last layer fine-tuned", &tuned.valid())?;

    let adapter = adapt(&pretrained, &data, 200)?;
    let folder = tempfile::tempdir()?;
    adapter.save(folder.path(), NAMES, None)?;
    let adapter = LoraAdapter::load(folder.path(), &pretrained, NAMES)?;
    let merged = merge(attach(pretrained, &[&adapter], None)?).valid();
    show("adapted, saved, loaded and merged", &merged)?;

    let (greedy, go_on) = (GenerationConfig::default(), |_: &str| ControlFlow::Continue(()));
    let written = generate_text(&merged, &tokenizer, "said Mr.", &greedy, &device, go_on)?;
    println!("\nsaid Mr.{written}");
    Ok(())
}

/// What a model trains on, and the last tenth of the text to validate on.
fn windows(tokenizer: &Tokenizer, text: &str, device: &Device) -> Outcome<NextTokenWindows> {
    let mut tokens = tokenizer.encode(text)?;
    let validation = tokens.split_off(tokens.len() * 9 / 10);
    Ok(NextTokenWindows::new(Windows::new(tokens, 16, 32)?, &validation, device)?)
}

/// The model after some updates of all of it, or of what is planned.
fn train(
    model: GatedConvolutions,
    data: &NextTokenWindows,
    steps: u64,
    planned: Option<&Planned>,
) -> Outcome<GatedConvolutions> {
    let config = TrainingConfig {
        steps,
        seed: 1,
        optimizer: OptimizerConfig::AdamW(Default::default()),
        schedule: Schedule::Constant { learning_rate: LEARNING_RATE, warmup_steps: 0 },
        max_grad_norm: Some(1.0),
        log_every: steps,
        evaluate_every: steps,
        checkpoint_every: steps,
        keep_checkpoints: 1,
        early_stopping: None,
    };
    let run = tempfile::tempdir()?;
    let trainer = Trainer {
        config: &config,
        objective: &NextToken,
        data,
        optimizer: planned.map(|planned| planned.optimizer(&config.optimizer, &model)),
        device: &model.head.weight.lazy_device(),
        directory: run.path(),
        files: ModelFiles {
            save: &|model, run| save_weights(model, run.join("model.safetensors"), NAMES.table),
            load: &|model, run| load_weights(model, &Weights::open(run)?, NAMES.table),
        },
        identity: &serde_json::Value::Null,
        observer: &mut (),
        interrupt: &AtomicBool::new(false),
    };
    let prepare = |step, model| match planned {
        Some(planned) => planned.prepare(step, model),
        None => model,
    };
    Ok(trainer.start_with(model, &prepare)?.model)
}

/// What is to be added to the matrices of every layer, as products of two narrow ones, and another head.
fn adapt(
    pretrained: &GatedConvolutions,
    data: &NextTokenWindows,
    steps: u64,
) -> Outcome<LoraAdapter> {
    let saved_modules = vec!["head".to_string()];
    let config = LoraConfig { saved_modules, ..LoraConfig::new(4, 8.0, &["values", "gates"]) };
    let adapter = config.init(pretrained, Stream::new(2))?;
    let adapted = attach(pretrained.clone(), &[&adapter], None)?;
    let planned = adapter.plan().of(&adapted)?;
    print!("\n{}", planned.table(LEARNING_RATE, 0.01));
    Ok(adapter.read(&train(adapted, data, steps, Some(&planned))?, 0))
}

/// What the model answers to the [`TASK`], with one example before each question.
fn ask(model: &GatedConvolutions, tokenizer: &Tokenizer, device: &Device) -> Outcome<TaskReport> {
    let few_shot = FewShot { n_shots: 1, ..AskConfig::default().few_shot };
    let config = AskConfig { few_shot, ..AskConfig::default() };
    Ok(evaluate_task(model, tokenizer, &toml_task("the task", TASK)?, &config, device)?)
}
