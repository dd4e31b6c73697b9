//! Linear + cross-entropy is torch's, in both layouts of a head and both number types.

use std::path::Path;

use burn::tensor::{DType, Int, Tensor};
use emberline_backend::{CrossEntropyOptions, LabelSmoothing, linear_cross_entropy, test_device};
use emberline_checkpoint::load_tensors;
use emberline_core::HeadWeights;

#[test]
fn loss_and_gradients_are_those_of_torch() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cross_entropy.safetensors");
    let tensors = load_tensors(path).expect("the committed fixture");
    let data = |name: &str| {
        let found = tensors.iter().find(|(found, _)| *found == name);
        found.unwrap_or_else(|| panic!("{name} in the fixture")).1.clone()
    };
    let device = test_device().autodiff();
    let targets: Vec<i32> = data("targets").iter::<i64>().map(|target| target as i32).collect();
    let targets = Tensor::<1, Int>::from_data(targets.as_slice(), &device);
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 5e-6)] {
        for (case, smoothing) in [("sharp", None), ("smooth", Some(LabelSmoothing::Uniform(0.1)))] {
            for is_tied in [true, false] {
                let hidden =
                    Tensor::<2>::from_data(data("hidden"), (&device, dtype)).require_grad();
                let weight =
                    Tensor::<2>::from_data(data("weight"), (&device, dtype)).require_grad();
                let bias = Tensor::<1>::from_data(data("bias"), (&device, dtype)).require_grad();
                let head = match is_tied {
                    true => HeadWeights::tied(weight.clone(), Some(bias.clone())),
                    false => HeadWeights::own(weight.clone().transpose(), Some(bias.clone())),
                };
                let options = CrossEntropyOptions { ignored: Some(-100), smoothing };
                let loss = linear_cross_entropy(hidden.clone(), head, targets.clone(), options);
                let gradients = loss.backward();
                for (name, found) in [
                    ("loss", loss.into_data()),
                    ("grad.hidden", hidden.grad(&gradients).unwrap().into_data()),
                    ("grad.weight", weight.grad(&gradients).unwrap().into_data()),
                    ("grad.bias", bias.grad(&gradients).unwrap().into_data()),
                ] {
                    let expected = data(&format!("{case}.{name}"));
                    assert_eq!(found.shape(), expected.shape(), "{case}.{name}");
                    for (a, b) in found.iter::<f64>().zip(expected.iter::<f64>()) {
                        let within = tolerance * b.abs().max(1.0);
                        assert!((a - b).abs() <= within, "{case}.{name} {dtype:?}: {a} and {b}");
                    }
                }
            }
        }
    }
}
