//! The native body on Flex: some rows at a time, the vocabulary in tiles, all tiles of some rows in parallel.
//!
//! Gradients are made in the forward pass, for a gradient of one, while the scores are there: this saves computing
//! them again, and the backward pass only scales.

use std::mem::MaybeUninit;

use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::scores::{Differential, Partial, Statistics};
use super::smoothing::Distribution;
use crate::flex::fused::FusedOperation;
use crate::flex::matrix::Matrix;
use crate::flex::packed::{Packed, Part};
use crate::flex::{Real, simd, slice, tensor, written};

/// Classes in a tile, at most: a few panels of a product, and rows that do not all fall on the same few places of a
/// cache.
const TILE: usize = 224;
/// Tiles that a small vocabulary is cut into, so that every thread gets its share.
const TILES: usize = 8;
/// Scores that are held at once, at most; few in tests, so that small data is more than one chunk.
const SCORES: usize = if cfg!(test) { 2 * 1024 } else { 9 * 1024 * 1024 };
/// The inner index of a product is taken in blocks, whose sums are added up.
const INNER: usize = 384;

/// Its arguments are the hidden vectors, the weight, and a bias or none.
#[derive(Debug)]
pub(super) struct LinearCrossEntropy {
    pub(super) is_tied: bool,
    /// The rows that are not ignored, and their targets.
    pub(super) rows: Vec<(usize, usize)>,
    pub(super) distribution: Distribution,
    /// Which arguments get gradients.
    pub(super) is_tracked: Vec<bool>,
}

impl FusedOperation for LinearCrossEntropy {
    fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
        match arguments[0].dtype() {
            DType::F64 => Problem::<f64>::new(self, arguments).forward(),
            _ => Problem::<f32>::new(self, arguments).forward(),
        }
    }

    fn forward_saving(&self, arguments: &[FlexTensor]) -> Vec<FlexTensor> {
        match arguments[0].dtype() {
            DType::F64 => Problem::<f64>::new(self, arguments).forward_saving(),
            _ => Problem::<f32>::new(self, arguments).forward_saving(),
        }
    }

    fn backward(
        &self,
        _arguments: &[FlexTensor],
        mut results: Vec<FlexTensor>,
        gradient: FlexTensor,
        _is_tracked: &[bool],
    ) -> Vec<FlexTensor> {
        let mut gradients = results.split_off(1);
        match gradient.dtype() {
            DType::F64 => scale::<f64>(&mut gradients, &gradient),
            _ => scale::<f32>(&mut gradients, &gradient),
        }
        gradients
    }
}

fn scale<T: Real>(gradients: &mut [FlexTensor], factor: &FlexTensor) {
    const BLOCK: usize = 64 * 1024;
    let factor = slice::<T>(factor)[0];
    for gradient in gradients {
        gradient.storage_mut::<T>().par_chunks_mut(BLOCK).for_each(|block| {
            block.iter_mut().for_each(|value| *value = *value * factor);
        });
    }
}

struct Problem<'a, T> {
    operation: &'a LinearCrossEntropy,
    hidden: Matrix<'a, T>,
    /// `[d_model, vocab_size]`, in either layout.
    weight: Matrix<'a, T>,
    bias: Option<&'a [T]>,
    /// Classes in a tile.
    tile: usize,
}

impl<'a, T: Real> Problem<'a, T> {
    fn new(operation: &'a LinearCrossEntropy, arguments: &'a [FlexTensor]) -> Self {
        let matrix = |tensor: &'a FlexTensor| {
            let shape = tensor.layout().shape();
            Matrix::new(slice::<T>(tensor), shape[0], shape[1])
        };
        let weight = matrix(&arguments[1]);
        let weight = if operation.is_tied { weight.transposed() } else { weight };
        Self {
            operation,
            tile: weight.columns.div_ceil(TILES).next_multiple_of(32).min(TILE),
            hidden: matrix(&arguments[0]),
            weight,
            bias: arguments.get(2).map(slice::<T>),
        }
    }

    /// Groups of rows whose scores are held together, of nearly one size, which depends on no number of threads.
    fn chunks(&self) -> impl Iterator<Item = Chunk<'_, T>> {
        let rows = &self.operation.rows;
        let most = (SCORES / self.weight.columns).max(1);
        let size = rows.len().div_ceil(rows.len().div_ceil(most).max(1));
        rows.chunks(size.max(1).next_multiple_of(8)).map(|rows| Chunk::new(self, rows))
    }

    fn forward(&self) -> FlexTensor {
        let losses = self.chunks().map(|chunk| {
            let mut partials = chunk.partials();
            partials.par_chunks_mut(chunk.rows.len()).enumerate().for_each(|(tile, partials)| {
                let mut scores = Vec::with_capacity(chunk.tile_length());
                let room = &mut scores.spare_capacity_mut()[..chunk.tile_length()];
                chunk.score(tile, room, partials);
            });
            chunk.statistics(&partials).0
        });
        tensor(vec![T::from_f64(losses.sum())], [1])
    }

    /// The loss and the gradients; an empty tensor where there is none.
    fn forward_saving(&self) -> Vec<FlexTensor> {
        let [d_model, vocab_size] = [self.weight.rows, self.weight.columns];
        let is_tracked = |index: usize| self.operation.is_tracked.get(index) == Some(&true);
        let zeros = |is_tracked, n| if is_tracked { vec![T::ZERO; n] } else { Vec::new() };
        let mut d_hidden = zeros(is_tracked(0), self.hidden.values.len());
        let mut d_bias = zeros(is_tracked(2), vocab_size);
        // No zeros in what is large: one thread would write them while the others wait.
        let n_weights = if is_tracked(1) { self.weight.values.len() } else { 0 };
        let mut d_weight = Vec::with_capacity(n_weights);
        let mut loss = 0.0;
        let mut scores = Vec::new();
        for (index, chunk) in self.chunks().enumerate() {
            let mut partials = chunk.partials();
            let n_scores = chunk.n_tiles() * chunk.tile_length();
            scores.clear();
            scores.reserve(n_scores);
            scores.spare_capacity_mut()[..n_scores]
                .par_chunks_mut(chunk.tile_length())
                .zip(partials.par_chunks_mut(chunk.rows.len()))
                .enumerate()
                .for_each(|(tile, (scores, partials))| chunk.score(tile, scores, partials));
            // SAFETY: every tile was written.
            unsafe { scores.set_len(n_scores) };
            let (chunk_loss, statistics) = chunk.statistics(&partials);
            loss += chunk_loss;
            scores
                .par_chunks_mut(chunk.tile_length())
                .enumerate()
                .for_each(|(tile, scores)| chunk.differentiate(tile, scores, &statistics));
            if !d_bias.is_empty() {
                chunk.add_bias_gradient(&scores, &mut d_bias);
            }
            if n_weights > 0 {
                let d_weight = &mut d_weight.spare_capacity_mut()[..n_weights];
                // SAFETY: the first chunk writes all of it, and others add to that.
                unsafe {
                    match self.operation.is_tied {
                        true => chunk.tied_weight_gradient(&scores, d_weight, index > 0),
                        false => chunk.own_weight_gradient(&scores, d_weight, index > 0),
                    }
                }
            }
            if !d_hidden.is_empty() {
                chunk.write_hidden_gradient(&scores, &mut d_hidden);
            }
        }
        match self.operation.rows.is_empty() {
            true => d_weight.resize(n_weights, T::ZERO),
            // SAFETY: the first chunk has written all of it.
            false => unsafe { d_weight.set_len(n_weights) },
        }
        let weight_shape =
            if self.operation.is_tied { [vocab_size, d_model] } else { [d_model, vocab_size] };
        let mut results = vec![
            tensor(vec![T::from_f64(loss)], [1]),
            gradient(d_hidden, [self.hidden.rows, d_model]),
            gradient(d_weight, weight_shape),
        ];
        if self.bias.is_some() {
            results.push(gradient(d_bias, [vocab_size]));
        }
        results
    }
}

fn gradient<T: Real, const D: usize>(values: Vec<T>, shape: [usize; D]) -> FlexTensor {
    let shape = if values.is_empty() { Shape::new([0]) } else { Shape::new(shape) };
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Some rows, all of which have a target.
struct Chunk<'a, T> {
    problem: &'a Problem<'a, T>,
    rows: &'a [(usize, usize)],
    /// Their hidden vectors, side by side.
    hidden: Vec<T>,
}

impl<'a, T: Real> Chunk<'a, T> {
    fn new(problem: &'a Problem<'a, T>, rows: &'a [(usize, usize)]) -> Self {
        let mut hidden = Vec::with_capacity(rows.len() * problem.hidden.columns);
        rows.iter().for_each(|(row, _)| hidden.extend_from_slice(problem.hidden.row(*row)));
        Self { problem, rows, hidden }
    }

    fn hidden(&self) -> Matrix<'_, T> {
        Matrix::new(&self.hidden, self.rows.len(), self.problem.hidden.columns)
    }

    fn n_tiles(&self) -> usize {
        self.problem.weight.columns.div_ceil(self.problem.tile)
    }

    /// Numbers in a tile of scores; the last one is not filled.
    fn tile_length(&self) -> usize {
        self.rows.len() * self.problem.tile
    }

    /// The classes of a tile.
    fn classes(&self, tile: usize) -> std::ops::Range<usize> {
        tile * self.problem.tile..self.problem.weight.columns.min((tile + 1) * self.problem.tile)
    }

    /// One tile of scores, `[rows, classes]`, in rows of its width.
    fn tile<'b>(&self, tile: usize, scores: &'b [T]) -> Matrix<'b, T> {
        let values = &scores[tile * self.tile_length()..][..self.tile_length()];
        Matrix::new(values, self.rows.len(), self.problem.tile).columns(0..self.classes(tile).len())
    }

    fn partials(&self) -> Vec<Partial<T>> {
        vec![Partial::default(); self.n_tiles() * self.rows.len()]
    }

    /// The scores of a tile, all of which are written, and what its classes add to the statistics of each row.
    fn score(&self, tile: usize, scores: &mut [MaybeUninit<T>], partials: &mut [Partial<T>]) {
        let classes = self.classes(tile);
        let weight = Packed::new(self.problem.weight.columns(classes.clone()));
        if classes.len() < self.problem.tile {
            scores.fill(MaybeUninit::new(T::ZERO));
        }
        // SAFETY: nothing is added to what is not there, and all columns are written or zeros.
        let scores = unsafe {
            multiply_into(&weight, self.hidden(), scores, self.problem.tile, false);
            scores.assume_init_mut()
        };
        let distribution = &self.problem.operation.distribution;
        simd::run(Statistics {
            scores,
            width: self.problem.tile,
            bias: self.problem.bias.map(|bias| &bias[classes.clone()]),
            n_classes: classes.len(),
            sums_scores: distribution.floor > 0.0,
            padding: distribution.padding.and_then(|class| within(class, &classes)),
            partials,
        });
        for (partial, (row, (_, target))) in partials.iter_mut().zip(self.rows.iter().enumerate()) {
            if let Some(place) = within(*target, &classes) {
                partial.of_target = scores[row * self.problem.tile + place];
            }
        }
    }

    /// The loss of all rows, and the largest score and the sum of exponentials of each.
    fn statistics(&self, partials: &[Partial<T>]) -> (f64, Vec<Normaliser<T>>) {
        let Distribution { peak, floor, padding, entropy } = self.problem.operation.distribution;
        let n_sharing = self.problem.weight.columns - usize::from(padding.is_some());
        let n = self.rows.len();
        let of_row = |(row, (_, target)): (usize, &(usize, usize))| {
            let tiles = || partials[row..].iter().step_by(n);
            let largest = tiles().map(|tile| tile.largest);
            let largest = largest.reduce(|a, b| if b > a { b } else { a }).unwrap_or(T::ZERO);
            let mut sum = T::ZERO;
            let mut total = 0.0;
            for tile in tiles() {
                sum += tile.sum * (tile.largest - largest).exp::<false>();
                total += tile.total.elem::<f64>();
            }
            let logarithm = largest.elem::<f64>() + sum.elem::<f64>().ln();
            let of_target = partials[target / self.problem.tile * n + row].of_target.elem::<f64>();
            let mut loss = peak * (logarithm - of_target) - entropy;
            if floor > 0.0 {
                loss += floor * (n_sharing as f64 * logarithm - total);
            }
            (loss, Normaliser { largest, inverse: T::ONE / sum })
        };
        let rows = self.rows.par_iter().enumerate().with_min_len(64);
        let (losses, normalisers): (Vec<f64>, _) = rows.map(of_row).unzip();
        // One after the other, so that the sum depends on no number of threads.
        (losses.iter().sum(), normalisers)
    }

    /// From scores to their gradients, in place.
    fn differentiate(&self, tile: usize, scores: &mut [T], normalisers: &[Normaliser<T>]) {
        let classes = self.classes(tile);
        let Distribution { peak, floor, padding, .. } = self.problem.operation.distribution;
        let padding = padding.and_then(|class| within(class, &classes));
        let rows = scores.chunks_exact_mut(self.problem.tile).zip(self.rows).zip(normalisers);
        for ((scores, (_, target)), normaliser) in rows {
            let Normaliser { largest, inverse } = *normaliser;
            let floor = T::from_f64(floor);
            let scores = &mut scores[..classes.len()];
            simd::run(Differential { scores, largest, inverse, floor });
            if let Some(place) = padding {
                scores[place] += floor;
            }
            if let Some(place) = within(*target, &classes) {
                scores[place] = scores[place] - T::from_f64(peak);
            }
        }
    }

    fn add_bias_gradient(&self, d_scores: &[T], d_bias: &mut [T]) {
        d_bias.par_chunks_mut(self.problem.tile).enumerate().for_each(|(tile, d_bias)| {
            let d_scores = self.tile(tile, d_scores);
            for row in 0..self.rows.len() {
                d_bias.iter_mut().zip(d_scores.row(row)).for_each(|(sum, value)| *sum += *value);
            }
        });
    }

    /// `dE = dSᵀ H`, or `+=`, tile by tile.
    ///
    /// # Safety
    /// If it adds, the gradient is initialised.
    unsafe fn tied_weight_gradient(
        &self,
        d_scores: &[T],
        d_weight: &mut [MaybeUninit<T>],
        adds: bool,
    ) {
        let d_model = self.problem.weight.rows;
        let hidden = Packed::new(self.hidden());
        d_weight.par_chunks_mut(self.problem.tile * d_model).enumerate().for_each(
            |(tile, d_weight)| {
                let d_scores = self.tile(tile, d_scores).transposed();
                // SAFETY: as for this function.
                unsafe { multiply_into(&hidden, d_scores, d_weight, d_model, adds) };
            },
        );
    }

    /// `dW = Hᵀ dS`, or `+=`, some rows of W on each thread.
    ///
    /// # Safety
    /// If it adds, the gradient is initialised.
    unsafe fn own_weight_gradient(
        &self,
        d_scores: &[T],
        d_weight: &mut [MaybeUninit<T>],
        adds: bool,
    ) {
        let [d_model, vocab_size] = [self.problem.weight.rows, self.problem.weight.columns];
        let transpose =
            |to: &mut [_]| self.hidden().transposed().copy_columns(0, self.rows.len(), to);
        // SAFETY: all rows of all columns are written.
        let hidden = unsafe { written(self.hidden.len(), transpose) };
        let hidden = Matrix::new(&hidden, d_model, self.rows.len());
        let share = share(d_model);
        d_weight.par_chunks_mut(share * vocab_size).enumerate().for_each(|(index, d_weight)| {
            let of_share = index * share..d_model.min((index + 1) * share);
            let hidden = hidden.transposed().columns(of_share).transposed();
            for tile in 0..self.n_tiles() {
                let d_scores = Packed::new(self.tile(tile, d_scores));
                let d_weight = &mut d_weight[self.classes(tile).start..];
                // SAFETY: as for this function.
                unsafe { multiply_into(&d_scores, hidden, d_weight, vocab_size, adds) };
            }
        });
    }

    /// `dH = dS Wᵀ`, some columns of it on each thread.
    fn write_hidden_gradient(&self, d_scores: &[T], d_hidden: &mut [T]) {
        let d_model = self.problem.weight.rows;
        let n = self.rows.len();
        let share = share(d_model);
        let write = |columns: &mut [MaybeUninit<T>]| {
            columns.par_chunks_mut(n * share).enumerate().for_each(|(index, columns)| {
                let width = columns.len() / n;
                for tile in 0..self.n_tiles() {
                    let weight = self.problem.weight.columns(self.classes(tile)).transposed();
                    let weight = Packed::new(weight.columns(index * share..index * share + width));
                    let d_scores = self.tile(tile, d_scores);
                    // SAFETY: the first tile writes all columns, and others add to that.
                    unsafe { multiply_into(&weight, d_scores, columns, width, tile > 0) };
                }
            });
        };
        // SAFETY: all columns of every row are written.
        let columns = unsafe { written(n * d_model, write) };
        for (index, columns) in columns.chunks(n * share).enumerate() {
            let width = columns.len() / n;
            for ((row, _), columns) in self.rows.iter().zip(columns.chunks_exact(width)) {
                d_hidden[row * d_model + index * share..][..width].copy_from_slice(columns);
            }
        }
    }
}

/// What turns the scores of a row into probabilities.
#[derive(Clone, Copy)]
struct Normaliser<T> {
    largest: T,
    inverse: T,
}

/// The columns or rows that one thread takes of a width. Numbers do not depend on those beside them.
fn share(width: usize) -> usize {
    width.div_ceil(rayon::current_num_threads()).next_multiple_of(32)
}

/// The place of a class among those of a tile.
fn within(class: usize, classes: &std::ops::Range<usize>) -> Option<usize> {
    classes.contains(&class).then(|| class - classes.start)
}

/// `out = left · right` or `+=`, on this thread.
///
/// # Safety
/// If it adds, `out` is initialised.
unsafe fn multiply_into<T: Real>(
    right: &Packed<T>,
    left: Matrix<T>,
    out: &mut [MaybeUninit<T>],
    out_stride: usize,
    adds: bool,
) {
    for first in (0..left.columns).step_by(INNER) {
        let inner = first..left.columns.min(first + INNER);
        let part = Part { inner, columns: 0..right.columns(), adds: adds || first > 0 };
        // SAFETY: the first block initialises what the others add to.
        unsafe { right.multiply_part_into(left, part, out, out_stride) };
    }
}
