//! What a task takes of the layers of a frozen encoder: `γ Σ_j softmax(w)_j h_j`.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use emberline_core::{CharacterBatch, CharacterEncoder, mask};

/// Added to a variance, as AllenNLP does.
const EPSILON: f64 = 1e-13;

/// A weight for each layer, and one for all. A task may have several mixes of the same layers: one for the input of its
/// network, another for the output.
#[derive(Module, Debug)]
pub struct ScalarMix {
    /// w, `[n_layers]`: 0 at first, which is the mean of the layers.
    pub weights: Param<Tensor<1>>,
    /// γ, `[1]`: 1 at first.
    pub gamma: Param<Tensor<1>>,
    /// Whether each layer is normalised before it is mixed, by the mean and variance of all its numbers in the batch.
    #[module(skip)]
    pub normalizes: bool,
}

impl ScalarMix {
    /// The mean of `n_layers` layers.
    pub fn init(n_layers: usize, normalizes: bool, device: &Device) -> Self {
        let weights = Param::from_tensor(Tensor::zeros([n_layers], device));
        let gamma = Param::from_tensor(Tensor::ones([1], device));
        Self { weights, gamma, normalizes }
    }

    /// The vectors that an encoder has for words, mixed.
    ///
    /// # Shapes
    /// - words of `batch`: `[batch_size, seq_length]`
    /// - output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    /// If the encoder has another number of layers.
    pub fn encode<E: CharacterEncoder>(&self, encoder: &E, batch: &CharacterBatch) -> Tensor<3> {
        self.forward(&encoder.layers(batch), batch.lengths.as_deref())
    }

    /// Mixes layers. With lengths, what follows a row's end has no part in means and variances.
    ///
    /// # Shapes
    /// - layers, output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    /// If there is another number of layers.
    pub fn forward(&self, layers: &[Tensor<3>], lengths: Option<&[usize]>) -> Tensor<3> {
        let [n_layers] = self.weights.lazy_shape().dims();
        assert_eq!(layers.len(), n_layers, "a weight for each layer");
        let weights = softmax(self.weights.val(), 0);
        let mix = (0..).zip(layers).map(|(index, layer)| {
            let layer = if self.normalizes { normalized(layer, lengths) } else { layer.clone() };
            layer * weights.clone().narrow(0, index, 1).reshape([1, 1, 1])
        });
        let mix = mix.reduce(|sum, layer| sum + layer).expect("at least one layer");
        mix * self.gamma.val().reshape([1, 1, 1])
    }

    /// `Σ_j w_j²`: with a weight in the loss of a task it keeps the mix near the mean of the layers.
    ///
    /// # Shapes
    /// - output: `[1]`
    pub fn penalty(&self) -> Tensor<1> {
        self.weights.val().square().sum()
    }
}

/// The numbers of a batch with mean 0 and variance 1 over those that are not padding.
fn normalized(layer: &Tensor<3>, lengths: Option<&[usize]>) -> Tensor<3> {
    let [batch_size, seq_length, d_model] = layer.dims();
    let padding = lengths.map(|lengths| {
        let padding = mask::padding(lengths, seq_length, &layer.device().inner());
        padding.unsqueeze_dim::<3>(2).expand([batch_size, seq_length, d_model])
    });
    let valid = |numbers: Tensor<3>| match &padding {
        Some(padding) => numbers.mask_fill(padding.clone(), 0.0),
        None => numbers,
    };
    let n_words = lengths.map_or(batch_size * seq_length, |lengths| lengths.iter().sum());
    let count = (n_words * d_model) as f64;
    let mean = valid(layer.clone()).sum().reshape([1, 1, 1]) / count;
    let centred = layer.clone() - mean;
    let variance = valid(centred.clone()).square().sum().reshape([1, 1, 1]) / count;
    centred / (variance + EPSILON).sqrt()
}

/// Layers without the marks of the sentences: a language model needs them, and a task has no use for them.
///
/// # Shapes
/// - layers: `[batch_size, seq_length, d_model]`, of sentences of `lengths` words and marks
/// - output: `[batch_size, seq_length - 2, d_model]`, of as many words less two
///
/// # Panics
/// If there is no word between the marks of the longest sentence.
pub fn without_marks(
    layers: Vec<Tensor<3>>,
    lengths: Option<&[usize]>,
) -> (Vec<Tensor<3>>, Option<Vec<usize>>) {
    let inner = |layer: Tensor<3>| {
        let [_, seq_length, _] = layer.dims();
        assert!(seq_length > 2, "sentences of {seq_length} words and marks have a word");
        layer.narrow(1, 1, seq_length - 2)
    };
    let lengths = lengths.map(|lengths| lengths.iter().map(|length| length - 2).collect());
    (layers.into_iter().map(inner).collect(), lengths)
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;

    use super::*;

    fn layers(device: &Device) -> [Tensor<3>; 2] {
        [[[[1.0, 3.0], [5.0, 7.0]]], [[[2.0, 2.0], [2.0, 2.0]]]]
            .map(|numbers| Tensor::from_data(numbers, device))
    }

    #[test]
    fn a_new_mix_is_the_mean_and_gamma_scales_it() {
        let device = test_device();
        let mut mix = ScalarMix::init(2, false, &device);
        let expected = TensorData::from([[[1.5f32, 2.5], [3.5, 4.5]]]);
        assert_eq!(mix.forward(&layers(&device), None).into_data(), expected);
        mix.gamma = Param::from_data([2.0], &device);
        mix.weights = Param::from_data([60.0, -60.0], &device);
        let expected = TensorData::from([[[2.0f32, 6.0], [10.0, 14.0]]]);
        assert_eq!(mix.forward(&layers(&device), None).into_data(), expected);
    }

    #[test]
    fn a_penalty_pulls_the_weights_to_the_mean_and_leaves_gamma_alone() {
        let device = test_device().autodiff();
        let mut mix = ScalarMix::init(2, false, &device);
        mix.weights = Param::from_data([2.0, -1.0], &device);
        let penalty = mix.penalty();
        assert_eq!(penalty.to_data(), TensorData::from([5.0f32]));
        let gradients = penalty.backward();
        let gradient = mix.weights.val().grad(&gradients).unwrap();
        assert_eq!(gradient.into_data(), TensorData::from([4.0f32, -2.0]));
        assert!(mix.gamma.val().grad(&gradients).is_none());
    }

    #[test]
    fn two_mixes_of_the_same_layers_learn_apart() {
        let device = test_device().autodiff();
        let mixes = [1.0, -1.0].map(|weight| {
            let mut mix = ScalarMix::init(2, false, &device);
            mix.weights = Param::from_data([weight, 0.0], &device);
            mix
        });
        let layers = layers(&device);
        let [first, second] = mixes.each_ref().map(|mix| mix.forward(&layers, None).sum());
        let gradients = (first - second * 3.0).backward();
        let [first, second] = mixes.map(|mix| mix.gamma.val().grad(&gradients).unwrap());
        // Their sums are 8 + 8 σ(1) and 8 + 8 σ(-1).
        let expected = |weight: f32| 8.0 + 8.0 / (1.0 + (-weight).exp());
        assert!((first.into_scalar::<f32>() - expected(1.0)).abs() < 1e-4);
        assert!((second.into_scalar::<f32>() + 3.0 * expected(-1.0)).abs() < 1e-4);
    }

    #[test]
    fn the_padding_has_no_part_in_a_normalised_layer() {
        let device = test_device();
        let mix = ScalarMix::init(1, true, &device);
        let [layer, _] = layers(&device);
        // 1 and 3 have the mean 2 and the variance 1.
        let mixed = mix.forward(&[layer], Some(&[1]));
        assert_eq!(mixed.narrow(1, 0, 1).into_data(), TensorData::from([[[-1.0f32, 1.0]]]));
    }

    #[test]
    fn the_marks_of_sentences_are_taken_off() {
        let device = test_device();
        let layer = Tensor::<3>::from_data([[[0.0], [1.0], [2.0], [3.0]]], &device);
        let (layers, lengths) = without_marks(vec![layer], Some(&[4]));
        assert_eq!(layers[0].to_data(), TensorData::from([[[1.0f32], [2.0]]]));
        assert_eq!(lengths, Some(vec![2]));
    }
}
