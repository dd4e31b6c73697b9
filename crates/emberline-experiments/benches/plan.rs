//! Updates of small GPT-2s beside the time that `emberline plan` gives them, at the speed that another one reaches: as one
//! plans a long training by a short one. Prints one JSON object a line.

use std::process::Command;
use std::time::Instant;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::{CrossEntropyOptions, linear_cross_entropy, memory};
use emberline_core::{Stream, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_models::gpt2::Gpt2Config;
use emberline_training::{AdamWConfig, OptimizerConfig};
use serde_json::Value;

const WARM_UP: usize = 3;
const RUNS: usize = 15;

/// A model and the rows of an update.
struct Case {
    name: &'static str,
    config: Gpt2Config,
    rows: usize,
}

fn case(name: &'static str, sizes: [usize; 4], [rows, n_positions]: [usize; 2]) -> Case {
    let [vocab_size, d_model, n_layers, n_heads] = sizes;
    let config =
        Gpt2Config { vocab_size, n_positions, d_model, n_layers, n_heads, ..Gpt2Config::default() };
    Case { name, config, rows }
}

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().expect("the first pool");
    memory::keep_freed_memory();
    let cases = [
        case("gpt2 4 layers of 256, 8x128", [2048, 256, 4, 4], [8, 128]),
        case("gpt2 8 layers of 256, 8x128", [2048, 256, 8, 4], [8, 128]),
        case("gpt2 4 layers of 384, 8x128", [2048, 384, 4, 6], [8, 128]),
        case("gpt2 4 layers of 256, 4x256", [2048, 256, 4, 4], [4, 256]),
        case("gpt2 4 layers of 256, 8x128, 8192 tokens", [8192, 256, 4, 4], [8, 128]),
        case("char-gpt: 4 layers of 128, 12x64", [65, 128, 4, 4], [12, 64]),
    ];
    let mut speed = None;
    for case in cases {
        let found = seconds(&case);
        // The speed is that of the first.
        let tflops = *speed.get_or_insert_with(|| plan(&case, 1.0) / found);
        let planned = plan(&case, tflops);
        println!(
            "{{\"name\": \"{}\", \"planned_ms\": {:.3}, \"median_ms\": {:.3}, \"ratio\": {:.3}, \"gflops\": {:.1}}}",
            case.name,
            planned * 1e3,
            found * 1e3,
            found / planned,
            plan(&case, 1.0) * 1e3 / found,
        );
    }
}

/// The seconds that an update takes at a speed, by the program.
fn plan(Case { config, rows, .. }: &Case, tflops: f64) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.json");
    std::fs::write(&path, serde_json::to_vec(config).expect("a config")).expect("a file");
    let tokens = (rows * config.n_positions).to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_emberline"))
        .arg("plan")
        .arg(&path)
        .args(["--json", "--tokens", &tokens, "--tflops", &tflops.to_string()])
        .output()
        .expect("the program");
    let plan: Value = serde_json::from_slice(&output.stdout).expect("a plan");
    plan["training_days"].as_f64().expect("days") * 86_400.0
}

/// The median of some updates.
fn seconds(Case { config, rows, .. }: &Case) -> f64 {
    let device = Device::flex().autodiff();
    let mut model = config.init(Stream::new(1), &device);
    let mut optimizer = OptimizerConfig::AdamW(AdamWConfig::default()).init(&model);
    let n = rows * config.n_positions;
    let ids: Vec<i32> =
        (0..n as u64).map(|i| Stream::new(2).below(i, config.vocab_size) as i32).collect();
    let tokens = TensorData::new(ids, [*rows, config.n_positions]);
    let tokens = Tensor::<2, Int>::from_data(tokens, &device.inner());
    let targets = tokens.clone().reshape([n]);
    let mut times = Vec::with_capacity(RUNS);
    for run in 0..WARM_UP + RUNS {
        let start = Instant::now();
        let hidden = model.encode(&TokenBatch::new(tokens.clone()));
        let hidden = hidden.reshape([n, model.d_model()]);
        let options = CrossEntropyOptions::default();
        let loss = linear_cross_entropy(hidden, model.head_weights(), targets.clone(), options);
        let gradients = GradientsParams::from_grads((loss / n as f64).backward(), &model);
        model = optimizer.step(1e-4, model, gradients);
        if run >= WARM_UP {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}
