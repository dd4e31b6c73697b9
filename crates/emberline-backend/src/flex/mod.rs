//! What the native bodies share: tensors as slices, matrix products, and kernels compiled for the
//! vector instructions of the machine they run on.

pub(crate) mod columns;
pub(crate) mod few_rows;
pub(crate) mod fused;
pub(crate) mod int8;
pub(crate) mod lanes;
pub(crate) mod matrix;
pub(crate) mod once;
pub(crate) mod packed;
pub(crate) mod real;
pub(crate) mod simd;
pub(crate) mod tensors;
mod tile;
pub(crate) mod vector;

use std::mem::MaybeUninit;

use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_flex::FlexTensor;

use matrix::Matrix;
pub(crate) use real::Real;

/// Whether the tensors of this device are Flex's, with or without gradients.
pub(crate) fn is_flex(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), burn::backend::DispatchDevice::Flex(_))
}

/// Whether the native bodies take this tensor: on Flex, in one of their two number types.
pub(crate) fn runs_natively<const D: usize>(tensor: &Tensor<D>) -> bool {
    is_flex(&tensor.device()) && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// Runs an operation on a thread of the pool. Each of its parallel parts then starts on a thread that is awake;
/// started from outside, each would wait to be handed over and back.
pub(crate) fn in_pool<R: Send>(operation: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| operation())
}

/// A vector of which `write` fills every element. Without the zeros that a vector is otherwise made of: to write them
/// takes one thread as long as a simple operation takes all of them.
///
/// # Safety
/// `write` leaves no element as it was.
pub(crate) unsafe fn written<T: Real>(
    length: usize,
    write: impl FnOnce(&mut [MaybeUninit<T>]),
) -> Vec<T> {
    let mut values = Vec::with_capacity(length);
    write(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: the capacity is at least the length, and every element was written.
    unsafe { values.set_len(length) };
    values
}

/// The numbers of a contiguous tensor.
///
/// # Panics
/// If the tensor is not contiguous or of another type.
pub(crate) fn slice<T: Real>(tensor: &FlexTensor) -> &[T] {
    tensor.as_slice().expect("a contiguous tensor of the kernel's type")
}

/// The matrix of a tensor's last two axes at an index of the axes before, wherever its rows are.
///
/// # Panics
/// If the tensor is of another type, or an axis is stored backwards.
pub(crate) fn strided<T: Real, const D: usize>(
    tensor: &FlexTensor,
    index: [usize; D],
) -> Matrix<'_, T> {
    let layout = tensor.layout();
    let stride = |axis: usize| -> usize {
        layout.strides()[axis].try_into().expect("an axis that is stored forwards")
    };
    let before: usize = index.iter().enumerate().map(|(axis, i)| i * stride(axis)).sum();
    Matrix {
        values: &tensor.storage()[layout.start_offset() + before..],
        rows: layout.shape()[D],
        columns: layout.shape()[D + 1],
        row_stride: stride(D),
        column_stride: stride(D + 1),
    }
}

/// A new tensor of the given numbers, without a copy.
pub(crate) fn tensor<T: Real, const D: usize>(values: Vec<T>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A new tensor of as many axes as the shape has, without a copy.
pub(crate) fn tensor_of<T: Real>(values: Vec<T>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A new tensor of the shape of another, without a copy.
pub(crate) fn tensor_like<T: Real>(values: Vec<T>, like: &FlexTensor) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, like.layout().shape().clone()))
}
