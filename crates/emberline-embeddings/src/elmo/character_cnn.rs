//! A word from its characters (Kim, Jernite, Sontag and Rush: "Character-Aware Neural Language Models", AAAI 2016), with
//! highway layers (Srivastava, Greff and Schmidhuber, 2015).
//!
//! ```text
//! y = concat over filters: max over places of (the characters there · W + b)
//! u = ReLU(y)                                 ReLU of the largest is the largest of ReLU
//! c = σ(u W_c + b_c);  u ← c ⊙ ReLU(u W_t + b_t) + (1 - c) ⊙ u        for each highway layer
//! x = u W_p + b_p
//! ```

use burn::module::{Module, Param};
use burn::tensor::activation::{relu, sigmoid, tanh};
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::{Embedding, Linear, LinearConfig};
use emberline_core::parameters::lazy;
use emberline_core::{Stream, WordTable};
use emberline_recurrent::Activation;

use super::config::{CharacterCnnConfig, Filter};

/// Vectors of characters, filters over them, highway layers, and a projection.
#[derive(Module, Debug)]
pub struct CharacterCnn {
    /// `[n_characters, d_character]`.
    pub characters: Embedding,
    /// One for each width, `[width · d_character, count]` with a bias: the characters side by side, the first one first.
    pub filters: Vec<Linear>,
    /// `[n_filters, n_filters]` each.
    pub highways: Vec<Highway>,
    /// `[n_filters, d_output]`, with a bias.
    pub projection: Linear,
    /// What the largest response of a filter goes through.
    #[module(skip)]
    pub activation: Activation,
}

/// A layer that carries a part of its input on as it is.
#[derive(Module, Debug)]
pub struct Highway {
    /// How much of the output is new.
    pub carry: Linear,
    /// What is new.
    pub transform: Linear,
}

impl CharacterCnnConfig {
    /// Weights as the published code draws them: characters uniform in ±1; filters uniform in ±0.05 before ReLU, and
    /// normal before tanh; highway layers and projection normal with deviation `1/√d_input`. Biases are 0, but for the
    /// carry gate -2, so that at first most is carried on.
    pub fn init(&self, d_output: usize, random: Stream, device: &Device) -> CharacterCnn {
        let Self { n_characters, d_character, .. } = *self;
        let n_filters = self.n_filters();
        let characters = random.named("characters");
        let characters = lazy([n_characters, d_character], device, move || {
            characters.uniforms(n_characters * d_character, -1.0, 1.0)
        });
        let filters = self.filters.iter().zip(0..).map(|(filter, index)| {
            self.init_filter(*filter, random.named("filters").at(index), device)
        });
        let normal = |d_output: usize, random: Stream| {
            let deviation = 1.0 / (n_filters as f64).sqrt();
            LinearConfig::new(n_filters, d_output).init_normal(deviation, random, device)
        };
        let highway = |index: usize| {
            let random = random.named("highways").at(index as u64);
            let mut carry = normal(n_filters, random.named("carry"));
            let shut = TensorData::new(vec![-2.0f32; n_filters], [n_filters]);
            carry.bias = Some(Param::from_data(shut, device));
            Highway { carry, transform: normal(n_filters, random.named("transform")) }
        };
        CharacterCnn {
            characters: Embedding::new(characters),
            filters: filters.collect(),
            highways: (0..self.n_highway).map(highway).collect(),
            projection: normal(d_output, random.named("projection")),
            activation: self.activation,
        }
    }

    fn init_filter(&self, filter: Filter, random: Stream, device: &Device) -> Linear {
        let Filter { width, count } = filter;
        let d_input = width * self.d_character;
        if self.activation == Activation::Tanh {
            let deviation = 1.0 / (d_input as f64).sqrt();
            return LinearConfig::new(d_input, count).init_normal(deviation, random, device);
        }
        let weight = move || random.named("weight").uniforms(d_input * count, -0.05, 0.05);
        let bias = Param::from_data(TensorData::new(vec![0.0f32; count], [count]), device);
        Linear::new(lazy([d_input, count], device, weight), Some(bias))
    }
}

impl CharacterCnn {
    /// The vectors of words.
    ///
    /// # Shapes
    /// - characters of `table`: `[n_words, word_length]`
    /// - output: `[n_words, d_output]`
    ///
    /// # Panics
    /// If a filter is wider than a word.
    pub fn forward(&self, table: &WordTable) -> Tensor<2> {
        let [_, word_length] = table.characters.dims();
        // Windows of nothing but padding are all alike: one of them is enough for the largest.
        let length = word_length.min(table.longest + self.widest());
        let characters = self.characters.forward(table.characters.clone().narrow(1, 0, length));
        let responses =
            self.filters.iter().map(|filter| self.largest_response(filter, characters.clone()));
        let responses = Tensor::cat(responses.collect(), 1); // [n_words, n_filters]
        let hidden = match self.activation {
            Activation::Relu => relu(responses),
            Activation::Tanh => tanh(responses),
        };
        let hidden = self.highways.iter().fold(hidden, |hidden, layer| layer.forward(hidden));
        self.projection.forward(hidden)
    }

    /// The largest response of each filter of a width, `[n_words, count]`.
    fn largest_response(&self, filter: &Linear, characters: Tensor<3>) -> Tensor<2> {
        let [_, length, _] = characters.dims();
        let width = self.width(filter);
        assert!(width <= length, "a filter of width {width} on words of {length} characters");
        let n_windows = length - width + 1;
        let shifted = (0..width).map(|shift| characters.clone().narrow(1, shift, n_windows));
        let windows = Tensor::cat(shifted.collect(), 2); // [n_words, n_windows, width · d_character]
        filter.forward(windows).max_dim(1).squeeze_dim(1)
    }

    fn width(&self, filter: &Linear) -> usize {
        let [_, d_character] = self.characters.weight.lazy_shape().dims();
        filter.weight.lazy_shape()[0] / d_character
    }

    fn widest(&self) -> usize {
        self.filters.iter().map(|filter| self.width(filter)).max().expect("at least one filter")
    }

    /// The width of a word's vector.
    pub fn d_output(&self) -> usize {
        self.projection.weight.lazy_shape()[1]
    }

    /// The number of character ids.
    pub fn n_characters(&self) -> usize {
        self.characters.weight.lazy_shape()[0]
    }
}

impl Highway {
    /// # Shapes
    /// - input, output: `[n, d]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let carry = sigmoid(self.carry.forward(input.clone()));
        let new = self.transform.forward_relu(input.clone());
        carry * (new - input.clone()) + input
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;
    use emberline_backend::test_device;

    use super::*;

    fn config() -> CharacterCnnConfig {
        let filters = [(1, 2), (3, 5)].map(|(width, count)| Filter { width, count }).to_vec();
        let activation = Activation::Relu;
        CharacterCnnConfig { n_characters: 7, d_character: 4, filters, n_highway: 1, activation }
    }

    fn words(device: &Device) -> Tensor<2, Int> {
        Tensor::from_data([[1, 2, 6, 6, 6, 6, 6, 6], [5, 3, 1, 6, 6, 6, 6, 6]], device)
    }

    #[test]
    fn what_is_cut_of_the_padding_changes_no_bit() {
        let device = test_device();
        let network = config().init(3, Stream::new(1), &device);
        let all = WordTable { characters: words(&device), longest: 8 };
        let cut = WordTable { longest: 3, ..all.clone() };
        assert_eq!(network.forward(&all).into_data(), network.forward(&cut).into_data());
    }

    #[test]
    fn a_word_without_room_for_padding_is_read_to_its_end() {
        let device = test_device();
        let network = config().init(3, Stream::new(1), &device);
        let table = |ids: [[i32; 4]; 1]| WordTable {
            characters: Tensor::from_data(ids, &device),
            longest: 4,
        };
        let [first, second] =
            [[[1, 2, 3, 4]], [[1, 2, 3, 5]]].map(|ids| network.forward(&table(ids)).into_data());
        assert_ne!(first, second);
    }

    #[test]
    fn a_highway_that_is_shut_carries_its_input_on() {
        let device = test_device();
        let mut network = config().init(3, Stream::new(1), &device);
        let highway = &mut network.highways[0];
        highway.carry.bias = Some(Param::from_tensor(Tensor::full([7], -1e3, &device)));
        let input = Tensor::<2>::from_data([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], &device);
        assert_eq!(highway.forward(input.clone()).into_data(), input.into_data());
    }
}
