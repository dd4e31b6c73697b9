//! The native body on Flex: a few queries at a time, all heads of all rows in parallel.

use std::ops::Range;

use burn::tensor::DType;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::AttentionOptions;
use super::heads::Heads;
use crate::flex::few_rows::{add_dots, add_product};
use crate::flex::fused::FusedOperation;
use crate::flex::lanes::{largest_of, sum_of};
use crate::flex::matrix::Matrix;
use crate::flex::packed::{Packed, Part};
use crate::flex::simd::{self, Kernel};
use crate::flex::{Real, slice, strided, tensor};

/// Queries whose scores are computed at once: enough to use a matrix in the cache several times.
const QUERIES: usize = 48;
/// Queries that pay for no copy of keys and values: a token that is decoded, a few beams.
const FEW_QUERIES: usize = 4;

#[derive(Debug)]
pub(super) struct Attention(pub(super) AttentionOptions);

impl FusedOperation for Attention {
    // Heads are cut out of wider vectors: a copy in another order would cost as much as a part of the products.
    fn reads_strides(&self) -> bool {
        true
    }

    fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
        self.forward_saving(arguments).swap_remove(0)
    }

    fn forward_saving(&self, arguments: &[FlexTensor]) -> Vec<FlexTensor> {
        match arguments[0].dtype() {
            DType::F64 => forward::<f64>(&self.0, arguments),
            _ => forward::<f32>(&self.0, arguments),
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
            DType::F64 => backward::<f64>(&self.0, arguments, &results, &gradient),
            _ => backward::<f32>(&self.0, arguments, &results, &gradient),
        }
    }
}

/// The sizes of one head.
#[derive(Clone, Copy)]
struct Sizes {
    n_heads: usize,
    query_length: usize,
    key_length: usize,
    d_key: usize,
    d_value: usize,
}

impl Sizes {
    fn of(arguments: &[FlexTensor]) -> Self {
        let (query, value) = (arguments[0].layout().shape(), arguments[2].layout().shape());
        Self {
            n_heads: query[1],
            query_length: query[2],
            key_length: value[2],
            d_key: query[3],
            d_value: value[3],
        }
    }
}

/// One head of one row of the batch.
struct Head<'a, T> {
    options: &'a AttentionOptions,
    sizes: Sizes,
    /// Its place among the heads of all rows.
    index: usize,
    scale: T,
    query: Matrix<'a, T>,
    key: Matrix<'a, T>,
    value: Matrix<'a, T>,
}

impl<'a, T: Real> Head<'a, T> {
    fn new(options: &'a AttentionOptions, arguments: &'a [FlexTensor], index: usize) -> Self {
        let sizes = Sizes::of(arguments);
        Self {
            options,
            sizes,
            index,
            scale: T::from_f64(options.scale(sizes.d_key)),
            query: head_of(&arguments[0], index),
            key: head_of(&arguments[1], index),
            value: head_of(&arguments[2], index),
        }
    }

    /// The blocks of queries.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let length = self.sizes.query_length;
        (0..length).step_by(QUERIES).map(move |first| first..length.min(first + QUERIES))
    }

    fn visible(&self, query: usize) -> Range<usize> {
        let Sizes { n_heads, query_length, key_length, .. } = self.sizes;
        self.options.visibility.range(self.index / n_heads, query, [query_length, key_length])
    }

    /// The keys that some query of a block sees.
    fn visible_to(&self, queries: Range<usize>) -> Range<usize> {
        let seen = queries.map(|query| self.visible(query)).filter(|range| !range.is_empty());
        seen.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0)
    }

    /// The keys that a query sees, counted from the first that its block sees.
    fn within(&self, query: usize, seen: &Range<usize>) -> Range<usize> {
        let visible = self.visible(query);
        match visible.is_empty() {
            true => 0..0,
            false => visible.start - seen.start..visible.end - seen.start,
        }
    }

    /// Room for the scores of a block, in rows of `key_length`.
    fn room_for_scores(&self) -> Vec<T> {
        vec![T::ZERO; QUERIES.min(self.sizes.query_length) * self.sizes.key_length]
    }

    /// Copies of keys and values that make products with many queries fast; nothing for few.
    fn packed(&self) -> Option<[Packed<T>; 2]> {
        let pays = self.sizes.query_length > FEW_QUERIES;
        pays.then(|| [Packed::new(self.key.transposed()), Packed::new(self.value)])
    }

    /// Products of a block's queries with the keys that it sees.
    fn scores(
        &self,
        keys: Option<&Packed<T>>,
        queries: &Range<usize>,
        seen: &Range<usize>,
        into: &mut [T],
    ) {
        let Sizes { key_length, d_key, .. } = self.sizes;
        let left = self.query.rows(queries.clone());
        let Some(keys) = keys else {
            into.fill(T::ZERO);
            let keys = self.key.rows(seen.clone());
            return add_dots(left, keys, &mut into[seen.start..], key_length);
        };
        let part = Part { inner: 0..d_key, columns: seen.clone(), adds: false };
        keys.multiply_part(left, part, into, key_length);
    }

    /// Sums of the values that a block sees, with the weights of its queries.
    fn sums_of_values(
        &self,
        values: Option<&Packed<T>>,
        weights: Matrix<T>,
        seen: Range<usize>,
        into: &mut [T],
    ) {
        let d_value = self.sizes.d_value;
        let Some(values) = values else {
            into.fill(T::ZERO);
            let (weights, values) = (weights.columns(seen.clone()), self.value.rows(seen));
            return add_product(weights, values, into, d_value);
        };
        let part = Part { inner: seen, columns: 0..d_value, adds: false };
        values.multiply_part(weights, part, into, d_value);
    }

    /// The factors of dropout for a block's weights, or nothing where nothing is dropped.
    fn kept(&self, queries: &Range<usize>) -> Vec<T> {
        let Sizes { query_length, key_length, .. } = self.sizes;
        let first = self.index * query_length;
        let rows = queries.clone().filter_map(|i| self.options.kept(first + i, key_length));
        rows.flatten().map(T::from_f64).collect()
    }
}

/// A head of a tensor `[batch_size, n_heads, length, width]`.
fn head_of<T: Real>(tensor: &FlexTensor, index: usize) -> Matrix<'_, T> {
    let n_heads = tensor.layout().shape()[1];
    strided(tensor, [index / n_heads, index % n_heads])
}

/// The output, and the logarithm of each query's sum of exponentials.
fn forward<T: Real>(options: &AttentionOptions, arguments: &[FlexTensor]) -> Vec<FlexTensor> {
    let Sizes { query_length, key_length, d_value, .. } = Sizes::of(arguments);
    let shape = arguments[0].layout().shape();
    let heads = shape[0] * shape[1];
    let output = Heads::new([shape[0], shape[1], query_length, d_value]);
    let mut logarithms = vec![T::ZERO; heads * query_length];
    logarithms.par_chunks_mut(query_length.max(1)).enumerate().for_each(|(index, logarithms)| {
        let head = Head::<T>::new(options, arguments, index);
        let packed = head.packed();
        let (keys, values) = (packed.as_ref().map(|p| &p[0]), packed.as_ref().map(|p| &p[1]));
        let mut room = head.room_for_scores();
        let mut sums_of_values = vec![T::ZERO; QUERIES * d_value];
        for queries in head.blocks() {
            let seen = head.visible_to(queries.clone());
            if seen.is_empty() {
                let zeros = vec![T::ZERO; d_value];
                // SAFETY: this head is only here.
                queries.for_each(|query| unsafe { output.write(index, query, &zeros) });
                continue;
            }
            let n = queries.len();
            let weights = &mut room[..n * key_length];
            head.scores(keys, &queries, &seen, weights);
            let mut sums = [T::ZERO; QUERIES];
            let rows = weights.chunks_exact_mut(key_length).zip(&mut sums);
            for ((row, sum), query) in rows.zip(queries.clone()) {
                let scores = only(&mut row[seen.clone()], head.within(query, &seen));
                let logarithm = &mut logarithms[query];
                simd::run(Exponentials { scores, scale: head.scale, sum, logarithm });
            }
            let kept = head.kept(&queries);
            weights.iter_mut().zip(&kept).for_each(|(weight, kept)| *weight = *weight * *kept);
            let weights = Matrix::new(weights, n, key_length);
            head.sums_of_values(values, weights, seen, &mut sums_of_values);
            // Here and not on the weights, of which there are more.
            let rows = sums_of_values.chunks_exact_mut(d_value.max(1)).zip(sums);
            for ((row, sum), query) in rows.zip(queries) {
                let inverse = if sum > T::ZERO { T::ONE / sum } else { sum };
                row.iter_mut().for_each(|number| *number = *number * inverse);
                // SAFETY: this head is only here.
                unsafe { output.write(index, query, row) };
            }
        }
    });
    // SAFETY: every query of every head was written.
    let output = unsafe { output.into_tensor() };
    vec![output, tensor(logarithms, [heads * query_length])]
}

/// A part of a row, and zeros beside it.
fn only<T: Real>(row: &mut [T], part: Range<usize>) -> &mut [T] {
    row[..part.start].fill(T::ZERO);
    row[part.end..].fill(T::ZERO);
    &mut row[part]
}

/// From scores to exponentials in place, their sum and its logarithm. The largest exponential is 1.
struct Exponentials<'a, T> {
    scores: &'a mut [T],
    scale: T,
    sum: &'a mut T,
    logarithm: &'a mut T,
}

impl<T: Real> Kernel for Exponentials<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        if self.scores.is_empty() {
            return;
        }
        let largest = largest_of(self.scores);
        for score in &mut *self.scores {
            *score = ((*score - largest) * self.scale).exp::<FMA>();
        }
        *self.sum = sum_of(self.scores, self.scores, |weight, _| weight);
        *self.logarithm = largest * self.scale + self.sum.ln();
    }
}

/// The gradients of queries, keys and values.
fn backward<T: Real>(
    options: &AttentionOptions,
    arguments: &[FlexTensor],
    results: &[FlexTensor],
    gradient: &FlexTensor,
) -> Vec<FlexTensor> {
    let gradients = [0, 1, 2].map(|i| Heads::new(arguments[i].layout().shape().dims()));
    let [batch_size, n_heads, query_length, _] = arguments[0].layout().shape().dims();
    let logarithms = slice::<T>(&results[1]);
    (0..batch_size * n_heads).into_par_iter().for_each(|index| {
        let head = Head::<T>::new(options, arguments, index);
        let found = head.backward(
            head_of(&results[0], index),
            head_of(gradient, index),
            &logarithms[index * query_length..][..query_length],
        );
        for (gradient, found) in gradients.iter().zip(found) {
            // SAFETY: this head is only here.
            unsafe { gradient.write_head(index, &found) };
        }
    });
    // SAFETY: all rows of every head were written.
    gradients.map(|gradient| unsafe { gradient.into_tensor() }).to_vec()
}

impl<T: Real> Head<'_, T> {
    /// With P the weights before dropout, m its factors, `dP = dZ Vᵀ`, and D the product of an output with its gradient:
    ///
    /// ```text
    /// dS = scale · P ⊙ (m ⊙ dP - D)      dQ = dS K      dK = dSᵀ Q      dV = (m ⊙ P)ᵀ dZ
    /// ```
    fn backward(&self, output: Matrix<T>, gradient: Matrix<T>, logarithms: &[T]) -> [Vec<T>; 3] {
        let Sizes { query_length, key_length, d_key, d_value, .. } = self.sizes;
        let mut d_query = vec![T::ZERO; query_length * d_key];
        let mut d_keys = vec![T::ZERO; key_length * d_key];
        let mut d_values = vec![T::ZERO; key_length * d_value];
        let keys = Packed::new(self.key.transposed());
        let keys_as_rows = Packed::new(self.key);
        let values = Packed::new(self.value.transposed());
        let (mut room, mut d_room) = (self.room_for_scores(), self.room_for_scores());
        for queries in self.blocks() {
            let seen = self.visible_to(queries.clone());
            if seen.is_empty() {
                continue;
            }
            let n = queries.len();
            let weights = &mut room[..n * key_length];
            self.scores(Some(&keys), &queries, &seen, weights);
            let d_scores = &mut d_room[..n * key_length];
            let d_output = gradient.rows(queries.clone());
            let part = Part { inner: 0..d_value, columns: seen.clone(), adds: false };
            values.multiply_part(d_output, part, d_scores, key_length);
            let kept = self.kept(&queries);
            let rows =
                weights.chunks_exact_mut(key_length).zip(d_scores.chunks_exact_mut(key_length));
            for ((index, query), (weights, d_scores)) in queries.clone().enumerate().zip(rows) {
                let within = self.within(query, &seen);
                let kept = match kept.len() {
                    0 => &[],
                    _ => &kept[index * key_length..][seen.clone()][within.clone()],
                };
                simd::run(SoftmaxBack {
                    weights: only(&mut weights[seen.clone()], within.clone()),
                    d_scores: only(&mut d_scores[seen.clone()], within),
                    kept,
                    output: output.row(query),
                    gradient: gradient.row(query),
                    logarithm: logarithms[query],
                    scale: self.scale,
                });
            }
            let d_scores = Matrix::new(d_scores, n, key_length);
            let part = Part { inner: seen.clone(), columns: 0..d_key, adds: false };
            let d_query = &mut d_query[queries.start * d_key..queries.end * d_key];
            keys_as_rows.multiply_part(d_scores, part, d_query, d_key);
            let d_keys = &mut d_keys[seen.start * d_key..seen.end * d_key];
            let queries = Packed::new(self.query.rows(queries));
            let part = Part { inner: 0..n, columns: 0..d_key, adds: true };
            queries.multiply_part(d_scores.columns(seen.clone()).transposed(), part, d_keys, d_key);
            let d_values = &mut d_values[seen.start * d_value..seen.end * d_value];
            let weights = Matrix::new(weights, n, key_length).columns(seen).transposed();
            let part = Part { inner: 0..n, columns: 0..d_value, adds: true };
            Packed::new(d_output).multiply_part(weights, part, d_values, d_value);
        }
        [d_query, d_keys, d_values]
    }
}

/// From scores to weights after dropout, and from the gradient of these to that of the scores, both in place.
struct SoftmaxBack<'a, T> {
    weights: &'a mut [T],
    d_scores: &'a mut [T],
    /// The factors of dropout; empty where nothing is dropped.
    kept: &'a [T],
    output: &'a [T],
    gradient: &'a [T],
    logarithm: T,
    scale: T,
}

impl<T: Real> Kernel for SoftmaxBack<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let Self { scale, logarithm, .. } = self;
        let product = sum_of(self.output, self.gradient, |z, d| z * d);
        let of_score = |score: T| score.mul_add::<FMA>(scale, T::ZERO - logarithm).exp::<FMA>();
        let numbers = self.weights.iter_mut().zip(self.d_scores);
        if self.kept.is_empty() {
            for (weight, d) in numbers {
                *weight = of_score(*weight);
                *d = scale * *weight * (*d - product);
            }
        } else {
            for ((weight, d), kept) in numbers.zip(self.kept) {
                let before = of_score(*weight);
                *weight = before * *kept;
                *d = scale * before * (*d * *kept - product);
            }
        }
    }
}
