//! The fused operations of the Transformer against Burn's plain composition, and against their twin in
//! PyTorch, `operations_torch.py` beside this file. Prints one JSON object a line.
//!
//! An argument keeps the measurements whose name contains it.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::attention::{AttentionOptions, Visibility, attention};
use emberline_backend::{Gelu, layer_norm, memory};
use emberline_core::Stream;

/// Tokens, width and heads.
const SHAPES: [[usize; 3]; 2] = [[512, 768, 12], [768, 128, 4]];

fn main() {
    // As many as the twin has.
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().expect("the first pool");
    memory::keep_freed_memory();
    let filter = std::env::args().skip(1).find(|a| a != "--bench").unwrap_or_default();
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
    }
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
fn passes<const D: usize, F: Fn() -> Tensor<D>>(
    filter: &str,
    name: &str,
    what: &str,
    prepare: impl Fn(&Device) -> (Tensor<D>, F),
) {
    let (_, run) = prepare(&Device::flex());
    report(filter, &format!("{name} forward {what}"), || {
        black_box(run());
    });
    let (tracked, run) = prepare(&Device::flex().autodiff());
    report(filter, &format!("{name} forward+backward {what}"), || {
        let gradients = run().sum().backward();
        black_box(tracked.grad(&gradients).expect("the argument is tracked"));
    });
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(0).normals(shape.iter().product(), 1.0);
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

fn report(filter: &str, name: &str, mut run: impl FnMut()) {
    const RUNS: usize = 100;
    if !name.contains(filter) {
        return;
    }
    (0..20).for_each(|_| run());
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let (minimum, median) = (times[0], times[RUNS / 2]);
    println!("{{\"name\": \"{name}\", \"median_ms\": {median:.3}, \"min_ms\": {minimum:.3}}}");
}
