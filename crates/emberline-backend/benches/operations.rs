//! The fused operations of the Transformer against Burn's plain composition, and against their twin in
//! PyTorch, `operations_torch.py` beside this file. Prints one JSON object a line.
//!
//! An argument keeps the measurements whose name contains it. With the argument `memory` it prints, instead, the peak of
//! resident memory of one forward and backward pass of cross-entropy beyond the weight and its gradient.

use std::hint::black_box;
use std::time::Instant;

use burn::module::Param;
use burn::tensor::activation::{log_softmax, relu, softmax};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use emberline_backend::attention::{AttentionOptions, Visibility, attention};
use emberline_backend::{
    CrossEntropyOptions, Dropout, Embedding, Gelu, Linear, LinearConfig, layer_norm,
    linear_cross_entropy, memory,
};
use emberline_core::{HeadWeights, Stream};

/// Tokens, width and heads.
const SHAPES: [[usize; 3]; 2] = [[512, 768, 12], [768, 128, 4]];
/// Tokens, width and words.
const VOCABULARIES: [[usize; 3]; 3] = [[512, 768, 8192], [512, 768, 50257], [768, 128, 512]];

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .use_current_thread()
        .build_global()
        .expect("the first pool");
    memory::keep_freed_memory();
    let filter = std::env::args().skip(1).find(|a| a != "--bench").unwrap_or_default();
    if filter == "memory" {
        return peak();
    }
    for [tokens, width, heads] in SHAPES {
        let what = format!("{tokens}x{width}");
        let norm = |x: &Tensor<2>, gamma: &Tensor<1>, beta: &Tensor<1>| {
            layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-5)
        };
        let plain_norm = |x: &Tensor<2>, gamma: &Tensor<1>, beta: &Tensor<1>| {
            let centred = x.clone() - x.clone().mean_dim(1);
            let variance = centred.clone().square().mean_dim(1);
            centred / (variance + 1e-5).sqrt() * gamma.clone().unsqueeze()
                + beta.clone().unsqueeze()
        };
        for (name, body) in
            [("layer_norm", &norm as &dyn Fn(&_, &_, &_) -> _), ("plain layer_norm", &plain_norm)]
        {
            passes(&filter, name, &what, |device| {
                let (gamma, beta) = (random([width], device), random([width], device));
                let x = random([tokens, width], device);
                let tracked = x.clone();
                (tracked, move || body(&x, &gamma, &beta))
            });
        }
        let gelu = |x: &Tensor<2>| Gelu::Tanh.forward(x.clone());
        let plain_gelu = |x: &Tensor<2>| {
            let cube = x.clone() * x.clone() * x.clone();
            let share = ((x.clone() + cube * 0.044715) * 0.797_884_6).tanh() + 1.0;
            x.clone() * share * 0.5
        };
        let exact = |x: &Tensor<2>| Gelu::Exact.forward(x.clone());
        for (name, body) in [
            ("gelu tanh", &gelu as &dyn Fn(&_) -> _),
            ("plain gelu tanh", &plain_gelu),
            ("gelu exact", &exact),
        ] {
            let what = format!("{tokens}x{}", 4 * width);
            passes(&filter, name, &what, |device| {
                let x = random([tokens, 4 * width], device);
                (x.clone(), move || body(&x))
            });
        }
        attend(&filter, tokens, width, heads);
        connect(&filter, tokens, width);
        drop_out(&filter, tokens, width);
    }
    for sizes in VOCABULARIES {
        embed(&filter, sizes);
        score(&filter, sizes);
    }
}

/// The inner layer of a feed-forward block.
fn connect(filter: &str, tokens: usize, width: usize) {
    let fused = Linear::forward_relu;
    let plain = |linear: &Linear, x: Tensor<2>| {
        let bias = linear.bias.as_ref().map(|bias| bias.val());
        relu(burn::tensor::module::linear(x, linear.weight.val(), bias))
    };
    let bodies = [("linear relu", &fused as &dyn Fn(&_, _) -> _), ("plain linear relu", &plain)];
    for (name, body) in bodies {
        passes(filter, name, &format!("{tokens}x{width}x{}", 4 * width), |device| {
            let linear = LinearConfig::new(width, 4 * width).init(Stream::new(0), device);
            let x = random([tokens, width], device);
            (x.clone(), move || body(&linear, x.clone()))
        });
    }
}

fn drop_out(filter: &str, tokens: usize, width: usize) {
    let fused = |x: &Tensor<2>| Dropout::new(0.1).forward(x.clone(), Some(Stream::new(0)));
    let plain = |x: &Tensor<2>| {
        // What Burn's own layer does, from Burn's generator.
        let kept = Tensor::random(x.dims(), Distribution::Bernoulli(0.9), &x.device().inner());
        x.clone() * kept / 0.9
    };
    for (name, body) in [("dropout", &fused as &dyn Fn(&_) -> _), ("plain dropout", &plain)] {
        passes(filter, name, &format!("{tokens}x{width}"), |device| {
            let x = random([tokens, width], device);
            (x.clone(), move || body(&x))
        });
    }
}

fn embed(filter: &str, sizes @ [tokens, width, words]: [usize; 3]) {
    passes(filter, "embedding", &sizes.map(|n| n.to_string()).join("x"), |device| {
        let table = random([words, width], device);
        let embedding = Embedding::new(Param::from_tensor(table.clone()));
        let tokens = classes(tokens, words, device).unsqueeze();
        (table, move || embedding.forward(tokens.clone()))
    });
}

/// A head and its cross-entropy, in both layouts.
fn score(filter: &str, sizes @ [tokens, width, words]: [usize; 3]) {
    let what = sizes.map(|n| n.to_string()).join("x");
    let fused = |hidden: &Tensor<2>, head: HeadWeights, targets: &Tensor<1, Int>| {
        let options = CrossEntropyOptions::default();
        linear_cross_entropy(hidden.clone(), head, targets.clone(), options)
    };
    let plain = |hidden: &Tensor<2>, head: HeadWeights, targets: &Tensor<1, Int>| {
        let logarithms = log_softmax(head.forward(hidden.clone()), 1);
        logarithms.gather(1, targets.clone().unsqueeze_dim(1)).sum().neg()
    };
    let bodies = [
        ("cross_entropy", &fused as &dyn Fn(&_, _, &_) -> Tensor<1>),
        ("plain cross_entropy", &plain),
    ];
    for is_tied in [true, false] {
        let layout = if is_tied { "tied" } else { "own" };
        for (name, body) in bodies {
            passes(filter, &format!("{name} {layout}"), &what, |device| {
                let hidden = random([tokens, width], device);
                let shape = if is_tied { [words, width] } else { [width, words] };
                let weight = random(shape, device);
                let targets = classes(tokens, words, device);
                let head = HeadWeights { weight, is_tied, bias: None };
                (hidden.clone(), move || body(&hidden, head.clone(), &targets))
            });
        }
    }
}

fn peak() {
    let [tokens, width, words] = VOCABULARIES[1];
    let device = Device::flex().autodiff();
    let pass = |[tokens, width, words]: [usize; 3]| {
        let hidden = random([tokens, width], &device);
        let head = HeadWeights::tied(random([words, width], &device), None);
        let (targets, options) = (classes(tokens, words, &device), CrossEntropyOptions::default());
        // Resets VmHWM, which otherwise remembers how the weight was drawn.
        std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
        let before = kibibytes_of_process("VmRSS:");
        let gradients = linear_cross_entropy(hidden, head, targets, options).backward();
        black_box(gradients);
        kibibytes_of_process("VmHWM:") - before
    };
    // Once at the smallest size, so that threads and code are there before the region.
    pass([1, 1, 2]);
    let gradient = words * width * size_of::<f32>() / 1024;
    let peak = (pass([tokens, width, words]) - gradient) as f64 / 1024.0;
    println!(
        "{{\"name\": \"cross_entropy memory {tokens}x{width}x{words}\", \"peak_mib\": {peak:.1}}}"
    );
}

fn kibibytes_of_process(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field of Linux");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of kB")
}

/// Ids through all words.
fn classes(n: usize, words: usize, device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i32> = (0..n as u64).map(|i| Stream::new(1).below(i, words) as i32).collect();
    Tensor::from_data(TensorData::new(ids, [n]), device)
}

fn attend(filter: &str, tokens: usize, width: usize, heads: usize) {
    let what = format!("{tokens}x{width}x{heads}");
    for is_causal in [false, true] {
        let visibility = Visibility { causal: is_causal, ..Visibility::default() };
        let fused = |q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>| {
            let options = AttentionOptions { visibility: visibility.clone(), ..Default::default() };
            attention(q.clone(), k.clone(), v.clone(), options)
        };
        let plain = |q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>| {
            let scale = ((width / heads) as f64).sqrt();
            let mut scores = q.clone().matmul(k.clone().swap_dims(2, 3)) / scale;
            if is_causal {
                let mask = Tensor::<2, burn::tensor::Bool>::tril_mask(
                    [tokens, tokens],
                    0,
                    &q.device().inner(),
                );
                scores = scores
                    .mask_fill(mask.unsqueeze::<4>().expand([1, heads, tokens, tokens]), -1e30);
            }
            softmax(scores, 3).matmul(v.clone())
        };
        let kind = if is_causal { "causal attention" } else { "attention" };
        for (name, body) in [
            (kind.to_string(), &fused as &dyn Fn(&_, &_, &_) -> _),
            (format!("plain {kind}"), &plain),
        ] {
            passes(filter, &name, &what, |device| {
                let shape = [1, heads, tokens, width / heads];
                let [q, k, v] = [(); 3].map(|()| random(shape, device));
                (q.clone(), move || body(&q, &k, &v))
            });
        }
    }
}

/// Times the forward pass, and the forward and backward pass.
fn passes<const D: usize, const E: usize, F: Fn() -> Tensor<E>>(
    filter: &str,
    name: &str,
    what: &str,
    prepare: impl Fn(&Device) -> (Tensor<D>, F),
) {
    let forward = format!("{name} forward {what}");
    if forward.starts_with(filter) {
        let (_, run) = prepare(&Device::flex());
        report(&forward, || {
            black_box(run());
        });
    }
    let both = format!("{name} forward+backward {what}");
    if both.starts_with(filter) {
        let (tracked, run) = prepare(&Device::flex().autodiff());
        report(&both, || {
            let gradients = run().sum().backward();
            black_box(tracked.grad(&gradients).expect("the argument is tracked"));
        });
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(0).normals(shape.iter().product(), 1.0);
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

fn report(name: &str, mut run: impl FnMut()) {
    let mut time = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    };
    // Operations of a second run less often.
    let runs = if time() > 100.0 { 10 } else { 100 };
    (0..runs / 5).for_each(|_| {
        time();
    });
    let mut times: Vec<f64> = (0..runs).map(|_| time()).collect();
    times.sort_by(f64::total_cmp);
    let (minimum, median) = (times[0], times[runs / 2]);
    println!("{{\"name\": \"{name}\", \"median_ms\": {median:.3}, \"min_ms\": {minimum:.3}}}");
}
