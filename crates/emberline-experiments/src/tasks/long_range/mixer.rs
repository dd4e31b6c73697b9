//! The three ways to bring words together: convolutions, a recurrent layer, attention.
//!
//! All take and give `[batch_size, seq_length, d_model]`. Convolutions and recurrent layers are causal; attention is
//! that of an encoder and sees later words too.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use emberline_attention::Positions;
use emberline_backend::Linear;
use emberline_backend::attention::Visibility;
use emberline_models::transformer::EncoderLayer;
use emberline_recurrent::{AnyCell, Reading, RecurrentCell};

/// One of the mixers.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a learner has one")]
pub enum Mixer {
    /// The convolution nearest to the input first.
    Cnn(Vec<Convolution>),
    /// One recurrent layer.
    Recurrent(AnyCell),
    /// Attention.
    Transformer(Encoder),
}

/// Positions, and layers of an encoder.
#[derive(Module, Debug)]
pub struct Encoder {
    /// Added to the input.
    pub positions: Positions,
    /// The layer nearest to the input first.
    pub layers: Vec<EncoderLayer>,
}

/// A linear layer over each word and those before it, and the positive part of that.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[kernel_size · d_model, d_model]`, the word itself last.
    pub linear: Linear,
}

/// What a forward pass takes, however many can work at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The layers or steps that had to wait for the one before.
    pub sequential_steps: usize,
    /// How often a position read a position, or the state that was left at it.
    pub reads: usize,
}

impl Mixer {
    /// The output at every position.
    ///
    /// # Shapes
    /// - vectors, output: `[batch_size, seq_length, d_model]`
    pub fn forward(&self, vectors: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Cnn(layers) => layers.iter().fold(vectors, |hidden, layer| layer.forward(hidden)),
            Self::Recurrent(cell) => {
                let [batch_size, ..] = vectors.dims();
                cell.sequence(vectors, cell.zero_state(batch_size), Reading::default()).0
            }
            Self::Transformer(Encoder { positions, layers }) => {
                let vectors = positions.forward(vectors, 0);
                layers.iter().fold(vectors, |hidden, layer| {
                    layer.forward(hidden, Visibility::default(), None)
                })
            }
        }
    }

    /// The same in the parts that have to wait for each other, which are counted as they are made.
    pub fn forward_counted(&self, vectors: Tensor<3>) -> (Tensor<3>, Work) {
        let [batch_size, seq_length, _] = vectors.dims();
        let mut work = Work::default();
        let mut step = |reads: usize| {
            work.sequential_steps += 1;
            work.reads += reads;
        };
        let output = match self {
            Self::Cnn(layers) => layers.iter().fold(vectors, |hidden, layer| {
                step(seq_length * layer.kernel_size());
                layer.forward(hidden)
            }),
            Self::Recurrent(cell) => {
                let (mut state, mut outputs) = (cell.zero_state(batch_size), Vec::new());
                for word in vectors.split(1, 1) {
                    // A step reads its word and the state, where attention reads the word among the others.
                    step(1);
                    let (output, next) = cell.step(word.squeeze_dim(1), state);
                    outputs.push(output.unsqueeze_dim(1));
                    state = next;
                }
                Tensor::cat(outputs, 1)
            }
            Self::Transformer(Encoder { positions, layers }) => {
                let vectors = positions.forward(vectors, 0);
                layers.iter().fold(vectors, |hidden, layer| {
                    let attention = &layer.self_attention;
                    let (_, weights) =
                        attention.forward_with_weights(hidden.clone(), Visibility::default(), None);
                    let [.., queries, keys] = weights.dims();
                    step(queries * keys);
                    layer.forward(hidden, Visibility::default(), None)
                })
            }
        };
        (output, work)
    }
}

impl Convolution {
    fn kernel_size(&self) -> usize {
        let [d_input, d_output] = self.linear.weight.lazy_shape().dims();
        d_input / d_output
    }

    /// Nothing stands before the first word.
    fn forward(&self, vectors: Tensor<3>) -> Tensor<3> {
        let [batch_size, seq_length, d_model] = vectors.dims();
        let kernel_size = self.kernel_size();
        let nothing = Tensor::zeros([batch_size, kernel_size - 1, d_model], &vectors.device());
        let padded = Tensor::cat(vec![nothing, vectors], 1);
        let shifted = (0..kernel_size).map(|first| padded.clone().narrow(1, first, seq_length));
        let windows = Tensor::cat(shifted.collect(), 2); // [batch_size, seq_length, kernel_size · d_model]
        relu(self.linear.forward(windows))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::conv1d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Int, TensorData};
    use emberline_backend::test_device;
    use emberline_core::Stream;

    use super::super::super::jacobian::jacobian_norms;
    use super::super::kinds::{CnnConfig, EncoderConfig, MixerKind, MixersConfig};
    use super::*;

    fn config(n_layers: usize, kernel_size: usize) -> MixersConfig {
        MixersConfig {
            d_model: 8,
            cnn: CnnConfig { n_layers, kernel_size },
            transformer: EncoderConfig { n_layers: 1, n_heads: 2, d_ff: 16 },
        }
    }

    fn vectors(rows: usize, seq_length: usize, device: &Device) -> Tensor<3> {
        let values = Stream::new(7).normals(rows * seq_length * 8, 1.0);
        Tensor::from_data(TensorData::new(values, [rows, seq_length, 8]), device)
    }

    fn mixer(config: &MixersConfig, kind: MixerKind, device: &Device) -> Mixer {
        config.init(kind, Stream::new(1), device)
    }

    /// The positions that the output at `position` depends on.
    fn support(config: &MixersConfig, kind: MixerKind, position: usize) -> Vec<usize> {
        let device = test_device().autodiff();
        let mixer = mixer(config, kind, &device);
        let norms = jacobian_norms(vectors(4, 24, &device), position, |x| mixer.forward(x));
        (0..24).filter(|place| norms[*place] > 0.0).collect()
    }

    fn difference(a: Tensor<3>, b: Tensor<3>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn l_convolutions_of_width_k_see_1_plus_l_times_k_less_1_words_and_no_other() {
        for (n_layers, kernel_size) in [(1, 1), (1, 3), (2, 2), (3, 3), (4, 5), (6, 4)] {
            let field = 1 + n_layers * (kernel_size - 1);
            let seen = support(&config(n_layers, kernel_size), MixerKind::Cnn, 20);
            let expected: Vec<usize> = (21 - field..=20).collect();
            assert_eq!(seen, expected, "{n_layers} layers of {kernel_size}");
        }
    }

    #[test]
    fn recurrent_layers_see_all_that_came_before_and_an_encoder_what_comes_after_too() {
        let config = config(1, 1);
        for kind in [MixerKind::Rnn, MixerKind::Lstm] {
            assert_eq!(support(&config, kind, 12), (0..=12).collect::<Vec<_>>(), "{kind:?}");
        }
        assert_eq!(support(&config, MixerKind::Transformer, 12), (0..24).collect::<Vec<_>>());
    }

    #[test]
    fn a_recurrent_layer_takes_a_step_for_each_word_and_the_others_one_for_each_layer() {
        let config = MixersConfig {
            transformer: EncoderConfig { n_layers: 2, n_heads: 2, d_ff: 16 },
            ..config(3, 5)
        };
        let device = test_device();
        let work =
            |kind, n| mixer(&config, kind, &device).forward_counted(vectors(1, n, &device)).1;
        for n in [1, 7, 14] {
            for (kind, sequential_steps, reads) in [
                (MixerKind::Cnn, 3, 3 * n * 5),
                (MixerKind::Rnn, n, n),
                (MixerKind::Lstm, n, n),
                (MixerKind::Transformer, 2, 2 * n * n),
            ] {
                assert_eq!(work(kind, n), Work { sequential_steps, reads }, "{kind:?} of {n}");
            }
        }
    }

    #[test]
    fn what_is_counted_is_the_forward_pass() {
        let (config, device) = (config(2, 3), test_device());
        for kind in MixerKind::ALL {
            let mixer = mixer(&config, kind, &device);
            let vectors = vectors(2, 9, &device);
            let (counted, _) = mixer.forward_counted(vectors.clone());
            assert!(difference(mixer.forward(vectors), counted) < 1e-5, "{kind:?}");
        }
    }

    #[test]
    fn no_step_of_a_recurrent_layer_can_be_taken_before_the_one_before_it() {
        let (config, device) = (config(1, 1), test_device());
        for kind in [MixerKind::Rnn, MixerKind::Lstm] {
            let Mixer::Recurrent(cell) = mixer(&config, kind, &device) else { panic!("{kind:?}") };
            // What is known of a word before the state is: an output that the state still changes.
            let word = vectors(1, 1, &device).squeeze_dim::<2>(1);
            let (_, state) = cell.step(word.clone(), cell.zero_state(1));
            let [first, second] =
                [cell.zero_state(1), state].map(|state| cell.step(word.clone(), state).0);
            assert!((first - second).abs().max().into_scalar::<f32>() > 1e-2, "{kind:?}");
        }
    }

    #[test]
    fn positions_of_a_layer_of_convolution_or_attention_do_not_wait_for_each_other() {
        let (config, device) = (config(1, 3), test_device());
        let vectors = vectors(1, 6, &device);
        for kind in [MixerKind::Cnn, MixerKind::Transformer] {
            let mixer = mixer(&config, kind, &device);
            let all = mixer.forward(vectors.clone());
            // An output is made of inputs alone: without the other outputs it is what it was.
            let last = match &mixer {
                Mixer::Cnn(layers) => layers[0].forward(vectors.clone().narrow(1, 3, 3)),
                Mixer::Transformer(encoder) => last_alone(encoder, vectors.clone()),
                Mixer::Recurrent(_) => panic!("{kind:?}"),
            };
            let [_, n, _] = last.dims();
            let [all, last] = [all.narrow(1, 5, 1), last.narrow(1, n - 1, 1)];
            assert!(difference(all, last) < 1e-5, "{kind:?}");
        }
    }

    /// The last output of the only layer, with a query for no other.
    fn last_alone(Encoder { positions, layers }: &Encoder, vectors: Tensor<3>) -> Tensor<3> {
        let [_, seq_length, _] = vectors.dims();
        let (layer, hidden) = (&layers[0], positions.forward(vectors, 0));
        let memory = layer.self_attention.memory(hidden.clone(), None);
        let last = hidden.narrow(1, seq_length - 1, 1);
        let attended = layer.self_attention.cross(last.clone(), &memory, None);
        let hidden = layer.self_attention_norm.forward(last + attended);
        let fed = layer.feed_forward.forward(hidden.clone());
        layer.feed_forward_norm.forward(hidden + fed)
    }

    #[test]
    fn a_convolution_is_burns_padded_on_the_left() {
        let device = test_device();
        let Mixer::Cnn(layers) = mixer(&config(1, 3), MixerKind::Cnn, &device) else { panic!() };
        let Linear { weight, bias, .. } = layers[0].linear.clone();
        let kernel = weight.val().reshape([3, 8, 8]).permute([2, 1, 0]); // [output, input, place]
        let input = vectors(2, 6, &device);
        let padded = Tensor::cat(vec![Tensor::zeros([2, 2, 8], &device), input.clone()], 1);
        let options = ConvOptions::new([1], [0], [1], 1);
        let expected = conv1d(padded.swap_dims(1, 2), kernel, bias.map(|bias| bias.val()), options);
        let expected = relu(expected.swap_dims(1, 2));
        assert!(difference(layers[0].forward(input), expected) < 1e-5);
    }

    #[test]
    fn attention_without_positions_depends_on_what_stands_there_and_not_on_how_far() {
        let device = test_device().autodiff();
        let Mixer::Transformer(encoder) = mixer(&config(1, 1), MixerKind::Transformer, &device)
        else {
            panic!("another kind")
        };
        let words = vectors(1, 6, &device);
        let norms = |words: Tensor<3>| {
            jacobian_norms(words, 5, |x| encoder.layers[0].forward(x, Visibility::default(), None))
        };
        // The first five words in another order, at other distances from the last.
        let order = [3, 0, 4, 1, 2, 5];
        let indices = Tensor::<1, Int>::from_data(order, &device.clone().inner());
        let (before, after) = (norms(words.clone()), norms(words.select(1, indices)));
        for (place, word) in order.into_iter().enumerate() {
            let (before, after) = (before[word as usize], after[place]);
            assert!((before - after).abs() < 1e-5 * before.abs().max(1.0), "{before} {after}");
        }
        let spread = before[..5].iter().copied().fold(0.0, f64::max)
            / before[..5].iter().copied().fold(f64::INFINITY, f64::min);
        assert!(spread > 1.1, "relevance differs: {before:?}");
    }
}
