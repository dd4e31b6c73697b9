//! Normalisations: of each token by itself, as every model here has it, and the two that it is told apart from.
//!
//! ```text
//! x̂ = (x - mean) / √(variance + ε)        y = γ ⊙ x̂ + β
//! ```
//!
//! What differs is over what mean and variance are taken: the entries of one token ([`LayerNorm`]; Ba, Kiros and
//! Hinton, 2016), all entries of a sentence ([`SequenceLayerNorm`]), or one entry of all tokens of a batch
//! ([`BatchNorm`]; Ioffe and Szegedy, 2015). Only the first asks neither how long a sentence is nor what stands beside
//! it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use emberline_backend::layer_norm;
use emberline_core::parameters::lazy;

/// Brings each token to mean 0 and variance 1, then scales and shifts each entry.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// γ, `[d_model]`.
    pub gamma: Param<Tensor<1>>,
    /// β, `[d_model]`.
    pub beta: Param<Tensor<1>>,
    /// ε.
    pub epsilon: f64,
}

impl LayerNorm {
    /// Without scale and shift at first. Published models differ in ε: 1e-5 is torch's, 1e-12 that of BERT.
    pub fn init(d_model: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            gamma: lazy([d_model], device, move || vec![1.0; d_model]),
            beta: lazy([d_model], device, move || vec![0.0; d_model]),
            epsilon,
        }
    }

    /// Normalises over the last axis.
    ///
    /// # Shapes
    /// - input, output: `[..., d_model]`
    ///
    /// # Panics
    /// If the width differs.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        layer_norm(input, self.gamma.val(), self.beta.val(), self.epsilon)
    }
}

/// Brings all entries of a sentence together to mean 0 and variance 1, as `torch.nn.LayerNorm([seq_length, d_model])`.
///
/// No model here has it: it needs sentences of one length, and a word changes with every other one. It is what
/// LayerNorm is sometimes taken for.
#[derive(Module, Debug)]
pub struct SequenceLayerNorm {
    /// γ, `[seq_length, d_model]`.
    pub gamma: Param<Tensor<2>>,
    /// β, `[seq_length, d_model]`.
    pub beta: Param<Tensor<2>>,
    /// ε.
    pub epsilon: f64,
}

impl SequenceLayerNorm {
    /// Without scale and shift at first.
    pub fn init(seq_length: usize, d_model: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            gamma: Param::from_tensor(Tensor::ones([seq_length, d_model], device)),
            beta: Param::from_tensor(Tensor::zeros([seq_length, d_model], device)),
            epsilon,
        }
    }

    /// Normalises each sentence.
    ///
    /// # Shapes
    /// - input, output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    /// If length or width differ.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let shape @ [batch_size, seq_length, d_model] = input.dims();
        assert_eq!(self.gamma.val().dims(), [seq_length, d_model], "sentences of a norm over both");
        let width = seq_length * d_model;
        let [gamma, beta] = [&self.gamma, &self.beta].map(|value| value.val().reshape([width]));
        layer_norm(input.reshape([batch_size, width]), gamma, beta, self.epsilon).reshape(shape)
    }
}

/// Brings each entry over all tokens of a batch to mean 0 and variance 1.
///
/// Training and evaluation differ, and are two functions: training normalises with the statistics of the batch and
/// gives back the layer with its running statistics moved; evaluation normalises with those.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// γ, `[d_model]`.
    pub gamma: Param<Tensor<1>>,
    /// β, `[d_model]`.
    pub beta: Param<Tensor<1>>,
    /// The mean that evaluation takes, `[d_model]`; not trained.
    pub running_mean: Param<Tensor<1>>,
    /// The variance that evaluation takes, `[d_model]`; not trained.
    pub running_variance: Param<Tensor<1>>,
    /// ε.
    pub epsilon: f64,
    /// How far running statistics move towards those of a batch.
    pub momentum: f64,
}

impl BatchNorm {
    /// Without scale and shift at first, with the ε and the momentum of torch.
    pub fn init(d_model: usize, device: &Device) -> Self {
        let fixed = |tensor| Param::from_tensor(tensor).set_require_grad(false);
        Self {
            gamma: Param::from_tensor(Tensor::ones([d_model], device)),
            beta: Param::from_tensor(Tensor::zeros([d_model], device)),
            running_mean: fixed(Tensor::zeros([d_model], device)),
            running_variance: fixed(Tensor::ones([d_model], device)),
            epsilon: 1e-5,
            momentum: 0.1,
        }
    }

    /// Normalises with the running statistics.
    ///
    /// # Shapes
    /// - input, output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    /// If the width differs.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        self.normalise(input, self.running_mean.val(), self.running_variance.val())
    }

    /// Normalises with the statistics of the batch, and moves the running ones: those of the variance towards the
    /// unbiased estimate, as in torch.
    ///
    /// # Shapes
    /// - input, output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    /// If the width differs, or there is only one token.
    pub fn forward_training(self, input: Tensor<3>) -> (Tensor<3>, Self) {
        let [batch_size, seq_length, d_model] = input.dims();
        let n = batch_size * seq_length;
        assert!(n > 1, "the variance of {n} token");
        let tokens = input.clone().reshape([n, d_model]);
        let mean = tokens.clone().mean_dim(0);
        let variance = (tokens - mean.clone()).square().mean_dim(0);
        let [mean, variance] = [mean, variance].map(|statistic| statistic.reshape([d_model]));
        let output = self.normalise(input, mean.clone(), variance.clone());
        let unbiased = variance * (n as f64 / (n - 1) as f64);
        let moved = |running: Param<Tensor<1>>, found: Tensor<1>| {
            running.map(|running| running * (1.0 - self.momentum) + found.detach() * self.momentum)
        };
        let running_mean = moved(self.running_mean, mean);
        let running_variance = moved(self.running_variance, unbiased);
        (output, Self { running_mean, running_variance, ..self })
    }

    fn normalise(&self, input: Tensor<3>, mean: Tensor<1>, variance: Tensor<1>) -> Tensor<3> {
        let deviation = (variance + self.epsilon).sqrt();
        let normal = (input - mean.unsqueeze()) / deviation.unsqueeze();
        normal * self.gamma.val().unsqueeze() + self.beta.val().unsqueeze()
    }
}
