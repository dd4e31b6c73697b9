//! The sum of squares of a tensor, which the norm of all gradients is made of: `Σ xᵢ²`.
//!
//! It has the same bits at any number of threads. Flex's own `sum` has not: it adds the parts of a
//! large tensor in the order in which threads finish them.

use burn::tensor::Tensor;

/// The sum of the squares, `[1]`, without history.
///
/// On Flex the squares are added as f64, block by block in a fixed order.
pub fn square_sum<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let tensor = tensor.inner();
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&tensor) {
        return native::square_sum(tensor);
    }
    tensor.square().sum()
}

#[cfg(feature = "flex")]
mod native {
    use burn::backend::Flex;
    use burn::tensor::{DType, Tensor};
    use rayon::prelude::*;

    /// Numbers in a block: a constant, so that the order of additions is one too.
    const BLOCK: usize = 64 * 1024;

    /// Partial sums within a block, which fill the vector registers.
    const LANES: usize = 8;

    pub fn square_sum<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
        let (device, dtype) = (tensor.device(), tensor.dtype());
        let tensor = tensor.try_into_primitive::<Flex>().expect("the tensor is on Flex");
        let tensor = if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() };
        let sum = match dtype {
            DType::F32 => square_sum_f32(tensor.as_slice().expect("contiguous f32")),
            _ => square_sum_f64(tensor.as_slice().expect("contiguous f64")),
        };
        Tensor::from_data([sum], (&device, dtype))
    }

    macro_rules! square_sum {
        ($name:ident, $float:ty) => {
            fn $name(numbers: &[$float]) -> f64 {
                let blocks: Vec<f64> = numbers
                    .par_chunks(BLOCK)
                    .map(|block| {
                        let mut lanes = [0.0f64; LANES];
                        let groups = block.chunks_exact(LANES);
                        let rest: f64 =
                            groups.remainder().iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                        for group in groups {
                            for (lane, x) in lanes.iter_mut().zip(group) {
                                *lane += f64::from(*x) * f64::from(*x);
                            }
                        }
                        lanes.iter().sum::<f64>() + rest
                    })
                    .collect();
                blocks.iter().sum()
            }
        };
    }

    square_sum!(square_sum_f32, f32);
    square_sum!(square_sum_f64, f64);
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, TensorData};

    use super::*;
    use crate::test_device;

    #[test]
    fn the_squares_of_the_first_numbers_add_up_to_the_closed_form() {
        // Exact in f32, and on one line of a block no multiple of the lanes.
        let numbers = Tensor::<1, Int>::arange(1..101, &test_device()).float().reshape([4, 25]);
        let sum = square_sum(numbers.transpose()).into_scalar::<f32>();
        assert_eq!(sum, 100.0 * 101.0 * 201.0 / 6.0);
    }

    #[test]
    fn millions_of_small_squares_do_not_drown_in_the_large_one() {
        // In f32, 8192² + 1 would lose the ones.
        let mut numbers = vec![1.0f32; 5_000_000];
        numbers[0] = 8192.0;
        let numbers = Tensor::<1>::from_data(TensorData::new(numbers, [5_000_000]), &test_device());
        let sum = square_sum(numbers).into_scalar::<f32>();
        let expected = 8192.0f32 * 8192.0 + 4_999_999.0;
        assert!((sum / expected - 1.0).abs() < 1e-6, "{sum} is not {expected}");
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let numbers = emberline_core::Stream::new(1).normals(300_000, 1.0);
        let numbers = Tensor::<1>::from_data(TensorData::new(numbers, [300_000]), &test_device());
        let sums = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| square_sum(numbers.clone()).into_scalar::<f32>().to_bits())
        });
        assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    }
}
