//! A convolutional network for small images: what a network learns of some classes serves others, as in the notes' example
//! of transfer learning.
//!
//! It stands beside the lineage, not in it: it reads no tokens. Where the models of text normalise each token by itself, it
//! normalises each channel over a whole batch ([`BatchNorm2d`]; Ioffe and Szegedy: "Batch normalization: accelerating deep
//! network training by reducing internal covariate shift", 2015), which is what freezing has to think of: a frozen
//! channel must keep the statistics that it was trained with.

use burn::module::{Flag, Module, Param, RunningState};
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::{Linear, LinearConfig};
use emberline_checkpoint::Stored;
use emberline_core::{LayerGroup, LayerGroups, Stream};
use serde::{Deserialize, Serialize};

/// The sizes of a network, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CnnConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The height and width of an image.
    pub d_image: usize,
    /// The channels that each layer makes. Behind every layer but the first height and width are halved.
    pub channels: Vec<usize>,
    /// The number of classes.
    pub n_classes: usize,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `cnn`.
    #[default]
    Cnn,
}

/// Convolutions, and a score for each class.
#[derive(Module, Debug)]
pub struct Cnn {
    /// The layers, the one nearest to the image first.
    pub layers: Vec<Layer>,
    /// `[d_features, n_classes]`, with a bias.
    pub head: Linear,
}

/// A convolution of 3 by 3, without a bias, which the norm behind it would take away.
#[derive(Module, Debug)]
pub struct Layer {
    /// `[channels, channels of the input, 3, 3]`.
    pub convolution: Param<Tensor<4>>,
    /// Of its output.
    pub norm: BatchNorm2d,
}

/// Brings each channel of a batch of images to mean 0 and variance 1, then scales and shifts it.
///
/// ```text
/// x̂ = (x - mean) / √(variance + ε)        y = γ x̂ + β
/// ```
///
/// In training mean and variance are those of the batch, and running ones move towards them by a tenth; in validation, and
/// where the layer is frozen, they are the running ones. As in torch the running variance is the unbiased one.
#[derive(Module, Debug)]
pub struct BatchNorm2d {
    /// γ, `[channels]`.
    pub gamma: Param<Tensor<1>>,
    /// β, `[channels]`.
    pub beta: Param<Tensor<1>>,
    /// The mean of a frozen layer, `[channels]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// The variance of a frozen layer, `[channels]`.
    pub running_variance: RunningState<Tensor<1>>,
    /// Whether the statistics are those of the batch.
    pub learns_statistics: Param<Flag>,
}

const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

impl CnnConfig {
    /// For images of 8 by 8.
    pub fn small(n_classes: usize) -> Self {
        Self { model_type: ModelType::Cnn, d_image: 8, channels: vec![16, 32, 64], n_classes }
    }

    /// Convolutions of the normal distribution with the variance `2 / fan_in` (He and others, 2015), a head as torch draws
    /// `nn.Linear`.
    ///
    /// # Panics
    /// If the image has no pixel left behind the last layer, or there is no layer.
    pub fn init(&self, random: Stream, device: &Device) -> Cnn {
        let d_features = self.d_features();
        let inputs = [1].into_iter().chain(self.channels.iter().copied());
        let layers =
            inputs.zip(&self.channels).enumerate().map(|(layer, (n_inputs, n_channels))| {
                let random = random.named("layers").at(layer as u64);
                Layer::init(n_inputs, *n_channels, random, device)
            });
        Cnn {
            layers: layers.collect(),
            head: LinearConfig::new(d_features, self.n_classes).init(random.named("head"), device),
        }
    }

    /// The parameters of the network and its statistics; it is not made for them.
    ///
    /// # Panics
    /// As [`init`](Self::init).
    pub fn parameter_count(&self) -> u64 {
        let inputs = [1].into_iter().chain(self.channels.iter().copied());
        // Nine weights for each input, γ, β, and two statistics.
        let layer = |(inputs, channels): (usize, &usize)| (channels * (9 * inputs + 4)) as u64;
        let layers: u64 = inputs.zip(&self.channels).map(layer).sum();
        layers + (self.n_classes * (self.d_features() + 1)) as u64
    }

    /// The width of what the head reads.
    ///
    /// # Panics
    /// As [`init`](Self::init).
    pub fn d_features(&self) -> usize {
        let n_halved = self.channels.len().checked_sub(1).expect("at least one layer");
        let side = self.d_image >> n_halved;
        assert!(side > 0, "{n_halved} times halved, {} pixels are none", self.d_image);
        self.channels[n_halved] * side * side
    }
}

impl Layer {
    fn init(n_inputs: usize, n_channels: usize, random: Stream, device: &Device) -> Self {
        let shape = [n_channels, n_inputs, 3, 3];
        let deviation = (2.0 / (9 * n_inputs) as f64).sqrt();
        let weights = random.normals(shape.iter().product(), deviation);
        Self {
            convolution: Param::from_data(TensorData::new(weights, shape), device),
            norm: BatchNorm2d::init(n_channels, device),
        }
    }

    /// # Shapes
    /// - input: `[batch_size, channels of the input, height, width]`
    /// - output: `[batch_size, channels, height, width]`
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let same = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let output = conv2d(input, self.convolution.val(), None, same);
        relu(self.norm.forward(output))
    }
}

impl BatchNorm2d {
    /// Without scale and shift at first.
    pub fn init(n_channels: usize, device: &Device) -> Self {
        Self {
            gamma: Param::from_tensor(Tensor::ones([n_channels], device)),
            beta: Param::from_tensor(Tensor::zeros([n_channels], device)),
            running_mean: RunningState::new(Tensor::zeros([n_channels], device)),
            running_variance: RunningState::new(Tensor::ones([n_channels], device)),
            learns_statistics: Param::from_bool(true),
        }
    }

    /// # Shapes
    /// - input, output: `[batch_size, channels, height, width]`
    ///
    /// # Panics
    /// If it learns statistics and there is only one number of a channel.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [_, n_channels, ..] = input.dims();
        let per_channel = |values: Tensor<1>| values.reshape([1, n_channels, 1, 1]);
        let (mean, variance) = match self.learns_statistics.is_enabled() {
            true => self.learn(&input),
            false => {
                let running = [&self.running_mean, &self.running_variance];
                let [mean, variance] = running.map(|running| per_channel(running.value()));
                (mean, variance)
            }
        };
        let normal = (input - mean) / (variance + EPSILON).sqrt();
        normal * per_channel(self.gamma.val()) + per_channel(self.beta.val())
    }

    /// The statistics of a batch, `[1, channels, 1, 1]` each, towards which the running ones move.
    fn learn(&self, input: &Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch_size, n_channels, height, width] = input.dims();
        let n = batch_size * height * width;
        assert!(n > 1, "the variance of {n} number of a channel");
        let mean_of = |values: Tensor<4>| values.mean_dim(0).mean_dim(2).mean_dim(3);
        let mean = mean_of(input.clone());
        let variance = mean_of((input.clone() - mean.clone()).square());
        let unbiased = n as f64 / (n - 1) as f64;
        for (running, now) in [
            (&self.running_mean, mean.clone()),
            (&self.running_variance, variance.clone() * unbiased),
        ] {
            let now = now.detach().reshape([n_channels]);
            running.update(running.value() * (1.0 - MOMENTUM) + now * MOMENTUM);
            // Or else a checkpoint would hold the statistics of the update before.
            running.value_sync();
        }
        (mean, variance)
    }
}

impl Cnn {
    /// What the head reads.
    ///
    /// # Shapes
    /// - images: `[batch_size, 1, d_image, d_image]`
    /// - output: `[batch_size, d_features]`
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let mut hidden = images;
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(hidden);
            if index > 0 {
                hidden = max_pool2d(hidden, MaxPoolOptions::new([2, 2]));
            }
        }
        hidden.flatten(1, 3)
    }

    /// The scores of the classes, before the softmax.
    ///
    /// # Shapes
    /// - images: `[batch_size, 1, d_image, d_image]`
    /// - output: `[batch_size, n_classes]`
    pub fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        self.head.forward(self.features(images))
    }

    /// The name of a parameter in files: that of a torch module with `layers` of a `convolution` (`nn.Conv2d`) and a `norm`
    /// (`nn.BatchNorm2d`), and a `head` (`nn.Linear`).
    pub fn stored_name(path: &str) -> Stored {
        let Some((module, parameter)) = path.rsplit_once('.') else { return Stored::same(path) };
        match parameter {
            "gamma" => Stored::same(&format!("{module}.weight")),
            "beta" => Stored::same(&format!("{module}.bias")),
            "running_variance" => Stored::same(&format!("{module}.running_var")),
            "convolution" => Stored::same(&format!("{path}.weight")),
            "weight" => Stored::transposed(path),
            _ => Stored::same(path),
        }
    }
}

impl LayerGroups for Cnn {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        let mut groups: Vec<_> = LayerGroup::layers("layers", self.layers.len()).collect();
        groups.push(LayerGroup::head(&["head"]));
        groups
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::parameter_count;

    use super::*;

    fn images(n: usize, device: &Device) -> Tensor<4> {
        let pixels = Stream::new(2).uniforms(n * 64, 0.0, 1.0);
        Tensor::from_data(TensorData::new(pixels, [n, 1, 8, 8]), device)
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn every_class_of_every_image_has_a_score() {
        let device = test_device();
        let model = CnnConfig::small(5).init(Stream::new(1), &device);
        laws::layer_groups(&model);
        assert_eq!(CnnConfig::small(5).d_features(), 64 * 2 * 2);
        assert_eq!(model.valid().logits(images(3, &device)).dims(), [3, 5]);
        let convolutions = 9 * (16 + 16 * 32 + 32 * 64);
        // γ, β and the two statistics of each channel.
        assert_eq!(parameter_count(&model), convolutions + 4 * (16 + 32 + 64) + 256 * 5 + 5);
        assert_eq!(parameter_count(&model) as u64, CnnConfig::small(5).parameter_count());
    }

    #[test]
    fn a_channel_is_normalised_over_batch_and_places_in_training_and_by_what_was_learnt_after_it() {
        let device = test_device().autodiff();
        let norm = BatchNorm2d::init(1, &device);
        let input = Tensor::<4>::from_data([[[[1.0, 3.0]]], [[[5.0, 7.0]]]], &device);
        let found = numbers(norm.forward(input.clone()));
        // The mean is 4 and the variance 5.
        for (found, expected) in found.iter().zip([-3.0, -1.0, 1.0, 3.0]) {
            assert!((found - expected / 5f32.sqrt()).abs() < 1e-5, "{found}");
        }
        let near = |state: &RunningState<Tensor<1>>, expected: f32| {
            let found = numbers(state.value())[0];
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        };
        near(&norm.running_mean, 0.4);
        near(&norm.running_variance, 0.9 + 0.1 * 20.0 / 3.0);
        let valid = norm.valid();
        let found = numbers(valid.forward(input.inner()));
        let deviation = (0.9f32 + 2.0 / 3.0).sqrt();
        for (found, expected) in found.iter().zip([0.6, 2.6, 4.6, 6.6]) {
            assert!((found - expected / deviation).abs() < 1e-4, "{found}");
        }
        near(&valid.running_mean, 0.4);
    }

    #[test]
    fn a_frozen_norm_keeps_its_statistics() {
        let device = test_device().autodiff();
        let norm = BatchNorm2d::init(1, &device).freeze();
        norm.forward(images(2, &device));
        assert_eq!(numbers(norm.running_mean.value()), [0.0]);
        assert_eq!(numbers(norm.running_variance.value()), [1.0]);
    }

    #[test]
    fn an_image_alone_is_an_image_in_a_batch_once_it_is_trained() {
        let device = test_device();
        let model = CnnConfig::small(5).init(Stream::new(1), &device.clone().autodiff());
        model.logits(images(4, &device.clone().autodiff()));
        let model = model.valid();
        let all = model.logits(images(4, &device)).narrow(0, 2, 1);
        let alone = model.logits(images(4, &device).narrow(0, 2, 1));
        assert!((all - alone).abs().max().into_scalar::<f32>() < 1e-5);
    }

    #[test]
    fn names_are_those_of_torch() {
        let name = |path: &str| Cnn::stored_name(path).name;
        assert_eq!(name("layers.1.convolution"), "layers.1.convolution.weight");
        assert_eq!(name("layers.1.norm.gamma"), "layers.1.norm.weight");
        assert_eq!(name("layers.1.norm.running_variance"), "layers.1.norm.running_var");
        assert_eq!(Cnn::stored_name("head.weight"), Stored::transposed("head.weight"));
        assert_eq!(name("head.bias"), "head.bias");
    }
}
