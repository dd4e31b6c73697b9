//! A step of fine-tuning BERT of the base size with random weights, without dropout: all of it, against a LoRA adapter of
//! its queries and values, and against its head alone. Prints one JSON object a line: the time of a step, and the peak of
//! resident memory of making the model and taking two steps, weights included, in a process of its own.

use std::process::Command;
use std::time::Instant;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::{Draws, memory};
use emberline_core::{Stream, TokenBatch};
use emberline_finetuning::{Classification, LabelledBatch, LoraConfig, Plan, Train, attach};
use emberline_models::bert::{BertConfig, BertForSequenceClassification};
use emberline_training::{AdamWConfig, Objective, OptimizerConfig};

const SHAPE: [usize; 2] = [8, 128];
const WAYS: [&str; 3] = ["full", "lora", "head"];

fn main() {
    rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    memory::keep_freed_memory();
    let wanted = std::env::args().nth(1).filter(|argument| WAYS.contains(&&argument[..]));
    if let Some(way) = wanted {
        return println!("{:.1}", peak_mib(&way));
    }
    for way in WAYS {
        let own = std::env::current_exe().expect("the path of this program");
        let output = Command::new(own).arg(way).output().expect("this program again");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let peak: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
        let mut step = step_of(way, &BertConfig::default(), SHAPE);
        report(&format!("bert base {way} step {}x{}", SHAPE[0], SHAPE[1]), peak, &mut step);
    }
}

/// A step of training a classifier, which is made when this is called.
fn step_of(way: &str, config: &BertConfig, shape: [usize; 2]) -> impl FnMut() + use<> {
    let device = Device::flex();
    let config = BertConfig { dropout: 0.0, attention_dropout: 0.0, ..config.clone() };
    let batch = LabelledBatch {
        tokens: TokenBatch::new(tokens(shape, config.vocab_size, &device)),
        labels: tokens([1, shape[0]], config.n_classes(), &device).squeeze_dim(0),
        labelled: None,
    };
    let model: BertForSequenceClassification =
        config.init_for(Stream::new(0), &device.clone().autodiff());
    let (model, plan) = match way {
        "lora" => {
            let lora = LoraConfig {
                saved_modules: vec!["head".to_string()],
                ..LoraConfig::new(8, 8.0, &["attention.query", "attention.value"])
            };
            let adapter = lora.init(&model, Stream::new(1)).expect("layers of these names");
            let random = Some((Stream::new(2), Draws::default()));
            (attach(model, &[&adapter], random).expect("the same model"), adapter.plan())
        }
        "head" => (model, Plan::new(Train::Head)),
        _ => (model, Plan::default()),
    };
    let planned = plan.of(&model).expect("a plan of this model");
    let mut model = planned.prepare(0, model);
    let mut optimizer = planned.optimizer(&OptimizerConfig::AdamW(AdamWConfig::default()), &model);
    move || {
        let (loss, ()) = Classification.loss(&model, &batch, None, None);
        let counts = <Classification as Objective<BertForSequenceClassification>>::counts(
            &Classification,
            &batch,
        );
        let gradients = GradientsParams::from_grads(loss.total(&counts).backward(), &model);
        model = optimizer.step(2e-5, model.clone(), gradients);
    }
}

fn peak_mib(way: &str) -> f64 {
    let small = BertConfig {
        vocab_size: 8,
        d_model: 64,
        n_layers: 1,
        n_heads: 1,
        d_ff: 64,
        ..BertConfig::default()
    };
    // Once at the smallest size, so that threads and code are there before the region.
    step_of(way, &small, [2, 2])();
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = kibibytes_of_process("VmRSS:");
    let mut step = step_of(way, &BertConfig::default(), SHAPE);
    step();
    step();
    (kibibytes_of_process("VmHWM:") - before) as f64 / 1024.0
}

fn kibibytes_of_process(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field of Linux");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of kB")
}

fn tokens(shape: [usize; 2], vocab_size: usize, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = (0..shape.iter().product::<usize>() as u64)
        .map(|index| Stream::new(1).below(index, vocab_size) as i32)
        .collect();
    Tensor::from_data(TensorData::new(ids, shape), device)
}

fn report(name: &str, peak_mib: f64, mut run: impl FnMut()) {
    const RUNS: usize = 5;
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (minimum, median) = (times[0], times[RUNS / 2]);
    println!(
        "{{\"name\": \"{name}\", \"median_ms\": {median:.1}, \"min_ms\": {minimum:.1}, \
         \"peak_mib\": {peak_mib:.1}}}"
    );
}
