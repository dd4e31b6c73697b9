//! Weights of int8, as [`Linear`](crate::Linear) and [`Embedding`](crate::Embedding) hold them beside their parameter.

use burn::module::Param;
use burn::tensor::{Int, Tensor};

/// Weights of int8, or none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Int8 {
    #[cfg(feature = "flex")]
    matrix: Option<std::sync::Arc<crate::flex::int8::Int8Matrix>>,
}

impl Int8 {
    /// Rounds the columns of a parameter `[d_input, d_output]`, or its rows if it `is_transposed`, and leaves it to be
    /// made of what they were rounded to when somebody asks for it. Only f32 on Flex without gradients is rounded;
    /// everything else stays as it is.
    pub(crate) fn round(
        parameter: Param<Tensor<2>>,
        is_transposed: bool,
    ) -> (Param<Tensor<2>>, Self) {
        #[cfg(feature = "flex")]
        {
            let weight = parameter.val();
            let device = weight.device();
            let is_plain = !device.is_autodiff() && weight.dtype() == burn::tensor::DType::F32;
            if is_plain && crate::flex::runs_natively(&weight) {
                let shape = weight.dims();
                let matrix = std::sync::Arc::new(native::round(weight, is_transposed));
                let int8 = Self { matrix: Some(matrix.clone()) };
                let values = move || native::numbers(&matrix, is_transposed);
                return (emberline_core::parameters::lazy(shape, &device, values), int8);
            }
        }
        let _ = is_transposed;
        (parameter, Self::default())
    }

    /// `input W + bias`, and ReLU where it `rectifies`; nothing where there are no weights of int8, or they cannot take
    /// the input.
    #[cfg_attr(not(feature = "flex"), expect(clippy::unused_self))]
    pub(crate) fn affine<const D: usize>(
        &self,
        input: &Tensor<D>,
        bias: Option<&Tensor<1>>,
        rectifies: bool,
    ) -> Option<Tensor<D>> {
        #[cfg(feature = "flex")]
        if let Some(matrix) = &self.matrix
            && native::takes(input)
        {
            let mut arguments = vec![input.clone().into_dispatch()];
            arguments.extend(bias.map(|bias| bias.clone().into_dispatch()));
            let operation = native::Affine { matrix: matrix.clone(), rectifies };
            return Some(crate::flex::fused::run(operation, arguments));
        }
        let _ = (input, bias, rectifies);
        None
    }

    /// The rows of tokens of a table `[vocab_size, d]` that was rounded by rows, `[batch_size, seq_length, d]`;
    /// nothing where there is no such table.
    #[cfg_attr(not(feature = "flex"), expect(clippy::unused_self))]
    pub(crate) fn lookup(&self, tokens: &Tensor<2, Int>) -> Option<Tensor<3>> {
        #[cfg(feature = "flex")]
        if let Some(matrix) = &self.matrix {
            return Some(native::lookup(matrix, tokens.clone()));
        }
        let _ = tokens;
        None
    }
}

#[cfg(feature = "flex")]
mod native {
    use std::sync::Arc;

    use burn::backend::Flex;
    use burn::tensor::{DType, Int, Tensor, TensorData};
    use burn_flex::FlexTensor;

    use crate::embedding::rows_of;
    use crate::flex::fused::FusedOperation;
    use crate::flex::int8::Int8Matrix;
    use crate::flex::matrix::Matrix;
    use crate::flex::{in_pool, runs_natively, slice, tensor_of};

    pub(super) fn round(weight: Tensor<2>, is_transposed: bool) -> Int8Matrix {
        let [rows, columns] = weight.dims();
        // Not as data, which would be a copy while somebody else holds the weight.
        let weight = weight.try_into_primitive::<Flex>().expect("a weight of Flex").to_contiguous();
        let matrix = Matrix::new(slice(&weight), rows, columns);
        let matrix = if is_transposed { matrix.transposed() } else { matrix };
        in_pool(|| Int8Matrix::new(matrix))
    }

    /// The parameter again, of what it was rounded to.
    pub(super) fn numbers(matrix: &Int8Matrix, is_transposed: bool) -> Vec<f32> {
        let [k, n] = matrix.shape();
        let columns = (0..n).flat_map(|column| matrix.column(column));
        if is_transposed {
            return columns.collect();
        }
        let mut numbers = vec![0.0; k * n];
        for (place, number) in columns.enumerate() {
            numbers[place % k * n + place / k] = number;
        }
        numbers
    }

    pub(super) fn takes<const D: usize>(input: &Tensor<D>) -> bool {
        runs_natively(input) && input.dtype() == DType::F32 && !input.device().is_autodiff()
    }

    pub(super) fn lookup(table: &Int8Matrix, tokens: Tensor<2, Int>) -> Tensor<3> {
        let ([_, vocab_size], [batch_size, seq_length], device) =
            (table.shape(), tokens.dims(), tokens.device());
        let rows = rows_of(tokens, vocab_size);
        let numbers: Vec<f32> = rows.into_iter().flat_map(|row| table.column(row)).collect();
        let [d, _] = table.shape();
        Tensor::from_data(TensorData::new(numbers, [batch_size, seq_length, d]), &device)
    }

    #[derive(Debug)]
    pub(super) struct Affine {
        pub(super) matrix: Arc<Int8Matrix>,
        pub(super) rectifies: bool,
    }

    impl FusedOperation for Affine {
        fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
            let [k, n] = self.matrix.shape();
            let input = slice(&arguments[0]);
            let input = Matrix::new(input, input.len() / k, k);
            let bias = arguments.get(1).map(slice);
            let output = self.matrix.affine(input, bias, self.rectifies);
            let mut shape = arguments[0].layout().shape().to_vec();
            *shape.last_mut().expect("the axis of d_input") = n;
            tensor_of(output, shape)
        }

        fn backward(
            &self,
            _: &[FlexTensor],
            _: Vec<FlexTensor>,
            _: FlexTensor,
            _: &[bool],
        ) -> Vec<FlexTensor> {
            unreachable!("inputs with gradients are multiplied by the parameter")
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, TensorData};
    use emberline_core::Stream;

    use super::*;
    use crate::{Embedding, Linear, LinearConfig};

    fn normal<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
        let numbers = Stream::new(seed).normals(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(numbers, shape), device)
    }

    fn largest<const D: usize>(tensor: Tensor<D>) -> f32 {
        tensor.abs().max().into_scalar::<f32>()
    }

    fn layer(device: &Device) -> Linear {
        let mut layer = LinearConfig::new(96, 37).init(Stream::new(1), device);
        layer.weight = Param::from_tensor(normal(2, [96, 37], device));
        layer
    }

    #[test]
    fn a_layer_of_int8_is_the_layer_within_half_a_level_of_every_weight() {
        let device = crate::test_device();
        let (plain, input) = (layer(&device), normal(3, [2, 5, 96], &device));
        let rounded = plain.clone().into_int8();
        let found = rounded.forward(input.clone());
        // Every weight is off by half of a 127th of its column's largest at most.
        let weight = plain.weight.val();
        let half = weight.clone().abs().max_dim(0).mul_scalar(0.5 / 127.0); // [1, 37]
        let bound = input.clone().abs().sum_dim(2) * half.unsqueeze::<3>(); // [2, 5, 37]
        let difference = (found.clone() - plain.forward(input.clone())).abs();
        assert!(largest(difference.clone()) > 0.0);
        assert!((difference - bound * 1.001).max().into_scalar::<f32>() < 0.0);
        // Against the rounded weights only the input is rounded, to many more levels.
        let again = input.clone().matmul(rounded.weight.val().unsqueeze());
        let bias = rounded.bias.as_ref().unwrap().val();
        assert!(largest(found - again - bias.unsqueeze()) < 2e-3);
        let rectified = rounded.forward_relu(input.clone());
        let expected = rounded.forward(input).clamp_min(0.0);
        rectified.into_data().assert_eq(&expected.into_data(), true);
    }

    #[test]
    fn a_table_of_int8_is_looked_up_and_scored_as_what_it_was_rounded_to() {
        let device = crate::test_device();
        let table = normal(4, [21, 33], &device);
        let plain = Embedding::new(Param::from_tensor(table));
        let rounded = plain.clone().into_int8();
        let tokens = Tensor::<2, Int>::from_data([[3, 20], [0, 3]], &device);
        let found = rounded.forward(tokens.clone());
        let difference = largest(found.clone() - plain.forward(tokens));
        assert!(difference > 0.0 && difference < 4.0 / 254.0, "{difference}");
        let of_table = rounded.weight.val().narrow(0, 3, 1);
        found
            .slice([0..1, 0..1, 0..33])
            .reshape([1, 33])
            .into_data()
            .assert_eq(&of_table.into_data(), true);
        let hidden = normal(5, [4, 33], &device);
        let expected = hidden.clone().matmul(rounded.weight.val().transpose());
        assert!(largest(rounded.scores(hidden) - expected) < 2e-3);
    }

    #[test]
    fn where_gradients_are_kept_nothing_is_rounded() {
        let device = crate::test_device().autodiff();
        let (plain, input) = (layer(&device), normal(3, [5, 96], &device));
        let expected = plain.forward(input.clone()).into_data();
        plain.into_int8().forward(input).into_data().assert_eq(&expected, true);
    }
}
