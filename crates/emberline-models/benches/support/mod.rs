//! What the benchmarks of this folder share.

#![allow(dead_code, reason = "each of them uses a part")]

use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::memory;
use emberline_core::Stream;

/// Two threads, as the twins have, the caller one of them; and memory as the program keeps it.
pub fn set_up() {
    rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    memory::keep_freed_memory();
}

/// Random tokens, the same of the same seed.
pub fn tokens(seed: u64, shape: [usize; 2], vocab_size: usize, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = (0..shape.iter().product::<usize>() as u64)
        .map(|index| Stream::new(seed).below(index, vocab_size) as i32)
        .collect();
    Tensor::from_data(TensorData::new(ids, shape), device)
}

/// Times some runs after a warm-up and prints a line of JSON.
pub fn report(name: &str, runs: usize, mut run: impl FnMut()) {
    (0..runs.div_ceil(5)).for_each(|_| run());
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (minimum, median) = (times[0], times[runs / 2]);
    println!("{{\"name\": \"{name}\", \"median_ms\": {median:.3}, \"min_ms\": {minimum:.3}}}");
}

/// The resident memory of the process in MiB, by a line of `/proc/self/status`: `VmRSS:` now, `VmHWM:` at its highest.
pub fn resident_mib(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process of Linux");
    let kibibytes =
        status.lines().find_map(|text| text.strip_prefix(line)?.split_whitespace().next());
    kibibytes.expect("the line").parse::<f64>().expect("a number") / 1024.0
}
