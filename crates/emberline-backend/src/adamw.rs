//! AdamW in one pass (Loshchilov and Hutter, 2019, "Decoupled Weight Decay Regularization"), with
//! the arithmetic of torch.
//!
//! Written with tensor operations the update is a dozen passes over memory that is several times
//! the size of the model. Here each number of the parameter, the gradient and the two moments is
//! read once, and the three that change are written where they are.

use burn::tensor::Tensor;

/// The numbers of one update of AdamW.
///
/// `m ← β₁ m + (1 - β₁) g`, `v ← β₂ v + (1 - β₂) g²`,
/// `p ← (1 - η λ) p - η / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)`; without the two corrections where the optimizer has none
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// η of this update.
    pub learning_rate: f64,
    /// β₁, the decay of the mean of the gradients.
    pub beta_1: f64,
    /// β₂, the decay of the mean of their squares.
    pub beta_2: f64,
    /// ε, added to the root.
    pub epsilon: f64,
    /// λ; 0 is Adam.
    pub weight_decay: f64,
    /// t: how many updates the moments have seen, this one included.
    pub time: usize,
    /// Whether the moments, which start at 0, are made larger in the first updates.
    pub corrects_bias: bool,
}

/// The parts of an update that are equal for all numbers of a tensor.
#[derive(Clone, Copy)]
struct Factors {
    keep: f64,
    beta_1: f64,
    beta_2: f64,
    root_correction: f64,
    epsilon: f64,
    step_size: f64,
}

impl AdamWStep {
    fn factors(&self) -> Factors {
        let correction =
            |beta: f64| if self.corrects_bias { 1.0 - beta.powf(self.time as f64) } else { 1.0 };
        Factors {
            keep: 1.0 - self.learning_rate * self.weight_decay,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            root_correction: 1.0 / correction(self.beta_2).sqrt(),
            epsilon: self.epsilon,
            step_size: self.learning_rate / correction(self.beta_1),
        }
    }
}

/// One update of one parameter: the new parameter and its two moments.
///
/// On Flex this happens in place, as far as nobody else holds the tensors.
///
/// # Shapes
/// - every tensor, in and out: that of the parameter
///
/// # Panics
/// If the shapes differ, or `time` is 0.
pub fn adamw_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moment_1: Tensor<D>,
    moment_2: Tensor<D>,
    step: &AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    for other in [gradient.dims(), moment_1.dims(), moment_2.dims()] {
        assert_eq!(parameter.dims(), other, "parameter, gradient and moments have one shape");
    }
    assert!(step.time > 0, "the first update has the time 1");
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&parameter) {
        return native::step(parameter, gradient, moment_1, moment_2, &step.factors());
    }
    portable(parameter, gradient, moment_1, moment_2, &step.factors())
}

fn portable<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moment_1: Tensor<D>,
    moment_2: Tensor<D>,
    factors: &Factors,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let moment_1 = moment_1 * factors.beta_1 + gradient.clone() * (1.0 - factors.beta_1);
    let moment_2 = moment_2 * factors.beta_2 + gradient.square() * (1.0 - factors.beta_2);
    let root = moment_2.clone().sqrt() * factors.root_correction + factors.epsilon;
    let parameter = parameter * factors.keep - moment_1.clone() / root * factors.step_size;
    (parameter, moment_1, moment_2)
}

#[cfg(feature = "flex")]
mod native {
    use burn::backend::Flex;
    use burn::tensor::{DType, Tensor};
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use super::Factors;
    use crate::flex::simd::{self, Kernel};

    /// Numbers a thread updates at a time: the four arrays of a chunk fit into the second-level cache.
    const CHUNK: usize = 16 * 1024;

    pub fn step<const D: usize>(
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        moment_1: Tensor<D>,
        moment_2: Tensor<D>,
        factors: &Factors,
    ) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
        let [parameter, gradient, moment_1, moment_2] =
            [parameter, gradient, moment_1, moment_2].map(whole);
        let (parameter, moment_1, moment_2) =
            step_flex(parameter, gradient, moment_1, moment_2, factors);
        let tensor = Tensor::from_primitive::<Flex>;
        (tensor(parameter), tensor(moment_1), tensor(moment_2))
    }

    /// The storage of a tensor, in the order of its indices and without anything around it.
    fn whole<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
        let tensor = tensor.try_into_primitive::<Flex>().expect("the tensor is on Flex");
        let (start, length) = (tensor.layout().start_offset(), tensor.layout().num_elements());
        let is_whole = tensor.is_contiguous()
            && start == 0
            && tensor.bytes().len() == length * tensor.dtype().size();
        if is_whole { tensor } else { tensor.to_contiguous() }
    }

    fn step_flex(
        mut parameter: FlexTensor,
        gradient: FlexTensor,
        mut moment_1: FlexTensor,
        mut moment_2: FlexTensor,
        factors: &Factors,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        match parameter.dtype() {
            DType::F32 => update_f32(
                parameter.storage_mut(),
                gradient.storage(),
                moment_1.storage_mut(),
                moment_2.storage_mut(),
                factors,
            ),
            DType::F64 => update_f64(
                parameter.storage_mut(),
                gradient.storage(),
                moment_1.storage_mut(),
                moment_2.storage_mut(),
                factors,
            ),
            other => unreachable!("no native update for {other:?}"),
        }
        (parameter, moment_1, moment_2)
    }

    macro_rules! update {
        ($name:ident, $float:ty) => {
            fn $name(
                parameter: &mut [$float],
                gradient: &[$float],
                moment_1: &mut [$float],
                moment_2: &mut [$float],
                factors: &Factors,
            ) {
                struct Chunk<'a> {
                    parameter: &'a mut [$float],
                    gradient: &'a [$float],
                    moment_1: &'a mut [$float],
                    moment_2: &'a mut [$float],
                    factors: &'a Factors,
                }

                impl Kernel for Chunk<'_> {
                    // Not fused anywhere, so that every machine rounds alike.
                    #[inline(always)]
                    fn body<const FMA: bool>(self) {
                        let Factors { keep, beta_1, beta_2, .. } = *self.factors;
                        // 1 - β is rounded once, from f64, as torch does.
                        let (new_1, new_2) = ((1.0 - beta_1) as $float, (1.0 - beta_2) as $float);
                        let (beta_1, beta_2) = (beta_1 as $float, beta_2 as $float);
                        let keep = keep as $float;
                        let root_correction = self.factors.root_correction as $float;
                        let epsilon = self.factors.epsilon as $float;
                        let step_size = self.factors.step_size as $float;
                        let moments = self.moment_1.iter_mut().zip(self.moment_2);
                        let numbers = self.parameter.iter_mut().zip(self.gradient);
                        for ((p, g), (m, v)) in numbers.zip(moments) {
                            *m = beta_1 * *m + new_1 * g;
                            *v = beta_2 * *v + new_2 * g * g;
                            *p =
                                keep * *p - step_size * *m / (v.sqrt() * root_correction + epsilon);
                        }
                    }
                }

                parameter
                    .par_chunks_mut(CHUNK)
                    .zip(gradient.par_chunks(CHUNK))
                    .zip(moment_1.par_chunks_mut(CHUNK))
                    .zip(moment_2.par_chunks_mut(CHUNK))
                    .for_each(|(((parameter, gradient), moment_1), moment_2)| {
                        simd::run(Chunk { parameter, gradient, moment_1, moment_2, factors });
                    });
            }
        };
    }

    update!(update_f32, f32);
    update!(update_f64, f64);
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData, Tolerance};
    use emberline_core::Stream;

    use super::*;
    use crate::test_device;

    const STEP: AdamWStep = AdamWStep {
        learning_rate: 0.1,
        beta_1: 0.9,
        beta_2: 0.99,
        epsilon: 1e-3,
        weight_decay: 0.5,
        time: 1,
        corrects_bias: true,
    };

    fn vector(numbers: &[f64]) -> Tensor<1> {
        Tensor::from_data(TensorData::from(numbers), (&test_device(), DType::F64))
    }

    fn random(seed: u64) -> Tensor<2> {
        // More than two chunks, and no multiple of one.
        let numbers = Stream::new(seed).normals(3 * 16_411, 1.0);
        Tensor::from_data(TensorData::new(numbers, [3, 16_411]), &test_device())
    }

    fn number(tensor: &Tensor<1>) -> f64 {
        tensor.to_data().iter::<f64>().next().unwrap()
    }

    /// At the first update the corrected moments are g and g², at the second they are these sums.
    #[test]
    fn two_updates_follow_the_paper() {
        let (start, first, second) = (2.0, -3.0, 0.5);
        let zero = vector(&[0.0]);
        let (parameter, moment_1, moment_2) =
            adamw_step(vector(&[start]), vector(&[first]), zero.clone(), zero, &STEP);
        let expected = start * (1.0 - 0.1 * 0.5) - 0.1 * first / (first.abs() + 1e-3);
        assert!((number(&parameter) - expected).abs() < 1e-12);

        let step = AdamWStep { time: 2, ..STEP };
        let (parameter, ..) = adamw_step(parameter, vector(&[second]), moment_1, moment_2, &step);
        let mean: f64 = (0.9 * 0.1 * first + 0.1 * second) / (1.0 - 0.81);
        let square: f64 =
            (0.99 * 0.01 * first.powi(2) + 0.01 * second.powi(2)) / (1.0 - 0.99f64.powi(2));
        let expected = expected * (1.0 - 0.1 * 0.5) - 0.1 * mean / (square.sqrt() + 1e-3);
        assert!((number(&parameter) - expected).abs() < 1e-12);
    }

    /// BERT's: the first moments are 0.1 g and 0.01 g².
    #[test]
    fn a_first_update_without_correction_is_larger_by_a_tenth_over_the_root_of_a_hundredth() {
        let zero = vector(&[0.0]);
        let step = AdamWStep { corrects_bias: false, ..STEP };
        let (parameter, ..) =
            adamw_step(vector(&[2.0]), vector(&[-3.0]), zero.clone(), zero, &step);
        let expected = 2.0 * (1.0 - 0.1 * 0.5) + 0.1 * 0.3 / (0.3 + 1e-3);
        assert!((number(&parameter) - expected).abs() < 1e-12);
    }

    #[test]
    fn the_two_bodies_agree() {
        let moment_2 = random(4).square();
        let step = AdamWStep { time: 7, ..STEP };
        let fused = adamw_step(random(1), random(2), random(3), moment_2.clone(), &step);
        let plain = portable(random(1), random(2), random(3), moment_2, &step.factors());
        for (fused, plain) in [(fused.0, plain.0), (fused.1, plain.1), (fused.2, plain.2)] {
            fused
                .into_data()
                .assert_approx_eq::<f32>(&plain.into_data(), Tolerance::rel_abs(1e-5, 1e-6));
        }
    }

    #[test]
    fn a_transposed_gradient_is_read_by_its_indices() {
        let (parameter, moment) = (random(1), random(3).square());
        let gradient = random(2);
        let transposed = gradient.clone().transpose().reshape([3, 16_411]);
        let view = Tensor::<2>::from_data(transposed.to_data(), &test_device())
            .reshape([16_411, 3])
            .transpose();
        let (direct, ..) =
            adamw_step(parameter.clone(), gradient, moment.clone(), moment.clone(), &STEP);
        let (viewed, ..) = adamw_step(parameter, view, moment.clone(), moment, &STEP);
        viewed.into_data().assert_eq(&direct.into_data(), true);
    }

    #[cfg(feature = "flex")]
    #[test]
    fn on_flex_unshared_tensors_are_updated_in_place_and_shared_ones_are_not_touched() {
        if !crate::flex::runs_natively(&random(1)) {
            return;
        }
        let address = |tensor: &Tensor<2>| crate::storage_address(tensor).unwrap();
        let (parameter, moment_1, moment_2) = (random(1), random(3), random(4).square());
        let before = [&parameter, &moment_1, &moment_2].map(address);
        let (parameter, moment_1, moment_2) =
            adamw_step(parameter, random(2), moment_1, moment_2, &STEP);
        assert_eq!([&parameter, &moment_1, &moment_2].map(address), before);

        let (shared, data) = (parameter.clone(), parameter.to_data());
        let (changed, ..) = adamw_step(parameter, random(2), moment_1, moment_2, &STEP);
        shared.to_data().assert_eq(&data, true);
        assert_ne!(address(&changed), address(&shared));
    }
}
