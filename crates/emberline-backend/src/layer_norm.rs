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
    use burn::tensor::DType;
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use crate::flex::fused::FusedOperation;
    use crate::flex::lanes::{LANES, across, load, store};
    use crate::flex::simd::{self, Kernel};
    use crate::flex::{Real, slice, tensor_like};

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
        let mut output = vec![T::ZERO; values.len()];
        let mut statistics = vec![T::ZERO; values.len() / width * 2];
        output
            .par_chunks_mut(ROWS * width)
            .zip(statistics.par_chunks_mut(ROWS * 2))
            .zip(values.par_chunks(ROWS * width))
            .for_each(|((output, statistics), input)| {
                let epsilon = T::from_f64(epsilon);
                simd::run(Normalise { input, gamma, beta, epsilon, output, statistics });
            });
        let rows = statistics.len();
        vec![tensor_like(output, input), crate::flex::tensor(statistics, [rows])]
    }

    struct Normalise<'a, T> {
        input: &'a [T],
        gamma: &'a [T],
        beta: &'a [T],
        epsilon: T,
        output: &'a mut [T],
        statistics: &'a mut [T],
    }

    impl<T: Real> Kernel for Normalise<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            let width = self.gamma.len();
            let per_number = T::ONE / T::from_f64(width as f64);
            let rows = self.input.chunks_exact(width).zip(self.output.chunks_exact_mut(width));
            for ((input, output), statistics) in rows.zip(self.statistics.chunks_exact_mut(2)) {
                let mean = sum(input, |x| x) * per_number;
                let variance = sum(input, |x| (x - mean) * (x - mean)) * per_number;
                let inverse = T::ONE / (variance + self.epsilon).sqrt();
                statistics.copy_from_slice(&[mean, inverse]);
                for first in (0..width).step_by(LANES) {
                    let lanes = LANES.min(width - first);
                    let mut x = load(&input[first..], lanes);
                    let (gamma, beta) =
                        (load(&self.gamma[first..], lanes), load(&self.beta[first..], lanes));
                    for lane in 0..LANES {
                        x[lane] =
                            ((x[lane] - mean) * inverse).mul_add::<FMA>(gamma[lane], beta[lane]);
                    }
                    store(&mut output[first..], &x, lanes);
                }
            }
        }
    }

    /// `Σ f(x)` over a row: lane by lane in whole groups, and the rest one by one.
    #[inline(always)]
    fn sum<T: Real>(row: &[T], f: impl Fn(T) -> T) -> T {
        let mut sums = [T::ZERO; LANES];
        let groups = row.chunks_exact(LANES);
        let rest = groups.remainder().iter().fold(T::ZERO, |sum, x| sum + f(*x));
        for group in groups {
            for lane in 0..LANES {
                sums[lane] += f(group[lane]);
            }
        }
        across(sums) + rest
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
        let mut d_input = vec![T::ZERO; values.len()];
        let blocks: Vec<Vec<T>> = d_input
            .par_chunks_mut(ROWS * width)
            .zip(values.par_chunks(ROWS * width))
            .zip(gradient.par_chunks(ROWS * width))
            .zip(statistics.par_chunks(ROWS * 2))
            .map(|(((d_input, input), gradient), statistics)| {
                let mut d_parameters = vec![T::ZERO; 2 * width];
                let (d_gamma, d_beta) = d_parameters.split_at_mut(width);
                let gamma = scale;
                simd::run(Back { input, gamma, gradient, statistics, d_input, d_gamma, d_beta });
                d_parameters
            })
            .collect();
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
        d_input: &'a mut [T],
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
            for (((input, gradient), d_input), statistics) in
                rows.zip(self.statistics.chunks_exact(2))
            {
                let (mean, inverse) = (statistics[0], statistics[1]);
                let mut sums = [T::ZERO; LANES];
                let mut products = [T::ZERO; LANES];
                for first in (0..width).step_by(LANES) {
                    let lanes = LANES.min(width - first);
                    let (x, dy) = (load(&input[first..], lanes), load(&gradient[first..], lanes));
                    let gamma = load(&self.gamma[first..], lanes);
                    let (mut d_gamma, mut d_beta) =
                        (load(&self.d_gamma[first..], lanes), load(&self.d_beta[first..], lanes));
                    for lane in 0..LANES {
                        let normal = (x[lane] - mean) * inverse;
                        let g = dy[lane] * gamma[lane];
                        sums[lane] += g;
                        products[lane] = g.mul_add::<FMA>(normal, products[lane]);
                        d_gamma[lane] = dy[lane].mul_add::<FMA>(normal, d_gamma[lane]);
                        d_beta[lane] += dy[lane];
                    }
                    store(&mut self.d_gamma[first..], &d_gamma, lanes);
                    store(&mut self.d_beta[first..], &d_beta, lanes);
                }
                let (mean_g, mean_product) =
                    (across(sums) * per_number, across(products) * per_number);
                for first in (0..width).step_by(LANES) {
                    let lanes = LANES.min(width - first);
                    let (x, dy) = (load(&input[first..], lanes), load(&gradient[first..], lanes));
                    let gamma = load(&self.gamma[first..], lanes);
                    let mut d = [T::ZERO; LANES];
                    for lane in 0..LANES {
                        let normal = (x[lane] - mean) * inverse;
                        d[lane] =
                            inverse * (dy[lane] * gamma[lane] - mean_g - normal * mean_product);
                    }
                    store(&mut d_input[first..], &d, lanes);
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
