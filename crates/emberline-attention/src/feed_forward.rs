//! The feed-forward layer of a block: two linear layers at every position by itself.
//!
//! ```text
//! FFN(x) = activation(x W_1 + b_1) W_2 + b_2
//! ```
//!
//! The Transformer of 2017 has ReLU; GPT and BERT have GELU.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_backend::{Gelu, Linear, LinearConfig};
use emberline_core::Stream;
use serde::{Deserialize, Serialize};

use crate::initial::glorot;

/// What stands between two linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// A form of GELU.
    Gelu(Gelu),
}

/// The sizes of a [`FeedForward`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedForwardConfig {
    /// The width of input and output.
    pub d_model: usize,
    /// The width between the two layers.
    pub d_ff: usize,
    /// What stands between the two layers.
    pub activation: Activation,
}

/// Two linear layers with an activation between them.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// `[d_model, d_ff]`, with a bias.
    pub inner: Linear,
    /// `[d_ff, d_model]`, with a bias.
    pub outer: Linear,
    /// What stands between the two.
    #[module(skip)]
    pub activation: Activation,
}

impl FeedForwardConfig {
    /// Weights uniform (Glorot), biases zero.
    pub fn init(&self, random: Stream, device: &Device) -> FeedForward {
        let Self { d_model, d_ff, activation } = *self;
        let inner = LinearConfig::new(d_model, d_ff);
        let outer = LinearConfig::new(d_ff, d_model);
        FeedForward {
            inner: glorot(inner, d_ff, random.named("inner"), device),
            outer: glorot(outer, d_model, random.named("outer"), device),
            activation,
        }
    }

    /// Weights of the normal distribution with a standard deviation each, biases zero.
    pub fn init_normal(
        &self,
        [inner, outer]: [f64; 2],
        random: Stream,
        device: &Device,
    ) -> FeedForward {
        let Self { d_model, d_ff, activation } = *self;
        FeedForward {
            inner: LinearConfig::new(d_model, d_ff).init_normal(
                inner,
                random.named("inner"),
                device,
            ),
            outer: LinearConfig::new(d_ff, d_model).init_normal(
                outer,
                random.named("outer"),
                device,
            ),
            activation,
        }
    }

    /// The number of parameters; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [d_model, d_ff] = [self.d_model, self.d_ff].map(|size| size as u64);
        d_model.saturating_mul(d_ff).saturating_mul(2).saturating_add(d_model).saturating_add(d_ff)
    }
}

impl FeedForward {
    /// The same with weights of int8, as [`Linear::into_int8`].
    #[must_use]
    pub fn into_int8(self) -> Self {
        Self { inner: self.inner.into_int8(), outer: self.outer.into_int8(), ..self }
    }

    /// Applies it to every position.
    ///
    /// # Shapes
    /// - input, output: `[batch_size, seq_length, d_model]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        self.outer.forward(self.activation.after(&self.inner, input))
    }
}

impl Activation {
    /// A linear layer and the activation after it.
    ///
    /// # Shapes
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`
    pub fn after<const D: usize>(self, linear: &Linear, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Relu => linear.forward_relu(input),
            Self::Gelu(form) => form.forward(linear.forward(input)),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;
    use emberline_core::parameters::parameter_count;

    use super::*;

    const CONFIG: FeedForwardConfig =
        FeedForwardConfig { d_model: 3, d_ff: 7, activation: Activation::Gelu(Gelu::Tanh) };

    #[test]
    fn every_position_is_by_itself() {
        let device = test_device();
        let layer = CONFIG.init(Stream::new(1), &device);
        let input = TensorData::new(Stream::new(2).normals(2 * 4 * 3, 1.0), [2, 4, 3]);
        let input = Tensor::<3>::from_data(input, &device);
        let alone = layer.forward(input.clone().slice([1..2, 2..3]));
        layer.forward(input).slice([1..2, 2..3]).into_data().assert_eq(&alone.into_data(), true);
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_layer() {
        let layer = CONFIG.init(Stream::new(1), &test_device());
        assert_eq!(CONFIG.parameter_count(), 3 * 7 + 7 + 7 * 3 + 3);
        assert_eq!(parameter_count(&layer) as u64, CONFIG.parameter_count());
    }
}
