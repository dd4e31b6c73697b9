//! The linear layer of every model.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use emberline_core::Stream;
use serde::{Deserialize, Serialize};

/// The size of a [`Linear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinearConfig {
    /// The width of the input.
    pub d_input: usize,
    /// The width of the output.
    pub d_output: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// `y = x W + b`.
///
/// Adapters and packed weights will be parts of it, which is why models use no other linear layer.
#[derive(Module, Debug)]
pub struct Linear {
    /// W, `[d_input, d_output]`.
    pub weight: Param<Tensor<2>>,
    /// b, `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl LinearConfig {
    /// With a bias.
    pub fn new(d_input: usize, d_output: usize) -> Self {
        Self { d_input, d_output, bias: true }
    }

    /// Weights and bias uniform in `±1/√d_input`, as in `torch.nn.Linear`.
    pub fn init(&self, random: Stream, device: &Device) -> Linear {
        let Self { d_input, d_output, bias } = *self;
        let bound = 1.0 / (d_input as f64).sqrt();
        let weight = random.named("weight").uniforms(d_input * d_output, -bound, bound);
        let bias = bias.then(|| random.named("bias").uniforms(d_output, -bound, bound));
        Linear {
            weight: Param::from_data(TensorData::new(weight, [d_input, d_output]), device),
            bias: bias.map(|bias| Param::from_data(TensorData::new(bias, [d_output]), device)),
        }
    }
}

impl Linear {
    /// Applies the layer to the last axis.
    ///
    /// # Shapes
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`
    ///
    /// # Panics
    /// If the last axis is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let weight = self.weight.val();
        assert_eq!(input.dims()[D - 1], weight.dims()[0], "the width of a linear layer's input");
        burn::tensor::module::linear(input, weight, self.bias.as_ref().map(|bias| bias.val()))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn a_linear_layer_is_x_w_plus_b() {
        let device = crate::test_device();
        let mut linear = LinearConfig::new(2, 3).init(Stream::new(0), &device);
        linear.weight = Param::from_data([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
        linear.bias = Some(Param::from_data([0.5, 0.0, -0.5], &device));
        let output = linear.forward(Tensor::<2>::from_data([[1.0, 10.0]], &device));
        output.into_data().assert_eq(&TensorData::from([[41.5f32, 52.0, 62.5]]), true);
    }

    #[test]
    fn initial_weights_lie_within_the_bound_of_torch() {
        let linear = LinearConfig::new(16, 50).init(Stream::new(0), &crate::test_device());
        let values = linear.weight.val().into_data().try_into_vec::<f32>().unwrap();
        assert!(values.iter().all(|value| value.abs() <= 0.25));
        assert!(values.iter().any(|value| value.abs() > 0.24));
    }
}
