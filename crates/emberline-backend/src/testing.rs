//! What the tests of the fused operations share. Tensors are flat, so that one list holds those of every shape.

use burn::tensor::{DType, Device, Tensor, TensorData};
use emberline_core::Stream;

/// Normal numbers of f64 by name, flat.
pub(crate) fn random(name: &str, shape: &[usize], device: &Device) -> Tensor<1> {
    let n: usize = shape.iter().product();
    let stream = Stream::new(11).named(name);
    let values: Vec<f64> = (0..n as u64).map(|i| 0.7 * stream.normal(i)).collect();
    Tensor::from_data(TensorData::new(values, [n]), (device, DType::F64))
}

fn arguments(shapes: &[Vec<usize>], device: &Device) -> Vec<Tensor<1>> {
    let name = |index: usize| format!("argument {index}");
    shapes.iter().enumerate().map(|(i, shape)| random(&name(i), shape, device)).collect()
}

fn weighted(output: Tensor<1>) -> Tensor<1> {
    let weights = random("weights", &output.dims(), &output.device());
    (output * weights).sum()
}

/// Whether two bodies have equal outputs and gradients with respect to arguments of these shapes, within 1e-12.
///
/// # Panics
/// If not, with the first number that differs.
pub(crate) fn agree(
    shapes: &[Vec<usize>],
    bodies: impl Fn(&[Tensor<1>]) -> (Tensor<1>, Tensor<1>),
) {
    let device = crate::test_device().autodiff();
    let run = |is_native: bool| {
        let arguments: Vec<_> =
            arguments(shapes, &device).into_iter().map(Tensor::require_grad).collect();
        let (native, portable) = bodies(&arguments);
        let output = if is_native { native } else { portable };
        let mut found = vec![output.clone().into_data()];
        let gradients = weighted(output).backward();
        found.extend(arguments.iter().map(|a| a.grad(&gradients).unwrap().into_data()));
        found
    };
    for (index, (native, portable)) in run(true).iter().zip(run(false)).enumerate() {
        assert_eq!(native.shape(), portable.shape(), "result {index}");
        for (at, (a, b)) in native.iter::<f64>().zip(portable.iter::<f64>()).enumerate() {
            assert!((a - b).abs() < 1e-12, "result {index}, number {at}: {a} and {b}");
        }
    }
}

/// Whether gradients are the slopes of the function, within 1e-7.
///
/// # Panics
/// If not, with the first that is not.
pub(crate) fn finite_differences(
    shapes: &[Vec<usize>],
    function: impl Fn(&[Tensor<1>]) -> Tensor<1>,
) {
    let device = crate::test_device();
    let tracked: Vec<_> = arguments(shapes, &device.clone().autodiff())
        .into_iter()
        .map(Tensor::require_grad)
        .collect();
    let gradients = weighted(function(&tracked)).backward();
    for (moved, argument) in tracked.iter().enumerate() {
        let gradient = argument.grad(&gradients).unwrap().into_data();
        for (index, expected) in gradient.iter::<f64>().enumerate() {
            let value = |by: f64| {
                let mut arguments = arguments(shapes, &device);
                let mut values = arguments[moved].to_data().try_into_vec::<f64>().unwrap();
                values[index] += by;
                let data = TensorData::new(values, arguments[moved].shape());
                arguments[moved] = Tensor::from_data(data, (&device, DType::F64));
                weighted(function(&arguments)).into_scalar::<f64>()
            };
            let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
            assert!(
                (slope - expected).abs() < 1e-7,
                "argument {moved}, index {index}: {slope} {expected}"
            );
        }
    }
}
