//! Dropout from a random stream (Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, 2014).

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use emberline_core::Stream;

/// Sets each number to zero with a probability and scales the rest, so that means stay.
///
/// Only with a stream: training passes one, everything else passes `None`. There is no training flag.
#[derive(Module, Debug)]
pub struct Dropout {
    /// The probability of zero, in `[0, 1)`.
    pub probability: f64,
}

impl Dropout {
    /// Drops by the stream, or returns the input where there is none.
    ///
    /// # Panics
    /// If the probability is not in `[0, 1)`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>, stream: Option<Stream>) -> Tensor<D> {
        let probability = self.probability;
        assert!((0.0..1.0).contains(&probability), "a dropout probability of {probability}");
        let Some(stream) = stream.filter(|_| probability > 0.0) else { return input };
        let shape = input.shape();
        let kept = (1.0 / (1.0 - probability)) as f32;
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
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn dropout_drops_its_share_keeps_the_mean_and_is_repeatable() {
        let device = crate::test_device().autodiff();
        let ones = Tensor::<2>::ones([100, 100], &device);
        let dropped = Dropout { probability: 0.3 }.forward(ones.clone(), Some(Stream::new(1)));
        let again = Dropout { probability: 0.3 }.forward(ones.clone(), Some(Stream::new(1)));
        let values = dropped.into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(values, again.into_data().try_into_vec::<f32>().unwrap());
        let zeros = values.iter().filter(|value| **value == 0.0).count() as f64;
        let sigma = (10_000.0f64 * 0.3 * 0.7).sqrt();
        assert!((zeros - 3000.0).abs() < 4.0 * sigma, "{zeros} of 10000 dropped");
        assert!(values.iter().all(|value| *value == 0.0 || *value == 1.0 / 0.7));

        let untouched = Dropout { probability: 0.3 }.forward(ones, None);
        assert!(untouched.into_data().iter::<f32>().all(|value| value == 1.0));
    }
}
