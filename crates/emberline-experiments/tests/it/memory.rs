//! The memory of a training step, as the allocator counts it, against what `emberline plan` says.
//!
//! A test starts this program again with itself alone, because every other test allocates too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy};
use emberline_core::{LanguageModel, Stream, TokenBatch};
use emberline_models::gpt1::Gpt1Config;
use emberline_models::gpt2::Gpt2Config;
use emberline_models::gpt3::Gpt3Config;
use emberline_training::{AdamWConfig, OptimizerConfig};
use serde_json::{Value, json};

use crate::program::Folder;

/// Names the config of the model whose step is counted, in a program that does nothing else.
const COUNTED: &str = "EMBERLINE_COUNTED";

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system's own; numbers are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn a_training_step_takes_the_memory_that_is_planned() {
    const NAME: &str = "memory::a_training_step_takes_the_memory_that_is_planned";
    if let Ok(case) = std::env::var(COUNTED) {
        count(&serde_json::from_str(&case).unwrap());
        return;
    }
    let sizes = |model_type: &str, [vocab, positions, width, layers, heads]: [usize; 5]| {
        json!({
            "model_type": model_type, "vocab_size": vocab, "n_positions": positions, "n_embd": width,
            "n_layer": layers, "n_head": heads,
        })
    };
    let gpt3 = json!({
        "model_type": "gpt3", "vocab_size": 300, "n_positions": 128, "d_model": 96, "n_layers": 4,
        "n_heads": 4, "d_head": 24, "band": 32, "dropout": 0.0,
    });
    for (config, rows) in [
        (sizes("gpt2", [65, 64, 128, 4, 4]), 12),
        (sizes("gpt2", [2000, 128, 96, 3, 6]), 4),
        (sizes("gpt2", [300, 32, 256, 2, 4]), 1),
        (sizes("openai-gpt", [500, 128, 64, 6, 4]), 8),
        (gpt3, 4),
    ] {
        let folder = Folder::new();
        folder.write("config.json", config.to_string().as_bytes());
        let rows_flag = format!("--batch-size={rows}");
        let plan = folder.emberline(&["plan", "config.json", &rows_flag, "--json"]);
        let plan: Value = serde_json::from_str(&folder.succeed(plan).stdout).unwrap();
        let case = json!({ "config": folder.path("config.json"), "rows": rows });
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(COUNTED, case.to_string())
            // Each has buffers of its own.
            .env("RAYON_NUM_THREADS", "2")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = |name: &str| -> f64 {
            let line = stdout.lines().find_map(|line| line.split_once(name)).expect(&stdout).1;
            line.trim().parse().unwrap()
        };
        let planned = |name: &str| plan[name].as_f64().unwrap();
        for (name, planned) in [
            ("between updates", planned("weights") + planned("optimizer")),
            ("at most", planned("training_memory")),
        ] {
            let found = found(&format!("{name}: "));
            let said =
                format!("{name}, of {config} in {rows} rows: {found} counted, {planned} planned");
            println!("{said}, {:.3}", found / planned);
            assert!((0.8..1.2).contains(&(found / planned)), "{said}");
        }
    }
}

/// Prints the bytes that training holds between two updates, and at most in the second.
fn count(case: &Value) {
    let path = Path::new(case["config"].as_str().unwrap());
    let rows = case["rows"].as_u64().unwrap() as usize;
    let config: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (positions, vocab_size) = (&config["n_positions"], &config["vocab_size"]);
    let shape = [rows, positions.as_u64().unwrap() as usize];
    let vocab_size = vocab_size.as_u64().unwrap() as usize;
    let device = Device::flex().autodiff();
    let random = Stream::new(1);
    // Whatever is made once, such as threads, is there before anything is counted.
    let small =
        json!({ "vocab_size": 8, "n_positions": 4, "n_embd": 8, "n_layer": 1, "n_head": 2 });
    let small: Gpt2Config = serde_json::from_value(small).unwrap();
    train(|| small.init(random, &device), [1, 4], 8, &device);
    match config["model_type"].as_str().unwrap() {
        "openai-gpt" => {
            let config: Gpt1Config = serde_json::from_value(config).unwrap();
            report(train(|| config.init(random, &device), shape, vocab_size, &device));
        }
        "gpt2" => {
            let config: Gpt2Config = serde_json::from_value(config).unwrap();
            report(train(|| config.init(random, &device), shape, vocab_size, &device));
        }
        _ => {
            let config: Gpt3Config = serde_json::from_value(config).unwrap();
            report(train(|| config.init(random, &device), shape, vocab_size, &device));
        }
    }
}

fn report([between, at_most]: [usize; 2]) {
    println!("\nbetween updates: {between}\nat most: {at_most}");
}

/// The bytes that are held between two updates, and at most in the second.
fn train<M: LanguageModel + Module>(
    init: impl FnOnce() -> M,
    [rows, length]: [usize; 2],
    vocab_size: usize,
    device: &Device,
) -> [usize; 2] {
    let n = rows * length;
    let ids = |seed: u64| -> Vec<i32> {
        (0..n as u64).map(|i| Stream::new(seed).below(i, vocab_size) as i32).collect()
    };
    let plain = device.clone().inner();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids(1), [rows, length]), &plain);
    let targets = Tensor::<1, Int>::from_data(TensorData::new(ids(2), [n]), &plain);
    let held = || HELD.load(Ordering::Relaxed);
    let before = held();
    let mut model = init();
    let mut optimizer = OptimizerConfig::AdamW(AdamWConfig::default()).init(&model);
    let mut between = 0;
    for update in 0..2 {
        if update == 1 {
            between = held() - before;
            PEAK.store(held(), Ordering::Relaxed);
        }
        let hidden = model.encode(&TokenBatch::new(tokens.clone()));
        let hidden = hidden.reshape([n, model.d_model()]);
        let options = CrossEntropyOptions::default();
        let loss = linear_cross_entropy(hidden, model.head_weights(), targets.clone(), options);
        let gradients = GradientsParams::from_grads((loss / n as f64).backward(), &model);
        model = optimizer.step(1e-4, model, gradients);
    }
    [between, PEAK.load(Ordering::Relaxed) - before]
}
