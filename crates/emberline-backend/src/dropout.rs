//! Dropout from a random stream (Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, 2014).

use burn::module::{Flag, Module, Param};
use burn::tensor::{Tensor, TensorData};
use emberline_core::Stream;

/// Sets each number to zero with a probability and scales the rest, so that means stay.
///
/// Only with a stream: training passes one, everything else passes `None`.
#[derive(Module, Debug)]
pub struct Dropout {
    /// The probability of zero, in `[0, 1)`.
    pub probability: f64,
    /// Off where what stands around it is frozen in a model that is trained.
    pub is_on: Param<Flag>,
}

impl Dropout {
    /// With a probability in `[0, 1)`.
    pub fn new(probability: f64) -> Self {
        Self { probability, is_on: Param::from_bool(true) }
    }

    /// The probability and the stream, for operations that drop by themselves; nothing where nothing is dropped.
    ///
    /// # Panics
    /// If the probability is not in `[0, 1)`.
    pub fn draws(&self, stream: Option<Stream>) -> Option<(f64, Stream)> {
        let probability = self.probability;
        assert!((0.0..1.0).contains(&probability), "a dropout probability of {probability}");
        let stream = stream.filter(|_| probability > 0.0 && self.is_on.is_enabled())?;
        Some((probability, stream))
    }

    /// Drops by the stream, or returns the input where there is none.
    ///
    /// # Panics
    /// If the probability is not in `[0, 1)`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>, stream: Option<Stream>) -> Tensor<D> {
        let Some((probability, stream)) = self.draws(stream) else { return input };
        #[cfg(feature = "flex")]
        if crate::flex::runs_natively(&input) {
            let operation = native::Drop { probability, stream };
            return crate::flex::fused::run(operation, vec![input.into_dispatch()]);
        }
        portable(input, probability, stream)
    }
}

/// The factor of a number that is not dropped.
fn kept(probability: f64) -> f32 {
    (1.0 / (1.0 - probability)) as f32
}

fn portable<const D: usize>(input: Tensor<D>, probability: f64, stream: Stream) -> Tensor<D> {
    let shape = input.shape();
    let kept = kept(probability);
    let mask: Vec<f32> = stream
        .uniform_sequence()
        .take(shape.num_elements())
        .map(|number| if number < probability { 0.0 } else { kept })
        .collect();
    // A constant of the plain device: no gradient is kept for it.
    let device = input.device().inner();
    let mask = Tensor::<D>::from_data(TensorData::new(mask, shape), (&device, input.dtype()));
    input * mask
}

/// The native body on Flex: nothing is kept for the backward pass, which draws the same numbers again.
#[cfg(feature = "flex")]
mod native {
    use burn::tensor::DType;
    use burn_flex::FlexTensor;
    use emberline_core::Stream;
    use rayon::prelude::*;

    use crate::flex::fused::FusedOperation;
    use crate::flex::lanes::{LANES, load, store};
    use crate::flex::simd::{self, Kernel};
    use crate::flex::{Real, slice, tensor_like};

    /// Numbers that one thread takes at once.
    const BLOCK: usize = 8 * 1024;

    #[derive(Clone, Copy, Debug)]
    pub(super) struct Drop {
        pub(super) probability: f64,
        pub(super) stream: Stream,
    }

    impl FusedOperation for Drop {
        fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
            self.apply(&arguments[0])
        }

        fn backward(
            &self,
            _arguments: &[FlexTensor],
            _results: Vec<FlexTensor>,
            gradient: FlexTensor,
            _is_tracked: &[bool],
        ) -> Vec<FlexTensor> {
            vec![self.apply(&gradient)]
        }
    }

    impl Drop {
        fn apply(self, input: &FlexTensor) -> FlexTensor {
            match input.dtype() {
                DType::F64 => apply::<f64>(self, input),
                _ => apply::<f32>(self, input),
            }
        }
    }

    fn apply<T: Real>(Drop { probability, stream }: Drop, input: &FlexTensor) -> FlexTensor {
        // A uniform number is a multiple of 2⁻⁵³: it is below the probability where that multiple is below this.
        let threshold = (probability * (1u64 << 53) as f64).ceil() as u64;
        let kept = T::from_f64(f64::from(super::kept(probability)));
        let values = slice::<T>(input);
        let mut output = vec![T::ZERO; values.len()];
        let blocks = output.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).enumerate();
        blocks.for_each(|(block, (output, input))| {
            let first = block * BLOCK;
            simd::run(Keep { stream, first, threshold, kept, input, output });
        });
        tensor_like(output, input)
    }

    struct Keep<'a, T> {
        stream: Stream,
        /// The index of the first number, which is even.
        first: usize,
        threshold: u64,
        kept: T,
        input: &'a [T],
        output: &'a mut [T],
    }

    impl<T: Real> Kernel for Keep<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            for first in (0..self.input.len()).step_by(LANES) {
                let lanes = LANES.min(self.input.len() - first);
                let mut group = load(&self.input[first..], lanes);
                let pairs =
                    self.stream.bit_pairs::<{ LANES / 2 }>(((self.first + first) / 2) as u64);
                for (value, bits) in group.iter_mut().zip(pairs.as_flattened()) {
                    let is_dropped = bits >> 11 < self.threshold;
                    *value = *value * if is_dropped { T::ZERO } else { self.kept };
                }
                store(&mut self.output[first..], &group, lanes);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::agree;

    #[test]
    fn both_bodies_drop_the_same_numbers_and_gradients() {
        for probability in [0.1, 0.5, 1e-17] {
            // More than one block, and part of a register.
            agree(&[vec![8 * 1024 + 19]], |t| {
                let stream = Stream::new(5);
                let native = Dropout::new(probability).forward(t[0].clone(), Some(stream));
                (native, portable(t[0].clone(), probability, stream))
            });
        }
    }

    #[test]
    fn dropout_drops_its_share_keeps_the_mean_and_is_repeatable() {
        let device = crate::test_device().autodiff();
        let ones = Tensor::<2>::ones([100, 100], &device);
        let dropped = Dropout::new(0.3).forward(ones.clone(), Some(Stream::new(1)));
        let again = Dropout::new(0.3).forward(ones.clone(), Some(Stream::new(1)));
        let values = dropped.into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(values, again.into_data().try_into_vec::<f32>().unwrap());
        let zeros = values.iter().filter(|value| **value == 0.0).count() as f64;
        let sigma = (10_000.0f64 * 0.3 * 0.7).sqrt();
        assert!((zeros - 3000.0).abs() < 4.0 * sigma, "{zeros} of 10000 dropped");
        assert!(values.iter().all(|value| *value == 0.0 || *value == 1.0 / 0.7));

        let untouched = Dropout::new(0.3).forward(ones, None);
        assert!(untouched.into_data().iter::<f32>().all(|value| value == 1.0));
    }
    #[test]
    fn what_is_frozen_drops_nothing() {
        let ones = Tensor::<2>::ones([10, 10], &crate::test_device().autodiff());
        let dropped = Dropout::new(0.3).freeze().forward(ones, Some(Stream::new(1)));
        assert!(dropped.into_data().iter::<f32>().all(|value| value == 1.0));
    }
}
