//! The linear layer of every model.

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_core::parameters::lazy;
use emberline_core::{HeadWeights, Stream};
use serde::{Deserialize, Serialize};

use crate::int8::Int8;
use crate::low_rank::LowRank;

/// The size of a [`Linear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinearConfig {
    /// The width of the input.
    pub d_input: usize,
    /// The width of the output.
    pub d_output: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// `y = x W + b`.
///
/// Weights of int8 are a part of it, and it knows the adapters of its weight ([`LowRank`]), which is why models use no other
/// linear layer.
#[derive(Module, Debug)]
pub struct Linear {
    /// W, `[d_input, d_output]`.
    pub weight: Param<Tensor<2>>,
    /// b, `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    int8: Int8,
}

impl LinearConfig {
    /// With a bias.
    pub fn new(d_input: usize, d_output: usize) -> Self {
        Self { d_input, d_output, bias: true }
    }

    /// Weights and bias uniform in `±1/√d_input`, as in `torch.nn.Linear`.
    pub fn init(&self, random: Stream, device: &Device) -> Linear {
        let Self { d_input, d_output, bias } = *self;
        let bound = 1.0 / (d_input as f64).sqrt();
        let weight = random.named("weight").uniforms(d_input * d_output, -bound, bound);
        let bias = bias.then(|| random.named("bias").uniforms(d_output, -bound, bound));
        Linear::new(
            Param::from_data(TensorData::new(weight, [d_input, d_output]), device),
            bias.map(|bias| Param::from_data(TensorData::new(bias, [d_output]), device)),
        )
    }

    /// Weights of the normal distribution with the given standard deviation, a bias of zeros; both are made when they
    /// are first asked for.
    pub fn init_normal(&self, deviation: f64, random: Stream, device: &Device) -> Linear {
        let Self { d_input, d_output, bias } = *self;
        let weight = move || random.named("weight").normals(d_input * d_output, deviation);
        Linear::new(
            lazy([d_input, d_output], device, weight),
            bias.then(|| lazy([d_output], device, move || vec![0.0; d_output])),
        )
    }
}

impl Linear {
    /// A layer of a weight `[d_input, d_output]` and a bias `[d_output]`.
    pub fn new(weight: Param<Tensor<2>>, bias: Option<Param<Tensor<1>>>) -> Self {
        Self { weight, bias, int8: Int8::default() }
    }

    /// The layer with weights of int8, a scale for each column, whose products take a quarter of the memory: for
    /// inference on the CPU. The parameter is now what it was rounded to. Where gradients are kept, in f64 and on other
    /// devices the layer stays as it is.
    #[must_use]
    pub fn into_int8(self) -> Self {
        let (weight, int8) = Int8::round(self.weight, false);
        Self { weight, int8, ..self }
    }

    /// Applies the layer to the last axis.
    ///
    /// # Shapes
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`
    ///
    /// # Panics
    /// If the last axis is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.affine(input, false)
    }

    /// The layer and ReLU after it, `max(0, x W + b)`.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_relu<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.affine(input, true)
    }

    fn affine<const D: usize>(&self, input: Tensor<D>, rectifies: bool) -> Tensor<D> {
        let [d_input, _] = self.weight.lazy_shape().dims();
        assert_eq!(input.dims()[D - 1], d_input, "the width of a linear layer's input");
        let bias = self.bias.as_ref().map(|bias| bias.val());
        let Some(low_rank) = self.weight.reparameterization::<LowRank>() else {
            return self.affine_of(input, || self.weight.val(), bias, rectifies);
        };
        let base = self.affine_of(input.clone(), || self.weight.base(), bias, false);
        let output = low_rank.adapters.iter().fold(base, |sum, adapter| {
            let input = adapter.input(input.clone());
            let low = affine(input, adapter.a.val(), None, false) * adapter.scale; // [..., rank]
            sum + affine(low, adapter.b.val(), None, false)
        });
        if rectifies { relu(output) } else { output }
    }

    /// With the weights of int8, where there are any, instead of `weight`.
    fn affine_of<const D: usize>(
        &self,
        input: Tensor<D>,
        weight: impl FnOnce() -> Tensor<2>,
        bias: Option<Tensor<1>>,
        rectifies: bool,
    ) -> Tensor<D> {
        match self.int8.affine(&input, bias.as_ref(), rectifies) {
            Some(output) => output,
            None => affine(input, weight(), bias, rectifies),
        }
    }
}

/// The scores of a head over a vocabulary, as [`HeadWeights::forward`] gives them. A tied table is read as it is.
///
/// # Shapes
/// - hidden: `[n, d_model]`
/// - output: `[n, vocab_size]`
///
/// # Panics
/// If the last axis of `hidden` is not `d_model`.
pub fn head_scores(head: HeadWeights, hidden: Tensor<2>) -> Tensor<2> {
    assert_eq!(hidden.dims()[1], head.d_model(), "the width of what a head scores");
    #[cfg(feature = "flex")]
    if native::pays(&hidden, &head.weight) {
        return native::run(
            hidden,
            head.weight,
            head.bias,
            native::Affine { rectifies: false, is_transposed: head.is_tied },
        );
    }
    head.forward(hidden)
}

/// `x W + b`, and ReLU where it `rectifies`.
fn affine<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    rectifies: bool,
) -> Tensor<D> {
    let [d_input, d_output] = weight.dims();
    assert_eq!(input.dims()[D - 1], d_input, "the width of a linear layer's input");
    assert!(
        bias.as_ref().is_none_or(|bias| bias.dims() == [d_output]),
        "the width of a linear layer's bias"
    );
    #[cfg(feature = "flex")]
    if native::pays(&input, &weight) {
        let operation = native::Affine { rectifies, is_transposed: false };
        return native::run(input, weight, bias, operation);
    }
    portable(input, weight, bias, rectifies)
}

fn portable<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    rectifies: bool,
) -> Tensor<D> {
    let output = burn::tensor::module::linear(input, weight, bias);
    if rectifies { relu(output) } else { output }
}

#[cfg(feature = "flex")]
mod native {
    use std::mem::MaybeUninit;

    use burn::tensor::{DType, Tensor};
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use crate::flex::fused::FusedOperation;
    use crate::flex::lanes::{LANES, load, store};
    use crate::flex::matrix::Matrix;
    use crate::flex::simd::{self, Kernel};
    use crate::flex::{Real, runs_natively, slice, tensor_like, written};
    use crate::flex::{few_rows, once};

    /// Rows from which on a product is worth a copy of its weights.
    const ROWS: usize = 64;

    /// Whether this body takes a product: Burn's own takes few rows where they have gradients.
    pub(super) fn pays<const D: usize>(input: &Tensor<D>, weight: &Tensor<2>) -> bool {
        let dims = input.dims();
        let n_rows: usize = dims[..D - 1].iter().product();
        let is_full = n_rows > 0 && dims[D - 1] > 0 && weight.dims()[1] > 0;
        let is_tracked = input.device().is_autodiff();
        is_full && runs_natively(input) && (n_rows >= ROWS || !is_tracked)
    }

    #[derive(Debug)]
    pub(super) struct Affine {
        pub(super) rectifies: bool,
        /// Whether the weight is `[d_output, d_input]`.
        pub(super) is_transposed: bool,
    }

    pub(super) fn run<const D: usize>(
        input: Tensor<D>,
        weight: Tensor<2>,
        bias: Option<Tensor<1>>,
        operation: Affine,
    ) -> Tensor<D> {
        let mut arguments = vec![input.into_dispatch(), weight.into_dispatch()];
        arguments.extend(bias.map(Tensor::into_dispatch));
        crate::flex::fused::run(operation, arguments)
    }

    impl FusedOperation for Affine {
        fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
            match arguments[0].dtype() {
                DType::F64 => self.output::<f64>(arguments),
                _ => self.output::<f32>(arguments),
            }
        }

        fn backward(
            &self,
            arguments: &[FlexTensor],
            results: Vec<FlexTensor>,
            gradient: FlexTensor,
            is_tracked: &[bool],
        ) -> Vec<FlexTensor> {
            let output = self.rectifies.then(|| &results[0]);
            match arguments[0].dtype() {
                DType::F64 => self.gradients::<f64>(arguments, output, &gradient, is_tracked),
                _ => self.gradients::<f32>(arguments, output, &gradient, is_tracked),
            }
        }
    }

    fn matrix<T: Real>(tensor: &FlexTensor, columns: usize) -> Matrix<'_, T> {
        let values = slice::<T>(tensor);
        Matrix::new(values, values.len() / columns, columns)
    }

    impl Affine {
        /// W, `[d_input, d_output]`, wherever its columns are.
        fn weight<'a, T: Real>(&self, arguments: &'a [FlexTensor]) -> Matrix<'a, T> {
            let [_, columns] = arguments[1].layout().shape().dims();
            let weight = matrix(&arguments[1], columns);
            if self.is_transposed { weight.transposed() } else { weight }
        }

        fn output<T: Real>(&self, arguments: &[FlexTensor]) -> FlexTensor {
            let weight = self.weight::<T>(arguments);
            let input = matrix(&arguments[0], weight.rows);
            let bias = arguments.get(2).map(slice::<T>);
            let output = match input.rows < ROWS {
                true => few_rows::affine(input, weight, bias, self.rectifies),
                false => once::affine(input, weight, bias, self.rectifies),
            };
            let mut shape = arguments[0].layout().shape().to_vec();
            *shape.last_mut().expect("the axis of d_input") = weight.columns;
            crate::flex::tensor_of(output, shape)
        }

        /// With dZ the gradient, where the output is not zero if it was rectified:
        ///
        /// ```text
        /// dX = dZ Wᵀ      dW = Xᵀ dZ      db = Σ_rows dZ
        /// ```
        fn gradients<T: Real>(
            &self,
            arguments: &[FlexTensor],
            output: Option<&FlexTensor>,
            gradient: &FlexTensor,
            is_tracked: &[bool],
        ) -> Vec<FlexTensor> {
            let weight = self.weight::<T>(arguments);
            let input = matrix::<T>(&arguments[0], weight.rows);
            let kept = output.map(|output| passed::<T>(slice(output), slice(gradient)));
            let gradient = kept.as_deref().unwrap_or_else(|| slice(gradient));
            let gradient = Matrix::new(gradient, input.rows, weight.columns);
            let of = |index: usize| -> Option<Vec<T>> {
                is_tracked.get(index).is_some_and(|tracked| *tracked).then(|| match index {
                    0 => once::product(gradient, weight.transposed()),
                    1 if self.is_transposed => once::product(gradient.transposed(), input),
                    1 => once::product(input.transposed(), gradient),
                    _ => sums_of_columns(gradient),
                })
            };
            let gradients = arguments.iter().enumerate().map(|(index, argument)| match of(index) {
                Some(gradient) => tensor_like(gradient, argument),
                None => argument.clone(),
            });
            gradients.collect()
        }
    }

    /// The gradient where ReLU has passed its input.
    fn passed<T: Real>(output: &[T], gradient: &[T]) -> Vec<T> {
        const BLOCK: usize = 8 * 1024;
        let write = |passed: &mut [MaybeUninit<T>]| {
            let blocks = passed.par_chunks_mut(BLOCK).zip(output.par_chunks(BLOCK));
            blocks.zip(gradient.par_chunks(BLOCK)).for_each(|((passed, output), gradient)| {
                simd::run(Passed { passed, output, gradient });
            });
        };
        // SAFETY: every block is written.
        unsafe { written(output.len(), write) }
    }

    struct Passed<'a, T> {
        passed: &'a mut [MaybeUninit<T>],
        output: &'a [T],
        gradient: &'a [T],
    }

    impl<T: Real> Kernel for Passed<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            for ((passed, y), dy) in self.passed.iter_mut().zip(self.output).zip(self.gradient) {
                passed.write(if *y > T::ZERO { *dy } else { T::ZERO });
            }
        }
    }

    fn sums_of_columns<T: Real>(matrix: Matrix<T>) -> Vec<T> {
        let mut sums = vec![T::ZERO; matrix.columns];
        sums.par_chunks_mut(LANES).enumerate().for_each(|(block, sums)| {
            simd::run(SumOfRows { matrix, first: block * LANES, sums });
        });
        sums
    }

    /// The sums of at most [`LANES`] columns from `first` on, each in the order of the rows.
    struct SumOfRows<'a, T> {
        matrix: Matrix<'a, T>,
        first: usize,
        sums: &'a mut [T],
    }

    impl<T: Real> Kernel for SumOfRows<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            let mut sums = [T::ZERO; LANES];
            for row in 0..self.matrix.rows {
                let row = load(&self.matrix.row(row)[self.first..], self.sums.len());
                sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
            }
            store(self.sums, &sums, self.sums.len());
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::{agree, finite_differences};

    #[test]
    fn a_linear_layer_is_x_w_plus_b() {
        let device = crate::test_device();
        let mut linear = LinearConfig::new(2, 3).init(Stream::new(0), &device);
        linear.weight = Param::from_data([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
        linear.bias = Some(Param::from_data([0.5, 0.0, -0.5], &device));
        let output = linear.forward(Tensor::<2>::from_data([[1.0, 10.0]], &device));
        output.into_data().assert_eq(&TensorData::from([[41.5f32, 52.0, 62.5]]), true);
    }

    #[test]
    fn initial_weights_lie_within_the_bound_of_torch() {
        let linear = LinearConfig::new(16, 50).init(Stream::new(0), &crate::test_device());
        let values = linear.weight.val().into_data().try_into_vec::<f32>().unwrap();
        assert!(values.iter().all(|value| value.abs() <= 0.25));
        assert!(values.iter().any(|value| value.abs() > 0.24));
    }

    #[test]
    fn both_bodies_agree_in_values_and_gradients() {
        for rectifies in [false, true] {
            for has_bias in [false, true] {
                // As many rows as it pays for, in two axes; columns that fill no panel.
                agree(&[vec![2, 40, 19], vec![19, 37], vec![37]], |t| {
                    let [input, weight] = [t[0].clone(), t[1].clone()];
                    let input = input.reshape([2, 40, 19]);
                    let weight = weight.reshape([19, 37]);
                    // Without a bias its gradient is one of its own sum.
                    let bias = has_bias.then(|| t[2].clone());
                    let run = |native: bool| {
                        let (input, weight) = (input.clone(), weight.clone());
                        let output = match native {
                            true => affine(input, weight, bias.clone(), rectifies),
                            false => portable(input, weight, bias.clone(), rectifies),
                        };
                        output.reshape([-1]) + t[2].clone().sum()
                    };
                    (run(true), run(false))
                });
            }
        }
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        finite_differences(&[vec![66, 3], vec![3, 5], vec![5]], |t| {
            let [input, weight] = [t[0].clone().reshape([66, 3]), t[1].clone().reshape([3, 5])];
            affine(input, weight, Some(t[2].clone()), true).reshape([-1])
        });
    }

    #[test]
    fn a_tied_head_is_scored_with_its_table_as_it_is() {
        for n in [3, 70] {
            agree(&[vec![n, 19], vec![37, 19], vec![37]], |t| {
                let head = HeadWeights::tied(t[1].clone().reshape([37, 19]), Some(t[2].clone()));
                let hidden = t[0].clone().reshape([n, 19]);
                let found = head_scores(head.clone(), hidden.clone());
                (found.reshape([-1]), head.forward(hidden).reshape([-1]))
            });
            let device = crate::test_device();
            let random = |name: &str, shape: [usize; 2]| -> Tensor<2> {
                let values = Stream::new(1).named(name).normals(shape[0] * shape[1], 1.0);
                Tensor::from_data(TensorData::new(values, shape), &device)
            };
            let head = HeadWeights::tied(random("table", [37, 19]), None);
            let hidden = random("hidden", [n, 19]);
            let difference = head_scores(head.clone(), hidden.clone()) - head.forward(hidden);
            assert!(difference.abs().max().into_scalar::<f32>() < 1e-5);
        }
    }

    #[test]
    fn relu_hides_no_nan() {
        let device = crate::test_device();
        let layer = LinearConfig::new(1, 1).init(Stream::new(0), &device);
        for rows in [1, 64] {
            let input = Tensor::<2>::full([rows, 1], f32::NAN, &device);
            assert!(layer.forward_relu(input).max().into_scalar::<f32>().is_nan(), "{rows} rows");
        }
    }
}
