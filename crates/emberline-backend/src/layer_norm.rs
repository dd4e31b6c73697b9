//! Layer normalisation (Ba, Kiros and Hinton: "Layer normalization", 2016) as one operation.
//!
//! Each row, the last axis, is brought to mean 0 and variance 1 by itself, and then scaled and shifted:
//!
//! ```text
//! x̂ = (x - mean(x)) / √(var(x) + ε)        y = γ ⊙ x̂ + β
//! ```
//!
//! The variance is that of the row, divided by its width. Of the forward pass only mean and deviation of each
//! row are kept.

use burn::tensor::Tensor;

/// Normalises over the last axis.
///
/// # Shapes
/// - input: `[..., width]`
/// - gamma, beta: `[width]`
/// - output: `[..., width]`
///
/// # Panics
/// If the widths differ.
pub fn layer_norm<const D: usize>(
    input: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let width = input.dims()[D - 1];
    assert_eq!(gamma.dims(), [width], "the scale of a layer norm");
    assert_eq!(beta.dims(), [width], "the shift of a layer norm");
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&input) {
        let arguments = vec![input.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
        return crate::flex::fused::run(native::LayerNorm { epsilon }, arguments);
    }
    portable(input, gamma, beta, epsilon)
}

fn portable<const D: usize>(
    input: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let centred = input.clone() - input.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    centred / (variance + epsilon).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

#[cfg(feature = "flex")]
mod native {
    use std::mem::MaybeUninit;

    use burn::tensor::DType;
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use crate::flex::fused::FusedOperation;
    use crate::flex::lanes::sum_of;
    use crate::flex::simd::{self, Kernel};
    use crate::flex::{Real, slice, tensor_like, written};

    /// Rows that one thread takes at once: a constant, so that sums over rows have one order.
    const ROWS: usize = 64;

    #[derive(Debug)]
    pub(super) struct LayerNorm {
        pub(super) epsilon: f64,
    }

    impl FusedOperation for LayerNorm {
        fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
            self.forward_saving(arguments).swap_remove(0)
        }

        fn forward_saving(&self, arguments: &[FlexTensor]) -> Vec<FlexTensor> {
            match arguments[0].dtype() {
                DType::F64 => forward::<f64>(arguments, self.epsilon),
                _ => forward::<f32>(arguments, self.epsilon),
            }
        }

        fn backward(
            &self,
            arguments: &[FlexTensor],
            results: Vec<FlexTensor>,
            gradient: FlexTensor,
            _is_tracked: &[bool],
        ) -> Vec<FlexTensor> {
            match arguments[0].dtype() {
                DType::F64 => backward::<f64>(arguments, &results, &gradient),
                _ => backward::<f32>(arguments, &results, &gradient),
            }
        }
    }

    /// The output, and of each row its mean and the inverse of its deviation.
    fn forward<T: Real>(arguments: &[FlexTensor], epsilon: f64) -> Vec<FlexTensor> {
        let [input, gamma, beta] = arguments else { unreachable!("three arguments") };
        let (values, gamma, beta) = (slice::<T>(input), slice::<T>(gamma), slice::<T>(beta));
        let width = gamma.len().max(1);
        let mut statistics = vec![T::ZERO; values.len() / width * 2];
        let epsilon = T::from_f64(epsilon);
        let write = |output: &mut [MaybeUninit<T>]| {
            output
                .par_chunks_mut(ROWS * width)
                .zip(statistics.par_chunks_mut(ROWS * 2))
                .zip(values.par_chunks(ROWS * width))
                .for_each(|((output, statistics), input)| {
                    simd::run(Normalise { input, gamma, beta, epsilon, output, statistics });
                });
        };
        // SAFETY: every row of the output is written.
        let output = unsafe { written(values.len(), write) };
        let rows = statistics.len();
        vec![tensor_like(output, input), crate::flex::tensor(statistics, [rows])]
    }

    struct Normalise<'a, T> {
        input: &'a [T],
        gamma: &'a [T],
        beta: &'a [T],
        epsilon: T,
        output: &'a mut [MaybeUninit<T>],
        statistics: &'a mut [T],
    }

    impl<T: Real> Kernel for Normalise<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            let width = self.gamma.len();
            let per_number = T::ONE / T::from_f64(width as f64);
            let rows = self.input.chunks_exact(width).zip(self.output.chunks_exact_mut(width));
            for ((input, output), statistics) in rows.zip(self.statistics.chunks_exact_mut(2)) {
                let mean = sum_of(input, input, |x, _| x) * per_number;
                let centred = |x: T| x - mean;
                let variance = sum_of(input, input, |x, _| centred(x) * centred(x)) * per_number;
                let inverse = T::ONE / (variance + self.epsilon).sqrt();
                statistics.copy_from_slice(&[mean, inverse]);
                let numbers = input.iter().zip(self.gamma).zip(self.beta);
                for (y, ((x, gamma), beta)) in output.iter_mut().zip(numbers) {
                    y.write((centred(*x) * inverse).mul_add::<FMA>(*gamma, *beta));
                }
            }
        }
    }

    /// The gradients of input, scale and shift.
    fn backward<T: Real>(
        arguments: &[FlexTensor],
        results: &[FlexTensor],
        gradient: &FlexTensor,
    ) -> Vec<FlexTensor> {
        let [input, gamma, beta] = arguments else { unreachable!("three arguments") };
        let (values, statistics, gradient) =
            (slice::<T>(input), slice::<T>(&results[1]), slice::<T>(gradient));
        let scale = slice::<T>(gamma);
        let width = scale.len().max(1);
        let mut blocks: Vec<Vec<T>> = Vec::new();
        let write = |d_input: &mut [MaybeUninit<T>]| {
            let rows = d_input
                .par_chunks_mut(ROWS * width)
                .zip(values.par_chunks(ROWS * width))
                .zip(gradient.par_chunks(ROWS * width))
                .zip(statistics.par_chunks(ROWS * 2));
            let sums = rows.map(|(((d_input, input), gradient), statistics)| {
                let mut d_parameters = vec![T::ZERO; 2 * width];
                let (d_gamma, d_beta) = d_parameters.split_at_mut(width);
                let gamma = scale;
                simd::run(Back { input, gamma, gradient, statistics, d_input, d_gamma, d_beta });
                d_parameters
            });
            sums.collect_into_vec(&mut blocks);
        };
        // SAFETY: every row of the gradient is written.
        let d_input = unsafe { written(values.len(), write) };
        let mut d_gamma = vec![T::ZERO; width];
        let mut d_beta = vec![T::ZERO; width];
        for block in &blocks {
            let (gamma, beta) = block.split_at(width);
            d_gamma.iter_mut().zip(gamma).for_each(|(sum, value)| *sum += *value);
            d_beta.iter_mut().zip(beta).for_each(|(sum, value)| *sum += *value);
        }
        vec![tensor_like(d_input, input), tensor_like(d_gamma, gamma), tensor_like(d_beta, beta)]
    }

    /// With g = γ ⊙ dy: `dx = (g - mean(g) - x̂ mean(g ⊙ x̂)) / √(var + ε)`, `dγ = Σ dy ⊙ x̂`, `dβ = Σ dy`.
    struct Back<'a, T> {
        input: &'a [T],
        gamma: &'a [T],
        gradient: &'a [T],
        statistics: &'a [T],
        d_input: &'a mut [MaybeUninit<T>],
        d_gamma: &'a mut [T],
        d_beta: &'a mut [T],
    }

    impl<T: Real> Kernel for Back<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            let width = self.gamma.len();
            let per_number = T::ONE / T::from_f64(width as f64);
            let rows = self.input.chunks_exact(width).zip(self.gradient.chunks_exact(width));
            let rows = rows.zip(self.d_input.chunks_exact_mut(width));
            // g and x̂ of a row.
            let mut scaled = vec![T::ZERO; width];
            let mut normal = vec![T::ZERO; width];
            for (((input, gradient), d_input), statistics) in
                rows.zip(self.statistics.chunks_exact(2))
            {
                let (mean, inverse) = (statistics[0], statistics[1]);
                let row = input.iter().zip(gradient).zip(self.gamma);
                let kept = scaled.iter_mut().zip(&mut normal);
                let sums = self.d_gamma.iter_mut().zip(&mut *self.d_beta);
                for ((((x, dy), gamma), (g, normal)), (d_gamma, d_beta)) in row.zip(kept).zip(sums)
                {
                    *normal = (*x - mean) * inverse;
                    *g = *dy * *gamma;
                    *d_gamma = dy.mul_add::<FMA>(*normal, *d_gamma);
                    *d_beta += *dy;
                }
                let mean_g = sum_of(&scaled, &normal, |g, _| g) * per_number;
                let mean_product = sum_of(&scaled, &normal, |g, x| g * x) * per_number;
                for (d, (g, normal)) in d_input.iter_mut().zip(scaled.iter().zip(&normal)) {
                    d.write(inverse * (*g - mean_g - *normal * mean_product));
                }
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{DType, TensorData};
    use emberline_core::Stream;

    use super::*;
    use crate::testing::{agree, finite_differences, random};

    #[test]
    fn a_row_gets_mean_zero_and_variance_one() {
        // Mean 2, variance 2/3: -1, 0, 1 times √1.5, but for ε.
        let device = crate::test_device();
        let input = Tensor::<2>::from_data([[1.0f64, 2.0, 3.0]], (&device, DType::F64));
        let ones = Tensor::ones([3], (&device, DType::F64));
        let output = layer_norm(input, ones.clone(), ones.zeros_like(), 0.0).into_data();
        let expected = [-1.5f64.sqrt(), 0.0, 1.5f64.sqrt()];
        for (found, expected) in output.iter::<f64>().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
    }

    #[test]
    fn both_bodies_agree_in_values_and_gradients() {
        // More rows than a block, a width of registers and a part of one, and a row of tiny variance.
        for (rows, width) in [(150, 37), (3, 16), (1, 1)] {
            let arguments = [vec![rows, width], vec![width], vec![width]];
            agree(&arguments, |t| {
                let [x, gamma, beta] = [0, 1, 2].map(|i| t[i].clone());
                let x = x.reshape([rows, width]);
                let native = layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-5);
                let plain = portable(x, gamma, beta, 1e-5);
                (native.reshape([rows * width]), plain.reshape([rows * width]))
            });
        }
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        finite_differences(&[vec![3, 5], vec![5], vec![5]], |t| {
            let x = t[0].clone().reshape([3, 5]);
            layer_norm(x, t[1].clone(), t[2].clone(), 1e-5).reshape([15])
        });
    }

    #[test]
    fn a_row_of_tiny_variance_shows_the_epsilon() {
        let device = crate::test_device();
        let values = Stream::new(3).normals(8, 1e-4);
        let input = Tensor::<2>::from_data(TensorData::new(values, [1, 8]), &device);
        let (ones, zeros) = (Tensor::ones([8], &device), Tensor::zeros([8], &device));
        let large = |epsilon| {
            let output = layer_norm(input.clone(), ones.clone(), zeros.clone(), epsilon);
            output.abs().max().into_scalar::<f32>()
        };
        assert!(large(1e-12) > 1.0 && large(1e-5) < 0.1, "{} {}", large(1e-12), large(1e-5));
    }

    #[test]
    fn operands_may_be_views() {
        let device = crate::test_device();
        let x = random("x", &[12], &device).reshape([3, 4]);
        let (gamma, beta) = (random("g", &[3], &device), random("b", &[3], &device));
        let copied =
            Tensor::<2>::from_data(x.clone().transpose().into_data(), (&device, DType::F64));
        let found = layer_norm(x.transpose(), gamma.clone(), beta.clone(), 1e-5).into_data();
        found.assert_eq(&layer_norm(copied, gamma, beta, 1e-5).into_data(), true);
    }
}
