//! The embedding table of every model.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use emberline_core::parameters::lazy;
use emberline_core::{HeadWeights, Stream};

use crate::int8::Int8;
use crate::linear::head_scores;

/// A vector for each token: the product of its one-hot vector with a matrix, without the product.
#[derive(Module, Debug)]
pub struct Embedding {
    /// The vectors as rows, `[vocab_size, d_embedding]`.
    pub weight: Param<Tensor<2>>,
    #[module(skip)]
    int8: Int8,
}

impl Embedding {
    /// Rows of the normal distribution with the given standard deviation.
    pub fn init(
        vocab_size: usize,
        d_embedding: usize,
        deviation: f64,
        random: Stream,
        device: &Device,
    ) -> Self {
        let values = move || random.named("weight").normals(vocab_size * d_embedding, deviation);
        Self::new(lazy([vocab_size, d_embedding], device, values))
    }

    /// The table `[vocab_size, d_embedding]`.
    pub fn new(weight: Param<Tensor<2>>) -> Self {
        Self { weight, int8: Int8::default() }
    }

    /// The table as int8, a scale for each token: for inference on the CPU, as
    /// [`Linear::into_int8`](crate::Linear::into_int8).
    #[must_use]
    pub fn into_int8(self) -> Self {
        let (weight, int8) = Int8::round(self.weight, true);
        Self { weight, int8 }
    }

    /// Looks the tokens up.
    ///
    /// # Shapes
    /// - tokens: `[batch_size, seq_length]`
    /// - output: `[batch_size, seq_length, d_embedding]`
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        match self.int8.lookup(&tokens) {
            Some(vectors) => vectors,
            None => lookup(self.weight.val(), tokens),
        }
    }

    /// The scores of the tokens where the table is the head, too.
    ///
    /// # Shapes
    /// - hidden: `[n, d_embedding]`
    /// - output: `[n, vocab_size]`
    ///
    /// # Panics
    /// If the last axis is not `d_embedding`.
    pub fn scores(&self, hidden: Tensor<2>) -> Tensor<2> {
        let [_, d_embedding] = self.weight.lazy_shape().dims();
        assert_eq!(hidden.dims()[1], d_embedding, "the width of what a table scores");
        match self.int8.affine(&hidden, None, false) {
            Some(scores) => scores,
            None => head_scores(HeadWeights::tied(self.weight.val(), None), hidden),
        }
    }
}

fn lookup(table: Tensor<2>, tokens: Tensor<2, Int>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&table) {
        let shape = tokens.dims();
        let rows = rows_of(tokens, table.dims()[0]);
        return crate::flex::fused::run(
            native::Lookup { rows, shape },
            vec![table.into_dispatch()],
        );
    }
    burn::tensor::module::embedding(table, tokens)
}

/// The rows of tokens in a table.
///
/// # Panics
/// If it has no such row.
#[cfg(feature = "flex")]
pub(crate) fn rows_of(tokens: Tensor<2, Int>, vocab_size: usize) -> Vec<usize> {
    let row = |token: i64| match usize::try_from(token) {
        Ok(row) if row < vocab_size => row,
        _ => panic!("token {token} of a table of {vocab_size}"),
    };
    tokens.into_data().iter::<i64>().map(row).collect()
}

#[cfg(feature = "flex")]
mod native {
    use std::mem::MaybeUninit;

    use burn::tensor::DType;
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use crate::flex::fused::FusedOperation;
    use crate::flex::{Real, slice, tensor, tensor_like, written};

    /// Rows that one thread takes at once.
    const ROWS: usize = 64;

    #[derive(Debug)]
    pub(super) struct Lookup {
        pub(super) rows: Vec<usize>,
        /// `[batch_size, seq_length]`.
        pub(super) shape: [usize; 2],
    }

    impl FusedOperation for Lookup {
        fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
            match arguments[0].dtype() {
                DType::F64 => self.forward::<f64>(&arguments[0]),
                _ => self.forward::<f32>(&arguments[0]),
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
                DType::F64 => vec![self.backward::<f64>(&arguments[0], &gradient)],
                _ => vec![self.backward::<f32>(&arguments[0], &gradient)],
            }
        }
    }

    impl Lookup {
        fn forward<T: Real>(&self, table: &FlexTensor) -> FlexTensor {
            let width = table.layout().shape()[1];
            let table = slice::<T>(table);
            let write = |output: &mut [MaybeUninit<T>]| {
                let blocks = output.par_chunks_mut((ROWS * width).max(1));
                blocks.zip(self.rows.par_chunks(ROWS)).for_each(|(output, rows)| {
                    for (output, row) in output.chunks_exact_mut(width).zip(rows) {
                        output.write_copy_of_slice(&table[row * width..][..width]);
                    }
                });
            };
            // SAFETY: every row is written.
            let output = unsafe { written(self.rows.len() * width, write) };
            tensor(output, [self.shape[0], self.shape[1], width])
        }

        /// Zeros, and to each row of the table what its tokens add, in their order. Most of the time goes into the zeros,
        /// which is why each thread writes those of its own rows.
        fn backward<T: Real>(&self, table: &FlexTensor, gradient: &FlexTensor) -> FlexTensor {
            let [vocab_size, width] = table.layout().shape().dims();
            let gradient = slice::<T>(gradient);
            let mut places: Vec<usize> = (0..self.rows.len()).collect();
            places.sort_by_key(|place| self.rows[*place]);
            let write = |output: &mut [MaybeUninit<T>]| {
                let blocks = output.par_chunks_mut((ROWS * width).max(1)).enumerate();
                blocks.for_each(|(block, output)| {
                    output.fill(MaybeUninit::new(T::ZERO));
                    // SAFETY: all of it has just been written.
                    let output = unsafe { output.assume_init_mut() };
                    let first = block * ROWS;
                    let start = places.partition_point(|place| self.rows[*place] < first);
                    for place in &places[start..] {
                        let row = self.rows[*place] - first;
                        if row >= ROWS {
                            break;
                        }
                        let added = &gradient[place * width..][..width];
                        let sums = &mut output[row * width..][..width];
                        sums.iter_mut().zip(added).for_each(|(sum, added)| *sum += *added);
                    }
                });
            };
            // SAFETY: every row is written.
            tensor_like(unsafe { written(vocab_size * width, write) }, table)
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::testing::agree;

    #[test]
    fn tokens_are_rows_of_the_table_and_their_gradients_add_up() {
        let device = crate::test_device().autodiff();
        let mut embedding = Embedding::init(3, 2, 1.0, Stream::new(0), &device);
        embedding.weight = Param::from_data([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
        let vectors = embedding.forward(Tensor::from_data([[2, 0, 2]], &device));
        let expected = TensorData::from([[[5.0f32, 6.0], [1.0, 2.0], [5.0, 6.0]]]);
        vectors.clone().into_data().assert_eq(&expected, true);
        let gradient = embedding.weight.val().grad(&vectors.sum().backward()).unwrap();
        let expected = TensorData::from([[1.0f32, 1.0], [0.0, 0.0], [2.0, 2.0]]);
        gradient.into_data().assert_eq(&expected, true);
    }

    #[test]
    fn both_bodies_agree_in_values_and_gradients() {
        // More tokens than a block and more words, in no order.
        let ids: Vec<i32> = (0..70).map(|index| index * 37 % 130).collect();
        agree(&[vec![130, 3]], |t| {
            let tokens = Tensor::from_data(TensorData::new(ids.clone(), [2, 35]), &t[0].device());
            let table = t[0].clone().reshape([130, 3]);
            let plain = burn::tensor::module::embedding(table.clone(), tokens.clone());
            (lookup(table, tokens).reshape([-1]), plain.reshape([-1]))
        });
    }

    #[test]
    #[should_panic(expected = "token 3 of a table of 3")]
    fn a_token_beyond_the_table_is_named() {
        let device = crate::test_device();
        let embedding = Embedding::init(3, 2, 1.0, Stream::new(0), &device);
        embedding.forward(Tensor::from_data([[0, 3]], &device));
    }
}
