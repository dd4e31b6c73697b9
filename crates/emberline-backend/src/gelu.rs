//! The Gaussian error linear unit (Hendrycks and Gimpel, 2016) as one operation, in its three published forms.
//!
//! ```text
//! exact   x Φ(x) = x (1 + erf(x / √2)) / 2                     Φ: the distribution function of N(0, 1)
//! tanh    x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2           GPT-1, GPT-2
//! quick   x σ(1.702 x)
//! ```
//!
//! They are not interchangeable: exact and tanh differ by up to 4.7e-4, near ±2.7.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, tanh};
use serde::{Deserialize, Serialize};

/// The form of a GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gelu {
    /// By the error function (BERT).
    Exact,
    /// By the hyperbolic tangent (GPT-1, GPT-2).
    Tanh,
    /// By the logistic function.
    Quick,
}

/// `√(2/π)`.
const SCALE: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;
const QUICK: f64 = 1.702;

impl Gelu {
    /// Applies it to every number.
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if crate::flex::runs_natively(&input) {
            return crate::flex::fused::run(self, vec![input.into_dispatch()]);
        }
        self.portable(input)
    }

    fn portable<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            // Not Burn's own: on some devices its gradient is that of another form.
            Self::Exact => {
                let share = (input.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0;
                input * share * 0.5
            }
            Self::Tanh => {
                let cube = input.clone() * input.clone() * input.clone();
                let share = tanh((input.clone() + cube * CUBIC) * SCALE) + 1.0;
                input * share * 0.5
            }
            Self::Quick => input.clone() * sigmoid(input * QUICK),
        }
    }
}

#[cfg(feature = "flex")]
mod native {
    use std::mem::MaybeUninit;

    use burn::tensor::DType;
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use super::{CUBIC, Gelu, QUICK, SCALE};
    use crate::flex::fused::FusedOperation;
    use crate::flex::simd::{self, Kernel};
    use crate::flex::{Real, slice, tensor_like, written};

    /// Numbers that one thread takes at once.
    const BLOCK: usize = 8 * 1024;

    impl FusedOperation for Gelu {
        fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
            match arguments[0].dtype() {
                DType::F64 => forward::<f64>(*self, &arguments[0]),
                _ => forward::<f32>(*self, &arguments[0]),
            }
        }

        fn backward(
            &self,
            arguments: &[FlexTensor],
            _results: Vec<FlexTensor>,
            gradient: FlexTensor,
            _is_tracked: &[bool],
        ) -> Vec<FlexTensor> {
            match arguments[0].dtype() {
                DType::F64 => vec![backward::<f64>(*self, &arguments[0], &gradient)],
                _ => vec![backward::<f32>(*self, &arguments[0], &gradient)],
            }
        }
    }

    fn forward<T: Real>(form: Gelu, input: &FlexTensor) -> FlexTensor {
        let values = slice::<T>(input);
        let write = |output: &mut [MaybeUninit<T>]| {
            let blocks = output.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK));
            blocks.for_each(|(output, input)| simd::run(Forward { form, input, output }));
        };
        // SAFETY: every block is written.
        tensor_like(unsafe { written(values.len(), write) }, input)
    }

    fn backward<T: Real>(form: Gelu, input: &FlexTensor, gradient: &FlexTensor) -> FlexTensor {
        let (values, gradient) = (slice::<T>(input), slice::<T>(gradient));
        let write = |output: &mut [MaybeUninit<T>]| {
            let blocks = output.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK));
            blocks.zip(gradient.par_chunks(BLOCK)).for_each(|((output, input), gradient)| {
                simd::run(Backward { form, input, gradient, output });
            });
        };
        // SAFETY: every block is written.
        tensor_like(unsafe { written(values.len(), write) }, input)
    }

    struct Forward<'a, T> {
        form: Gelu,
        input: &'a [T],
        output: &'a mut [MaybeUninit<T>],
    }

    impl<T: Real> Kernel for Forward<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            let numbers = self.output.iter_mut().zip(self.input);
            // One loop a form: a choice within the loop would keep it from vector code.
            match self.form {
                Gelu::Exact => numbers.for_each(|(y, x)| _ = y.write(*x * exact::<T, FMA>(*x))),
                Gelu::Tanh => numbers.for_each(|(y, x)| _ = y.write(*x * tanh::<T, FMA>(*x))),
                Gelu::Quick => numbers.for_each(|(y, x)| _ = y.write(*x * quick::<T, FMA>(*x))),
            }
        }
    }

    struct Backward<'a, T> {
        form: Gelu,
        input: &'a [T],
        gradient: &'a [T],
        output: &'a mut [MaybeUninit<T>],
    }

    impl<T: Real> Kernel for Backward<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            let numbers = self.output.iter_mut().zip(self.input.iter().zip(self.gradient));
            match self.form {
                Gelu::Exact => numbers.for_each(|(d, (x, dy))| {
                    // The density of the normal distribution.
                    let density =
                        T::from_f64(0.5 * SCALE) * (T::from_f64(-0.5) * *x * *x).exp::<FMA>();
                    d.write(*dy * x.mul_add::<FMA>(density, exact::<T, FMA>(*x)));
                }),
                Gelu::Tanh => numbers.for_each(|(d, (x, dy))| {
                    let share = tanh::<T, FMA>(*x);
                    // With t = 2 s - 1: (1 - t²) / 2 = 2 s (1 - s).
                    let slope = T::from_f64(2.0) * share * (T::ONE - share);
                    let inner = (*x * *x).mul_add::<FMA>(T::from_f64(3.0 * CUBIC), T::ONE);
                    let slope = slope * T::from_f64(SCALE) * inner;
                    d.write(*dy * x.mul_add::<FMA>(slope, share));
                }),
                Gelu::Quick => numbers.for_each(|(d, (x, dy))| {
                    let share = quick::<T, FMA>(*x);
                    let slope = T::from_f64(QUICK) * share * (T::ONE - share);
                    d.write(*dy * x.mul_add::<FMA>(slope, share));
                }),
            }
        }
    }

    // The share s of x that passes: the result is `x s`, and its slope `s + x s'`.

    #[inline(always)]
    fn exact<T: Real, const FMA: bool>(x: T) -> T {
        let root = T::from_f64(std::f64::consts::FRAC_1_SQRT_2);
        T::from_f64(0.5) * (T::ONE + (x * root).erf::<FMA>())
    }

    #[inline(always)]
    fn tanh<T: Real, const FMA: bool>(x: T) -> T {
        let sum = (x * x * x).mul_add::<FMA>(T::from_f64(CUBIC), x);
        T::from_f64(0.5) * (T::ONE + (T::from_f64(SCALE) * sum).tanh::<FMA>())
    }

    #[inline(always)]
    fn quick<T: Real, const FMA: bool>(x: T) -> T {
        (T::from_f64(QUICK) * x).sigmoid::<FMA>()
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::testing::{agree, finite_differences};

    const FORMS: [Gelu; 3] = [Gelu::Exact, Gelu::Tanh, Gelu::Quick];

    #[test]
    fn values_are_those_of_the_definitions() {
        let table = [
            (-3.0, [-0.00404969, -0.00363739, -0.01807131]),
            (-1.0, [-0.15865525, -0.15880801, -0.15420423]),
            (0.5, [0.34573123, 0.34571401, 0.35038844]),
            (2.0, [1.95449974, 1.95459769, 1.93565862]),
        ];
        let device = crate::test_device();
        for (dtype, tolerance) in [(DType::F64, 5e-9), (DType::F32, 5e-7)] {
            for (x, expected) in table {
                let x = Tensor::<1>::from_data([x], (&device, dtype));
                for (form, expected) in FORMS.into_iter().zip(expected) {
                    let found = form.forward(x.clone()).into_scalar::<f64>();
                    assert!((found - expected).abs() < tolerance, "{form:?}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn both_bodies_agree_in_values_and_gradients() {
        for form in FORMS {
            agree(&[vec![37]], |t| {
                // From about -7 to 7.
                let x = t[0].clone() * 4.0;
                (form.forward(x.clone()), form.portable(x))
            });
        }
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        for form in FORMS {
            finite_differences(&[vec![19]], |t| form.forward(t[0].clone() * 4.0));
        }
    }

    #[test]
    fn far_out_it_is_zero_or_the_identity() {
        let device = crate::test_device();
        for form in FORMS {
            let x = Tensor::<1>::from_data([-60.0f32, 60.0], &device);
            let found = form.forward(x).into_data().try_into_vec::<f32>().unwrap();
            assert!(found[0].abs() < 1e-30 && found[1] == 60.0, "{form:?}: {found:?}");
        }
    }

    #[test]
    fn a_nan_is_never_hidden() {
        for form in FORMS {
            let x = Tensor::<1>::from_data([f32::NAN], &crate::test_device());
            assert!(form.forward(x).into_scalar::<f32>().is_nan(), "{form:?}");
        }
    }
}
