//! The scores of additive attention (Bahdanau, Cho, Bengio: "Neural machine translation by jointly learning to align and
//! translate", 2015) as one operation.
//!
//! ```text
//! e_tj = v · tanh(q_t + k_j)
//! ```
//!
//! The hyperbolic tangents, as many as there are pairs times their width, are computed and summed at once, and again on
//! the way back: only queries, keys and scores are ever in memory.

use burn::tensor::Tensor;

/// Scores every query with every key.
///
/// # Shapes
/// - query: `[batch_size, query_length, width]`
/// - key: `[batch_size, key_length, width]`
/// - vector: `[width]`
/// - output: `[batch_size, query_length, key_length]`
///
/// # Panics
/// If shapes do not fit, or there is no key or no width.
pub fn additive_scores(query: Tensor<3>, key: Tensor<3>, vector: Tensor<1>) -> Tensor<3> {
    let [batch_size, _, width] = query.dims();
    let [_, key_length, _] = key.dims();
    assert_eq!(key.dims(), [batch_size, key_length, width], "keys of additive scores");
    assert_eq!(vector.dims(), [width], "the vector of additive scores");
    assert!(key_length > 0 && width > 0, "{key_length} keys of {width} numbers to score");
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&query) {
        let shape = [batch_size, query.dims()[1], key_length];
        let arguments = vec![query.into_dispatch(), key.into_dispatch(), vector.into_dispatch()];
        return crate::flex::fused::run(native::AdditiveScores { shape }, arguments);
    }
    portable(query, key, vector)
}

fn portable(query: Tensor<3>, key: Tensor<3>, vector: Tensor<1>) -> Tensor<3> {
    let [batch_size, query_length, width] = query.dims();
    let [_, key_length, _] = key.dims();
    let both = (query.unsqueeze_dim::<4>(2) + key.unsqueeze_dim(1)).tanh(); // [batch_size, query_length, key_length, width]
    let both = both.reshape([batch_size * query_length * key_length, width]);
    let scores = both.matmul(vector.unsqueeze_dim(1));
    scores.reshape([batch_size, query_length, key_length])
}

#[cfg(feature = "flex")]
mod native {
    use burn::tensor::DType;
    use burn_flex::FlexTensor;
    use rayon::prelude::*;

    use crate::flex::fused::FusedOperation;
    use crate::flex::lanes::{LANES, across, load, store};
    use crate::flex::simd::{self, Kernel};
    use crate::flex::{Real, slice, tensor, tensor_like};

    #[derive(Debug)]
    pub(super) struct AdditiveScores {
        /// `[batch_size, query_length, key_length]`.
        pub(super) shape: [usize; 3],
    }

    impl FusedOperation for AdditiveScores {
        fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
            match arguments[0].dtype() {
                DType::F64 => forward::<f64>(self.shape, arguments),
                _ => forward::<f32>(self.shape, arguments),
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
                DType::F64 => backward::<f64>(self.shape, arguments, &gradient),
                _ => backward::<f32>(self.shape, arguments, &gradient),
            }
        }
    }

    fn forward<T: Real>(shape: [usize; 3], arguments: &[FlexTensor]) -> FlexTensor {
        let [_, query_length, key_length] = shape;
        let [query, key, vector] = arguments else { unreachable!("three arguments") };
        let vector = slice::<T>(vector);
        let width = vector.len();
        let mut scores = vec![T::ZERO; shape.iter().product()];
        if query_length > 0 {
            scores
                .par_chunks_mut(query_length * key_length)
                .zip(slice::<T>(query).par_chunks(query_length * width))
                .zip(slice::<T>(key).par_chunks(key_length * width))
                .for_each(|((scores, query), key)| {
                    simd::run(Forward { query, key, vector, scores });
                });
        }
        tensor(scores, shape)
    }

    /// One row of the batch.
    struct Forward<'a, T> {
        query: &'a [T],
        key: &'a [T],
        vector: &'a [T],
        scores: &'a mut [T],
    }

    impl<T: Real> Kernel for Forward<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            let width = self.vector.len();
            let key_length = self.key.len() / width;
            let rows = self.query.chunks_exact(width);
            for (query, scores) in rows.zip(self.scores.chunks_exact_mut(key_length)) {
                for (key, score) in self.key.chunks_exact(width).zip(scores) {
                    let mut sums = [T::ZERO; LANES];
                    for first in (0..width).step_by(LANES) {
                        let lanes = LANES.min(width - first);
                        let (q, k) = (load(&query[first..], lanes), load(&key[first..], lanes));
                        let v = load(&self.vector[first..], lanes);
                        for lane in 0..LANES {
                            let both = (q[lane] + k[lane]).tanh::<FMA>();
                            sums[lane] = v[lane].mul_add::<FMA>(both, sums[lane]);
                        }
                    }
                    *score = across(sums);
                }
            }
        }
    }

    fn backward<T: Real>(
        shape: [usize; 3],
        arguments: &[FlexTensor],
        gradient: &FlexTensor,
    ) -> Vec<FlexTensor> {
        let [_, query_length, key_length] = shape;
        let [query, key, vector] = arguments else { unreachable!("three arguments") };
        let (queries, keys) = (slice::<T>(query), slice::<T>(key));
        let numbers = slice::<T>(vector);
        let width = numbers.len();
        let mut d_query = vec![T::ZERO; queries.len()];
        let mut d_key = vec![T::ZERO; keys.len()];
        let mut d_vector = vec![T::ZERO; width];
        if query_length > 0 {
            let rows: Vec<Vec<T>> = d_query
                .par_chunks_mut(query_length * width)
                .zip(d_key.par_chunks_mut(key_length * width))
                .zip(queries.par_chunks(query_length * width))
                .zip(keys.par_chunks(key_length * width))
                .zip(slice::<T>(gradient).par_chunks(query_length * key_length))
                .map(|((((d_query, d_key), query), key), gradient)| {
                    let mut sums = vec![T::ZERO; width];
                    let (vector, d_vector) = (numbers, &mut sums[..]);
                    simd::run(Backward { query, key, vector, gradient, d_query, d_key, d_vector });
                    sums
                })
                .collect();
            // In the order of the rows, whatever the number of threads.
            for row in &rows {
                d_vector.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
            }
        }
        vec![tensor_like(d_query, query), tensor_like(d_key, key), tensor_like(d_vector, vector)]
    }

    /// One row of the batch. With u = tanh(q + k): `dq = dk = de v ⊙ (1 - u²)` and `dv = de u`, summed over the pairs.
    struct Backward<'a, T> {
        query: &'a [T],
        key: &'a [T],
        vector: &'a [T],
        gradient: &'a [T],
        d_query: &'a mut [T],
        d_key: &'a mut [T],
        d_vector: &'a mut [T],
    }

    impl<T: Real> Kernel for Backward<'_, T> {
        #[inline(always)]
        fn body<const FMA: bool>(self) {
            let width = self.vector.len();
            let key_length = self.key.len() / width;
            for first in (0..width).step_by(LANES) {
                let lanes = LANES.min(width - first);
                let v = load(&self.vector[first..], lanes);
                let mut d_v = [T::ZERO; LANES];
                for (t, gradient) in self.gradient.chunks_exact(key_length).enumerate() {
                    let q = load(&self.query[t * width + first..], lanes);
                    let mut d_q = [T::ZERO; LANES];
                    for (j, gradient) in gradient.iter().enumerate() {
                        let at = j * width + first;
                        let k = load(&self.key[at..], lanes);
                        let mut d_k = load(&self.d_key[at..], lanes);
                        for lane in 0..LANES {
                            let both = (q[lane] + k[lane]).tanh::<FMA>();
                            let slope = *gradient * v[lane] * (T::ONE - both * both);
                            d_q[lane] += slope;
                            d_k[lane] += slope;
                            d_v[lane] = gradient.mul_add::<FMA>(both, d_v[lane]);
                        }
                        store(&mut self.d_key[at..], &d_k, lanes);
                    }
                    store(&mut self.d_query[t * width + first..], &d_q, lanes);
                }
                store(&mut self.d_vector[first..], &d_v, lanes);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::{agree, finite_differences};

    /// Of rows, queries, keys and width.
    fn shapes([rows, queries, keys, width]: [usize; 4]) -> [Vec<usize>; 3] {
        [vec![rows, queries, width], vec![rows, keys, width], vec![width]]
    }

    fn tensors(
        t: &[Tensor<1>],
        [rows, queries, keys, width]: [usize; 4],
    ) -> (Tensor<3>, Tensor<3>, Tensor<1>) {
        let query = t[0].clone().reshape([rows, queries, width]);
        (query, t[1].clone().reshape([rows, keys, width]), t[2].clone())
    }

    #[test]
    fn a_score_is_the_vectors_product_with_the_tangents() {
        let device = crate::test_device();
        let query = Tensor::<3>::from_data([[[0.5, -1.0]]], &device);
        let key = Tensor::<3>::from_data([[[0.5, 1.0], [-0.5, 3.0]]], &device);
        let vector = Tensor::<1>::from_data([2.0, 10.0], &device);
        let found: Vec<f32> = additive_scores(query, key, vector).into_data().iter().collect();
        let expected = [2.0 * 1.0f32.tanh(), 10.0 * 2.0f32.tanh()];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn both_bodies_agree_in_values_and_gradients() {
        // Widths of registers, of a part of one, and of both.
        for sizes in [[3, 2, 4, 37], [2, 1, 5, 16], [1, 1, 1, 1]] {
            let n: usize = sizes[..3].iter().product();
            agree(&shapes(sizes), |t| {
                let (query, key, vector) = tensors(t, sizes);
                let native = additive_scores(query.clone(), key.clone(), vector.clone());
                (native.reshape([n]), portable(query, key, vector).reshape([n]))
            });
        }
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        let sizes = [2, 2, 3, 3];
        finite_differences(&shapes(sizes), |t| {
            let (query, key, vector) = tensors(t, sizes);
            additive_scores(query, key, vector).reshape([12])
        });
    }

    #[test]
    #[should_panic(expected = "keys of additive scores")]
    fn keys_of_another_batch_are_refused() {
        let device = crate::test_device();
        let zeros = |shape| Tensor::<3>::zeros(shape, &device);
        additive_scores(zeros([2, 1, 3]), zeros([1, 1, 3]), Tensor::zeros([3], &device));
    }
}
