//! Initial weights.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::{Linear, LinearConfig};
use emberline_core::Stream;

/// A linear layer with weights uniform in `±√(6 / (d_input + fan_out))` (Glorot and Bengio, 2010) and a bias of
/// zeros.
pub(crate) fn glorot(
    config: LinearConfig,
    fan_out: usize,
    random: Stream,
    device: &Device,
) -> Linear {
    let LinearConfig { d_input, d_output, bias } = config;
    let bound = (6.0 / (d_input + fan_out) as f64).sqrt();
    let weight = random.named("weight").uniforms(d_input * d_output, -bound, bound);
    Linear::new(
        Param::from_data(TensorData::new(weight, [d_input, d_output]), device),
        bias.then(|| Param::from_tensor(Tensor::zeros([d_output], device))),
    )
}
